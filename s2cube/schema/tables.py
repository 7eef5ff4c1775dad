"""Bands, classes and flags: their names, numbers and CF attributes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np

from s2cube.errors import CubeError


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
FAILED_LOOKS: Final = "failed_looks"
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
    return list(dict.fromkeys(band_id(name) for name in names_of(names)))


def is_scl(name: object) -> bool:
    """Return whether `name` is one in use for Sen2Cor's scene classification (``"SCL_20m"``, ...)."""
    return re.fullmatch(r"(s2-l2a-)?scl(_[26]0m)?|scene_classification", str(name).lower()) is not None


def names_of(names: object) -> list[str]:
    """Return one name or several as a list; refuse anything else, and nothing at all."""
    if isinstance(names, str):
        return [names]
    if not isinstance(names, Iterable):
        raise CubeError(f"Bands are given by name, one or several; got {names!r}.")
    if not (found := list(names)):
        raise CubeError("No band asked for: `bands` is empty.")
    return found


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
