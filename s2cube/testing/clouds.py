"""``add_clouds``: clouds and shadows of known truth over looks that are clear."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.errors import CubeError
from s2cube.schema import SCL, STATUS
from s2cube.testing.light import (
    LOWEST_SUN,
    VISIBLE,
    crystals,
    droplets,
    look,
    low_opacity,
    opacity,
    shadow_light,
    state,
    sun_direction,
)
from s2cube.testing.noise import fractal

__all__ = ["add_clouds"]

LARGEST: Final = 4000.0
"""Metres: the largest scale of clouds. In a small cube, a quarter of its side."""
STRIP: Final = 2**16
"""Pixels of a field that are made at once."""
HEIGHTS: Final = (1000.0, 4000.0)
"""Metres above ground of low clouds, those that cast shadows."""


def add_clouds(
    cube: xr.Dataset,
    *,
    cover: float | Sequence[float] = 0.3,
    thin: float = 0.3,
    shadows: bool = True,
    seed: int = 0,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Put clouds, cirrus and shadows of known truth over the looks of a cube, lazily.

    Parameters
    ----------
    cube
        A cube of level 1C or 2A whose looks are clear: choose dates, or mask it, before. A cloud that it
        has already would be called clear.
    cover
        Share of the area under cloud or thin cloud, 0 to 1: one for all dates, or one a date.
    thin
        Share of it that is thin, 0 to 1, but for the soft edges that every cloud has.
    shadows
        Whether low clouds cast shadows.
    seed
        The same seed gives the same clouds on the same date.

    Returns
    -------
    cloudy : xarray.Dataset
        The cube with other reflectance, in whole counts; where there is no cloud and no shadow, it is
        as it was. Missing pixels stay missing, ``status`` stays as it was; ``SCL`` is left out, as it
        was made of other pixels.
    truth : xarray.Dataset
        ``opacity``, float32, the share of the ground's light that is lost in cloud (visible light);
        ``status``, uint8: ``cloud`` (opacity above 0.5), ``shadow`` (the cloud between it and the sun
        has an opacity above 0.4), ``thin_cloud`` (opacity from 0.1 on), else ``clear``; ``no_data``
        where any band is missing. Along time: ``sun_azimuth`` and ``sun_elevation`` (degrees) and
        ``cloud_height`` (m).

    Raises
    ------
    CubeError
        It is no cube, its level is not known, its CRS has no metres, or an argument is out of range.

    Notes
    -----
    *Shape.* Fractal fields of scales from a quarter of the area (4 km at most) to two pixels; clouds
    have no preferred size over that range (Lovejoy 1982,
    https://doi.org/10.1126/science.216.4542.185). They go on beyond the area, so that clouds outside
    cast shadows into it. The threshold that gives the cover is found on up to 128 × 128 pixels a date,
    at once, from coordinates alone.

    *Opaque clouds* have reflectances of 0.3 to 1.0, flat from 0.4 to 0.9 µm, with a drop in the
    shortwave infrared, where droplets absorb (Nakajima and King 1990); little of them is left in B10,
    below the water vapour.

    *Cirrus* adds to what is below: little colour, slightly bluish, less in the shortwave infrared, and
    bright in B10 (Gao et al. 1998, https://doi.org/10.1029/98JD02006). It casts no shadow here.

    *Shadows* are displaced by the height of the cloud (1 to 4 km, one a date) over the tangent of the
    sun's elevation, away from the sun, for the latitude, the date and 10:30 local time. They take the
    direct light; the light of the sky stays, which is much in blue and little in the infrared
    (thickness of air: Hansen and Travis 1974), and some from the sides of the cloud. At level 1C the air
    between ground and sensor shines as before.

    What it lacks: relief and sides of clouds, views off nadir, adjacency, several heights on one date,
    and the failures of atmospheric correction near clouds. A method that is better here need not be
    better on real clouds; networks that learnt the look of real ones may do worse here than there.

    Examples
    --------
    >>> import s2cube
    >>> clear = s2cube.testing.simulate_cube(seed=1, cloud_cover=0)
    >>> cloudy, truth = s2cube.testing.add_clouds(clear, cover=0.4, seed=2)
    >>> round(float((truth["opacity"] >= 0.1).mean()), 1)
    0.4
    >>> bool((cloudy["B02"].where(truth["status"] == 5).mean() > clear["B02"].mean()).item())
    True
    """
    cube = schema.validate(cube)
    level = str(cube.coords["processing_level"].item()) if "processing_level" in cube.coords else ""
    if level not in schema.LEVELS:
        raise CubeError(
            "The cube's level is not known, and the air over it depends on it: as_cube(level=)."
        )
    shares = _shares(cover, cube.sizes["time"])
    if not 0 <= thin <= 1:
        raise CubeError(f"thin is a share, from 0 to 1; got {thin!r}.")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise CubeError(f"seed is a whole number, 0 or more; got {seed!r}.")
    sky = _Sky.draw(cube, shares, thin, int(seed))
    bands = schema.bands_of(cube)
    like = cube[bands[0]].data
    low, cirrus = sky.low.over(like, sky.y, sky.x), sky.cirrus.over(like, sky.y, sky.x)
    shade: Any = np.full((cube.sizes["time"], 1, 1), -np.inf, np.float32)
    if shadows:
        shade = sky.low.over(like, sky.y, sky.x, *sky.towards_sun)
    arrays = {}
    for band in bands:
        lost, air = shadow_light(band, sky.sun[2], top=level == "L1C")
        seen = map_pixels(
            look,
            cube[band].data,
            *(low, cirrus, shade, lost, air, sky.white),
            dtype=np.float32,
            water=droplets(band),
            ice=crystals(band),
        )
        arrays[band] = schema.variable(seen, cube[band].attrs)
    cloudy = cube.drop_vars(SCL, errors="ignore").assign(arrays)
    told = cover if isinstance(cover, (int, float)) else list(map(float, shares))
    cloudy = schema.record(cloudy, "add_clouds", cover=told, thin=thin, shadows=shadows, seed=int(seed))
    return cloudy, _truth(cube, sky, low, cirrus, shade)


def _shares(cover: object, steps: int) -> NDArray[np.float64]:
    """Return the cover of each date."""
    shares = np.asarray(cover, dtype=np.float64)
    if shares.ndim > 1 or (shares.ndim == 1 and len(shares) != steps):
        raise CubeError(f"cover is a share, or one for each of the {steps} dates; got {len(shares)}.")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise CubeError(f"cover is a share, from 0 to 1; got {cover!r}.")
    return np.broadcast_to(shares, (steps,))


def _truth(cube: xr.Dataset, sky: "_Sky", low: Any, cirrus: Any, shade: Any) -> xr.Dataset:
    known = [cube[band].data for band in schema.bands_of(cube)]
    if STATUS in cube:
        known.append(cube[STATUS].data)
    status = map_pixels(state, low, cirrus, shade, *known, dtype=np.uint8)
    lost = map_pixels(opacity, low, cirrus, dtype=np.float32)
    attrs = {"long_name": "share of the ground's light lost in cloud", "units": "1"}
    truth = xr.Dataset(
        {
            STATUS: schema.variable(status, schema.status_attrs()),
            "opacity": schema.variable(lost, attrs),
        },
        cube.coords,
    )
    east, north, up = sky.sun
    azimuth = np.degrees(np.arctan2(east, north)) % 360
    return truth.assign_coords(
        sun_azimuth=("time", azimuth, {"units": "degree"}),
        sun_elevation=("time", np.degrees(np.arcsin(up)), {"units": "degree"}),
        cloud_height=("time", sky.heights, {"units": "m"}),
    )


@dataclass(frozen=True)
class _Layer:
    """A field of cloud: how it looks on each date. Arrays have shape ``(time, 1, 1)``."""

    seeds: NDArray[np.uint64]
    ratio: NDArray[np.float64]
    """How far it is drawn out along x."""
    size: float
    """Metres of the largest scale."""
    octaves: int
    roughness: float
    edge: NDArray[np.float64]
    """Value of the field where the cloud begins."""
    spread: NDArray[np.float64]
    """Deviation of the field over the area."""

    def over(self, like: Any, y: Any, x: Any, up: Any = 0.0, right: Any = 0.0) -> Any:
        """Return by how many deviations the field is above its edge, lazily."""
        shifts = [np.broadcast_to(np.asarray(s, np.float64), self.edge.shape) for s in (up, right)]
        date = (self.seeds, self.ratio, self.edge, self.spread, *shifts)
        how = {"size": self.size, "octaves": self.octaves, "roughness": self.roughness}
        return map_pixels(_depth, like, y, x, *date, dtype=np.float32, **how)


@dataclass(frozen=True)
class _Sky:
    """All that is drawn for the dates of a cube."""

    y: NDArray[np.float64]
    """Metres, shape ``(1, y, 1)``."""
    x: NDArray[np.float64]
    """Metres, shape ``(1, 1, x)``."""
    low: _Layer
    cirrus: _Layer
    white: NDArray[np.float32]
    """Reflectance of opaque cloud, at its edge."""
    heights: NDArray[np.float64]
    """Metres, shape ``(time,)``."""
    sun: NDArray[np.float64]
    """Unit vector east, north, up, shape ``(3, time)``."""

    @property
    def towards_sun(self) -> tuple[Any, Any]:
        """How far north and east of a pixel the cloud is that would shade it, m."""
        east, north, up = self.sun
        far = self.heights / np.maximum(up, math.sin(math.radians(LOWEST_SUN)))
        return (far * north)[:, None, None], (far * east)[:, None, None]

    @classmethod
    def draw(cls, cube: xr.Dataset, shares: NDArray[np.float64], thin: float, seed: int) -> "_Sky":
        grid = schema.geobox_of(cube)
        dy, dx = schema.pixel_metres(grid)
        y = cube["y"].values.astype(np.float64) * (dy / abs(grid.transform.e))
        x = cube["x"].values.astype(np.float64) * (dx / abs(grid.transform.a))
        pixel = max(dy, dx)
        size = max(min(len(y) * dy, len(x) * dx) / 4, 4 * pixel)
        size = min(size, max(LARGEST, 4 * pixel))
        octaves = 1 + int(math.log2(size / (2 * pixel)))
        seconds = cube["time"].values.astype("datetime64[s]").astype(np.int64).tolist()
        drawn = [_draw(seed, second) for second in seconds]
        seeds, numbers = np.array([d[0] for d in drawn], np.uint64), np.array([d[1] for d in drawn])
        sample = y[:: -(-len(y) // 128)], x[:: -(-len(x) // 128)]
        fields: list[dict[str, Any]] = [
            {"size": size, "octaves": octaves, "roughness": 0.6},
            {"size": size, "octaves": max(1, octaves - 2), "roughness": 0.45},
        ]
        ratios = np.stack([np.ones(len(shares)), 3.0 ** numbers[:, 0]])
        edges = np.array(
            [
                _edges(*sample, seeds[k], ratios[:, k], fields, share, thin)
                for k, share in enumerate(shares)
            ]
        ).T[..., None, None]
        low, cirrus = (
            _Layer(
                seeds=seeds[:, n, None, None],
                ratio=ratios[n, :, None, None],
                edge=edges[n],
                spread=edges[n + 2],
                **how,
            )
            for n, how in enumerate(fields)
        )
        heights = HEIGHTS[0] + (HEIGHTS[1] - HEIGHTS[0]) * numbers[:, 1]
        white = (0.4 + 0.3 * numbers[:, 2]).astype(np.float32)[:, None, None]
        sun = sun_direction(cube["time"].values, grid)
        return cls(y[None, :, None], x[None, None, :], low, cirrus, white, heights, sun)


def _draw(seed: int, second: int) -> tuple[list[int], list[float]]:
    """Return the seeds of the two layers of a date, and what else is chance."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, second % 2**64]))
    seeds = rng.integers(0, 2**63, 2).tolist()
    return seeds, [rng.uniform(-1, 1), rng.uniform(), rng.uniform()]


def _edges(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    seeds: NDArray[np.uint64],
    ratios: NDArray[np.float64],
    fields: Sequence[dict[str, Any]],
    share: float,
    thin: float,
) -> list[float]:
    """Return where the two layers of a date begin, and the deviations of their fields."""
    low, cirrus = (
        _field(y, x, int(seed), ratio, **how)
        for seed, ratio, how in zip(seeds, ratios, fields, strict=True)
    )
    spreads = [float(field.std()) + 1e-6 for field in (low, cirrus)]
    opaque = share * (1 - thin)
    edge = float(np.quantile(low, 1 - opaque)) if opaque > 0 else math.inf
    free = low_opacity((low - np.float32(edge)) / np.float32(spreads[0])) < VISIBLE
    wanted = share - (1 - float(free.mean()))
    cirrus_edge = math.inf
    if wanted > 0:
        cirrus_edge = float(np.quantile(cirrus[free], max(0.0, 1 - wanted / float(free.mean()))))
    return [edge, cirrus_edge, *spreads]


def _field(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    seed: int,
    ratio: float,
    *,
    size: float,
    octaves: int,
    roughness: float,
) -> NDArray[np.float32]:
    stretch = float(ratio) ** 0.5
    sizes = (size / stretch, size * stretch)
    return fractal(y, x, seed=seed, sizes=sizes, octaves=octaves, roughness=roughness)


def _depth(
    like: NDArray[np.float32],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    seeds: NDArray[np.uint64],
    ratios: NDArray[np.float64],
    edges: NDArray[np.float64],
    spreads: NDArray[np.float64],
    up: NDArray[np.float64],
    right: NDArray[np.float64],
    **how: Any,
) -> NDArray[np.float32]:
    """Return by how many deviations a layer is above its edge; -inf where there is none that date."""
    out = np.full(like.shape, -np.inf, np.float32)
    dates = (array[:, 0, 0].tolist() for array in (seeds, ratios, edges, spreads, up, right))
    for k, (seed, ratio, edge, spread, north, east) in enumerate(zip(*dates, strict=True)):
        if edge == math.inf:
            continue
        across, step = x[0, 0, :] + east, max(1, STRIP // like.shape[2])
        for start in range(0, like.shape[1], step):
            rows = slice(start, start + step)
            field = _field(y[0, rows, 0] + north, across, seed, ratio, **how)
            out[k, rows] = (field - np.float32(edge)) / np.float32(spread)
    return out
