"""One region in a process of its own: seconds, and memory beside the plan. Prints JSON.

python tests/benchmarks/one_region.py linear 512 2    # method, side in px, threads
"""

import gc
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from process_memory import forget_peak, memory

import s2cube
from s2cube import schema

BANDS = ("B02", "B03", "B04", "B08")
DAYS = pd.date_range("2023-01-01", "2023-04-02")
CLOUD = 300
"""Side of a cloud, px."""


@dataclass(frozen=True)
class Looks:
    """A look every five days of four bands, of noise under square clouds, filled."""

    method: str = "linear"

    def looks(self, geobox: GeoBox, dates: pd.DatetimeIndex) -> xr.Dataset:
        """Return what a region is made of, as a catalogue would give it."""
        import dask.array as da

        more = pd.Timedelta(60, "D")
        times = pd.date_range(dates[0] - more, dates[-1] + more, freq="5D")
        sizes = da.core.normalize_chunks((1, 1024, 1024), (len(times), *geobox.shape))
        arrays = {
            band: schema.variable(
                da.map_blocks(
                    _values,
                    chunks=sizes,
                    dtype=np.float32,
                    meta=np.empty((0, 0, 0), np.float32),
                    seed=seed,
                ),
                schema.band_attrs(band),
            )
            for seed, band in enumerate(BANDS)
        }
        scl = da.map_blocks(_classes, chunks=sizes, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
        arrays["SCL"] = (schema.DIMS, scl, {})
        coords = {**schema.grid_coords(geobox), "time": times, "processing_level": "L2A"}
        return schema.validate(xr.Dataset(arrays, coords))

    def __call__(self, geobox: GeoBox, dates: pd.DatetimeIndex) -> xr.Dataset:
        """Return the filled cube of a box."""
        clear = self.looks(geobox, dates).s2.mask_clouds("scl", buffer=60)
        return clear.s2.fill_gaps(self.method, dates=dates)


def _values(seed: int, block_info: Any = None) -> NDArray[np.float32]:
    shape, at = block_info[None]["chunk-shape"], block_info[None]["chunk-location"]
    counts = np.random.default_rng([seed, *at]).integers(200, 3000, shape, dtype=np.uint16)
    return counts * np.float32(1e-4)


def _classes(block_info: Any = None) -> NDArray[np.uint8]:
    shape, at = block_info[None]["chunk-shape"], block_info[None]["chunk-location"]
    chance = np.random.default_rng([9, *at])
    classes = np.full(shape, 4, np.uint8)
    for _ in range(int(chance.integers(0, 6))):
        y, x = (int(chance.integers(0, size)) for size in shape[1:])
        classes[:, y : y + CLOUD, x : x + CLOUD] = 9
    return classes


def square(side: int) -> GeoBox:
    """Return a grid of so many pixels."""
    edges = (300_000, 5_000_000, 300_000 + side * 10, 5_000_000 + side * 10)
    return GeoBox.from_bbox(edges, "EPSG:32632", resolution=10)


def measured(method: str, side: int, threads: int) -> dict[str, float]:
    """Write one region, and return bytes and seconds.

    ``python`` is what the process takes before, when all libraries have been used once; ``arrays`` what
    it takes more at its peak; ``plan`` what was to be expected.
    """
    # Without a cluster a region takes all processors.
    os.cpu_count = lambda: threads  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"region_size": side}
        s2cube.write_daily_regions(
            Looks(method),
            Path(folder) / "first.zarr",
            geobox=square(256),
            dates=DAYS[:30],
            progress=False,
        )
        gc.collect()
        python = memory("VmRSS")
        store = Path(folder) / "region.zarr"
        plan = s2cube.explain_regions(
            Looks(method), store, geobox=square(side), dates=DAYS, threads=threads, **how
        )
        forget_peak()
        began = time.perf_counter()
        s2cube.write_daily_regions(
            Looks(method), store, geobox=square(side), dates=DAYS, progress=False, **how
        )
        seconds = time.perf_counter() - began
        peak = memory("VmHWM")
    assert plan.worker_bytes is not None
    return {
        "plan": plan.worker_bytes,
        "arrays": peak - python,
        "python": python,
        "seconds": seconds,
    }


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
