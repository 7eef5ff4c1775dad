"""Where the sun stands, and where Sentinel-2 looks from.

The sun by the formulas of NOAA's solar calculator (after Meeus, Astronomical Algorithms), which hold to
about 0.01° between 1900 and 2100; refraction, which lifts a sun that is well up by less than 0.05°, is
left out, as it is in products. The view by :mod:`~s2cube.kernels.orbit`.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2cube.kernels.orbit import HALF_SWATH, off_centre

__all__ = ["sun_angles", "view_angles"]

_EPOCH: Final = np.datetime64("2000-01-01T12:00:00", "ns")
_HEIGHT: Final = 786_000.0
"""Metres of the orbit above the ground."""
_RADIUS: Final = 6_371_000.0
_INCLINATION: Final = np.radians(98.62)


def sun_angles(times: ArrayLike, lon: float, lat: float) -> NDArray[np.float64]:
    """Return zenith and azimuth of the sun, degrees, shape ``(2, time)``.

    Parameters
    ----------
    times
        UTC, ``datetime64``.
    lon, lat
        Degrees.

    Examples
    --------
    >>> import numpy as np
    >>> sun_angles(np.array(["2020-06-21T12:00"], "datetime64[ns]"), 0.0, 51.48).round(1).tolist()
    [[28.0], [179.1]]
    """
    moments = np.asarray(times, "datetime64[ns]")
    days = (moments - _EPOCH) / np.timedelta64(1, "D")
    century = days / 36525
    longitude = np.radians((280.46646 + century * (36000.76983 + century * 0.0003032)) % 360)
    anomaly = np.radians(357.52911 + century * (35999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = (
        np.sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + np.sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + np.sin(3 * anomaly) * 0.000289
    )
    node = np.radians(125.04 - 1934.136 * century)
    seen = longitude + np.radians(centre - 0.00569 - 0.00478 * np.sin(node))
    seconds = 21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))
    tilt = np.radians(23 + (26 + seconds / 60) / 60 + 0.00256 * np.cos(node))
    declination = np.arcsin(np.sin(tilt) * np.sin(seen))
    half = np.tan(tilt / 2) ** 2
    equation = np.degrees(  # of time, as an angle
        half * np.sin(2 * longitude)
        - 2 * eccentricity * np.sin(anomaly)
        + 4 * eccentricity * half * np.sin(anomaly) * np.cos(2 * longitude)
        - 0.5 * half * half * np.sin(4 * longitude)
        - 1.25 * eccentricity * eccentricity * np.sin(2 * anomaly)
    )
    hour = np.radians((days * 360 + equation + lon) % 360)
    latitude = np.radians(lat)
    east = -np.cos(declination) * np.sin(hour)
    north = np.sin(declination) * np.cos(latitude)
    north = north - np.cos(declination) * np.sin(latitude) * np.cos(hour)
    up = np.sin(declination) * np.sin(latitude)
    up = up + np.cos(declination) * np.cos(latitude) * np.cos(hour)
    zenith, azimuth = np.arccos(np.clip(up, -1, 1)), np.arctan2(east, north) % (2 * np.pi)
    both: NDArray[np.float64] = np.degrees(np.stack([zenith, azimuth]))
    return both


def view_angles(lon: float, lat: float, relative_orbit: int) -> tuple[float, float] | None:
    """Return zenith and azimuth of the satellite as seen from a place, degrees.

    Parameters
    ----------
    lon, lat
        Degrees.
    relative_orbit
        1 to 143.

    Returns
    -------
    tuple or None
        None where the swath of that orbit does not reach the place.

    Examples
    --------
    >>> zenith, azimuth = view_angles(11.0, 46.5, 22)  # east of it: 6.8° from above is 277° and 6°
    >>> round(zenith), round(azimuth)
    (7, 103)
    """
    off = float(off_centre(lon, lat, relative_orbit))
    # Half a degree more than the swath: a place is told by its middle.
    if abs(off) > HALF_SWATH + 55_000:
        return None
    turn = off / _RADIUS
    nadir = np.arctan2(np.sin(turn), _HEIGHT / _RADIUS + 1 - np.cos(turn))
    # Southward along the track, whose course at a latitude the inclination tells.
    course = np.arcsin(np.clip(np.cos(_INCLINATION) / np.cos(np.radians(lat)), -1, 1))
    across = np.degrees(np.pi / 2 - course)
    azimuth = across + 180 if off > 0 else across
    return abs(float(np.degrees(nadir + turn))), float(azimuth % 360)
