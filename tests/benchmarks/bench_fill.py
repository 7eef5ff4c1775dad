"""Filling beside its peers: one process, one thread, the same data, one table.

    make bench

Each row runs ours and theirs in turn, several times, and takes the best of each. What counts is the
ratio; seconds depend on the machine. The floor is what memory allows: reading the looks once and
writing the result once, at the speed of a plain copy of as many bytes. Not part of the test suite.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import bottleneck
import numpy as np
import xarray as xr

import s2cube
from s2cube.kernels.counts import decode, encode
from s2cube.kernels.fill import fill_last, fill_linear

ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One piece of work, done by us and by somebody else."""

    work: str
    peer: str
    ours: Callable[[], np.ndarray]
    theirs: Callable[[], np.ndarray]
    moved: int
    """Bytes read and written at the least."""


def best(*functions: Callable[[], object]) -> list[float]:
    """Return the shortest time of each, run in turn so that all meet the same machine."""
    times = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for i, function in enumerate(functions):
            began = time.perf_counter()
            function()
            times[i] = min(times[i], time.perf_counter() - began)
    return times


def rows() -> list[Row]:
    """Return the work, each checked to give the same numbers on both sides."""
    cube = s2cube.testing.simulate_cube(shape=(256, 256), seed=1, bands=["nir"]).s2.mask_clouds()
    looks = cube["B08"]
    values = looks.values
    valid = np.isfinite(values)
    days = looks["time"].values.astype("datetime64[D]").astype(np.int64).astype(np.int32)
    targets = np.arange(days[0], days[-1] + 1, dtype=np.int32)
    dated = looks.assign_coords(time=days.astype("datetime64[D]").astype("datetime64[ns]"))
    daily = targets.astype("datetime64[D]").astype("datetime64[ns]")
    out = 4 * len(targets) * values[0].size
    filled = fill_linear(values, valid, days=days, targets=targets)
    counts = np.random.default_rng(0).integers(1, 10_000, (64, 512, 512)).astype(np.uint16)

    def xarray_linear() -> np.ndarray:
        return dated.reindex(time=daily).interpolate_na("time").values

    def xarray_last() -> np.ndarray:
        return dated.reindex(time=daily).ffill("time").values

    def numpy_decode() -> np.ndarray:
        return np.where(counts == 0, np.nan, counts * 1e-4 - 0.1).astype(np.float32)

    def numpy_encode() -> np.ndarray:
        return np.where(np.isnan(filled), -32768, np.rint(filled * 1e4)).astype(np.int16)

    return [
        Row(
            "linear to daily",
            "xarray reindex + interpolate_na",
            lambda: fill_linear(values, valid, days=days, targets=targets),
            xarray_linear,
            values.nbytes + out,
        ),
        Row(
            "last to daily",
            "xarray reindex + ffill",
            lambda: fill_last(values, valid, days=days, targets=targets, reach="past"),
            xarray_last,
            values.nbytes + out,
        ),
        Row(
            "last on the looks' own days",
            "bottleneck.push",
            lambda: fill_last(values, valid, days=days, targets=days, reach="past"),
            lambda: bottleneck.push(values, axis=0),
            2 * values.nbytes,
        ),
        Row(
            "counts to reflectance",
            "numpy, one expression",
            lambda: decode(counts, nodata=0, scale=1e-4, offset=-0.1),
            numpy_decode,
            3 * counts.nbytes,
        ),
        Row(
            "reflectance to counts",
            "numpy, one expression",
            lambda: encode(filled),
            numpy_encode,
            filled.nbytes * 3 // 2,
        ),
    ]


def main() -> None:
    """Print the table."""
    print(f"{'work':<30}{'peer':<34}{'times as fast':>14}{'of the floor':>14}{'largest difference':>20}")
    for row in rows():
        one, other = row.ours(), row.theirs()
        both = np.isfinite(one) & np.isfinite(other)
        difference = np.abs(one[both].astype(np.float64) - other[both]).max()
        block = np.ones(row.moved // 8, dtype=np.float32)
        target = np.empty_like(block)
        ours, theirs, floor = best(row.ours, row.theirs, lambda b=block, t=target: np.copyto(t, b))
        print(
            f"{row.work:<30}{row.peer:<34}{theirs / ours:>14.1f}{floor / ours:>14.0%}{difference:>20.1e}"
        )


if __name__ == "__main__":
    xr.set_options(use_bottleneck=True)
    main()
