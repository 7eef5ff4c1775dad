"""Pixels of an area: which they are, and how many of them each step has."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from s2cube.blocks.maps import is_lazy
from s2cube.blocks.peak import Peak, Sized, largest_block

__all__ = ["count_steps", "count_values", "map_grid"]

SUM_WORK: Final = 2**17
"""Bytes that numpy sums in, whatever the block."""
VALUES: Final = 256
"""Values that 8 bits have."""
GRID_WORK: Final = 2
"""Bytes that a kernel of coordinates works with by pixel: it sees them broadcast, never in full."""


def map_grid(
    function: Callable[..., Any],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    *,
    like: Any,
    dtype: DTypeLike,
    **keywords: Any,
) -> Any:
    """Apply a kernel that looks at where a pixel is.

    Parameters
    ----------
    function
        ``function(y, x, **keywords)``, shapes ``(1, n, 1)`` and ``(1, 1, m)`` → ``(1, n, m)``.
    y, x
        Pixel centres.
    like
        Array of shape ``(time, y, x)``: the result is lazy if it is, with its chunks in space.
    dtype
        Type of the result.

    Notes
    -----
    Peak memory is that of the block, and 2 bytes a pixel.
    """
    rows, columns = y[None, :, None], x[None, None, :]
    if not is_lazy(like):
        return function(rows, columns, **keywords)
    import dask.array as da

    _, down, across = like.chunks
    block = largest_block((down, across), np.uint8)
    return da.map_blocks(
        Sized(function, Peak("map_grid", 0, block * np.dtype(dtype).itemsize, GRID_WORK * block)),
        da.from_array(rows, ((1,), down, (1,))),
        da.from_array(columns, ((1,), (1,), across)),
        chunks=((1,), down, across),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
        **keywords,
    )


def count_steps(array: Any) -> Any:
    """Count, step by step, the pixels that are True; or add up counts that pixels have.

    Parameters
    ----------
    array
        Booleans or whole numbers, shape ``(time, y, x)``.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        ``int64``, shape ``(time,)``.

    Notes
    -----
    Peak memory is that of the block.
    """
    if not is_lazy(array):
        return _by_step(array)[:, 0, 0]
    import dask.array as da

    inside = largest_block(array.chunks, array.dtype)
    made = 8 * max(array.chunks[0])
    counts = da.map_blocks(
        Sized(_by_step, Peak("count_steps", inside, made, SUM_WORK)),
        array,
        chunks=(array.chunks[0], *((1,) * parts for parts in array.numblocks[1:])),
        dtype=np.int64,
        meta=np.empty((0, 0, 0), np.int64),
    )
    return counts.sum(axis=(1, 2))


def _by_step(block: NDArray[Any]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = block.sum(axis=(1, 2), keepdims=True, dtype=np.int64)
    return counts


def count_values(array: Any) -> Any:
    """Count how often each value occurs.

    Parameters
    ----------
    array
        ``uint8``, shape ``(time, y, x)``.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        ``int64``, shape ``(256,)``.

    Notes
    -----
    Peak memory is that of the block, and 8 bytes a value.
    """
    if not is_lazy(array):
        return _values(array)[0, 0, 0]
    import dask.array as da

    inside = largest_block(array.chunks, np.uint8)
    made = 8 * VALUES
    counts = da.map_blocks(
        Sized(_values, Peak("count_values", inside, made, 8 * inside + SUM_WORK)),
        array,
        chunks=(*((1,) * parts for parts in array.numblocks), (VALUES,)),
        new_axis=3,
        dtype=np.int64,
        meta=np.empty((0, 0, 0, 0), np.int64),
    )
    return counts.sum(axis=(0, 1, 2))


def _values(block: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.bincount(block.ravel(), minlength=VALUES).astype(np.int64)
    return counts.reshape(1, 1, 1, VALUES)
