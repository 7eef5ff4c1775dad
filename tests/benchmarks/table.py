"""Ours beside theirs, in turn and with one thread, and what came out as a table."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

ROUNDS = 7
ENOUGH = 8.0
"""Seconds after which a function that has run three times has shown what it can do."""
HEAD = ("work", "beside", "times as fast", "of the floor", "difference")
Cells = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One piece of work, done by us and by somebody else."""

    work: str
    peer: str
    ours: Callable[[], object]
    theirs: Callable[[], object]
    moved: int
    """Bytes read and written at the least."""
    difference: str | None = None
    """How far the results are apart, in words; None where they are arrays of the same shape."""


def best(*functions: Callable[[], object]) -> list[float]:
    """Return the shortest time of each, run in turn so that all meet the same machine."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for taken, function in zip(times, functions, strict=True):
            if len(taken) >= 3 and sum(taken) > ENOUGH:
                continue
            began = time.perf_counter()
            function()
            taken.append(time.perf_counter() - began)
    return [min(taken) for taken in times]


def apart(one: object, other: object) -> str:
    """Return the largest difference of two arrays where both have a value."""
    return f"{np.nanmax(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64))):.1e}"


def measure(rows: Iterable[Row]) -> Iterator[Cells]:
    """Yield the cells of each row; what is compiled at a first call is compiled before."""
    for row in rows:
        one, other = row.ours(), row.theirs()
        difference = apart(one, other) if row.difference is None else row.difference
        block = np.ones(row.moved // 8, dtype=np.float32)
        target = np.empty_like(block)
        ours, theirs, floor = best(row.ours, row.theirs, lambda b=block, t=target: np.copyto(t, b))
        yield row.work, row.peer, f"{theirs / ours:.1f}", f"{floor / ours:.0%}", difference


def line(cells: Cells) -> str:
    """Return a row for a terminal."""
    widths = (58, 34, 15, 14)
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)) + cells[-1]


def markdown(rows: Iterable[Cells]) -> str:
    """Return rows as a table of a page."""
    ruler = ("---", "---", "---:", "---:", "---")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ruler, *rows))
