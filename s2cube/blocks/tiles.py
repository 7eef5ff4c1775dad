"""Maps over windows that lie at fixed pixels of the grid, for kernels that estimate what they need."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from s2cube.blocks.maps import SPACE, is_lazy
from s2cube.blocks.peak import Peak, Sized, largest_block
from s2cube.blocks.reach import Reach

__all__ = ["cut_alike", "map_tiles"]

OBJECTS: Final = 2**14
"""Bytes of all that is no array."""


class _Tile(NamedTuple):
    """One tile along one axis, in pixels of the array."""

    core: slice
    """What the kernel's result is kept of."""
    window: slice
    """What the kernel sees: the core and its halo, as far as the array goes."""

    @property
    def inside(self) -> slice:
        """Where the core lies in the window."""
        before = self.core.start - self.window.start
        return slice(before, before + self.core.stop - self.core.start)

    @property
    def pixels(self) -> int:
        """How many the kernel sees."""
        return int(self.window.stop - self.window.start)

    @property
    def kept(self) -> int:
        """How many are kept."""
        return int(self.core.stop - self.core.start)


class _Cut(NamedTuple):
    """A piece of a window that lies in one block."""

    block: int
    part: slice
    """Of the block."""


def map_tiles(
    function: Callable[..., Iterable[NDArray[Any]]],
    *arrays: Any,
    origin: tuple[int, int],
    side: int,
    halo: int,
    length: int,
    dtypes: Sequence[DTypeLike],
    work: int,
    **keywords: Any,
) -> list[Any]:
    """Apply a kernel of series to tiles that lie at fixed pixels of the grid, each with a halo.

    Tiles begin at multiples of `side`, counted from the origin of the grid and not of the array. So a
    pixel has the same tile, and the same numbers, in any part of the grid that is opened and in any
    chunks, if it is at least ``side + max(halo, side / 2)`` pixels from the edge of the array: nearer to
    it a window ends where the array does, and a tile of which less than half is inside is joined to its
    neighbour, since little can be estimated from a few pixels.

    Parameters
    ----------
    function
        ``function(*windows, origin, inside, **keywords)``, windows of shape ``(time, y, x)`` → arrays of
        shape ``(length, y, x)``, one for each of `dtypes`, of the pixels ``inside`` only: two slices,
        by row and column. ``origin`` is the index of the window's first pixel in the grid, by row and
        column. Windows must not be changed.
    *arrays
        Arrays ``(time, y, x)`` that agree in y and x; their times may be of different lengths.
    origin
        Index of the arrays' first pixel in the grid, by row and column.
    side
        Of a tile, px.
    halo
        How far a window goes beyond its tile, px.
    length
        Steps of the results.
    dtypes
        Types of the results.
    work
        Bytes that `function` works with by pixel of a window, beside windows and results.

    Returns
    -------
    list of numpy.ndarray or dask.array.Array
        The results, shape ``(length, y, x)``, in blocks of one tile: larger ones would have to wait for
        several windows, whose results can be large.

    Notes
    -----
    One task a tile, after the series have been joined in blocks of about 256 px, and one a result to
    take it. Peak memory of the first is that of the windows, of the results, and `work`; of the second,
    that of all results of a tile and of one more. Beside it the worker holds the blocks that a window
    touches, or all dates of one chunk of the source, out of which these are cut, whichever is more.
    """
    tiles = [
        _tiles(size, first, side, halo) for size, first in zip(arrays[0].shape[1:], origin, strict=True)
    ]
    run = partial(_run, function=function, keywords=keywords)
    if any(map(is_lazy, arrays)):
        return _lazy(run, arrays, origin, tiles, (side, halo), length, dtypes, work)
    made: list[NDArray[Any]] = [np.empty((length, *arrays[0].shape[1:]), dtype) for dtype in dtypes]
    for rows, columns in product(*tiles):
        windows = [array[:, rows.window, columns.window] for array in arrays]
        results = run(windows, (rows.inside, columns.inside), _first(origin, rows, columns))
        for whole, result in zip(made, results, strict=True):
            whole[:, rows.core, columns.core] = result
    return made


def cut_alike(array: Any, other: Any) -> Any:
    """Return `array` in the blocks of `other` in space, if both are lazy.

    Parameters
    ----------
    array, other
        Arrays whose last two dimensions are y and x.
    """
    if not (is_lazy(array) and is_lazy(other)):
        return array
    return array.rechunk({array.ndim - 2: other.chunks[-2], array.ndim - 1: other.chunks[-1]})


def _tiles(length: int, first: int, side: int, halo: int) -> list[_Tile]:
    """Return the tiles along an axis whose first pixel has the number `first` in the grid."""
    edges = [0, *range(side - first % side, length, side), length]
    # A few pixels at an end go with their neighbours.
    if len(edges) > 2 and 2 * (edges[1] - edges[0]) < side:
        del edges[1]
    if len(edges) > 2 and 2 * (edges[-1] - edges[-2]) < side:
        del edges[-2]
    return [
        _Tile(slice(start, stop), slice(max(start - halo, 0), min(stop + halo, length)))
        for start, stop in pairwise(edges)
    ]


def _first(origin: tuple[int, int], rows: _Tile, columns: _Tile) -> tuple[int, int]:
    return origin[0] + rows.window.start, origin[1] + columns.window.start


def _lazy(
    run: Callable[..., Any],
    arrays: Sequence[Any],
    origin: tuple[int, int],
    tiles: Sequence[Sequence[_Tile]],
    sides: tuple[int, int],
    length: int,
    dtypes: Sequence[DTypeLike],
    work: int,
) -> list[Any]:
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    side, halo = sides
    lazy = [da.asarray(array) for array in arrays]
    # Whole tiles, so that a window without halo is in one block.
    block = max(SPACE // side, 1) * side
    space = [
        tuple(part.kept for part in _tiles(size, first, block, 0))
        for size, first in zip(lazy[0].shape[1:], origin, strict=True)
    ]
    whole = [array.rechunk((-1, *space)) for array in lazy]
    cuts = [
        [_cuts(sizes, tile.window) for tile in axis] for sizes, axis in zip(space, tiles, strict=True)
    ]
    peaks = _peaks(lazy, whole, tiles, cuts, length, dtypes, work)
    # Half a tile beyond is a tile of its own, so that those within are as in any other part.
    far = max(halo, -(-side // 2))
    task, take = Sized(_run_cut, peaks[0], Reach(far, far, side)), Sized(_take, peaks[1])
    name = f"tiles-{tokenize(run, [array.name for array in whole], origin, tiles)}"
    graph: dict[Any, Any] = {}
    for (j, rows), (i, columns) in product(*map(enumerate, tiles)):
        pieces = [cuts[0][j], cuts[1][i]]
        blocks = [
            [[(array.name, 0, y.block, x.block) for x in pieces[1]] for y in pieces[0]]
            for array in whole
        ]
        parts = [[cut.part for cut in axis] for axis in pieces]
        inside = (rows.inside, columns.inside)
        graph[name, j, i] = (task, run, blocks, parts, inside, _first(origin, rows, columns))
    layers = HighLevelGraph.from_collections(name, graph, dependencies=whole)
    ones = tuple((1,) * len(axis) for axis in tiles)
    results: Any = da.Array(layers, name, ones, meta=np.empty((0, 0), object))
    chunks = ((length,), *(tuple(tile.kept for tile in axis) for axis in tiles))
    return [
        da.map_blocks(
            take,
            results,
            number=number,
            new_axis=0,
            chunks=chunks,
            dtype=dtype,
            meta=np.empty((0, 0, 0), dtype),
        )
        for number, dtype in enumerate(dtypes)
    ]


def _cuts(sizes: Sequence[int], window: slice) -> list[_Cut]:
    """Return what to cut out of which blocks of an axis."""
    ends = np.cumsum(sizes).tolist()
    starts = [end - size for end, size in zip(ends, sizes, strict=True)]
    return [
        _Cut(number, slice(max(window.start - start, 0), min(window.stop, end) - start))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        if start < window.stop and end > window.start
    ]


def _peaks(
    lazy: Sequence[Any],
    whole: Sequence[Any],
    tiles: Sequence[Sequence[_Tile]],
    cuts: Sequence[Sequence[Sequence[_Cut]]],
    length: int,
    dtypes: Sequence[DTypeLike],
    work: int,
) -> tuple[Peak, Peak]:
    seen, kept = (
        int(np.prod([max(getattr(tile, what) for tile in axis) for axis in tiles]))
        for what in ("pixels", "kept")
    )
    look = sum(array.dtype.itemsize * array.shape[0] for array in lazy)
    value = sum(np.dtype(dtype).itemsize for dtype in dtypes) * length
    touched = math.prod(max(map(len, axis)) for axis in cuts)
    held: dict[str, int] = {}
    for array, joined in zip(lazy, whole, strict=True):
        # Pieces of the source go as they are joined: one or the other.
        chunk = largest_block((array.shape[:1], *array.chunks[1:]), array.dtype)
        blocks = touched * largest_block(joined.chunks, joined.dtype)
        held |= {array.name: chunk} if chunk >= blocks else {joined.name: blocks}
    largest = max(np.dtype(dtype).itemsize for dtype in dtypes) * length * kept
    return (
        Peak("map_tiles", 0, value * kept, (look + work) * seen + OBJECTS, held),
        Peak("map_tiles", value * kept, largest, OBJECTS),
    )


def _run(
    windows: Sequence[NDArray[Any]],
    inside: tuple[slice, slice],
    origin: tuple[int, int],
    *,
    function: Callable[..., Iterable[NDArray[Any]]],
    keywords: dict[str, Any],
) -> tuple[NDArray[Any], ...]:
    """Compute one tile: what the kernel makes of its window."""
    return tuple(function(*windows, origin=origin, inside=inside, **keywords))


def _run_cut(
    run: Callable[..., tuple[NDArray[Any], ...]],
    blocks: list[list[list[NDArray[Any]]]],
    parts: list[list[slice]],
    inside: tuple[slice, slice],
    origin: tuple[int, int],
) -> tuple[NDArray[Any], ...]:
    """Compute one tile, whose window lies in `blocks` (by array, row and column)."""
    return run([_joined(lines, parts) for lines in blocks], inside, origin)


def _joined(lines: list[list[NDArray[Any]]], parts: list[list[slice]]) -> NDArray[Any]:
    down, across = parts
    cut = [
        [block[:, rows, columns] for block, columns in zip(line, across, strict=True)]
        for line, rows in zip(lines, down, strict=True)
    ]
    # `np.block` would copy a window that is in one block.
    if len(down) == len(across) == 1:
        return cut[0][0]
    joined: NDArray[Any] = np.block(cut)
    return joined


def _take(results: tuple[NDArray[Any], ...], number: int) -> NDArray[Any]:
    # A copy: of a view, all that the kernel made would stay in memory with it.
    return results[number].copy()
