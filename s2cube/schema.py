"""Tables and the cube contract: bands, classes, flags, and what makes a Dataset a cube.

A *cube* is an :class:`xarray.Dataset` with dimensions ``(time, y, x)``, one variable a band,
``float32`` reflectance with NaN where nothing is known, ``y`` descending, pixel centres as
coordinates and the CRS in ``spatial_ref``. :func:`validate` holds a Dataset against it.
"""

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from s2cube.errors import CubeError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = [
    "BANDS",
    "SCL_CLASSES",
    "SCL_STATUS",
    "Band",
    "Provenance",
    "Status",
    "band_id",
    "validate",
]


@dataclass(frozen=True)
class Band:
    """One band of the MultiSpectral Instrument (ESA Sentinel-2 User Handbook; Sentinel-2A values)."""

    id: str
    """Name in a cube, ``"B08"``."""
    common_name: str
    """STAC ``eo`` common name, ``"nir"``."""
    wavelength: float
    """Centre, nm."""
    fwhm: float
    """Full width at half maximum, nm."""
    resolution: int
    """Native pixel size, m."""
    aliases: tuple[str, ...] = ()
    """Other names in use (Earth Search asset keys, older ``eo`` names)."""


BANDS: Final[dict[str, Band]] = {
    band.id: band
    for band in (
        Band("B01", "coastal", 442.7, 20, 60),
        Band("B02", "blue", 492.7, 65, 10),
        Band("B03", "green", 559.8, 35, 10),
        Band("B04", "red", 664.6, 30, 10),
        Band("B05", "rededge071", 704.1, 14, 20, ("rededge1",)),
        Band("B06", "rededge075", 740.5, 14, 20, ("rededge2",)),
        Band("B07", "rededge078", 782.8, 19, 20, ("rededge3",)),
        Band("B08", "nir", 832.8, 105, 10),
        Band("B8A", "nir08", 864.7, 21, 20),
        Band("B09", "nir09", 945.1, 19, 60),
        Band("B10", "cirrus", 1373.5, 29, 60),
        Band("B11", "swir16", 1613.7, 90, 20),
        Band("B12", "swir22", 2202.4, 174, 20),
    )
}
"""All bands by id, in the order of wavelength that ESA numbers them in."""

_BY_NAME: Final[dict[str, str]] = {
    name.lower(): band.id
    for band in BANDS.values()
    for name in (band.id, band.common_name, *band.aliases)
}
# "B2", "b02", "S2-L2A-B04", "B02_10m", "T33UUU_20170216T102101_B8A"
_BAND_IN_NAME: Final = re.compile(r"(?:^|[-_.])b(0?\d|1[0-2]|8a)(?:[-_.]\d\dm)?$", re.IGNORECASE)

SCL: Final = "SCL"
STATUS: Final = "status"
PROVENANCE: Final = "provenance"
CLEAR_AGE: Final = "clear_age"
SPATIAL_REF: Final = "spatial_ref"
DIMS: Final = ("time", "y", "x")
LEVELS: Final = ("L1C", "L2A")

NO_AGE: Final = -32768
"""``clear_age`` of a pixel without any clear look."""
SCALE: Final = 1e-4
"""Reflectance of one count, on disk and in ESA's products."""
NODATA: Final = -32768
"""Missing reflectance on disk (int16)."""


class Status(IntEnum):
    """What one look at one pixel is worth, in order of precedence: where two meet, the higher wins."""

    CLEAR = 0
    CLEAR_WATER = 1
    SNOW = 2
    THIN_CLOUD = 3
    SHADOW = 4
    CLOUD = 5
    SATURATED = 6
    NO_DATA = 7
    READ_FAILED = 8


class Provenance(IntEnum):
    """Where a value of a filled cube comes from."""

    OBSERVED = 0
    INTERPOLATED = 1
    EXTRAPOLATED = 2
    SAME_DATE = 3
    NETWORK = 4
    OTHER_SENSOR = 5
    NEVER_OBSERVED = 255


SCL_CLASSES: Final[dict[int, str]] = {
    0: "no_data",
    1: "saturated_or_defective",
    2: "dark_area",
    3: "cloud_shadow",
    4: "vegetation",
    5: "not_vegetated",
    6: "water",
    7: "unclassified",
    8: "cloud_medium_probability",
    9: "cloud_high_probability",
    10: "thin_cirrus",
    11: "snow_or_ice",
}
"""Sen2Cor's scene classification (Sentinel-2 Products Specification Document)."""

SCL_STATUS: Final[dict[int, Status]] = {
    0: Status.NO_DATA,
    1: Status.SATURATED,
    2: Status.CLEAR,
    3: Status.SHADOW,
    4: Status.CLEAR,
    5: Status.CLEAR,
    6: Status.CLEAR_WATER,
    7: Status.CLEAR,
    8: Status.CLOUD,
    9: Status.CLOUD,
    10: Status.THIN_CLOUD,
    11: Status.SNOW,
}
"""What each class of the scene classification means for a look."""


def find_band(name: object) -> str | None:
    """Return the id of the band that `name` means (``"red"`` → ``"B04"``), or None."""
    text = str(name)
    if text.lower() in _BY_NAME:
        return _BY_NAME[text.lower()]
    match = _BAND_IN_NAME.search(text)
    if match is None:
        return None
    number = match.group(1).upper()
    return f"B{number}" if number == "8A" else _BY_NAME.get(f"b{int(number):02d}")


def band_id(name: object) -> str:
    """Return the id of the band that `name` means.

    Parameters
    ----------
    name
        An id (``"B04"``, ``"B4"``), a STAC common name (``"red"``) or an asset's name
        (``"S2-L2A-B04"``, ``"B04_10m"``).

    Raises
    ------
    CubeError
        No Sentinel-2 band has that name.

    Examples
    --------
    >>> from s2cube.schema import band_id
    >>> band_id("red"), band_id("B8A"), band_id("B2")
    ('B04', 'B8A', 'B02')
    """
    found = find_band(name)
    if found is None:
        known = ", ".join(f"{band.id} ({band.common_name})" for band in BANDS.values())
        raise CubeError(f"{name!r} is no Sentinel-2 band. Known bands: {known}.")
    return found


def band_ids(names: str | Iterable[str]) -> list[str]:
    """Return the ids of `names` (one name or several), without repetition, in order."""
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise CubeError("No band asked for: `bands` is empty.")
    return list(dict.fromkeys(band_id(name) for name in names))


def bands_of(cube: xr.Dataset) -> list[str]:
    """Return the reflectance bands that `cube` holds, in its own order."""
    return [str(name) for name in cube.data_vars if name in BANDS]


def pick_bands(cube: xr.Dataset, bands: str | Iterable[str] | None) -> list[str]:
    """Return the ids of the asked `bands`, all of `cube` where None; refuse what it does not hold."""
    held = bands_of(cube)
    if bands is None:
        return held
    asked = band_ids(bands)
    if missing := [band for band in asked if band not in held]:
        raise CubeError(f"The cube holds no {', '.join(missing)}; it holds {', '.join(held)}.")
    return asked


def band_attrs(band: str) -> dict[str, Any]:
    """Return the CF attributes of a reflectance band."""
    known = BANDS[band]
    return {
        "long_name": f"{known.id} ({known.common_name}) reflectance",
        "units": "1",
        "wavelength": known.wavelength,
        "wavelength_units": "nm",
    }


def flag_attrs(flags: type[IntEnum] | dict[int, str], long_name: str) -> dict[str, Any]:
    """Return the CF attributes of an exclusive flag variable."""
    table = (
        flags if isinstance(flags, dict) else {int(flag): str(flag.name).lower() for flag in list(flags)}
    )
    return {
        "long_name": long_name,
        "flag_values": np.array(list(table), dtype=np.uint8),
        "flag_meanings": " ".join(table.values()),
    }


def scl_attrs() -> dict[str, Any]:
    """Return the CF attributes of ``SCL``."""
    return flag_attrs(SCL_CLASSES, "Sen2Cor scene classification")


def status_attrs() -> dict[str, Any]:
    """Return the CF attributes of ``status``."""
    return flag_attrs(Status, "state of the look at the pixel")


def variable(data: Any, attrs: dict[str, Any], **encoding: Any) -> xr.Variable:
    """Return a ``(time, y, x)`` variable of a cube, tied to its grid mapping."""
    return xr.Variable(DIMS, data, attrs, {"grid_mapping": SPATIAL_REF, **encoding})


def record(cube: xr.Dataset, verb: str, **arguments: object) -> xr.Dataset:
    """Note in the CF attribute ``history`` that `verb` made `cube`, and with which arguments.

    It holds what decides the values and nothing that changes from run to run (no time of day, no
    library version, no chunk size): the writer keeps it and shows it when settings differ.
    """
    words = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    past = str(cube.attrs.get("history", ""))
    return cube.assign_attrs(history=f"{past}\n{verb}({words})".strip())


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


def geobox_of(cube: xr.Dataset) -> "GeoBox":
    """Return the grid of `cube`, from its pixel centres and its ``spatial_ref``.

    Raises
    ------
    CubeError
        There is no CRS, or ``y`` and ``x`` are not evenly spaced.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

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
    if mean == 0 or np.abs(steps - mean).max() > 1e-3 * abs(mean):
        raise CubeError(
            f"{dim!r} is not evenly spaced (steps {steps.min():g} to {steps.max():g}): "
            "put the data on a regular grid first."
        )
    return float(centres[0]), mean


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
    centre = geobox_of(cube).extent.centroid.to_crs("epsg:4326").points[0]
    return solar_day(cube["time"].values, float(centre[0]))


def validate(
    cube: xr.Dataset,
    *,
    bands: str | Iterable[str] | None = None,
    level: str | None = None,
    scl: bool = False,
) -> xr.Dataset:
    """Hold a Dataset against the cube contract.

    Nothing is computed. ``time`` is cast to ``datetime64[ns]``; all else must be right already.

    Parameters
    ----------
    cube
        Dataset with dimensions ``(time, y, x)``.
    bands
        Bands that must be there, by id or common name.
    level
        Processing level that it must have, ``"L1C"`` or ``"L2A"``.
    scl
        Whether it must hold the scene classification, ``SCL``.

    Returns
    -------
    xarray.Dataset
        The same cube.

    Raises
    ------
    CubeError
        It is not a cube as described in :mod:`s2cube.schema`; the message says what to do.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> s2cube.validate(cube, bands=["red", "nir"], level="L2A").sizes["time"]
    57
    """
    if not isinstance(cube, xr.Dataset):
        raise CubeError(
            f"A cube is an xarray.Dataset, got {type(cube).__name__}: s2cube.as_cube() makes one."
        )
    if "time" not in cube.dims:
        raise CubeError(
            f"The cube has no 'time' dimension (it has {', '.join(map(str, cube.dims)) or 'none'}): "
            "an image is not a series; open several dates, or name the dimension with as_cube()."
        )
    held = pick_bands(cube, bands)
    if not held:
        raise CubeError(
            f"No Sentinel-2 band among {', '.join(map(str, cube.data_vars)) or 'no variables'}: "
            "s2cube.as_cube() renames bands (names={'your name': 'B04'})."
        )
    for name in [*held, *(name for name in (SCL, STATUS) if name in cube)]:
        _validate_variable(cube[name])
    times = cube.indexes["time"]
    if times.dtype.kind != "M":
        raise CubeError(f"'time' is {times.dtype}, not datetime64: decode it (xarray.decode_cf).")
    if not times.is_monotonic_increasing or not times.is_unique:
        raise CubeError(
            "'time' must be sorted and unique: use cube.sortby('time'), and merge looks of the same "
            "time (open_stac(groupby='solar_day') does)."
        )
    if geobox_of(cube).transform.e > 0:
        raise CubeError("'y' must descend (north up): cube.sortby('y', ascending=False).")
    if level is not None:
        got = str(cube.coords["processing_level"].item()) if "processing_level" in cube.coords else ""
        if got != level:
            raise CubeError(f"This needs level {level}, the cube is {got or 'of unknown level'}.")
    if scl and SCL not in cube:
        raise CubeError(
            "The cube has no scene classification 'SCL': open a level-2A source that has it, or pass "
            "your own mask."
        )
    if times.dtype != np.dtype("datetime64[ns]"):
        cube = cube.assign_coords(time=("time", times.values.astype("datetime64[ns]")))
    return cube


def _validate_variable(array: xr.DataArray) -> None:
    """Raise where a band, SCL or status has other dimensions or another type than the contract's."""
    if array.dims != DIMS:
        raise CubeError(
            f"{array.name!r} has dimensions {array.dims}, a cube has {DIMS}: s2cube.as_cube()."
        )
    wanted = np.float32 if array.name in BANDS else np.uint8
    if array.dtype != wanted:
        raise CubeError(
            f"{array.name!r} is {array.dtype}, a cube holds {np.dtype(wanted)}: s2cube.as_cube() "
            "turns counts into reflectance."
        )
