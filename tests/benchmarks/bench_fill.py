"""Filling beside its peers."""

import bottleneck
import numpy as np
import xarray as xr
from table import Row

import s2cube
from s2cube.kernels.counts import decode, encode
from s2cube.kernels.fill import fill_last, fill_linear


def rows() -> list[Row]:
    """Return the work, each checked to give the same numbers on both sides."""
    xr.set_options(use_bottleneck=True)
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
