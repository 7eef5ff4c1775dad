"""Light: how clouds, cirrus, shadows and the air look to each band, and where the sun is."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube import schema
from s2cube.schema import Status

__all__ = [
    "LOWEST_SUN",
    "VISIBLE",
    "aerosol_thickness",
    "air_thickness",
    "crystals",
    "droplets",
    "look",
    "low_opacity",
    "opacity",
    "shadow_light",
    "state",
    "sun_direction",
]

OPAQUE: Final = 0.5
"""Opacity above which it is cloud; a pixel tells less of its ground than of the cloud."""
VISIBLE: Final = 0.1
"""Opacity from which on it is thin cloud."""
SHADED: Final = 0.4
"""Opacity of the cloud towards the sun, above which it is shadow."""
LOCAL_HOUR: Final = 10.5
LOWEST_SUN: Final = 5.0
"""Degrees: below it a shadow would lie farther away than Sentinel-2 ever sees one."""

_SOFT: Final = 0.5
"""Deviations of the field from opacity 0 to 1, at the edge of a cloud."""
_CIRRUS: Final = (0.2, 0.45)
"""Opacity of cirrus by deviation of its field, and the most there is."""
_WHITE: Final = (0.3, 1.0)
"""Reflectance of opaque cloud in the visible, from grey to white."""
_ICE_WHITE: Final = 0.6
_SIDE_LIGHT: Final = 0.15
"""Of the direct light that a cloud takes away, what it gives back from its sides."""
_AEROSOL: Final = 0.15
"""Optical thickness at 550 nm: clear continental air."""
_ANGSTROM: Final = 1.3

_DROPLETS: Final = {"B09": 0.85, "B10": 0.03, "B11": 0.8, "B12": 0.6}
"""Reflectance of water clouds beside that in the visible; elsewhere 1."""
_CRYSTALS: Final = {"B09": 0.85, "B10": 0.6, "B11": 0.55, "B12": 0.4}
"""The same of cirrus; elsewhere a little bluish."""
_BLUISH: Final = 0.15


def low_opacity(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the opacity of low cloud, by how many deviations its field is above the edge."""
    found = depth * np.float32(1 / _SOFT)
    found += np.float32(OPAQUE)
    return np.clip(found, 0, 1, out=found)


def opacity(low: NDArray[np.float32], cirrus: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the opacity of low cloud and cirrus together, from both fields."""
    found, veil = low_opacity(low), _cirrus_opacity(cirrus)
    np.subtract(1, found, out=found)
    found *= np.subtract(1, veil, out=veil)
    return np.subtract(1, found, out=found)


def _cirrus_opacity(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    found = depth * np.float32(_CIRRUS[0])
    found += np.float32(VISIBLE)
    return np.clip(found, 0, np.float32(_CIRRUS[1]), out=found)


def look(
    values: NDArray[np.float32],
    low: NDArray[np.float32],
    cirrus: NDArray[np.float32],
    shade: NDArray[np.float32],
    lost: NDArray[np.float32],
    air: NDArray[np.float32],
    white: NDArray[np.float32],
    *,
    water: float,
    ice: float,
) -> NDArray[np.float32]:
    """Return the reflectance of a band under the sky: the shadow first, then low clouds, then cirrus."""
    part = low_opacity(shade)
    changed = np.broadcast_to(part > 0, values.shape).copy()
    # What the air itself reflects is not shaded; it cannot be more than all.
    seen = values - np.minimum(air, values)
    seen *= part * lost
    np.subtract(values, seen, out=seen)
    part = low_opacity(low)
    changed |= part > 0
    bright = np.clip(white + np.float32(0.15) * low, *_WHITE) * np.float32(water)
    bright -= seen
    bright *= part
    seen += bright
    part = _cirrus_opacity(cirrus)
    changed |= part > 0
    part *= np.float32(ice) - seen
    seen += part
    # A whole number of counts, as every product has.
    seen *= np.float32(10_000)
    np.rint(seen, out=seen)
    seen /= np.float32(10_000)
    return np.where(changed, seen, values)


def state(
    low: NDArray[np.float32],
    cirrus: NDArray[np.float32],
    shade: NDArray[np.float32],
    *known: NDArray[Any],
) -> NDArray[np.uint8]:
    """Return the true ``status``; `known` are the bands, and the cube's own status where it has one."""
    lost = opacity(low, cirrus)
    found = np.where(lost >= VISIBLE, Status.THIN_CLOUD, Status.CLEAR).astype(np.uint8)
    np.maximum(found, np.uint8(Status.SHADOW), out=found, where=low_opacity(shade) > SHADED)
    np.maximum(found, np.uint8(Status.CLOUD), out=found, where=lost > OPAQUE)
    for array in known:
        if array.dtype == np.uint8:
            np.maximum(found, array, out=found, where=array >= Status.SATURATED)
        else:
            np.maximum(found, np.uint8(Status.NO_DATA), out=found, where=np.isnan(array))
    return found


def droplets(band: str) -> float:
    """Return the reflectance of water cloud beside that in the visible."""
    return _DROPLETS.get(band, 1.0)


def crystals(band: str) -> float:
    """Return the reflectance of cirrus that is opaque."""
    bluish = (schema.BANDS["B01"].wavelength / schema.BANDS[band].wavelength) ** _BLUISH
    return _ICE_WHITE * float(_CRYSTALS.get(band, bluish))


def shadow_light(
    band: str, up: NDArray[np.float64], *, top: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return which share of the light a full shadow takes, and what the air itself reflects, by date.

    Of what air scatters out of the direct beam, half comes down as light of the sky; of what aerosol
    scatters, 85 % does. The air's own reflectance is that of single scattering, seen from above.
    """
    micron = schema.BANDS[band].wavelength / 1000
    rayleigh = air_thickness(micron)
    aerosol = aerosol_thickness(micron, _AEROSOL)
    cosine = np.maximum(up, math.sin(math.radians(LOWEST_SUN)))
    direct = np.exp(-(0.5 * rayleigh + 0.85 * aerosol) / cosine)
    air = rayleigh * 0.75 * (1 + cosine**2) / (4 * cosine) if top else np.zeros_like(cosine)
    lost = direct * (1 - _SIDE_LIGHT)
    return lost.astype(np.float32)[:, None, None], air.astype(np.float32)[:, None, None]


def air_thickness(micron: Any) -> Any:
    """Return the optical thickness of molecules at sea level (Hansen and Travis 1974)."""
    return 0.008569 * micron**-4 * (1 + 0.0113 * micron**-2 + 0.00013 * micron**-4)


def aerosol_thickness(micron: Any, at_550: Any) -> Any:
    """Return the optical thickness of aerosol, of continental size."""
    return at_550 * (micron / 0.55) ** -_ANGSTROM


def sun_direction(times: NDArray[np.datetime64], grid: Any) -> NDArray[np.float64]:
    """Return the direction of the sun at 10:30 local time: east, north, up, shape ``(3, time)``.

    Declination by Spencer (1971), Fourier series representation of the position of the sun.
    """
    latitude = math.radians(float(grid.extent.centroid.to_crs("epsg:4326").points[0][1]))
    day = (times.astype("datetime64[D]") - times.astype("datetime64[Y]")).astype(np.int64)
    angle = 2 * np.pi * day / 365
    declination = 0.006918 - 0.399912 * np.cos(angle) + 0.070257 * np.sin(angle)
    declination += -0.006758 * np.cos(2 * angle) + 0.000907 * np.sin(2 * angle)
    declination += -0.002697 * np.cos(3 * angle) + 0.00148 * np.sin(3 * angle)
    hour = math.radians(15 * (LOCAL_HOUR - 12))
    sine, cosine = np.sin(declination), np.cos(declination)
    return np.stack(
        [
            -cosine * math.sin(hour),
            sine * math.cos(latitude) - cosine * math.sin(latitude) * math.cos(hour),
            sine * math.sin(latitude) + cosine * math.cos(latitude) * math.cos(hour),
        ]
    )
