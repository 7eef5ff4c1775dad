"""What a cube, or its user, tells of the light: angles, and the state of the air, step by step."""

import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.kernels.sunlight import sun_angles, view_angles

__all__ = [
    "ANGLES",
    "HIGHEST",
    "LOWEST_SUN",
    "NIGHT",
    "OZONE",
    "Angles",
    "angles_of",
    "by_step",
    "elevation_of",
]

ANGLES: Final = ("sun_zenith", "sun_azimuth", "view_zenith", "view_azimuth")
LOWEST_SUN: Final = 75.0
"""Degrees from above, to which the emulator was taught; ESA makes no level 2A of lower suns either."""
NIGHT: Final = 88.0
HIGHEST: Final = 4000.0
WIDEST: Final = 150_000.0
"""Metres, a tile and some: beyond, the edges see sun and satellite a degree and more elsewhere."""
OZONE: Final = 0.3
"""atm-cm, where none is given: ±0.1 are worth 1 % in B03 and B04, less elsewhere."""

Angles = dict[str, NDArray[np.float64]]
"""Degrees by name of :data:`ANGLES`, each of shape ``(time,)``."""
_HOW: Final = (
    "Give them: angles={'sun_zenith': 31.0, 'sun_azimuth': 150.0, 'view_zenith': 6.0, 'view_azimuth': "
    "103.0}, degrees, one number or one a date (in a product: Mean_Sun_Angle and "
    "Mean_Viewing_Incidence_Angle of MTD_TL.xml)"
)


def by_step(cube: xr.Dataset, name: str, given: Any, low: float, high: float) -> NDArray[np.float64]:
    """Return what is given of a quantity as one number a date; refuse what cannot be."""
    steps = cube.sizes["time"]
    if isinstance(given, xr.DataArray) and "time" in given.dims and given.ndim == 1:
        given = _on_dates(cube, name, given) if "time" in given.coords else given
    values = np.asarray(given)
    if values.dtype.kind not in "iuf" or values.ndim > 1 or values.size not in (1, steps):
        got = f"shape {values.shape}" if values.ndim else repr(given)
        raise CubeError(
            f"{name} is one number, or one for each of the {steps} dates; got {got}. Of a map, give the "
            "mean of each date."
        )
    numbers = np.broadcast_to(values.astype(np.float64).reshape(-1), (steps,))
    if not ((numbers >= low) & (numbers <= high)).all():
        raise CubeError(
            f"{name} lies between {low:g} and {high:g}; got {numbers.min():g} to {numbers.max():g}."
        )
    return numbers


def _on_dates(cube: xr.Dataset, name: str, given: xr.DataArray) -> xr.DataArray:
    try:
        return given.sel(time=cube["time"])
    except KeyError:
        raise CubeError(
            f"{name} lacks dates of the cube: it has {given.sizes['time']} from "
            f"{given['time'].values.min()} to {given['time'].values.max()}. Times must be the cube's "
            "own: given.reindex(time=cube['time'], method='nearest') takes the nearest."
        ) from None


def angles_of(cube: xr.Dataset, given: Mapping[str, Any] | None = None) -> Angles:
    """Return the angles of each step: as given, as the cube tells them, or computed.

    Coordinates along time come first (``sun_zenith`` and so on), then what the items say (local products
    do), then the position of the sun at the time and place, and the view from the relative orbit.

    Raises
    ------
    CubeError
        One is neither given nor told, and the cube has dates without a time of day or no orbit.
    """
    given = {} if given is None else given
    if not hasattr(given, "keys"):
        raise CubeError(f"angles are a mapping of {', '.join(ANGLES)} to degrees; got {given!r}.")
    if unknown := [name for name in map(str, given) if name not in ANGLES]:
        raise CubeError(f"Unknown angle {unknown[0]!r}; angles are {', '.join(ANGLES)}.")
    found: Angles = {}
    for name in ANGLES:
        high = 180.0 if name == "sun_zenith" else 90.0 if name == "view_zenith" else 360.0
        if name in given:
            low = -360.0 if name.endswith("azimuth") else 0.0
            found[name] = by_step(cube, name, given[name], low, high)
        elif (told := _told(cube, name)) is not None:
            found[name] = told
    _warn_if_wide(cube)
    for kind in ("sun", "view"):
        if missing := [name for name in ANGLES if name.startswith(kind) and name not in found]:
            computed = _sun(cube) if kind == "sun" else _view(cube)
            found |= {name: computed[int(name.endswith("azimuth"))] for name in missing}
    return found


def _warn_if_wide(cube: xr.Dataset) -> None:
    grid = schema.geobox_of(cube)
    side = max(size * count for size, count in zip(schema.pixel_metres(grid), grid.shape, strict=True))
    if side > WIDEST:
        warnings.warn(
            f"The cube is {side / 1000:.0f} km wide, and angles and air are one number a date for all "
            "of it: do it in parts no larger than a tile.",
            stacklevel=4,
        )


def _told(cube: xr.Dataset, name: str) -> NDArray[np.float64] | None:
    """Return an angle that the cube carries along time, or in its items."""
    if name in cube.coords and cube[name].dims == ("time",):
        values = np.asarray(cube[name].values, np.float64)
    elif schema.ITEMS in cube.coords:
        rows = [[item.get(name, np.nan) for item in step] for step in schema.records_of(cube)]
        if name.endswith("azimuth"):
            turns = [
                np.exp(1j * np.radians(np.array(row, float))).mean() if row else np.nan for row in rows
            ]
            values = np.degrees(np.angle(np.array(turns, complex))) % 360
        else:
            values = np.array([np.mean(row) if row else np.nan for row in rows], np.float64)
    else:
        return None
    return values if np.isfinite(values).all() else None


def _place(cube: xr.Dataset) -> tuple[float, float]:
    lon, lat = schema.geobox_of(cube).extent.centroid.to_crs("epsg:4326").points[0]
    return float(lon), float(lat)


def _sun(cube: xr.Dataset) -> NDArray[np.float64]:
    times = cube["time"].values
    if (times == times.astype("datetime64[D]")).any():
        raise CubeError(
            "The angle of the sun is not known: the cube's dates have no time of day, and it tells no "
            f"angles. {_HOW}; or give the cube its acquisition times."
        )
    return sun_angles(times, *_place(cube))


def _view(cube: xr.Dataset) -> NDArray[np.float64]:
    if "relative_orbit" not in cube.coords:
        raise CubeError(
            "The angle of the view is not known: the cube has neither angles nor a relative orbit. "
            f"{_HOW}; or give the cube a coordinate relative_orbit along time."
        )
    lon, lat = _place(cube)
    orbits = np.broadcast_to(np.asarray(cube["relative_orbit"].values), cube.sizes["time"])
    found = []
    for orbit in orbits.tolist():
        seen = view_angles(lon, lat, int(orbit)) if 1 <= int(orbit) <= 143 else None
        if seen is None:
            raise CubeError(f"Relative orbit {orbit} does not pass {lat:.2f}° N {lon:.2f}° E. {_HOW}.")
        found.append(seen)
    return np.array(found, np.float64).T


def elevation_of(cube: xr.Dataset, given: Any) -> NDArray[np.float64]:
    """Return the elevation of each step, metres; sea level, with a warning, where none is given."""
    if given is None:
        warnings.warn(
            "No elevation is given, so sea level is taken: at 1000 m that makes B01 about 130 counts "
            "too dark, B04 20. Pass elevation= in metres (0 at the sea).",
            stacklevel=4,
        )
        given = 0.0
    return by_step(cube, "elevation", given, -500, 9000)
