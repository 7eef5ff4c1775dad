"""``explain_regions``: what writing an area by regions will take, before anything is read."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from s2cube.plan import Explanation, Region, explain
from s2cube.store.layout import Profile, encoding_of, files_of, regions_in, shard_of
from s2cube.store.ledger import Ledger
from s2cube.store.regions import order_of
from s2cube.store.report import as_html
from s2cube.store.run import Job
from s2cube.store.target import open_target
from s2cube.store.write import REGION

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from s2cube.store.builder import Builder

__all__ = ["RegionsPlan", "explain_regions"]

SAMPLES: Final = 3
"""Regions that are built, lazily, to tell of all."""


@dataclass(frozen=True)
class RegionsPlan:
    """What :func:`s2cube.write_daily_regions` will take; None stands for unknown."""

    regions: int
    """Also the tasks that a scheduler sees."""
    days: int
    region_tasks: int
    """Tasks inside of one region, at most; on its worker."""
    read_bytes: int | None
    """Of all regions, not compressed; what two regions need of one file is counted twice."""
    requests: int | None
    written_bytes: int
    """Of all regions, before compression."""
    objects: int
    """Files, or objects, of the store."""
    worker_bytes: int | None
    """Peak memory of a worker's arrays. Python and its libraries take 0.3 GB more, and what the system
    keeps of freed memory comes on top, unless ``MALLOC_TRIM_THRESHOLD_`` is set, as Dask does for the
    workers that it starts."""
    workers: int
    threads: int
    memory: int | None
    """Bytes that a worker has, where that was said."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What should be changed before; empty where all is well."""
        if self.memory is None or self.worker_bytes is None or self.worker_bytes <= self.memory:
            return ()
        return (
            "A worker needs more memory than it has: give it fewer threads, or choose a smaller "
            "region_size.",
        )

    def _rows(self) -> Iterator[tuple[str, str]]:
        from dask.utils import format_bytes

        def size(number: int | None) -> str:
            return "unknown" if number is None else str(format_bytes(number))

        yield "regions", f"{self.regions:,} of {self.days} days, one task each"
        yield "tasks", f"at most {self.region_tasks:,} inside of a region"
        known = self.read_bytes is not None
        yield "to read", f"about {size(self.read_bytes)}, not compressed" if known else "unknown"
        yield "requests", "unknown" if self.requests is None else f"about {self.requests:,}"
        yield "to write", f"{size(self.written_bytes)} before compression, {self.objects:,} objects"
        yield "memory", f"{size(self.worker_bytes)} a worker ({self.workers} x {self.threads} threads)"
        for note in self.notes:
            yield "note", note

    def __str__(self) -> str:
        return "\n".join(f"{name + ':':<10}{text}" for name, text in self._rows())

    def _repr_html_(self) -> str:
        return as_html("", list(self._rows()))


def explain_regions(
    builder: "Builder",
    store: str | os.PathLike[str],
    *,
    geobox: "GeoBox",
    dates: Any,
    region_size: int = REGION,
    halo: int | None = None,
    profile: Profile = "series",
    storage_options: Mapping[str, Any] | None = None,
    workers: int = 1,
    threads: int = 1,
    memory: int | None = None,
) -> RegionsPlan:
    """Tell what writing an area by regions will take; nothing is computed, and the store not touched.

    Parameters
    ----------
    builder, store, geobox, dates, region_size, halo, profile, storage_options
        As in :func:`s2cube.write_daily_regions`. A :class:`s2cube.DailyBuilder` searches its items, and
        keeps them beside the store for the run itself.
    workers
        Processes that will compute it, each one region at a time.
    threads
        Of one worker.
    memory
        Bytes that one worker has.

    Returns
    -------
    RegionsPlan
        Regions, tasks, bytes and requests to read, bytes and objects to write, memory of a worker. It
        prints as a table. Up to three regions are built, lazily, and stand for the others.

    Raises
    ------
    CubeError, CatalogError
        As in :func:`s2cube.write_daily_regions`.
    """
    ledger = Ledger(open_target(store, storage_options))
    order = order_of(
        builder, ledger, geobox=geobox, dates=dates, region_size=region_size, halo=halo, profile=profile
    )
    layout, source = order["layout"], order["source"]
    regions = regions_in(layout)
    found: list[tuple[Explanation, Explanation | None]] = []
    for region in _samples(list(regions.values())):
        piece = source.ship(Job(ledger, layout, "", region))()
        if piece is None:
            continue
        how: dict[str, Any] = {"workers": workers, "threads": threads, "memory": memory}
        read = source.looks(region)
        found.append((explain(piece, **how), None if read is None else explain(read, **how)))
    days = layout["shape"][0]
    return RegionsPlan(
        len(regions),
        days,
        max((piece.tasks for piece, _ in found), default=0),
        _mean_of(found, "read_bytes", len(regions)),
        _mean_of(found, "requests", len(regions)),
        sum(_bytes_of(layout, region) for region in regions.values()),
        sum(len(files_of(layout, region)) for region in regions.values()) + _metadata(layout),
        _peak([piece for piece, _ in found], layout, threads),
        workers,
        threads,
        memory,
    )


def _samples(regions: list[Region]) -> list[Region]:
    """Return some of the largest regions, spread over the area."""
    most = max(region.pixels for region in regions)
    full = [region for region in regions if region.pixels == most]
    at = np.linspace(0, len(full) - 1, 2 * SAMPLES + 1)[1::2].round().astype(int)
    return [full[index] for index in dict.fromkeys(at.tolist())]


def _mean_of(found: list[tuple[Explanation, Explanation | None]], name: str, regions: int) -> int | None:
    told = [getattr(read, name) for _, read in found if read is not None]
    known: list[int] = [number for number in told if number is not None]
    if not known or len(known) < len(told):
        return None
    return round(sum(known) / len(known) * regions)


def _bytes_of(layout: Mapping[str, Any], region: Region) -> int:
    days = layout["shape"][0]
    return sum(
        region.pixels * (days if dims == 3 else 1) * np.dtype(encoding_of(name).dtype).itemsize
        for name, dims in layout["variables"].items()
    )


def _metadata(layout: Mapping[str, Any]) -> int:
    """Return how many objects are no shards: metadata, coordinates, the ledger's group."""
    return 2 + len(layout["variables"]) + 2 * 4


def _peak(pieces: list[Explanation], layout: Mapping[str, Any], threads: int) -> int | None:
    """Return what computing and encoding a region takes at most."""
    if not pieces or any(piece.task_bytes is None for piece in pieces):
        return None
    # A thread computes, or writes: a shard as it is computed, and as it is encoded.
    shard = 2 * max(
        math.prod(shard_of(layout, name)) * np.dtype(encoding_of(name).dtype).itemsize
        for name in layout["variables"]
    )
    return max(threads * max(piece.task_bytes or 0, shard) + piece.held_bytes for piece in pieces)
