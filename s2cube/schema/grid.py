"""Where and when: the grid of a cube, its CRS, and solar days."""

import functools
import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from s2cube.errors import CubeError
from s2cube.schema.tables import SPATIAL_REF

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

METRES: Final = 111_195.0
"""Of a degree, on a sphere."""


def spatial_ref(geobox: "GeoBox") -> xr.Variable:
    """Return the scalar CF grid mapping of `geobox`, as rioxarray and odc-geo read it."""
    crs = _crs(geobox)
    attrs = {
        **crs.proj.to_cf(),
        "spatial_ref": crs.wkt,
        # The order of GDAL; the CF grid mapping alone does not tell a one-pixel cube its resolution.
        "GeoTransform": " ".join(repr(float(part)) for part in geobox.transform.to_gdal()),
    }
    return xr.Variable((), np.int32(crs.epsg or 0), attrs)


def grid_coords(geobox: "GeoBox") -> dict[Hashable, xr.Variable]:
    """Return the coordinates ``y``, ``x`` (pixel centres) and ``spatial_ref`` of `geobox`."""
    affine, (height, width) = geobox.transform, geobox.shape
    words = ("latitude", "longitude") if _crs(geobox).geographic else ("y", "x")
    units = "degrees" if _crs(geobox).geographic else "m"
    y = affine.f + (np.arange(height) + 0.5) * affine.e
    x = affine.c + (np.arange(width) + 0.5) * affine.a
    return {
        "y": xr.Variable("y", y, {"long_name": words[0], "units": units, "axis": "Y"}),
        "x": xr.Variable("x", x, {"long_name": words[1], "units": units, "axis": "X"}),
        SPATIAL_REF: spatial_ref(geobox),
    }


def _crs(geobox: "GeoBox") -> Any:
    if geobox.crs is None:
        raise CubeError("The grid has no CRS: pass a GeoBox with one.")
    return geobox.crs


def parse_crs(crs: object) -> Any:
    """Return `crs` as an ``odc.geo.CRS``, by its EPSG code where it has one.

    Two spellings of one CRS must compare equal, and GDAL's habit of adding a datum shift of zero
    (``TOWGS84[0,0,0,0,0,0,0]``) makes no other CRS.

    Raises
    ------
    CubeError
        It is no coordinate reference system.
    """
    return _parse_text(crs) if isinstance(crs, str) else _parse(crs)


def _parse(crs: object) -> Any:
    from odc.geo import CRS, CRSError

    try:
        parsed = CRS(crs)
    except CRSError as error:
        raise CubeError(f"crs={crs!r} is no coordinate reference system: {error}") from None
    plain: Any = parsed.proj
    if plain.is_bound and not any(plain.coordinate_operation.towgs84):
        plain = plain.source_crs
    # The code that the CRS itself states, unless its content belies it: names change over the years
    # ("ETRS89-extended / LAEA Europe"), so an exact match would miss it.
    stated = plain.to_json_dict().get("id", {})
    epsg = plain.to_epsg(20 if stated.get("authority") == "EPSG" else 70)
    return CRS(plain if epsg is None else epsg)


# Looking a code up takes 20 ms, and every verb asks for the grid.
_parse_text = functools.lru_cache(maxsize=256)(_parse)


def geobox_of(cube: xr.Dataset) -> "GeoBox":
    """Return the grid of `cube`, from its pixel centres and its ``spatial_ref``.

    Raises
    ------
    CubeError
        There is no CRS, or ``y`` and ``x`` are not evenly spaced.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    if SPATIAL_REF in cube.data_vars:
        raise CubeError(
            "The grid of the cube (spatial_ref) was read as data: open it with decode_coords='all', or "
            "pass it to as_cube()."
        )
    if SPATIAL_REF not in cube.coords:
        raise CubeError("The cube has no CRS (coordinate 'spatial_ref'): pass crs= to as_cube().")
    attrs = cube[SPATIAL_REF].attrs
    wkt = attrs.get("crs_wkt") or attrs.get("spatial_ref")
    if not wkt:
        raise CubeError("'spatial_ref' carries no CRS (crs_wkt): pass crs= to as_cube().")
    stored = [float(part) for part in str(attrs.get("GeoTransform", "")).split()]
    (x0, dx) = _axis(cube, "x", stored[1] if len(stored) == 6 else None)
    (y0, dy) = _axis(cube, "y", stored[5] if len(stored) == 6 else None)
    shape = (cube.sizes["y"], cube.sizes["x"])
    return GeoBox(shape, Affine(dx, 0, x0 - dx / 2, 0, dy, y0 - dy / 2), parse_crs(wkt))


def _axis(cube: xr.Dataset, dim: str, step: float | None) -> tuple[float, float]:
    """Return the first centre along `dim` and the step; `step` serves where there is one pixel."""
    centres = np.asarray(cube[dim].values, dtype=float)
    if centres.size == 0:
        raise CubeError(f"The cube is empty along {dim!r}: the area asked for holds no pixel.")
    if centres.size == 1:
        if step is None:
            raise CubeError(f"One pixel along {dim!r} and no GeoTransform: its size is unknown.")
        return float(centres[0]), step
    steps = np.diff(centres)
    mean = float((centres[-1] - centres[0]) / (centres.size - 1))
    # Off by less than a twentieth of a pixel is rounding: degrees are often kept in float32.
    off = np.abs(centres - (centres[0] + mean * np.arange(centres.size))).max()
    if not (mean != 0 and off <= 0.05 * abs(mean)):
        raise CubeError(
            f"{dim!r} is not evenly spaced (steps {steps.min():g} to {steps.max():g}): "
            "put the data on a regular grid first."
        )
    return float(centres[0]), mean


def first_pixel(geobox: "GeoBox") -> tuple[int, int]:
    """Return the row and column of the first pixel of `geobox`, counted from the origin of its CRS.

    All parts of one grid count alike, so what lies at fixed rows and columns lies at fixed places. Rows
    increase southwards.
    """
    affine = geobox.transform
    # Grids begin at whole or half pixels: what is rounded either way must be neither.
    return math.floor(affine.f / affine.e + 0.25), math.floor(affine.c / affine.a + 0.25)


def pixel_metres(geobox: "GeoBox") -> tuple[float, float]:
    """Return the size of a pixel of `geobox` along y and x in metres.

    In degrees a sphere will do; the middle latitude stands for all of the grid.

    Raises
    ------
    CubeError
        The CRS is neither in metres nor in degrees.
    """
    dx, dy = abs(geobox.transform.a), abs(geobox.transform.e)
    crs = _crs(geobox)
    if crs.geographic:
        latitude = math.radians(float(geobox.extent.centroid.points[0][1]))
        return dy * METRES, dx * METRES * max(math.cos(latitude), 1e-6)
    if crs.units[0] not in ("metre", "meter", "m"):
        raise CubeError(
            f"Distances are in metres, but the grid is in {crs.units[0]}: open the cube in a metric or "
            "geographic CRS."
        )
    return dy, dx


def solar_day(times: np.ndarray, longitude: float) -> np.ndarray:
    """Return the solar day of naive UTC `times` at `longitude`, int32 days since 1970-01-01.

    Times at exactly 00:00 are dates already: a longitude must not move them to the day before.
    """
    seconds = times.astype("datetime64[s]").astype(np.int64)
    shifted = np.where(seconds % 86400 == 0, seconds, seconds + round(longitude / 15 * 3600))
    days: np.ndarray = shifted // 86400
    return days.astype(np.int32)


def solar_days(cube: xr.Dataset) -> np.ndarray:
    """Return the solar day of each step of `cube`, int32 days since 1970-01-01, shape ``(time,)``."""
    return solar_day(cube["time"].values, longitude_of(geobox_of(cube)))


def longitude_of(geobox: "GeoBox") -> float:
    """Return the longitude of the middle of `geobox`, by which its solar days are told."""
    return float(geobox.extent.centroid.to_crs("epsg:4326").points[0][0])


def orbits_of(cube: xr.Dataset) -> np.ndarray:
    """Return the relative orbit of each step of `cube`, int64, shape ``(time,)``; -1: not known.

    Raises
    ------
    CubeError
        The cube does not tell.
    """
    if "relative_orbit" not in cube.coords:
        raise CubeError(
            "The cube has no relative_orbit along time: open it by datatake (groupby='datatake') from a "
            "source that tells it, or set it: cube.assign_coords(relative_orbit=('time', [...]))."
        )
    orbits: np.ndarray = cube["relative_orbit"].values.astype(np.int64)
    return np.broadcast_to(orbits, (cube.sizes["time"],))
