"""What one task of an adapter needs at most, told by the function that the graph holds.

Not by Dask's annotations, which keep layers from being fused.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from s2cube.blocks.reach import Reach

__all__ = ["Peak", "Sized", "declared", "largest_block", "reaches_of"]


@dataclass(frozen=True)
class Peak:
    """What a layer needs, as declared by the adapter that made it."""

    adapter: str
    """``"map_time"``, ..."""
    inside: int
    """Bytes of the blocks that go into a task, at most."""
    made: int
    """Bytes of the block that comes out."""
    work: int
    """Bytes that the kernel works with beside them."""
    held: dict[str, int] = field(default_factory=dict)
    """Bytes by array (its name) that must lie in memory before one task can start, and serve others."""

    @property
    def task(self) -> int:
        """Bytes of one task at most."""
        return self.inside + self.made + self.work


class Sized:
    """A function as it is put into a graph, with the peak of its tasks, and how far they look around.

    To Dask it is the function: the same name in layers, the same token, the same result.
    """

    def __init__(self, function: Callable[..., Any], peak: Peak, reach: Reach | None = None) -> None:
        self.function, self.peak, self.reach = function, peak, reach
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, *blocks: Any, **keywords: Any) -> Any:
        """Call the function."""
        return self.function(*blocks, **keywords)

    def __dask_tokenize__(self) -> Any:
        from dask.base import normalize_token

        # What is declared decides no value.
        return normalize_token(self.function)


def largest_block(chunks: Sequence[Sequence[int]], dtype: DTypeLike, grown: Sequence[int] = ()) -> int:
    """Return the bytes of the largest block, `grown` px longer by axis where that is given."""
    more = tuple(grown) or (0,) * len(chunks)
    sides = [max(sizes) + extra for sizes, extra in zip(chunks, more, strict=True)]
    return math.prod(sides) * np.dtype(dtype).itemsize


def declared(graph: Any) -> Iterator[tuple[str, Peak]]:
    """Yield the name of each layer of `graph` in which our adapters work, with its peak.

    Layers may have been fused: then a task keeps what passes inside it until it ends.
    """
    for name, layer in graph.layers.items():
        found = [function.peak for function in _functions(_task_of(layer))]
        if len(found) == 1:
            yield name, found[0]
        elif found:
            held = {array: size for peak in found for array, size in peak.held.items()}
            yield (
                name,
                Peak(
                    " + ".join(dict.fromkeys(peak.adapter for peak in found)),
                    # What passes from one to the next goes into one of them, so it is counted here.
                    sum(peak.inside for peak in found),
                    max(peak.made for peak in found),
                    max(peak.work for peak in found),
                    held,
                ),
            )


def _task_of(layer: Any) -> Any:
    """Return a task of a layer that stands for all of them."""
    if hasattr(layer, "task") or not layer.is_materialized():
        return getattr(layer, "task", None)
    return next((task for task in layer.values() if _function(task)), None)


def _function(task: Any) -> Sized | None:
    function = task[0] if isinstance(task, tuple) else getattr(task, "func", None)
    return function if isinstance(function, Sized) else None


def reaches_of(layer: Any) -> Iterator[Reach]:
    """Yield how far the functions of a layer look around, where they are ours and look around at all."""
    for function in _functions(_task_of(layer)):
        if function.reach is not None:
            yield function.reach


def _functions(task: Any) -> Iterator[Sized]:
    """Yield our functions in a task of a graph, and in those that are fused into it."""
    if function := _function(task):
        yield function
    for argument in getattr(task, "args", ()):
        if isinstance(argument, dict):
            for inner in argument.values():
                yield from _functions(inner)
