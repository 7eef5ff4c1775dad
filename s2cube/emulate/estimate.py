"""The state of the air from a scene itself: what dense vegetation and two water bands tell."""

import warnings
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.emulate import weights
from s2cube.emulate.light import Angles
from s2cube.emulate.sample import clear, lattice, stretches
from s2cube.emulate.spec import L2ASpec
from s2cube.kernels.atmosphere import Air, coefficients
from s2cube.schema import STATUS

__all__ = ["ASSUMED_AEROSOL", "ASSUMED_WATER", "air_of", "estimate"]

ASSUMED_AEROSOL: Final = 0.12
"""Where a scene does not tell: clean continental air."""
ASSUMED_WATER: Final = 1.5
PIXELS: Final = 40_000
FEWEST: Final = 100
"""Pixels that tell of a date's air: there must be so many."""
_AEROSOLS: Final = np.array([0.01, 0.03, 0.05, 0.08, 0.11, 0.15, 0.2, 0.26, 0.33, 0.42, 0.55, 0.7, 0.9])
_WATERS: Final = np.array([0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.35, 1.75, 2.2, 2.8, 3.5, 4.3, 5.2, 6.0])
_USUAL: Final = {
    "aerosol": (ASSUMED_AEROSOL, "dense dark vegetation"),
    "water_vapour": (ASSUMED_WATER, "ground in B09 and B8A"),
}
# Of dense vegetation, beside B12: Kaufman et al. 1997, https://doi.org/10.1109/36.628795; as in Sen2Cor.
_DENSE: Final = {"B04": 0.5, "B02": 0.25}


def air_of(angles: Angles, step: int | slice, aerosol: Any, water: Any, ozone: Any, height: Any) -> Air:
    """Return the air of some steps."""
    apart = np.abs((angles["sun_azimuth"] - angles["view_azimuth"] + 180) % 360 - 180)
    parts = [np.atleast_1d(one)[step] for one in (angles["sun_zenith"], angles["view_zenith"], apart)]
    return Air(*np.broadcast_arrays(*parts, aerosol, water, ozone, height))


class _Scene(NamedTuple):
    """One date: bands of some pixels, and all of its air that is known."""

    look: dict[str, NDArray[np.float64]]
    sky: Angles
    ozone: NDArray[np.float64]
    height: NDArray[np.float64]
    spec: L2ASpec | None

    def ground(self, band: str, where: Any, aerosol: Any, water: Any) -> NDArray[np.float64]:
        """Return reflectance of the ground under several states of the air, ``(states, pixels)``."""
        air = air_of(self.sky, slice(None), aerosol, water, self.ozone, self.height)
        a, b, c = (one[0][:, None] for one in coefficients(weights.load(), air, [band]))
        y = a * self.look[band][where][None] - b
        if self.spec is not None:
            row = self.spec.index([band])[0]
            y = self.spec.gain[row] * y + self.spec.shift[row]
        ground: NDArray[np.float64] = y / (1 + c * y)
        return ground


def estimate(
    cube: xr.Dataset,
    angles: Angles,
    elevation: NDArray[np.float64],
    ozone: NDArray[np.float64],
    *,
    aerosol: NDArray[np.float64] | None,
    water_vapour: NDArray[np.float64] | None,
    spec: L2ASpec | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return aerosol and water vapour of each date: as given, or as a sample of the cube tells them.

    Dense dark vegetation is a quarter as bright in B02 as in B12, and half in B04: that aerosol is found
    which makes it so. Water vapour is found that makes B09 as bright as B8A, which it is on most ground.
    Where a date does not tell, a usual value is taken, with a warning. What ``status`` calls cloud or
    shadow is left out. With a spec, the ground is what that makes of it.
    """
    needs = {"B08", "B8A"}
    needs |= set() if aerosol is not None else {"B02", "B04", "B12"}
    needs |= set() if water_vapour is not None else {"B09"}
    held = cube[[name for name in cube.data_vars if name in needs or name == STATUS]]
    steps = cube.sizes["time"]
    found = np.full((2, steps), np.nan)
    silent = dict.fromkeys(_USUAL, 0)
    for some in stretches(held):
        sample = lattice(held.isel(time=some), PIXELS)
        good = clear(sample)
        for row, step in enumerate(range(steps)[some]):
            scene = _Scene(
                {
                    str(band): sample[band].values[row][good[row]].astype(np.float64)
                    for band in needs & set(sample)
                },
                {name: values[step : step + 1] for name, values in angles.items()},
                ozone[step : step + 1],
                elevation[step : step + 1],
                spec,
            )
            given = [None if one is None else float(one[step]) for one in (aerosol, water_vapour)]
            told = dict(zip(_USUAL, _tell(scene, *given), strict=True))
            for number, (what, (usual, _)) in enumerate(_USUAL.items()):
                silent[what] += told[what] is None
                found[number, step] = usual if told[what] is None else told[what]
    for what, count in silent.items():
        if count:
            usual, lacking = _USUAL[what]
            warnings.warn(
                f"{count} of {steps} dates do not tell their {what.replace('_', ' ')}: they lack "
                f"{lacking}. {usual} is taken; pass {what}= where you know it.",
                stacklevel=4,
            )
    return found[0], found[1]


def _tell(
    scene: _Scene, aerosol: float | None, water: float | None
) -> tuple[float | None, float | None]:
    """Return both of a date; None for what it does not tell."""
    if water is not None and aerosol is None:
        return _aerosol(scene, water), water
    if water is None and aerosol is not None:
        return aerosol, _water(scene, aerosol)
    # Haze hides some of B09, and vapour hardly any of B02 and B04: the second round ends it.
    for _ in range(2):
        water = _water(scene, ASSUMED_AEROSOL if aerosol is None else aerosol)
        aerosol = _aerosol(scene, ASSUMED_WATER if water is None else water)
    return aerosol, water


def _water(scene: _Scene, aerosol: float) -> float | None:
    look = scene.look
    beside = "B8A" if "B8A" in look else "B08"
    if "B09" not in look or beside not in look:
        return None
    near = look[beside]
    # Lit, not snow or cloud, whose B09 tells of the air above them.
    where = np.isfinite(near) & np.isfinite(look["B09"]) & (near > 0.08) & (near < 0.5)
    if where.sum() < FEWEST:
        return None
    short, long = (scene.ground(band, where, aerosol, _WATERS) for band in (beside, "B09"))
    return float(np.interp(1.0, np.median(long / short, 1), _WATERS))


def _aerosol(scene: _Scene, water: float) -> float | None:
    look = scene.look
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
    short = scene.ground("B12", where, _AEROSOLS, water)
    off = sum(
        np.median(scene.ground(band, where, _AEROSOLS, water) - share * short, 1)
        for band, share in _DENSE.items()
    )
    # More aerosol, darker ground: where it passes zero.
    return float(np.interp(0.0, -np.asarray(off), _AEROSOLS))
