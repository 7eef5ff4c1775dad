"""How fast a store is written beside plain Zarr, and what share of a region that is."""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from one_region import Looks, square

import s2cube
from s2cube import schema
from s2cube.kernels.counts import encode
from s2cube.store.layout import encoding_of, layout_of
from s2cube.store.ledger import Ledger
from s2cube.store.target import open_target

QUARTER = pd.date_range("2023-01-01", "2023-04-02")
ROUNDS = 12
SIDE = 1024


def rate() -> tuple[list[str], list[list[str]]]:
    """Return megabytes a second of a cube that lies in memory: by plain Zarr, and by us."""
    cube = _smooth()
    layout = layout_of(cube, "series")
    held = {
        name: encode(cube[name].values) if encoding_of(name).scaled else cube[name].values
        for name in layout["variables"]
    }
    size = sum(array.nbytes for array in held.values())
    seconds: dict[str, list[float]] = {"plain Zarr": [], "ours, encoded": [], "`write_daily`": []}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "ours.zarr"
        for _ in range(ROUNDS):  # in turn, as the machine is not ours alone
            seconds["`write_daily`"].append(_ours(cube, store))
            seconds["plain Zarr"].append(_plain(held, layout, Path(folder) / "plain.zarr"))
            seconds["ours, encoded"].append(_shards(held, layout, store))
    best = {name: min(times) for name, times in seconds.items()}
    return ["what", "MB/s", "of plain Zarr"], [
        [name, f"{size / 1e6 / taken:.0f}", f"{best['plain Zarr'] / taken:.0%}"]
        for name, taken in best.items()
    ]


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
    # As blocks that are in memory, so that threads share the work, as they do where cubes are lazy.
    blocks = cube.chunk(time=-1, y=256, x=256)
    began = time.perf_counter()
    blocks.s2.write_daily(store, progress=False)
    return time.perf_counter() - began


def _shards(held: Mapping[str, NDArray[Any]], layout: Mapping[str, Any], store: Path) -> float:
    """Put encoded shards as a region does, over those that are there, and bring them to disk."""
    import zarr

    from s2cube.store.target.bridge import Recorder

    ledger = Ledger(open_target(store))
    recorder = Recorder(ledger.store)
    began = time.perf_counter()
    how: Any = {"mode": "r+", "config": {"write_empty_chunks": True}}
    _stored(held, layout, [zarr.open_array(recorder, path=name, **how) for name in held])
    ledger.store.settle(recorder.facts)
    return time.perf_counter() - began


def _plain(held: Mapping[str, NDArray[Any]], layout: Mapping[str, Any], store: Path) -> float:
    """Write what is encoded already, with Dask and Zarr alone."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    began = time.perf_counter()
    group = zarr.open_group(store, mode="a")
    arrays = [
        group.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=tuple(layout["chunks"]),
            shards=tuple(layout["shards"]), fill_value=encoding_of(name).fill, overwrite=True,
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
            config={"write_empty_chunks": True},
        )
        for name, array in held.items()
    ]  # fmt: skip
    _stored(held, layout, arrays)
    return time.perf_counter() - began


def _stored(held: Mapping[str, NDArray[Any]], layout: Mapping[str, Any], arrays: list[Any]) -> None:
    import dask
    import dask.array as da

    sources = [da.from_array(array, chunks=tuple(layout["shards"])) for array in held.values()]
    with dask.config.set(scheduler="threads", num_workers=os.cpu_count()):
        da.store(sources, arrays, lock=False)


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
