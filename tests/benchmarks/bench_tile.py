"""A full-size MGRS tile of files, through DailyBuilder to a store, on a cluster of two workers."""

import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import pystac
import rasterio
from bench_scale import PLACE, Seen, Table, seen
from distributed import Client, LocalCluster
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from process_memory import memory

import s2cube

INTRO = """Made on {date}, on {machine}, with {versions}.

A simulated tile of 10980 × 10980 px and the looks of one year and two months, one every five days, 55 %
of them under cloud: 10 m files of four bands in counts, 20 m files of SCL, compressed in blocks of 512,
with STAC items as a catalogue gives them. (A file holds 1098 × 1098 px of simulated land and clouds,
and a VRT repeats it ten times either way: each pixel is read and decompressed as from a real file.)
`DailyBuilder` reads, harmonizes, masks by SCL with a buffer of 60 m, fills and writes daily 2023, on a
Dask cluster of two workers of one thread, as users start it.

*Part* is what of the tile was written, as much as two cores bear in an hour; it begins at the tile's
lower right corner, where regions of 1024 px are cut by its edge. *CPU* is that of both workers, all
threads, by the system's count, so that other work on the machine matters little. *Read* is what the
workers read of files. *Planned* and *measured* memory are of one worker: what `explain_regions` says,
and the peak beyond what Python takes with its libraries. The projection is by pixels; hours of wall are
CPU hours shared by 16 workers, where disk and network keep up."""
CLOSING = """\
**What it says.** The whole tile passed, all 121 regions, one task each. A year of it does not fit the
disk of the machine this was made on, 190 GB; by pixels it is four CPU hours with `linear` and a day with
`similar`, so a quarter of an hour and one and a half hours on 16 cores. Half of the time of `linear`
goes to the kernel of the operating system: with Dask's settings workers give freed memory back at once,
and get it anew for each block."""
PEERS = ("dask", "distributed", "zarr", "rasterio", "odc-stac")
BANDS = ("B02", "B03", "B04", "B08")
SIDE = 1098
"""Pixels that are simulated; the tile repeats them."""
TIMES = 10
CORNER = (399_960.0, 5_300_040.0)
CRS = "EPSG:32633"
CLOUD = 0.55
"""Mean cloud cover of central Europe, as Sentinel-2 sees it."""
DATES = pd.date_range("2023-01-01", "2023-12-31")
REGION = 1024
SCL = {
    s2cube.schema.Status.CLOUD: 9,
    s2cube.schema.Status.THIN_CLOUD: 10,
    s2cube.schema.Status.SHADOW: 3,
}
PARTS: tuple[tuple[str, int, str], ...] = (
    ("linear", 2, "all days"),
    ("linear", 3, "all days"),
    ("similar", 1, "all days"),
    ("linear", 11, "ten days"),
)
"""Method, regions along each side, days."""
VRT = """<VRTDataset rasterXSize="{size}" rasterYSize="{size}">
<SRS>{crs}</SRS>
<GeoTransform>{left}, {pixel}, 0, {top}, 0, -{pixel}</GeoTransform>
<VRTRasterBand dataType="{dtype}" band="1" blockXSize="512" blockYSize="512">
<NoDataValue>0</NoDataValue>
{sources}
</VRTRasterBand>
</VRTDataset>
"""
SOURCE = """<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>
<SourceBand>1</SourceBand><SourceProperties RasterXSize="{side}" RasterYSize="{side}"
 DataType="{dtype}" BlockXSize="512" BlockYSize="512"/>
<SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>
<DstRect xOff="{x}" yOff="{y}" xSize="{side}" ySize="{side}"/></SimpleSource>"""


def tables(_: Path | None, tell: Callable[[str], None]) -> Iterator[Table]:
    """Yield what was measured, and what follows from it."""
    with tempfile.TemporaryDirectory() as folder:
        items = archive(Path(folder))
        found = [written(items, Path(folder) / "tile.zarr", *part) for part in PARTS]
    yield "Measured", *measured(found)
    yield "Projected: the whole tile, all days of 2023", *projected(found)


def archive(folder: Path) -> Path:
    """Make the files of the tile, and return the items."""
    first, last = DATES[0] - pd.Timedelta(60, "D"), DATES[-1] + pd.Timedelta(60, "D")
    clear = s2cube.testing.simulate_cube(
        shape=(SIDE, SIDE),
        start=f"{first:%Y-%m-%d}",
        end=f"{last:%Y-%m-%d}",
        bands=BANDS,
        revisit=5,
        cloud_cover=0,
        seed=9,
    )
    ground = clear["SCL"].values
    cover = np.random.default_rng(9).beta(0.6, 0.6 * (1 - CLOUD) / CLOUD, clear.sizes["time"])
    cloudy, truth = s2cube.testing.add_clouds(clear.chunk(time=1), cover=cover.round(3).tolist(), seed=9)
    items = []
    for step in range(clear.sizes["time"]):
        look = cloudy.isel(time=step).compute()
        status = truth["status"].isel(time=step).values
        classes = ground[step].copy()
        for state, value in SCL.items():
            classes[status == state] = value
        bands = {
            name: (np.rint(look[name].values * 10_000) + 1_000).clip(1, 65_534).astype(np.uint16)
            for name in BANDS
        }
        items.append(_item(folder, look["time"].values, bands, classes[::2, ::2]))
    return s2cube.save_items(items, folder / "items.json")


def _item(
    folder: Path, when: np.datetime64, bands: dict[str, NDArray[np.uint16]], scl: NDArray[np.uint8]
) -> pystac.Item:
    """Write the files of one look, and return its item."""
    name = f"S2A_33UVP_{pd.Timestamp(when):%Y%m%d}_L2A"
    tile = GeoBox.from_bbox(_edges(SIDE * TIMES, SIDE * TIMES), CRS, resolution=10)
    footprint = tile.extent.to_crs("epsg:4326")
    item = pystac.Item(
        name,
        footprint.json,
        list(footprint.boundingbox.bbox),
        pd.Timestamp(when).to_pydatetime(),
        {
            "processing:level": "L2A", "proj:code": CRS, "platform": "sentinel-2a",
            "s2:processing_baseline": "05.09", "eo:cloud_cover": 0.0,
        },
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
    )  # fmt: skip
    for key, counts in {**bands, "SCL": scl}.items():
        path = _mosaic(folder / name / f"{key}.tif", counts)
        side = counts.shape[0] * TIMES
        pixel = 10 * SIDE * TIMES / side
        kind: dict[str, Any] = {"data_type": str(counts.dtype), "nodata": 0}
        if key != "SCL":
            kind |= {"scale": 1e-4, "offset": -0.1}
        fields = {
            "proj:transform": [pixel, 0, CORNER[0], 0, -pixel, CORNER[1]],
            "proj:shape": [side, side],
            "raster:bands": [kind],
        }
        item.add_asset(key, pystac.Asset(str(path), roles=["data"], extra_fields=fields))
    return item


def _mosaic(path: Path, counts: NDArray[Any]) -> Path:
    """Write a file, and one that repeats it; return the latter's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = counts.shape[0]
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=1, dtype=counts.dtype, nodata=0,
        tiled=True, blockxsize=512, blockysize=512, compress="deflate", predictor=2, crs=CRS,
        transform=rasterio.Affine(10, 0, CORNER[0], 0, -10, CORNER[1]),
    ) as file:  # fmt: skip
        file.write(counts, 1)
    dtype = {"uint16": "UInt16", "uint8": "Byte"}[str(counts.dtype)]
    sources = "\n".join(
        SOURCE.format(name=escape(path.name), side=side, dtype=dtype, x=x * side, y=y * side)
        for y in range(TIMES)
        for x in range(TIMES)
    )
    whole = path.with_suffix(".vrt")
    whole.write_text(
        VRT.format(
            size=side * TIMES, crs=CRS, left=CORNER[0], top=CORNER[1], pixel=10 * SIDE / side,
            dtype=dtype, sources=sources,
        )
    )  # fmt: skip
    return whole


def _edges(rows: int, columns: int) -> tuple[float, float, float, float]:
    """Return the edges of so many pixels at the lower right corner of the tile."""
    right, bottom = CORNER[0] + SIDE * TIMES * 10, CORNER[1] - SIDE * TIMES * 10
    return right - columns * 10, bottom, right, bottom + rows * 10


@dataclass(frozen=True)
class Found:
    """What one run took."""

    method: str
    days: int
    regions: int
    pixels: int
    tasks: int
    cpu: float
    """Seconds of all workers."""
    read: int
    """Bytes of files."""
    written: int
    """Bytes of the store."""
    planned: int
    measured: int
    """Bytes of memory of one worker."""


def written(items: Path, store: Path, method: str, side: int, days: str) -> Found:
    """Write a part of the tile, and return what it took."""
    edge = min(SIDE * TIMES, side * REGION - (-SIDE * TIMES) % REGION)
    geobox = GeoBox.from_bbox(_edges(edge, edge), CRS, resolution=10)
    dates, margin = (DATES, 60) if days == "all days" else (DATES[150:160], 10)
    builder = s2cube.DailyBuilder(str(items), BANDS, fill={"method": method}, margin=margin)
    how: dict[str, Any] = {"geobox": geobox, "dates": dates, "region_size": REGION}
    target = store.with_name(f"{method}-{side}.zarr")
    plan = s2cube.explain_regions(builder, target, workers=2, threads=1, **how)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="8GiB", **PLACE) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(Seen())
        client.run(_warm, builder)
        before = client.run(_taken)
        report = s2cube.write_daily_regions(builder, target, progress=False, **how)
        after = client.run(_taken)
        tasks = seen(client)
    assert not report.failed, report.failed
    more = [tuple(b - a for a, b in zip(before[w], after[w], strict=True)) for w in before]
    checked = s2cube.verify(target, progress=False)
    assert checked.ok
    shutil.rmtree(target)
    assert plan.worker_bytes is not None
    return Found(
        method, len(dates), report.written, edge * edge, tasks,
        cpu=sum(taken[0] for taken in more), read=int(sum(taken[1] for taken in more)),
        written=checked.size, planned=plan.worker_bytes, measured=int(max(taken[2] for taken in more)),
    )  # fmt: skip


def _warm(builder: s2cube.DailyBuilder) -> None:
    """Use once what a region uses, so that libraries are not counted as its memory."""
    little = GeoBox.from_bbox(_edges(64, 64), CRS, resolution=10)
    with tempfile.TemporaryDirectory() as folder:
        cube = builder(little, DATES[:20])
        assert cube is not None
        s2cube.write_daily(cube.compute(scheduler="sync"), Path(folder) / "little.zarr", progress=False)


def _taken() -> tuple[float, float, float]:
    """Return seconds of CPU, bytes read, and the peak of memory of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return used.ru_utime + used.ru_stime, float(told["rchar"]), float(memory("VmHWM"))


def measured(found: list[Found]) -> tuple[list[str], list[list[str]]]:
    """Return what runs took, a row each."""
    from dask.utils import format_bytes

    rows = [
        [
            f"`{run.method}`, {run.days} days", f"{run.regions}", f"{run.pixels / 1e6:.1f}",
            f"{run.tasks / run.regions:g}", f"{run.cpu / run.regions:.0f}", format_bytes(run.read),
            format_bytes(run.written), format_bytes(run.planned), format_bytes(run.measured),
        ]
        for run in found
    ]  # fmt: skip
    head = [
        "part", "regions", "Mpx", "tasks a region", "CPU s a region", "read", "store", "memory planned",
        "measured",
    ]  # fmt: skip
    return head, rows


def projected(found: list[Found]) -> tuple[list[str], list[list[str]]]:
    """Return what the whole tile of a year takes, by pixels of the runs of all days."""
    from dask.utils import format_bytes

    rows = []
    for run in found:
        if run.days < len(DATES):
            continue
        more = (SIDE * TIMES) ** 2 / run.pixels
        hours = run.cpu * more / 3600
        values = run.pixels * run.days * len(BANDS)
        sizes = [format_bytes(int(size * more)) for size in (run.read, run.written)]
        told = [f"{hours:.1f}", f"{hours / 16:.1f}", *sizes, f"{values / run.cpu / 1e6:.1f}"]
        rows.append([f"`{run.method}`, from {run.regions}", *told])
    head = [
        "method, regions",
        "CPU hours",
        "hours on 16 cores",
        "read",
        "store",
        "million values a CPU s",
    ]
    return head, rows
