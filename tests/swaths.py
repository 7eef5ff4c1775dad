"""Cubes on which swaths of real orbits end, with values that a test chooses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from s2cube import schema
from s2cube.kernels.orbit import HALF_SWATH, ORBITS, off_centre

ORBIT = 22
"""The orbit whose eastern edge runs through the area."""


@dataclass(frozen=True)
class Area:
    """Pixels around the eastern edge of :data:`ORBIT` at a latitude."""

    geobox: GeoBox
    lon: np.ndarray
    lat: np.ndarray
    off: dict[int, np.ndarray]
    """How far east of the middle of each orbit that comes near, metres."""

    def seen(self, orbit: int, shift: float = 0.0) -> np.ndarray:
        """Return where an orbit looks, its swath ending `shift` metres outside the model's."""
        return np.abs(self.off[orbit]) < HALF_SWATH + shift


def place(geobox: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of all pixels."""
    coords = schema.grid_coords(geobox)
    x, y = np.meshgrid(coords["x"].values, coords["y"].values)
    return Transformer.from_crs(geobox.crs.wkt, "EPSG:4326", always_xy=True).transform(x, y)


@cache
def area(lat: float, size: float = 1000.0, pixels: int = 120) -> Area:
    lons = np.linspace(-180, 180, 36_001)
    off = off_centre(lons, np.full_like(lons, lat), ORBIT)
    lon = lons[np.argmin(np.abs(off - HALF_SWATH))]
    crs = f"EPSG:{32601 + int((lon + 180) // 6)}"
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    half = pixels * size / 2
    geobox = GeoBox.from_bbox((x - half, y - half, x + half, y + half), crs, shape=(pixels, pixels))
    where = place(geobox)
    middle = {orbit: off_centre(lon, lat, orbit) for orbit in range(1, ORBITS + 1)}
    offs = {o: off_centre(*where, o) for o, off in middle.items() if abs(off) < HALF_SWATH + 3 * half}
    near = {orbit: off for orbit, off in offs.items() if (np.abs(off) < HALF_SWATH + 3000).any()}
    return Area(geobox, *where, near)


def cube(
    geobox: GeoBox,
    looks: Sequence[tuple[int, str, Any]],
    *,
    bands: Sequence[str] = ("B04",),
) -> xr.Dataset:
    """Return a cube of looks: relative orbit, day, and values (NaN where it saw nothing)."""
    given = [
        (np.datetime64(day, "ns") + np.timedelta64(orbit, "m"), orbit, v) for orbit, day, v in looks
    ]
    given.sort(key=lambda look: look[0])
    times, orbits, values = zip(*given, strict=True)
    stack = np.stack([np.broadcast_to(np.asarray(v, np.float32), geobox.shape.yx) for v in values])
    return xr.Dataset(
        {band: schema.variable(stack + np.float32(0.1 * n), {}) for n, band in enumerate(bands)},
        {
            **schema.grid_coords(geobox),
            "time": ("time", np.array(times)),
            "relative_orbit": ("time", np.array(orbits, np.int16)),
            "processing_level": "L2A",
            "sensor": "sentinel-2",
        },
    )


def orbits_of(
    where: Area,
    *,
    step: float = 0.0,
    shift: float = 0.0,
    days: Sequence[str] = ("2022-06-01T10", "2022-06-11T10"),
    texture: Callable[[], Any] = lambda: 0.0,
) -> xr.Dataset:
    """Return looks of all orbits that see an area: 0.1, and `step` more by :data:`ORBIT`."""
    looks = []
    for orbit in where.off:
        seen = where.seen(orbit, shift)
        value = 0.1 + step * (orbit == ORBIT)
        if seen.any():
            looks += [(orbit, day, np.where(seen, value + texture(), np.nan)) for day in days]
    return cube(where.geobox, looks)


def jump(image: np.ndarray, seen: np.ndarray) -> float:
    """Return the mean step over the eastern edge of `seen`: last pixel inside minus first outside."""
    rows, last = np.nonzero(seen[:, :-1] & ~seen[:, 1:])
    assert len(rows) > 50
    return float(np.mean(image[rows, last].astype(np.float64) - image[rows, last + 1]))
