"""Arrays whose blocks are read when they are computed, from what has to be brought first."""

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from s2cube.blocks.peak import Peak, Sized, largest_block

__all__ = ["Location", "Need", "Source", "read_blocks"]

Location = tuple[tuple[int, int], ...]
"""Start and stop of a block along each dimension."""
Need = tuple[int, ...]
"""Number of something that has to be brought, a download for instance."""


class Source(Protocol):
    """What :func:`read_blocks` reads from.

    It travels to the workers, so it must be picklable; tasks are named after its token, so it should
    define ``__dask_tokenize__``.
    """

    def needs(self, location: Location) -> Sequence[Need]:
        """Return what has to be brought before a block is read; called when the graph is made."""

    def bring(self, need: Need) -> bool:
        """Bring it, once for all blocks; return whether that worked. May take long."""

    def read(self, location: Location, failed: Sequence[Need]) -> NDArray:
        """Return the block at `location`; `failed` is what could not be brought."""


def read_blocks(
    source: Source, shape: Sequence[int], *, chunks: Sequence[int] | None, dtype: DTypeLike
) -> Any:
    """Return an array that is read block by block, one task a block and one for each thing it needs.

    What is brought is a task of its own so that no thread waits for another's download: blocks that
    need the same thing start when it is there, and others go on meanwhile.

    Parameters
    ----------
    source
        Brings and reads.
    shape
        Of the array.
    chunks
        Largest side of a block along each dimension, -1 for all of it; None reads everything now.
    dtype
        Type of the result.

    Notes
    -----
    Peak memory is four times the block: what is laid into it passes through three arrays of its size.
    """
    if chunks is None:
        here = tuple((0, length) for length in shape)
        return source.read(here, [need for need in source.needs(here) if not source.bring(need)])
    import dask.array as da

    sizes = da.core.normalize_chunks(tuple(chunks), tuple(shape), dtype=np.dtype(dtype))
    made = largest_block(sizes, dtype)
    return da.map_blocks(
        Sized(_read_one, Peak("read_blocks", 0, made, 3 * made)),
        _blocks(source, sizes),
        chunks=sizes,
        dtype=dtype,
        meta=np.empty((0,) * len(shape), dtype),
        source=source,
    )


def _blocks(source: Source, sizes: tuple[tuple[int, ...], ...]) -> Any:
    """Return an array with a block for each block to be read, that is there when its needs are."""
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    token = tokenize(source)
    name, bring, whom = f"blocks-{tokenize(token, sizes)}", f"bring-{token}", f"source-{token}"
    graph: dict[Any, Any] = {whom: source}
    ends = [list(itertools.accumulate(side)) for side in sizes]
    for index in np.ndindex(*(len(side) for side in sizes)):
        location = tuple((ends[d][i] - sizes[d][i], ends[d][i]) for d, i in enumerate(index))
        keys = {(bring, *need): need for need in source.needs(location)}
        graph |= {key: (_bring_one, whom, list(need)) for key, need in keys.items()}
        graph[name, *index] = (_ready, [list(edge) for edge in location], list(keys))
    ones = tuple((1,) * len(side) for side in sizes)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[])
    return da.Array(layers, name, ones, meta=np.empty((0,) * len(sizes), object))


def _bring_one(source: Source, need: list[int]) -> tuple[Need, bool]:
    return tuple(need), source.bring(tuple(need))


def _ready(edges: list[list[int]], brought: list[tuple[Need, bool]]) -> tuple[Location, list[Need]]:
    """Return where a block lies, and which of its needs failed."""
    location = tuple((start, stop) for start, stop in edges)
    return location, [need for need, worked in brought if not worked]


def _read_one(ready: tuple[Location, list[Need]], *, source: Source) -> NDArray:
    return source.read(*ready)
