"""Reductions over time: from the looks of a period to one image."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.blocks.maps import aligned, is_lazy
from s2cube.blocks.peak import Peak, Sized, largest_block

__all__ = ["reduce_time"]

STRIP: Final = 2**23
"""Bytes of looks that a kernel gets at once: some rows of a block."""
TILE: Final = 4096
"""Pixels that kernels in numpy work on at once."""

_Group = NDArray[np.intp]


def reduce_time(
    function: Callable[..., NDArray[np.float32]],
    *arrays: Any,
    groups: Sequence[_Group],
    made: int,
    by_date: Mapping[str, NDArray] | None = None,
    **keywords: Any,
) -> Any:
    """Apply a kernel to the dates of each group.

    Parameters
    ----------
    function
        ``function(*looks, **keywords)``, looks of shape ``(dates of the group, rows, x)`` →
        ``(made, rows, x)``, ``float32``, pixel by pixel. A group may have no dates.
    *arrays
        Arrays of one shape ``(time, y, x)``.
    groups
        The numbers of the dates of each group, at least one group.
    made
        Length of the first dimension of what `function` returns.
    by_date
        Keywords of `function` that have a value a date: it gets those of the group's dates.

    Returns
    -------
    numpy.ndarray or dask.array.Array
        ``float32``, shape ``(groups, made, y, x)``, with the chunks of `arrays` in space.

    Notes
    -----
    One task for each group and block of space, whatever the number of dates and arrays: it takes the
    blocks as they are, and nothing is joined or cut before. Peak memory is that of all blocks of a
    group, dates × arrays × block. Smaller chunks in space make it smaller.
    """
    work = partial(_reduce, function=function, made=made, keywords=keywords)
    owns = [{name: values[group] for name, values in (by_date or {}).items()} for group in groups]
    if not any(is_lazy(array) for array in arrays):
        whole = [[array] for array in arrays]
        return np.concatenate(
            [
                work(whole, [group], arrays[0].shape[1:], own)
                for group, own in zip(groups, owns, strict=True)
            ]
        )
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    lazy = aligned(arrays)
    along, down, across = lazy[0].chunks
    peak = _peak(lazy, groups, made)
    task = Sized(work, peak)
    name = f"reduce-{tokenize(work, [array.name for array in lazy], list(groups), owns)}"
    ends = np.cumsum(along)
    graph: dict[Any, Any] = {}
    for number, (group, own) in enumerate(zip(groups, owns, strict=True)):
        # Which blocks along time hold dates of the group, and where in each.
        of_block = np.searchsorted(ends, group, side="right")
        used = np.unique(of_block)
        picks = [group[of_block == block] - (ends[block] - along[block]) for block in used]
        for j, rows in enumerate(down):
            for i, columns in enumerate(across):
                blocks = [[(array.name, int(block), j, i) for block in used] for array in lazy]
                graph[name, number, 0, j, i] = (task, blocks, picks, [rows, columns], own)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=lazy)
    chunks = ((1,) * len(groups), (made,), down, across)
    return da.Array(layers, name, chunks, meta=np.empty((0, 0, 0, 0), np.float32))


def _peak(lazy: Sequence[Any], groups: Sequence[_Group], made: int) -> Peak:
    dates = max(len(group) for group in groups)
    along, *space = lazy[0].chunks
    # Strips are copied twice, tiles of them up to eight times; PyTorch and compiled loops need less.
    pixel = 4 * dates * len(lazy)
    strip = max(STRIP, pixel * max(space[1]))
    work = max(4 * STRIP, 2 * strip + 8 * min(strip, pixel * TILE))
    # Blocks come whole, also where some of their dates only are asked for.
    dates = min(dates * max(along), sum(along))
    inside = sum(largest_block(((dates,), *space), array.dtype) for array in lazy)
    return Peak("reduce_time", inside, largest_block(((made,), *space), np.float32), work)


def _reduce(
    arrays: list[list[NDArray]],
    picks: list[_Group],
    shape: Sequence[int],
    own: dict[str, NDArray],
    *,
    function: Callable[..., NDArray[np.float32]],
    made: int,
    keywords: dict[str, Any],
) -> NDArray[np.float32]:
    """Return the images of one group and one block of space; `arrays` hold blocks along time."""
    rows, columns = shape
    out = np.empty((1, made, rows, columns), np.float32)
    dates = sum(len(pick) for pick in picks)
    step = max(STRIP // max(4 * dates * columns * len(arrays), 1), 1)
    for start in range(0, rows, step):
        strip = slice(start, min(start + step, rows))
        nothing = np.empty((0, strip.stop - start, columns), np.float32)
        looks = [_looks(blocks, picks, strip, nothing) for blocks in arrays]
        out[0, :, strip] = function(*looks, **own, **keywords)
    return out


def _looks(blocks: list[NDArray], picks: list[_Group], strip: slice, nothing: NDArray) -> NDArray:
    """Return some rows of all dates of a group."""
    found = [block[:, strip][pick] for block, pick in zip(blocks, picks, strict=True)]
    return np.concatenate(found) if found else nothing
