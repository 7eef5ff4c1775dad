"""Sums over all blocks of what a kernel tells of each."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.blocks.maps import aligned, is_lazy
from s2cube.blocks.peak import Peak, Sized, largest_block

__all__ = ["sum_blocks"]

SUM_WORK: Final = 24
"""Bytes that a kernel works with by value, beside its blocks: three float64."""


def sum_blocks(
    function: Callable[..., NDArray[np.int64]], *arrays: Any, length: int, **keywords: Any
) -> Any:
    """Add up, over all blocks, a list of whole numbers that a kernel makes of each.

    Parameters
    ----------
    function
        ``function(*blocks, **keywords)`` → ``int64``, shape ``(length,)``; blocks hold all steps.
    *arrays
        Arrays of one shape ``(time, y, x)``.
    length
        How many numbers there are.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        ``int64``, shape ``(length,)``: whole numbers, so that no chunks change their sum.

    Notes
    -----
    Peak memory is that of the blocks, and 24 bytes a value of one of them.
    """
    if not any(is_lazy(array) for array in arrays):
        return function(*arrays, **keywords)
    import dask.array as da

    lazy = [array.rechunk({0: -1}) for array in aligned(arrays)]
    inside = sum(largest_block(array.chunks, array.dtype) for array in lazy)
    work = SUM_WORK * largest_block(lazy[0].chunks, np.uint8)
    sums = da.map_blocks(
        Sized(_one_sum, Peak("sum_blocks", inside, 8 * length, work)),
        *lazy,
        chunks=((1,), *((1,) * parts for parts in lazy[0].numblocks[1:]), (length,)),
        new_axis=3,
        dtype=np.int64,
        meta=np.empty((0, 0, 0, 0), np.int64),
        function=function,
        keywords=keywords,
    )
    return sums.sum(axis=(0, 1, 2))


def _one_sum(
    *blocks: NDArray[Any], function: Callable[..., NDArray[np.int64]], keywords: dict[str, Any]
) -> NDArray[np.int64]:
    return function(*blocks, **keywords)[None, None, None]
