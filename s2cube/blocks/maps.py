"""Maps over pixels, over neighbourhoods and over time."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

from s2cube.blocks.peak import Peak, Sized, largest_block
from s2cube.blocks.reach import Reach

__all__ = ["aligned", "count_blocks", "is_lazy", "map_halo", "map_pixels", "map_time"]

SPACE: Final = 256
"""Side of a block whose time is in one piece, px: a year of one float32 band is 96 MB."""
PIXEL_WORK: Final = 8
"""Bytes that a kernel of single pixels works with by value, beside its blocks: two float32."""
COUNT_WORK: Final = 12
"""The same of a kernel that counts."""
TIME_WORK: Final = 20
"""The same of a kernel of series, by value of the series: a copy, the days of the looks on either side,
and what was seen on either side."""


def is_lazy(array: Any) -> bool:
    """Return whether `array` is a Dask array."""
    return hasattr(array, "__dask_graph__")


def _any_lazy(arrays: tuple[Any, ...]) -> bool:
    return any(is_lazy(array) for array in arrays)


def aligned(arrays: tuple[Any, ...]) -> list[Any]:
    """Return Dask arrays with the chunks of the first lazy one; dimensions of length 1 stay so."""
    import dask.array as da

    chunks = next(array.chunks for array in arrays if is_lazy(array))
    return [
        da.asarray(array).rechunk(
            tuple(
                (1,) if length == 1 else sizes for length, sizes in zip(array.shape, chunks, strict=True)
            )
        )
        for array in arrays
    ]


def map_pixels(function: Callable[..., Any], *arrays: Any, dtype: DTypeLike, **keywords: Any) -> Any:
    """Apply a kernel that looks at one pixel of one date at a time.

    Parameters
    ----------
    function
        ``function(*blocks, **keywords)`` → a block of the same shape.
    *arrays
        Arrays of one shape; a dimension of length 1 is broadcast.
    dtype
        Type of the result.

    Notes
    -----
    Peak memory is that of the blocks in and out, and 8 bytes a value.
    """
    if not _any_lazy(arrays):
        return function(*arrays, **keywords)
    import dask.array as da

    lazy = aligned(arrays)
    full = next(array.chunks for array in arrays if is_lazy(array))
    inside = sum(largest_block(array.chunks, array.dtype) for array in lazy)
    work = PIXEL_WORK * largest_block(full, np.uint8)
    return da.map_blocks(
        Sized(function, Peak("map_pixels", inside, largest_block(full, dtype), work)),
        *lazy,
        dtype=dtype,
        meta=np.empty((0,) * len(full), dtype),
        **keywords,
    )


def _no_smaller_than(far: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Join blocks that are smaller than the halo, which could not serve their neighbours."""
    joined: list[int] = []
    for size in sizes:
        if joined and (joined[-1] < far or size < far):
            joined[-1] += size
        else:
            joined.append(size)
    return tuple(joined)


def map_halo(
    function: Callable[..., Any],
    array: Any,
    *,
    depth: tuple[int, int],
    dtype: DTypeLike,
    **keywords: Any,
) -> Any:
    """Apply a kernel that looks at a neighbourhood in space.

    Parameters
    ----------
    function
        ``function(block, **keywords)`` → a block of the same shape. Beyond the array's edge there
        is nothing: blocks there are smaller, not padded.
    array
        Shape ``(time, y, x)``.
    depth
        How far the kernel sees along y and x, px.
    dtype
        Type of the result.

    Notes
    -----
    Peak memory is that of the block with its halo, in and out, and of six copies of it and one more
    for each pixel of `depth`, which is what a kernel keeps that joins rows of a disk.
    """
    if not is_lazy(array):
        return function(array, **keywords)
    import dask.array as da

    reach = {}
    for axis, far in zip((1, 2), depth, strict=True):
        array = array.rechunk({axis: _no_smaller_than(far, array.chunks[axis])})
        # An axis in one piece has no neighbours.
        reach[axis] = far if array.numblocks[axis] > 1 else 0
    grown = (0, 2 * reach[1], 2 * reach[2])
    inside = largest_block(array.chunks, array.dtype, grown)
    peak = Peak("map_halo", inside, largest_block(array.chunks, dtype, grown), (6 + min(depth)) * inside)
    # Where blocks overlap, Dask's own layer tells it.
    around = Reach(*(far - reach[axis] for axis, far in zip((1, 2), depth, strict=True)))
    return da.map_overlap(
        Sized(function, peak, around),
        array,
        depth={0: 0, **reach},
        boundary="none",
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
        **keywords,
    )


def map_time(
    function: Callable[..., Any], *arrays: Any, length: int, dtype: DTypeLike, **keywords: Any
) -> Any:
    """Apply a kernel that looks at the whole series of each pixel.

    Parameters
    ----------
    function
        ``function(*blocks, **keywords)``, blocks of shape ``(time, y, x)`` → ``(length, y, x)``.
    *arrays
        Arrays of one shape.
    length
        Steps of the result.
    dtype
        Type of the result.

    Notes
    -----
    Blocks larger than 256 px are cut to that before time is joined, so that peak memory is bounded
    by ``256² × (time + length)`` values a thread, not by the chunks of the source: the blocks in and
    out, and 20 bytes a value of the series. Beside it the worker holds what the blocks are cut from: all
    dates of one chunk of the source.
    """
    if not _any_lazy(arrays):
        return function(*arrays, **keywords)
    import dask.array as da

    lazy = aligned(arrays)
    sides = [min(SPACE, max(lazy[0].chunks[axis])) for axis in (1, 2)]
    whole = [array.rechunk({0: -1, 1: sides[0], 2: sides[1]}) for array in lazy]
    series = whole[0].chunks
    inside = sum(largest_block(array.chunks, array.dtype) for array in whole)
    work = TIME_WORK * largest_block(series, np.uint8)
    made = largest_block(((length,), *series[1:]), dtype)
    held = {
        array.name: largest_block((array.shape[:1], *array.chunks[1:]), array.dtype) for array in lazy
    }
    return da.map_blocks(
        Sized(function, Peak("map_time", inside, made, work, held)),
        *whole,
        chunks=((length,), *whole[0].chunks[1:]),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
        **keywords,
    )


def count_blocks(
    function: Callable[..., int], array: Any, *, by_block: bool = False, **keywords: Any
) -> Any:
    """Add up a count over all blocks, or keep it block by block.

    Parameters
    ----------
    function
        ``function(block, **keywords)`` → a number.
    array
        An array; a numpy one is one block.
    by_block
        Whether to keep one count a block, in an array of as many dimensions as `array` has.

    Returns
    -------
    int or dask.array.Array
        The sum (of dimension 0 where `array` is lazy), or the counts.

    Notes
    -----
    Peak memory is that of the block, and 12 bytes a value.
    """
    if not is_lazy(array):
        count = function(array, **keywords)
        return np.full((1,) * array.ndim, count) if by_block else count
    import dask.array as da

    ones = tuple((1,) * len(sizes) for sizes in array.chunks)
    inside = largest_block(array.chunks, array.dtype)
    peak = Peak("count_blocks", inside, 8, COUNT_WORK * largest_block(array.chunks, np.uint8))
    counts = da.map_blocks(
        Sized(_one_count, peak),
        array,
        chunks=ones,
        dtype=np.int64,
        meta=np.empty((0,) * array.ndim, np.int64),
        function=function,
        keywords=keywords,
    )
    return counts if by_block else counts.sum()


def _one_count(
    block: np.ndarray, *, function: Callable[..., int], keywords: dict[str, Any]
) -> np.ndarray:
    return np.full((1,) * block.ndim, function(block, **keywords), dtype=np.int64)
