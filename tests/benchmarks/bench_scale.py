"""Large areas: what a region costs beside its pixels, what it holds in memory, what writing takes."""

import contextlib
import filecmp
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import SchedulerPlugin
from odc.geo.geobox import GeoBox
from scale_rates import rate, shares

import s2cube
from s2cube import schema
from s2cube.errors import StoreError
from s2cube.job.area import mgrs_bounds

INTRO = """Made on {date}, on {machine}, with {versions}.

*Overhead*: milliseconds a region from the call to the report. *Empty*: the builder says that there is
nothing, so that all is planning, scheduling, claiming, marking and publishing, on the threads of this
process and on a cluster of two workers on the same machine. *One day*: 256 × 256 px of one day, so that
all is Dask's graph inside of the region, encoding and bringing to disk. *Tasks*: how many the scheduler
saw, by its own record, for each region.

*Memory*: one region of four bands and a quarter of a year, looks every five days, in a process of its
own with two threads. *Planned* is what `explain_regions` says, *measured* the peak of the process above
what Python and its libraries took before. Both with `MALLOC_TRIM_THRESHOLD_=65536`, which Dask sets for
the workers that it starts: freed memory goes back at once. *As it is* is measured without.

*Rate*: a quarter of two bands, provenance and age, in memory, 1024 × 1024 px. *Plain Zarr* writes
encoded arrays by `dask.array.store`, with our shards, codecs and threads, and leaves it to the system
when they reach the disk. *Ours, encoded*: the same arrays the way a region puts them, with checksums
noted and each file brought to the disk. *`write_daily`* begins with float32: it encodes, counts, marks
and publishes as well. The best of twelve rounds, in turn. *Share*: what such writing takes of a whole
region of a quarter, four bands, looks being free.

*On paper*: what `explain_regions` tells of areas at 10 m, four bands of 2023, regions of 1024 px,
workers of four threads, a look every five days."""
CLOSING = """\
**Where each bends.** An area costs the scheduler one task a region, and the client a few tens of
milliseconds: 10,000 regions take about three minutes of it, Europe's 192,079 about an hour, beside days
of computing. With hundreds of regions starting the workers counts for more than the regions. What bends
first is elsewhere:

- *The tile*: nothing. A worker of four threads needs 4 GiB, and the time is that of the method: writing
  is some percent of it with `similar`, and most of it with `linear`, which computes next to nothing.
- *Germany*: the store. 20 TiB before compression, 600,000 objects: a burden on
  a shared file system. The ledger is 10 MB.
- *Europe*: one store. 21 million objects can be written, and are slow to list, copy or verify; the
  ledger, 400 MB, is read whole by `verify` and by writers. Write one store a UTM zone or country.
- *The client*: it hands out regions one by one, so a region should take seconds: by these numbers, 500
  workers with regions of ten seconds keep it busy all the time (two were tried).

The workers of the restless run died more often than Dask could start them: when none was left for a
minute the call ended with an error, and the same call did the rest. Made on a machine that others used
as well: read milliseconds and rates as no better than to a third."""
PEERS = ("dask", "distributed", "zarr")
COUNTS = (100, 1_000, 3_000, 10_000)
MOST = {"cluster": 3_000, "full": 1_000}
"""Beyond it takes many minutes."""
SIDE = 256
RESTLESS = 300
"""Regions of the run whose workers die."""
TRIMMED = {"MALLOC_TRIM_THRESHOLD_": "65536"}
PLACE: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
Table = tuple[str, list[str], list[list[str]]]


@dataclass(frozen=True)
class Tiny:
    """A region of one number, or of nothing but in the first call, which tells what it would be."""

    empty: bool

    def __call__(self, geobox: GeoBox, dates: pd.DatetimeIndex) -> xr.Dataset | None:
        import dask.array as da

        if self.empty and geobox.shape[0] == SIDE:
            return None
        size = (len(dates), *geobox.shape)
        arrays = {
            "B04": schema.variable(da.full(size, np.float32(0.25), chunks=-1), schema.band_attrs("B04")),
            "provenance": schema.variable(
                da.ones(size, dtype=np.uint8, chunks=-1), schema.flag_attrs(schema.Provenance, "whence")
            ),
        }
        return xr.Dataset(arrays, {**schema.grid_coords(geobox), "time": dates.values})


@dataclass(frozen=True)
class Daily:
    """Looks every five days of four bands, filled: what is planned, and never computed."""

    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    method: str = "similar"

    def looks(self, geobox: GeoBox, dates: pd.DatetimeIndex) -> xr.Dataset:
        import dask.array as da

        times = pd.date_range(
            dates[0] - pd.Timedelta(60, "D"), dates[-1] + pd.Timedelta(60, "D"), freq="5D"
        )
        size, chunks = (len(times), *geobox.shape), (1, 1024, 1024)
        counts = {
            name: schema.variable(
                da.zeros(size, dtype=np.float32, chunks=chunks), schema.band_attrs(name)
            )
            for name in self.bands
        }
        scl = da.full(size, np.uint8(4), chunks=chunks)
        counts["SCL"] = (schema.DIMS, scl, {})
        return schema.validate(
            xr.Dataset(counts, {**schema.grid_coords(geobox), "time": times, "processing_level": "L2A"})
        )

    def __call__(self, geobox: GeoBox, dates: pd.DatetimeIndex) -> xr.Dataset:
        clear = self.looks(geobox, dates).s2.mask_clouds("scl", buffer=60)
        return clear.s2.fill_gaps(self.method, dates=dates)


@dataclass(frozen=True)
class Restless(Tiny):
    """Sources that take their time, on workers that die of some regions when these are first built."""

    notes: str = ""
    """Folder where deaths are noted, so that each is died once; empty: nobody dies."""

    def __dask_tokenize__(self) -> str:
        # Dying makes no other store.
        return "restless"

    def __call__(self, geobox: GeoBox, dates: pd.DatetimeIndex) -> xr.Dataset | None:
        place = f"{geobox.transform.c:.0f}-{geobox.transform.f:.0f}"
        chance = random.Random(place)
        time.sleep(chance.uniform(0, 0.1))
        if self.notes and geobox.shape[0] == SIDE and chance.random() < 0.02:
            note = Path(self.notes) / place
            if not note.exists():
                note.touch()
                os._exit(1)
        return super().__call__(geobox, dates)


class Seen(SchedulerPlugin):
    """Which tasks a scheduler has seen."""

    name = "seen"

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def transition(self, key: Any, *_: Any, **__: Any) -> None:
        """Note a task."""
        self.keys.add(str(key))


def tables(_: Path | None, tell: Callable[[str], None]) -> Iterator[Table]:
    """Yield all tables."""
    yield "Overhead a region, ms", *overhead()
    yield "Sources with latency, workers that die", *restless()
    yield "Memory of one region", *memory()
    yield "Rate of writing", *rate()
    yield "Share of writing", *shares()
    yield "On paper", *paper()


POINTS: dict[str, dict[int, float]] = {}
"""Overheads, for the figure."""


def overhead() -> tuple[list[str], list[list[str]]]:
    """Return milliseconds a region, by number of regions."""
    rows = []
    for count in COUNTS:
        found, tasks = {"empty, threads": milliseconds(count, Tiny(True))}, "-"
        if count <= MOST["cluster"]:
            with (
                LocalCluster(n_workers=2, threads_per_worker=1, **PLACE) as cluster,
                Client(cluster) as client,
            ):
                client.register_plugin(Seen())
                found["empty, cluster"] = milliseconds(count, Tiny(True))
                tasks = f"{seen(client) / count:g}"
        if count <= MOST["full"]:
            found["one day, threads"] = milliseconds(count, Tiny(False))
        for name, value in found.items():
            POINTS.setdefault(name, {})[count] = value
        told = [f"{value:.1f}" for value in found.values()]
        rows.append([f"{count:,}", *told, *["-"] * (3 - len(told)), tasks])
    return ["regions", "empty, threads", "empty, cluster", "one day, threads", "tasks a region"], rows


def seen(client: Client) -> int:
    """Return how many tasks the scheduler has seen."""
    count: int = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.plugins["seen"].keys))
    return count


def milliseconds(count: int, builder: Tiny) -> float:
    """Return what a region costs of a square of so many."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        report = written(builder, Path(folder) / "d.zarr", count)
        taken = time.perf_counter() - began
    assert report.written == count
    return taken / count * 1000


def written(builder: Tiny, store: Path, count: int) -> s2cube.WriteReport:
    """Write one day of an area of so many regions."""
    rows = next(n for n in range(int(count**0.5), 0, -1) if count % n == 0)
    edges = (300_000, 0, 300_000 + count // rows * SIDE * 10, rows * SIDE * 10)
    geobox = GeoBox.from_bbox(edges, "EPSG:32632", resolution=10)
    return s2cube.write_daily_regions(
        builder, store, geobox=geobox, dates=["2023-01-01"], region_size=SIDE, halo=0, progress=False
    )


def restless() -> tuple[list[str], list[list[str]]]:
    """Return what became of a run whose workers die, beside one that nobody disturbs."""
    deaths: list[int] = []
    tasks = runs = 0
    with tempfile.TemporaryDirectory() as folder:
        calm, disturbed, notes = (Path(folder) / name for name in ("calm.zarr", "d.zarr", "notes"))
        notes.mkdir()
        written(Restless(False), calm, RESTLESS)
        report = None
        while report is None and runs < 10:
            runs += 1
            with (
                LocalCluster(n_workers=2, threads_per_worker=1, **PLACE) as cluster,
                Client(cluster) as client,
            ):
                client.register_plugin(Seen())
                # Dask starts workers again, not always in time: then the same call does the rest.
                with contextlib.suppress(StoreError):
                    report = written(Restless(False, str(notes)), disturbed, RESTLESS)
                tasks += seen(client)
            deaths.append(len(list(notes.iterdir())))
        differing = "none" if same(calm, disturbed) else "some"
        found = s2cube.verify(disturbed, progress=False)
    row = [RESTLESS, deaths[-1], runs, tasks, differing, "sound" if found.ok else "damaged"]
    head = ["regions", "deaths", "calls", "tasks seen", "files that differ", "verify"]
    return head, [[str(cell) for cell in row]]


def same(one: Path, two: Path) -> bool:
    """Return whether two folders hold the same files, byte for byte."""
    files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    others = {path.relative_to(two) for path in two.rglob("*") if path.is_file()}
    return files == others and all(filecmp.cmp(one / file, two / file, shallow=False) for file in files)


def memory() -> tuple[list[str], list[list[str]]]:
    """Return memory of one region, planned and measured."""
    from dask.utils import format_bytes

    rows = []
    for method in ("linear", "similar"):
        for side in (512, 1024):
            trimmed = region(method, side, TRIMMED)
            # Where it takes minutes, once is enough.
            plain = region(method, side, {}) if method == "linear" else None
            told = [trimmed["plan"], trimmed["arrays"], plain and plain["arrays"], trimmed["python"]]
            sizes = [format_bytes(int(size)) if size else "-" for size in told]
            share = f"{trimmed['arrays'] / trimmed['plan']:.0%}"
            rows.append([f"`{method}`", f"{side} px", *sizes[:2], share, *sizes[2:]])
    return ["method", "region", "planned", "measured", "of the plan", "as it is", "Python"], rows


def region(method: str, side: int, environment: dict[str, str], threads: int = 2) -> dict[str, float]:
    """Return what a process says that writes one region."""
    script = Path(__file__).with_name("one_region.py")
    told = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), method, str(side), str(threads)],
        env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


AREAS = {
    "an MGRS tile": mgrs_bounds("32UMD"),
    "Germany": ("EPSG:25832", 280_000, 5_235_000, 922_000, 6_102_000),
    "Europe": ("EPSG:3035", 2_500_000, 1_400_000, 7_400_000, 5_500_000),
}


def paper() -> tuple[list[str], list[list[str]]]:
    """Return what areas take, by the plan."""
    return (
        ["Area, one year", "regions", "tasks in one", "to write", "objects", "memory a worker"],
        [[name, *_planned(*area)] for name, area in AREAS.items()],
    )


def _planned(crs: str, *edges: float) -> Iterator[str]:
    from dask.utils import format_bytes

    geobox = GeoBox.from_bbox(tuple(edges), crs, resolution=10)
    plan = s2cube.explain_regions(
        Daily(),
        "on-paper.zarr",
        geobox=geobox,
        dates=pd.date_range("2023-01-01", "2023-12-31"),
        threads=4,
    )
    yield f"{plan.regions:,}"
    yield f"{plan.region_tasks:,}"
    yield format_bytes(plan.written_bytes)
    yield f"{plan.objects:,}"
    yield format_bytes(plan.worker_bytes or 0)


def draw(path: Path) -> None:
    """Draw what has been measured of overheads."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for (name, points), colour in zip(POINTS.items(), ("#1b6e53", "#b4552d", "#8a7fb0"), strict=True):
        axis.plot(list(points), list(points.values()), "o-", color=colour, label=name)
    axis.set_xscale("log")
    axis.set(xlabel="regions", ylabel="overhead a region, ms", ylim=(0, None))
    axis.set_xticks(COUNTS, [f"{count:,}" for count in COUNTS])
    axis.minorticks_off()
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
