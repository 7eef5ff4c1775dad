"""What a graph will do, found out from its layers; nothing is computed."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any, Final

from s2cube.blocks.maps import is_lazy
from s2cube.blocks.peak import Peak, declared, reaches_of
from s2cube.blocks.reach import NOWHERE, Reach

__all__ = ["GraphFacts", "Reading", "look_at_graph", "reach_of"]

_Place = tuple[int, int, int]

BY_LAYER: Final = 250_000
"""Up to so many tasks what is not needed is left out layer by layer, which takes seconds."""
BY_TASK: Final = 100_000
"""And if so many are left, task by task."""
_BAND: Final = re.compile(r"(B\d[0-9A]|SCL)-[0-9a-f]{32}")
"""Names that odc-loader gives to the tasks that read a band."""


@dataclass(frozen=True)
class Reading:
    """What is needed of one layer that reads a band."""

    band: str
    steps: int
    """Dates."""
    blocks: int
    """Blocks of one date, at most."""
    share: float
    """Of the area of the layer."""


@dataclass(frozen=True)
class GraphFacts:
    """What computing some arrays together will do."""

    tasks: int
    exact: bool
    """Whether all tasks that nothing needs have been left out; else `tasks` and `readings` tell the most
    there can be."""
    peaks: tuple[Peak, ...]
    """Of the layers that our adapters made, fused as they will be."""
    readings: tuple[Reading, ...]


def look_at_graph(arrays: Sequence[Any]) -> GraphFacts:
    """Tell what computing `arrays` together will do, from their graph.

    Parameters
    ----------
    arrays
        Those that are not lazy do nothing.
    """
    lazy = [array for array in arrays if is_lazy(array)]
    if not lazy:
        return GraphFacts(0, True, (), ())
    from dask.blockwise import optimize_blockwise
    from dask.core import flatten
    from dask.highlevelgraph import HighLevelGraph
    from dask.optimization import cull

    keys = set(flatten([array.__dask_keys__() for array in lazy]))
    whole = HighLevelGraph.merge(*(array.__dask_graph__() for array in lazy))
    # As dask.array does before it computes; layers keep some tasks that nothing needs.
    graph = optimize_blockwise(whole, keys)
    if _size(graph) <= BY_LAYER:
        graph = graph.cull(keys)
    tasks, exact = _size(graph), False
    kept: Collection[Any] = [key for layer in graph.layers.values() for key in _names(layer)]
    if tasks <= BY_TASK:
        kept, _ = cull(graph.to_dict(), list(keys))
        tasks, exact = len(kept), True
    needed: dict[str, list[_Place]] = {}
    for key in kept:
        if isinstance(key, tuple) and len(key) == 4 and _BAND.fullmatch(key[0]):
            needed.setdefault(key[0], []).append(key[1:])
    readings = [_reading(name, places, whole.layers[name]) for name, places in needed.items()]
    return GraphFacts(tasks, exact, tuple(peak for _, peak in declared(graph)), tuple(readings))


def _size(graph: Any) -> int:
    return sum(len(layer) for layer in graph.layers.values())


def _names(layer: Any) -> Collection[Any]:
    """Return the keys of a layer that is there as tasks, as those are that read."""
    return list(layer) if layer.is_materialized() else ()


def _reading(name: str, places: list[_Place], layer: Any) -> Reading:
    """Return how much of a layer is needed; `places` are numbers of blocks along time, y and x."""
    chunks = (getattr(layer, "collection_annotations", None) or {}).get("chunks")

    def length(axis: int, block: int) -> int:
        return int(chunks[axis][block]) if chunks else 1

    def area(at: set[tuple[int, int]]) -> int:
        return sum(length(1, y) * length(2, x) for y, x in at)

    used = {place[1:] for place in places}
    every = {key[2:] for key in layer if isinstance(key, tuple) and len(key) == 4}
    dates = sum(length(0, step) for step in {place[0] for place in places})
    return Reading(name.partition("-")[0], dates, len(used), area(used) / area(every))


def reach_of(arrays: Sequence[Any]) -> Reach | None:
    """Return how far computing `arrays` looks around a pixel; None where one is not lazy.

    Parameters
    ----------
    arrays
        Their last two dimensions are y and x.

    Notes
    -----
    Our adapters declare it, and what Dask makes of ``map_overlap`` tells it (also xarray's ``rolling``).
    What looks at the whole of an area (a mean over it) or moves pixels does not.
    """
    if not all(map(is_lazy, arrays)):
        return None
    known: dict[str, Reach] = {}
    found = NOWHERE
    for array in arrays:
        graph = array.__dask_graph__()
        for name in TopologicalSorter(graph.dependencies).static_order():
            if name not in known:
                below = NOWHERE
                for needed in graph.dependencies[name]:
                    below = below.beside(known[needed])
                known[name] = _own(graph.layers[name]).after(below)
        found = found.beside(known[array.name])
    return found


def _own(layer: Any) -> Reach:
    found = NOWHERE
    for reach in reaches_of(layer):
        found = reach.after(found)
    # A layer of dask.layers.ArrayOverlapLayer.
    if isinstance(depths := getattr(layer, "axes", None), Mapping) and "Overlap" in type(layer).__name__:
        y, x = sorted(depths)[-2:]
        found = replace(found, y=found.y + _far(depths[y]), x=found.x + _far(depths[x]))
    return found


def _far(depth: Any) -> int:
    return int(max(depth)) if isinstance(depth, tuple) else int(depth)
