"""Maps over square windows that overlap, for kernels that look at a picture and not at a pixel."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2cube.blocks.maps import aligned, is_lazy
from s2cube.blocks.peak import Peak, Sized, largest_block
from s2cube.blocks.reach import Reach

__all__ = ["map_windows"]

BUFFERS: Final = 2**16
"""Bytes that numpy multiplies and adds in, whatever the block."""

_Tile = tuple[NDArray[np.float32], int, int]


class _Side(NamedTuple):
    """The windows along one axis."""

    length: int
    """Pixels of the axis."""
    starts: list[int]
    """First pixel of each window; it may lie before the axis, and the last one end behind it."""
    first: int
    last: int
    """Pixels of a window that have weight: the first and the last."""

    def over(self, start: int, stop: int) -> list[int]:
        """Return the numbers of the windows that have weight between two pixels."""
        return [
            number
            for number, at in enumerate(self.starts)
            if at + self.first < stop and at + self.last >= start
        ]

    def overlap(self, number: int, start: int, stop: int) -> tuple[slice, slice]:
        """Return where a window has weight between two pixels: counted from there, and in the window."""
        at = self.starts[number]
        low, high = max(at + self.first, start), min(at + self.last + 1, stop)
        return slice(low - start, high - start), slice(low - at, high - at)

    def pixels(self, number: int, side: int) -> NDArray[np.intp]:
        """Return which pixel each of a window's is: beyond the edges the axis is mirrored."""
        at = np.arange(self.starts[number], self.starts[number] + side) % (2 * self.length)
        return np.where(at < self.length, at, 2 * self.length - 1 - at)


def map_windows(
    function: Callable[..., NDArray[np.float32]],
    *arrays: Any,
    step: int,
    before: int,
    taper: NDArray[np.float32],
    made: int,
    work: int,
    shared: Any = None,
    **keywords: Any,
) -> Any:
    """Apply a kernel to square windows that overlap, and blend what it returns.

    Windows lie at the same pixels of the array whatever its chunks, and each is computed once. Beyond
    the array's edges they see it mirrored.

    Parameters
    ----------
    function
        ``function(*windows, **keywords)``, windows of shape ``(time, side, side)`` →
        ``(time, made, side, side)``, ``float32``, date by date. What is NaN stays NaN.
    *arrays
        Arrays of one shape ``(time, y, x)``.
    step
        From one window to the next, px.
    before
        By how many pixels the first window begins before the array, px.
    taper
        Weight along a side of the window, ``float32``, one value a pixel. Windows must overlap as far as
        it takes to give each pixel some weight.
    made
        Length of the second dimension of what `function` returns.
    work
        Bytes that `function` works with, beside windows in and out.
    shared
        Passed on as ``shared=`` unless None: what is too large to be sent with every task. In a graph it
        is a task of its own, so that a worker gets it once.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        ``float32``, shape ``(time, made, y, x)``: at each pixel the mean over its windows, weighted by
        ``taper ⊗ taper``. Chunks are those of `arrays`, and all of `made`.

    Notes
    -----
    One task a window and block of dates, and one a block to blend them. Peak memory of the first is
    that of the blocks that a window touches, of the window in and out, of two more of one array, and
    `work`; of the second, that of the windows that a block touches, of the block, and of one window.
    """
    side = len(taper)
    sides = [_windows(length, step, before, taper) for length in arrays[0].shape[1:]]
    run = partial(_run, function=function, keywords=keywords)
    mix = partial(_mix, sides=sides, taper=taper, made=made)
    if any(map(is_lazy, arrays)):
        return _lazy(run, mix, aligned(arrays), sides, (side, step), made, work, shared)
    (down, across) = (
        [_cut((axis.length,), axis.pixels(number, side)) for number in range(len(axis.starts))]
        for axis in sides
    )
    tiles = (
        (run([[[array]] for array in arrays], [cut_y, cut_x], [pixels_y, pixels_x], shared), j, i)
        for j, (_, cut_y, pixels_y) in enumerate(down)
        for i, (_, cut_x, pixels_x) in enumerate(across)
    )
    return mix(tiles, [0, sides[0].length, 0, sides[1].length], len(arrays[0]))


def _windows(length: int, step: int, before: int, taper: NDArray[np.float32]) -> _Side:
    weighty = np.flatnonzero(taper)
    first, last = int(weighty[0]), int(weighty[-1])
    starts = [at for at in range(-before, length, step) if at + first < length]
    return _Side(length, starts, first, last)


def _lazy(
    run: Callable[..., Any],
    mix: Callable[..., Any],
    lazy: Sequence[Any],
    sides: Sequence[_Side],
    each: tuple[int, int],
    made: int,
    work: int,
    shared: Any,
) -> Any:
    import dask.array as da
    from dask.base import tokenize
    from dask.delayed import delayed
    from dask.highlevelgraph import HighLevelGraph

    side, step = each
    along, *space = lazy[0].chunks
    names = [array.name for array in lazy]
    touched = [
        [_cut(sizes, axis.pixels(number, side)) for number in range(len(axis.starts))]
        for sizes, axis in zip(space, sides, strict=True)
    ]
    token = tokenize(run, mix, names, shared)
    windows, mixed = (f"{name}-{token}" for name in ("windows", "blend"))
    more, held = [], None
    if shared is not None:
        more = [delayed(shared, name=f"shared-{tokenize(shared)}", traverse=False)]
        held = more[0].key
    peaks = _peaks(lazy, touched, sides, side, made, work)
    task: dict[Any, Any] = {}
    first, second = Sized(run, peaks[0]), Sized(mix, peaks[1], Reach(side, side, step=step))
    for t in range(len(along)):
        for j, (down, cut_y, pixels_y) in enumerate(touched[0]):
            for i, (across, cut_x, pixels_x) in enumerate(touched[1]):
                blocks = [[[(name, t, row, col) for col in across] for row in down] for name in names]
                task[windows, t, 0, j, i] = (first, blocks, [cut_y, cut_x], [pixels_y, pixels_x], held)
    layer = HighLevelGraph.from_collections(windows, task, dependencies=[*lazy, *more])
    chunks = (along, (made,), *((side,) * len(axis.starts) for axis in sides))
    computed: Any = da.Array(layer, windows, chunks, meta=np.empty((0,) * 4, np.float32))
    ends = [np.cumsum(sizes) for sizes in space]
    blend: dict[Any, Any] = {}
    for j, bottom in enumerate(ends[0]):
        for i, right in enumerate(ends[1]):
            edges = [int(bottom) - space[0][j], int(bottom), int(right) - space[1][i], int(right)]
            over = [(row, col) for row in sides[0].over(*edges[:2]) for col in sides[1].over(*edges[2:])]
            for t, dates in enumerate(along):
                tiles = [[(windows, t, 0, row, col), row, col] for row, col in over]
                blend[mixed, t, 0, j, i] = (second, tiles, edges, dates)
    layer = HighLevelGraph.from_collections(mixed, blend, dependencies=[computed])
    return da.Array(layer, mixed, (along, (made,), *space), meta=np.empty((0,) * 4, np.float32))


def _cut(
    sizes: tuple[int, ...], pixels: NDArray[np.intp]
) -> tuple[list[int], list[list[int]], NDArray[np.intp]]:
    """Return which blocks hold some pixels, what to cut from each, and the pixels in what was cut."""
    ends = np.cumsum(sizes)
    low, high = int(pixels.min()), int(pixels.max()) + 1
    begin, end = np.searchsorted(ends, [low, high - 1], side="right")
    blocks = range(begin, end + 1)
    begins = [int(ends[block]) - sizes[block] for block in blocks]
    cuts = [
        [max(low - begin, 0), min(high - begin, sizes[block])]
        for block, begin in zip(blocks, begins, strict=True)
    ]
    return list(blocks), cuts, pixels - low


def _peaks(
    lazy: Sequence[Any],
    touched: Sequence[Sequence[tuple[Any, ...]]],
    sides: Sequence[_Side],
    side: int,
    made: int,
    work: int,
) -> tuple[Peak, Peak]:
    along, *space = lazy[0].chunks
    blocks = [max(len(window[0]) for window in axis) for axis in touched]
    inside = sum(blocks[0] * blocks[1] * largest_block(array.chunks, array.dtype) for array in lazy)
    tile = 4 * max(along) * side * side
    # Those of all arrays, and what the last of them is cut from.
    taken = (len(lazy) + 2) * tile
    most = [
        max(
            len(axis.over(int(end) - size, int(end)))
            for size, end in zip(sizes, np.cumsum(sizes), strict=True)
        )
        for axis, sizes in zip(sides, space, strict=True)
    ]
    block = largest_block((along, (made,), *space), np.float32)
    # A window weighed, its weights and those before them, and the weights of the block.
    weighed = (made + 2) * tile + block // made + BUFFERS
    return (
        Peak("map_windows", inside, made * tile, taken + work),
        Peak("map_windows", most[0] * most[1] * made * tile, block, weighed),
    )


def _run(
    blocks: list[list[list[NDArray]]],
    cuts: list[list[list[int]]],
    pixels: list[NDArray[np.intp]],
    shared: Any,
    *,
    function: Callable[..., NDArray[np.float32]],
    keywords: dict[str, Any],
) -> NDArray[np.float32]:
    """Compute one window, whose pixels lie in `blocks` (by array, row and column)."""
    windows = [_window(lines, cuts, pixels) for lines in blocks]
    given = {} if shared is None else {"shared": shared}
    return function(*windows, **given, **keywords)


def _window(
    lines: list[list[NDArray]], cuts: list[list[list[int]]], pixels: list[NDArray[np.intp]]
) -> NDArray:
    """Cut one window of one array out of its blocks, and mirror it where it is beyond the edge."""
    (down, across), (rows, columns) = cuts, pixels
    cut = [
        np.concatenate(
            [
                block[:, top:bottom, left:right]
                for block, (left, right) in zip(line, across, strict=True)
            ],
            axis=2,
        )
        for line, (top, bottom) in zip(lines, down, strict=True)
    ]
    # One axis after the other: indices for both at once would be larger than the window.
    return np.concatenate(cut, axis=1).take(rows, axis=1).take(columns, axis=2)


def _mix(
    tiles: Iterable[_Tile],
    edges: list[int],
    dates: int,
    *,
    sides: Sequence[_Side],
    taper: NDArray[np.float32],
    made: int,
) -> NDArray[np.float32]:
    """Blend the windows that lie over a block, in their order, so that sums are the same everywhere."""
    top, bottom, left, right = edges
    out = np.zeros((dates, made, bottom - top, right - left), np.float32)
    weights = np.zeros(out.shape[2:], np.float32)
    for tile, row, column in tiles:
        mine_y, own_y = sides[0].overlap(row, top, bottom)
        mine_x, own_x = sides[1].overlap(column, left, right)
        weight = taper[own_y, None] * taper[own_x]
        # Views: `out[...] += ...` would copy what it has added back to where it is.
        part, weighed = out[:, :, mine_y, mine_x], weights[mine_y, mine_x]
        part += tile[:, :, own_y, own_x] * weight
        weighed += weight
    out /= weights
    return out
