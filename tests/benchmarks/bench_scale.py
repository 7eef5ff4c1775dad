"""What a region costs beside its pixels, from a hundred regions to ten thousand; and areas on paper."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

import s2cube
from s2cube import schema
from s2cube.job.area import mgrs_bounds

INTRO = """Made on {date}, on {machine}. *Overhead*: milliseconds a region from the call to
the report. *Empty*: the builder says that there is nothing, so that all is planning, scheduling,
claiming, marking and publishing, on this process and on a cluster of two workers on the same machine.
*One day*: 256 × 256 px of one day, so that all is Dask's graph inside of the region, encoding and
bringing to disk. *On paper*: what `explain_regions` tells of areas at 10 m, four bands of 2023, regions
of 1024 px, workers of four threads, with a look every five days."""
PEERS = ()
COUNTS = (100, 1_000, 10_000)
FULL = 1_000
"""Regions that hold something take minutes where there are more."""
SIDE = 256
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


def tables(_: Path | None, tell: Callable[[str], None]) -> list[Table]:
    """Return both tables."""
    return [("Overhead a region", *overhead()), ("On paper", *paper())]


def overhead() -> tuple[list[str], list[list[str]]]:
    """Return milliseconds a region, by number of regions."""
    from distributed import Client, LocalCluster

    rows = []
    for count in COUNTS:
        here = milliseconds(count, empty=True)
        place = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        with LocalCluster(n_workers=2, threads_per_worker=1, **place) as cluster, Client(cluster):
            there = milliseconds(count, empty=True)
        full = f"{milliseconds(count, empty=False):.0f}" if count <= FULL else "-"
        rows.append([f"{count:,}", f"{here:.1f}", f"{there:.1f}", full])
    return ["Regions", "empty, here", "empty, cluster", "one day, here"], rows


def milliseconds(count: int, *, empty: bool) -> float:
    """Return what a region costs of a square of so many."""
    rows = next(n for n in range(int(count**0.5), 0, -1) if count % n == 0)
    edges = (300_000, 0, 300_000 + count // rows * SIDE * 10, rows * SIDE * 10)
    geobox = GeoBox.from_bbox(edges, "EPSG:32632", resolution=10)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        report = s2cube.write_daily_regions(
            Tiny(empty), Path(folder) / "d.zarr", geobox=geobox, dates=["2023-01-01"], region_size=SIDE,
            halo=0, progress=False,
        )  # fmt: skip
        taken = time.perf_counter() - began
    assert report.written == count
    return taken / count * 1000


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
