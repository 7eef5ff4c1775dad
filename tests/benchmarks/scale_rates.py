"""How fast a store is written beside plain Zarr, and what share of a region that is."""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from one_region import Looks, square

import s2cube
from s2cube import schema
from s2cube.kernels.counts import encode
from s2cube.store.layout import encoding_of, layout_of, names_in

QUARTER = pd.date_range("2023-01-01", "2023-04-02")
ROUNDS = 3
SIDE = 1024


def rate() -> tuple[list[str], list[list[str]]]:
    """Return megabytes a second of shards that lie in memory: ours, and plain Zarr."""
    cube = _smooth()
    size = sum(cube[name].size * np.dtype(encoding_of(name).dtype).itemsize for name in names_in(cube))
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = [], []
        for _ in range(ROUNDS):  # in turn, as the machine is not ours alone
            ours.append(_ours(cube, Path(folder) / "ours.zarr"))
            plain.append(_plain(cube, Path(folder) / "plain.zarr"))
    head = ["threads", "`write_daily`, MB/s", "plain Zarr, MB/s", "of plain Zarr"]
    best = min(ours), min(plain)
    rates = [f"{size / 1e6 / seconds:.0f}" for seconds in best]
    return head, [[f"{os.cpu_count()}", *rates, f"{best[1] / best[0]:.0%}"]]


def shares() -> tuple[list[str], list[list[str]]]:
    """Return what writing takes of a whole region."""
    rows = []
    for method in ("linear", "similar"):
        whole, writing = [], []
        with tempfile.TemporaryDirectory() as folder:
            for round_ in range(2):
                began = time.perf_counter()
                s2cube.write_daily_regions(
                    Looks(method), Path(folder) / f"{round_}.zarr", geobox=square(512), dates=QUARTER,
                    region_size=512, progress=False,
                )  # fmt: skip
                whole.append(time.perf_counter() - began)
            cube = s2cube.open_daily(Path(folder) / "0.zarr").load()
            writing = [_ours(cube, Path(folder) / "again.zarr") for _ in range(2)]
        told = [min(whole), min(writing)]
        rows.append([f"`{method}`", *(f"{seconds:.1f}" for seconds in told), f"{told[1] / told[0]:.0%}"])
    return ["method", "a region of 512 px, s", "of that writing, s", "share"], rows


def _ours(cube: xr.Dataset, store: Path) -> float:
    shutil.rmtree(store, ignore_errors=True)
    began = time.perf_counter()
    cube.s2.write_daily(store, progress=False)
    return time.perf_counter() - began


def _plain(cube: xr.Dataset, store: Path) -> float:
    """Write what is encoded already, with Dask and Zarr alone."""
    import dask
    import dask.array as da
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    shutil.rmtree(store, ignore_errors=True)
    layout = layout_of(cube, "series")
    held = {
        name: encode(cube[name].values) if encoding_of(name).scaled else cube[name].values
        for name in layout["variables"]
    }
    began = time.perf_counter()
    group = zarr.open_group(store, mode="w")
    arrays = [
        group.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=tuple(layout["chunks"]),
            shards=tuple(layout["shards"]), fill_value=encoding_of(name).fill,
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
            config={"write_empty_chunks": True},
        )
        for name, array in held.items()
    ]  # fmt: skip
    sources = [da.from_array(array, chunks=tuple(layout["shards"])) for array in held.values()]
    with dask.config.set(scheduler="threads", num_workers=os.cpu_count()):
        da.store(sources, arrays, lock=False)
    return time.perf_counter() - began


def _smooth() -> xr.Dataset:
    """Return a filled cube that compresses as real ones do: slow in time, noise in space."""
    chance = np.random.default_rng(0)
    size = (len(QUARTER), SIDE, SIDE)
    seasons = 0.05 * np.sin(np.arange(len(QUARTER)) / 15)[:, None, None]
    land = chance.normal(0.15, 0.05, (1, SIDE, SIDE)) + seasons
    red = (land + chance.normal(0, 0.003, size)).astype(np.float32)
    arrays = {
        "B04": schema.variable(red, schema.band_attrs("B04")),
        "B08": schema.variable(red + np.float32(0.1), schema.band_attrs("B08")),
        "provenance": schema.variable(
            np.zeros(size, np.uint8), schema.flag_attrs(schema.Provenance, "whence")
        ),
        "clear_age": schema.variable(np.zeros(size, np.int16), {}),
    }
    return xr.Dataset(arrays, {**schema.grid_coords(square(SIDE)), "time": QUARTER.values})
