"""Percentiles beside numbagg, numpy and xarray; geomedians beside geomad."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import geomad
import numbagg
import numpy as np
import reference
import xarray as xr
from table import Row

import s2cube
from s2cube.kernels.geomedian import deviations, geomedian
from s2cube.kernels.order import percentiles

Q = (25.0, 50.0, 75.0)
TEN = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
SAMPLE = 500
"""Pixels of which the error is told: the reference is slow."""


def rows() -> Iterator[Row]:
    """Yield the work."""
    # Peers warn of series without values.
    warnings.simplefilter("ignore", RuntimeWarning)
    for steps, side in ((73, 256), (24, 256), (300, 128), (1000, 64)):
        values = counts(steps, side)
        yield from _percentiles(f"3 percentiles, T={steps}, whole counts", values, steps == 73)
        yield from _percentiles(
            f"3 percentiles, T={steps}, any float32", values * np.float32(1.037), steps == 73
        )
    for words, clouds in (("complete", 0.0), ("45 % missing", 0.4)):
        yield from _geomedians(f"geomedian, 10 bands, T=73, {words}", looks(clouds))


def counts(steps: int, side: int) -> np.ndarray:
    """Series of whole counts, 40 % missing."""
    rng = np.random.default_rng(0)
    values = (rng.integers(-100, 9000, (steps, side, side)) / 1e4).astype(np.float32)
    values[rng.random(values.shape) < 0.4] = np.nan
    return values


def _percentiles(work: str, values: np.ndarray, every_peer: bool) -> Iterator[Row]:
    last = np.ascontiguousarray(np.moveaxis(values, 0, -1))
    array = xr.DataArray(values, dims=("time", "y", "x"))
    share = [q / 100 for q in Q]
    peers: dict[str, Callable[[], Any]] = {
        "numbagg.nanquantile": lambda: numbagg.nanquantile(last, share, axis=-1),
        "numpy.nanpercentile": lambda: np.nanpercentile(values, Q, axis=0),
        "xarray quantile": lambda: array.quantile(share, "time", skipna=True),
    }
    for name, peer in peers.items():
        if every_peer or name == "numbagg.nanquantile":
            moved = values.nbytes + (4 * len(Q) + 2) * values[0].size
            yield Row(work, name, lambda: percentiles(values, Q)[0], peer, moved)


def looks(clouds: float) -> np.ndarray:
    """Looks of ten bands, ``(band, time, pixel)``."""
    cube = s2cube.testing.simulate_cube(
        shape=(128, 128), bands=TEN, start="2019-01-01", end="2023-12-31", cloud_cover=clouds
    )
    clear = cube.s2.mask_clouds() if clouds else cube
    values = np.stack([clear[band].values[:73] for band in TEN])
    return np.ascontiguousarray(values.reshape(len(TEN), 73, -1))


def _geomedians(work: str, values: np.ndarray) -> Iterator[Row]:
    theirs = np.ascontiguousarray(values.reshape(*values.shape[:2], 128, 128).transpose(2, 3, 0, 1))

    def peer() -> Any:
        return geomad.nangeomedian_pcm(theirs, num_threads=1)

    def peer_with_deviations() -> None:
        centre = peer()
        for name in ("emad_pcm", "smad_pcm", "bcmad_pcm"):
            getattr(geomad, name)(theirs, centre, num_threads=1)

    def with_deviations() -> None:
        deviations(values, geomedian(values)[0])

    some = np.linspace(0, values.shape[2] - 1, SAMPLE).astype(int)
    truth = reference.geometric_medians(values[:, :, some])
    other = np.asarray(peer()).reshape(-1, len(TEN)).T
    errors = [np.nanmax(np.abs(found[:, some] - truth)) * 1e4 for found in (geomedian(values)[0], other)]
    words = f"{errors[0]:.2f} counts, geomad {errors[1]:.1f}"
    moved = values.nbytes + 4 * values[:, 0].size
    yield Row(work, "geomad", lambda: geomedian(values), peer, moved, words)
    yield Row(f"{work}, and deviations", "geomad", with_deviations, peer_with_deviations, moved, words)
