"""Where Sentinel-2 flies: how far a place lies from the middle of a swath.

A circular orbit that repeats: 143 revolutions in 10 days, at an inclination of 98.62°, turning with the
sun, so that the ground below it turns by exactly 360° a day. What that leaves open (the longitude of the
first orbit, and by how much the middle of the swath lies beside the track, which changes with latitude)
was fitted to 24 edges of swaths in STAC items of 14 relative orbits, from 73° S to 83° N. They lie
within 2 km of the model, with a standard deviation of 0.8 km.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["BEYOND", "HALF_SWATH", "ORBITS", "off_centre"]

ORBITS: Final = 143
"""Relative orbits, 1 to 143."""
HALF_SWATH: Final = 147_500.0
"""Metres from the middle of the swath to its edge."""
_DAYS: Final = 10
_INCLINATION: Final = np.radians(98.62)
_NODE: Final = 1.0
"""Longitude at which relative orbit 1 crosses the equator northward, degrees."""
_BESIDE: Final = (2291.0, -7307.0)
"""The middle of the swath lies so many metres east of the track: a + b sin(latitude)."""
BEYOND: Final = 1e7
"""What stands for a place far from the orbit's half of the Earth, metres."""
_FLATTENING2: Final = 0.00669437999014
_RADIUS: Final = 6_371_000.0


def off_centre(lon: ArrayLike, lat: ArrayLike, relative_orbit: int) -> NDArray[np.float64]:
    """Return how far places lie from the middle of the swath of a relative orbit, metres.

    Parameters
    ----------
    lon, lat
        Degrees (WGS 84), of one shape.
    relative_orbit
        1 to 143; the descending half, on which Sentinel-2 takes images.

    Returns
    -------
    numpy.ndarray
        Positive east of the middle, along the shortest way across the track. The swath reaches to
        :data:`HALF_SWATH` on either side. :data:`BEYOND` where the orbit passes far away.

    Raises
    ------
    ValueError
        There is no such orbit.

    Examples
    --------
    >>> float(off_centre(11.0, 46.5, 22).round(-3))  # the Alps, well inside the swath of orbit 22
    -83000.0
    """
    if not 1 <= relative_orbit <= ORBITS:
        raise ValueError(f"Relative orbits are 1 to {ORBITS}, got {relative_orbit}.")
    given = np.radians(np.asarray(lat, dtype=np.float64))
    # From the latitude of maps to that of the centre of the Earth, which the orbit goes round.
    centric = np.arctan((1 - _FLATTENING2) * np.tan(given))
    place = _unit(centric, np.radians(np.asarray(lon, dtype=np.float64)))
    # Along the orbit from its northward node; half a turn on, it goes south.
    along = np.pi - np.arcsin(np.clip(np.sin(centric) / np.sin(_INCLINATION), -1, 1))
    for _ in range(5):
        below, motion = _track(along, relative_orbit)
        along = along + ((place - below) * motion).sum(0) / (motion * motion).sum(0)
    below, motion = _track(along, relative_orbit)
    left = np.cross(below, motion, axis=0)
    left /= np.sqrt((left * left).sum(0))
    a, b = _BESIDE
    off = np.arcsin((place * left).sum(0)) * _RADIUS - (a + b * np.sin(given))
    # Seen through the Earth its other side may look near; and going north takes no images.
    here = ((place * below).sum(0) > 0.5) & (np.cos(along) < 0)
    beyond: NDArray[np.float64] = np.where(here, off, BEYOND)
    return beyond


def _unit(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit vectors, shape ``(3, ...)``."""
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _track(
    along: NDArray[np.float64], relative_orbit: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points below the satellite, and how they move with `along`."""
    turn = _DAYS / ORBITS
    node = np.radians(_NODE) - (relative_orbit - 1) * 2 * np.pi * turn

    def point(at: NDArray[np.float64]) -> NDArray[np.float64]:
        lat = np.arcsin(np.sin(_INCLINATION) * np.sin(at))
        lon = node + np.arctan2(np.cos(_INCLINATION) * np.sin(at), np.cos(at)) - turn * at
        return _unit(lat, lon)

    step = 1e-5
    return point(along), (point(along + step) - point(along - step)) / (2 * step)
