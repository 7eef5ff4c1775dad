"""The state of the air from a scene itself: what dense vegetation and two water bands tell."""

import warnings
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.emulate import weights
from s2cube.emulate.light import OZONE, Angles
from s2cube.emulate.sample import lattice
from s2cube.kernels.atmosphere import Air, coefficients

__all__ = ["ASSUMED_AEROSOL", "ASSUMED_WATER", "air_of", "estimate"]

ASSUMED_AEROSOL: Final = 0.12
"""Where a scene does not tell: clean continental air."""
ASSUMED_WATER: Final = 1.5
PIXELS: Final = 40_000
FEWEST: Final = 100
"""Dark pixels, from which a date's aerosol is told."""
_AEROSOLS: Final = np.array([0.01, 0.03, 0.05, 0.08, 0.11, 0.15, 0.2, 0.26, 0.33, 0.42, 0.55, 0.7, 0.9])
_WATERS: Final = np.array([0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.35, 1.75, 2.2, 2.8, 3.5, 4.3, 5.2, 6.0])
_NEEDS: Final = {"aerosol": "dense dark vegetation", "water vapour": "ground in B09 and B8A"}
# Of dense vegetation, beside B12: Kaufman et al. 1997, https://doi.org/10.1109/36.628795; as in Sen2Cor.
_DENSE: Final = {"B04": 0.5, "B02": 0.25}


def air_of(angles: Angles, step: int | slice, aerosol: Any, water: Any, ozone: Any, height: Any) -> Air:
    """Return the air of some steps."""
    apart = np.abs((angles["sun_azimuth"] - angles["view_azimuth"] + 180) % 360 - 180)
    parts = [np.atleast_1d(one)[step] for one in (angles["sun_zenith"], angles["view_zenith"], apart)]
    return Air(*np.broadcast_arrays(*parts, aerosol, water, ozone, height))


def estimate(
    cube: xr.Dataset, angles: Angles, elevation: NDArray[np.float64], *, aerosol: bool, water: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return aerosol and water vapour of each date, NaN for what is not asked for. Reads a sample.

    Dense dark vegetation is a quarter as bright in B02 as in B12, and half in B04: that aerosol is found
    which makes it so. Where a date has none, a usual value is taken, with a warning. Water vapour is
    found that makes B09 as bright as B8A, which it is on most ground.
    """
    wanted = [band for band in ("B02", "B04", "B08", "B8A", "B09", "B12") if band in cube]
    sample = lattice(cube[wanted], PIXELS)
    steps = cube.sizes["time"]
    found = np.full((2, steps), np.nan)
    unknown: dict[str, int] = {"aerosol": 0, "water vapour": 0}
    for step in range(steps):
        sky = {name: values[step : step + 1] for name, values in angles.items()}
        height = elevation[step : step + 1]
        look = {band: sample[band].values[step].ravel().astype(np.float64) for band in wanted}
        if water or aerosol:
            told = _water(look, sky, height)
            unknown["water vapour"] += told is None and water
            found[1, step] = ASSUMED_WATER if told is None else told
        if aerosol:
            told = _aerosol(look, sky, height, found[1, step])
            unknown["aerosol"] += told is None
            found[0, step] = ASSUMED_AEROSOL if told is None else told
    for what, count in unknown.items():
        if count:
            usual = ASSUMED_AEROSOL if what == "aerosol" else ASSUMED_WATER
            warnings.warn(
                f"{count} of {steps} dates do not tell their {what}: they lack {_NEEDS[what]}. "
                f"{usual} is taken; pass {what.replace(' ', '_')}= where you know it.",
                stacklevel=4,
            )
    return found[0], found[1]


def _ground(look: dict[str, NDArray], band: str, where: Any, air: Air) -> NDArray[np.float64]:
    """Return reflectance of the ground, shape ``(states, pixels)``."""
    a, b, c = (one[0][:, None] for one in coefficients(weights.load(), air, [band]))
    y = a * look[band][where][None] - b
    ground: NDArray[np.float64] = y / (1 + c * y)
    return ground


def _water(look: dict[str, NDArray], sky: Angles, height: NDArray) -> float | None:
    beside = "B8A" if "B8A" in look else "B08"
    if "B09" not in look or beside not in look:
        return None
    near = look[beside]
    # Lit, not snow or cloud, whose B09 tells of the air above them.
    where = np.isfinite(near) & np.isfinite(look["B09"]) & (near > 0.08) & (near < 0.5)
    if where.sum() < FEWEST:
        return None
    air = air_of(sky, slice(None), ASSUMED_AEROSOL, _WATERS, OZONE, height)
    ratio = _ground(look, "B09", where, air) / _ground(look, beside, where, air)
    off = np.median(ratio, 1)
    return float(np.interp(1.0, off, _WATERS))


def _aerosol(look: dict[str, NDArray], sky: Angles, height: NDArray, water: float) -> float | None:
    if not all(band in look for band in ("B02", "B04", "B12")):
        return None
    near = look["B8A"] if "B8A" in look else look.get("B08")
    if near is None:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        green = (near - look["B04"]) / (near + look["B04"])
        where = (green > 0.45) & (look["B12"] > 0.01) & (look["B12"] < 0.1) & (near > 0.1)
    where &= np.isfinite(look["B02"])
    if where.sum() < FEWEST:
        return None
    air = air_of(sky, slice(None), _AEROSOLS, water, OZONE, height)
    short = _ground(look, "B12", where, air)
    off = sum(
        np.median(_ground(look, band, where, air) - share * short, 1) for band, share in _DENSE.items()
    )
    # More aerosol, darker ground: where it passes zero.
    return float(np.interp(0.0, -np.asarray(off), _AEROSOLS))
