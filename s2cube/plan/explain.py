"""``explain``: what computing a cube will take, before anything is read."""

import html
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.blocks import GraphFacts, Reading, is_lazy, look_at_graph
from s2cube.errors import CubeError
from s2cube.schema import ITEMS

__all__ = ["Explanation", "explain"]

MANY_TASKS: Final = 500_000
"""A scheduler needs about a kilobyte and a fifth of a millisecond for each."""
REREAD: Final = 1.5
"""From where on chunks are called too small: how often a block of a file is read."""


@dataclass(frozen=True)
class Explanation:
    """What computing a cube will take; None stands for unknown."""

    dates: tuple[np.datetime64, np.datetime64] | None
    """The first and the last; None of an image without ``time``."""
    steps: int
    """Dates of the cube, or images."""
    looks: int | None
    """Dates that are read for them, None where the graph does not tell."""
    items: int | None
    """Items that they are made of."""
    tasks: int
    exact: bool
    """Whether what nothing needs has been left out; else tasks, bytes and requests are the most there
    can be."""
    read_bytes: int | None
    """Bytes of the pixels to be read, not compressed."""
    requests: int | None
    """Ranges of files to be asked for: one for its header, one a block."""
    result_bytes: int
    """Bytes of the result, which ``compute()`` brings to one place."""
    task_bytes: int | None
    """Peak of the largest task."""
    largest: str
    """The block adapter it belongs to, empty where none declares a peak."""
    held_bytes: int
    """What a worker holds for its tasks to come: where series are joined, all dates of one chunk."""
    workers: int
    threads: int
    """Of one worker."""
    memory: int | None
    """Bytes that one worker has."""
    notes: tuple[str, ...] = field(default=())
    """What should be changed before anything is computed; empty where all is well."""

    @property
    def worker_bytes(self) -> int | None:
        """Peak of one worker: its threads, each at the largest task, and what it holds."""
        return None if self.task_bytes is None else self.threads * self.task_bytes + self.held_bytes

    def _rows(self) -> Iterator[tuple[str, str]]:
        read = "" if self.looks in (None, self.steps) else f", made of {self.looks} read"
        if self.dates is None:
            yield "dates", f"one image{read}"
        else:
            first, last = (np.datetime_as_string(date, unit="D") for date in self.dates)
            yield "dates", f"{self.steps} from {first} to {last}{read}"
        yield "items", _count(self.items)
        most = "" if self.exact else "at most "
        yield "tasks", f"{most}{self.tasks:,}"
        known = self.read_bytes is not None
        yield "to read", f"{most}{_bytes(self.read_bytes)}, not compressed" if known else "unknown"
        yield "requests", _count(self.requests, most or "about ")
        yield "result", _bytes(self.result_bytes)
        where = (
            f"{self.workers} x {self.threads} threads" if self.workers > 1 else f"{self.threads} threads"
        )
        if self.task_bytes is None:
            yield "peak memory", "unknown"
        else:
            yield (
                "peak memory",
                f"{_bytes(self.worker_bytes)} a worker ({where}): {self.threads} tasks of "
                f"{_bytes(self.task_bytes)} ({self.largest}) and {_bytes(self.held_bytes)} held",
            )
        for note in self.notes:
            yield "note", note

    def __repr__(self) -> str:
        return "\n".join(f"{name + ':':<13}{text}" for name, text in self._rows())

    def _repr_html_(self) -> str:
        cells = (
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        return f"<table>{''.join(cells)}</table>"


def explain(
    cube: xr.Dataset, *, workers: int = 1, threads: int | None = None, memory: int | None = None
) -> Explanation:
    """Tell what computing `cube` will take, before anything is read: a dry run.

    Parameters
    ----------
    cube
        A cube, as opened, masked, filled, or any selection of it; or images made of one.
    workers
        Processes that will compute it.
    threads
        Of one worker. By default, the processors of this machine shared out.
    memory
        Bytes that one worker has. By default, the memory of this machine shared out.

    Returns
    -------
    Explanation
        Dates, items, tasks, bytes and requests to read, size of the result, peak memory of a worker;
        what should be changed first is in ``notes``. It prints as a table.

    Raises
    ------
    CubeError
        It is neither cube nor images on a grid, or a number is not above 0.

    Notes
    -----
    Only metadata and the graph are looked at, which takes up to ten seconds where it is large. Of more
    than 100 000 tasks not all are left out that nothing needs: numbers are the most there can be.

    - *Read* and *requests* come from what sources note of each item. They are unknown where an item
      does not tell its grid, and where the cube does not carry its items any more: ask before
      ``fill_gaps``. After a selection in space they are scaled by the blocks that are still read.
      Compressed files hold about half of the bytes.
    - *Peak memory* assumes that all threads are at the largest task at once, and that where series are
      joined a worker holds all dates of one chunk of what they are joined from. Each block adapter
      declares its task's peak; a read is assumed to need no more than the task that decodes it. Finished
      blocks of the result come on top with ``compute()``; ``write_daily`` writes them.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1, chunks={"time": 1})
    >>> plan = s2cube.explain(cube.s2.mask_clouds("scl"), threads=4, memory=2**30)
    >>> plan.steps, plan.items, plan.notes
    (57, 57, ())
    """
    cube = _checked(cube)
    workers = _positive("workers", workers)
    threads = _positive(
        "threads", max(1, (os.cpu_count() or 1) // workers) if threads is None else threads
    )
    memory = _own_memory(workers) if memory is None else _positive("memory", memory)
    arrays = [array.data for array in cube.variables.values() if is_lazy(array.data)]
    graph = look_at_graph(arrays)
    records = schema.records_of(cube) if ITEMS in cube.coords else None
    read_bytes, requests, reread = _reads(cube, records, graph)
    largest = max(graph.peaks, key=lambda peak: peak.task, default=None)
    held: dict[str, int] = {}
    for peak in graph.peaks:
        held |= peak.held
    times = cube["time"].values if "time" in cube.dims else None
    nothing = 0 if not arrays else None
    found = Explanation(
        dates=None if times is None else (times[0], times[-1]),
        steps=1 if times is None else len(times),
        looks=_looks(graph, records),
        items=None if records is None else sum(len(step) for step in records),
        tasks=graph.tasks,
        exact=graph.exact,
        read_bytes=read_bytes,
        requests=requests,
        result_bytes=sum(array.nbytes for array in arrays),
        task_bytes=nothing if largest is None else largest.task,
        largest="" if largest is None else largest.adapter,
        held_bytes=sum(held.values()),
        workers=workers,
        threads=threads,
        memory=memory,
    )
    return _noted(found, reread)


def _checked(cube: xr.Dataset) -> xr.Dataset:
    """Hold a cube against the contract; images, of one or more periods, need a grid only."""
    if (
        isinstance(cube, xr.Dataset)
        and {"y", "x"} <= set(cube.dims)
        and ("time" not in cube.dims or "time_bnds" in cube.coords)
    ):
        schema.geobox_of(cube)
        return cube
    return schema.validate(cube)


def _reads(
    cube: xr.Dataset, records: list[list[dict[str, Any]]] | None, graph: GraphFacts
) -> tuple[int | None, int | None, float]:
    """Return the bytes and requests of all items, and how often a block is read."""
    if not any(is_lazy(array.data) for array in cube.variables.values()):
        return 0, 0, 1.0
    items = [item for step in records or [] for item in step]
    if not items or not all("reads" in item for item in items):
        return None, None, 1.0
    needed: dict[str, list[Reading]] = {}
    for reading in graph.readings:
        needed.setdefault(reading.band, []).append(reading)
    bands = set(needed) or {str(name) for name in cube.data_vars}
    if any(band not in item["reads"] for item in items for band in needed):
        return None, None, 1.0
    most = {
        band: max(item["reads"][band][0] for item in items if band in item["reads"])
        for band in bands
        if any(band in item["reads"] for item in items)
    }
    if not most:
        return None, None, 1.0
    shares = {band: _mean(needed.get(band, ()), lambda reading: reading.share) for band in most}
    spread = {band: _mean(needed.get(band, ()), lambda reading: reading.blocks) for band in most}
    size = ideal = 0.0
    requests = 0
    for item in items:
        for band in most:
            pixels, itemsize, blocks = item["reads"].get(band, (0, 0, 0))
            if not pixels:
                continue
            share = shares[band]
            at_best = math.ceil(blocks * share)
            # A chunk reads the blocks that it meets: several chunks within one block all read it.
            chunks = math.ceil(spread[band] * pixels / most[band])
            ranges = max(at_best, chunks)
            requests += ranges + 1
            ideal += pixels * itemsize * share
            size += pixels * itemsize * share * ranges / at_best
    return round(size), requests, size / ideal if ideal else 1.0


def _mean(readings: Sequence[Reading], what: Callable[[Reading], float]) -> float:
    """Return something of the layers that read a band, by their dates; 1 where there are none.

    There are several where tiles overlap, and where cubes were joined; which item is of which layer is
    not known.
    """
    dates = sum(reading.steps for reading in readings)
    return sum(reading.steps * what(reading) for reading in readings) / dates if dates else 1.0


def _looks(graph: GraphFacts, records: list[list[dict[str, Any]]] | None) -> int | None:
    """Return how many dates are read; None where neither items nor graph tell."""
    if not graph.exact or not graph.readings:
        return None
    if records is not None:
        return len(records)
    by_band = Counter(reading.band for reading in graph.readings)
    # Layers of the same dates, or parts of a joined cube: the graph does not tell them apart.
    return max(reading.steps for reading in graph.readings) if max(by_band.values()) == 1 else None


def _noted(found: Explanation, reread: float) -> Explanation:
    """Return `found` with what should be changed before it is computed."""
    notes = []
    if found.tasks > MANY_TASKS:
        notes.append(
            f"{found.tasks:,} tasks are many for one graph: use larger chunks, or fewer dates or less "
            "area at once; write_daily gives a scheduler one task a region."
        )
    peak, memory = found.worker_bytes, found.memory
    if memory is not None and found.task_bytes is not None and peak is not None and peak > memory:
        alone = found.task_bytes + found.held_bytes
        less = max((memory - found.held_bytes) // max(found.task_bytes, 1), 0)
        notes.append(
            f"A worker has {_bytes(memory)}, its peak is {_bytes(peak)}: "
            + (
                f"it has room for {less} {'thread' if less == 1 else 'threads'}."
                if alone <= memory
                else "not even one task fits; open the cube with smaller chunks, or fewer dates."
            )
        )
    if memory is not None and found.result_bytes > memory * found.workers:
        notes.append(
            f"The result is {_bytes(found.result_bytes)}, more than there is memory "
            f"({_bytes(memory * found.workers)}): write it (write_daily), do not compute() it."
        )
    if reread > REREAD:
        notes.append(
            f"Blocks of files are read {reread:.1f} times, as chunks are smaller than they are: open "
            "with chunks of 1024 px, and rechunk afterwards if need be."
        )
    return replace(found, notes=tuple(notes))


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise CubeError(f"{name} is a whole number above 0, got {value!r}.")
    return int(value)


def _own_memory(workers: int) -> int | None:
    """Return the memory of this machine shared out; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // workers
    except (AttributeError, ValueError, OSError):
        return None


def _count(number: int | None, about: str = "") -> str:
    return "unknown" if number is None else f"{about if number else ''}{number:,}"


def _bytes(number: int | None) -> str:
    from dask.utils import format_bytes

    return "unknown" if number is None else str(format_bytes(number))
