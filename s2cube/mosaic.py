"""``mosaic_orbits``: seasonal images without seams, blended from the swaths of neighbouring orbits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_grid, map_pixels
from s2cube.composites import Period, check_q, find_periods, percentile_images, percentile_planes
from s2cube.errors import CubeError
from s2cube.kernels import blend
from s2cube.kernels.orbit import HALF_SWATH, ORBITS

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Weights", "mosaic_orbits"]

Weights = Literal["taper", "idw"] | Callable[[NDArray[np.float32]], NDArray[np.float32]]

MARGIN: Final = 2_500.0
"""Metres by which weights end inside the edge of the swath: more than it may lie beside its model."""
REACH: Final = HALF_SWATH - MARGIN
NEAREST: Final = 1_000.0
"""Closer to the middle, weights do not grow."""
ALONE: Final = 1e-9
"""Weight outside the reach: nothing beside another orbit's, and enough where there is no other."""


def mosaic_orbits(
    cubes: xr.Dataset | Sequence[xr.Dataset],
    *,
    q: float | Sequence[float] = (25, 50, 75),
    bands: str | Iterable[str] | None = None,
    seasons: Period = "pan-european",
    months: Iterable[int] | None = None,
    geobox: "GeoBox | None" = None,
    weights: Weights = "taper",
    device: str | None = None,
) -> xr.Dataset:
    """Make seasonal images of percentiles, blended across the swaths of neighbouring orbits, lazily.

    Neighbouring orbits see a place from different sides and on different days, so their reflectance
    differs. Percentiles of all looks together show that as stripes: where swaths overlap there are looks
    of both. Here each orbit gets its own percentiles, and these are blended by how far a pixel lies from
    the middle of each swath.

    Parameters
    ----------
    cubes
        A cube opened by datatake (``groupby="datatake"``, the default), its clouds masked; or several of
        neighbouring tiles. Tiles of one orbit are joined by the mean where they overlap.
    q, bands, device
        As for :func:`s2cube.percentile`.
    seasons, months
        Its ``period`` and ``months``. By default the four pan-European seasons of each year.
    geobox
        The grid of the mosaic; by default that of the cubes, which must then be the same. Images of
        other grids (several UTM zones) are brought onto it after the percentiles were taken: values
        bilinear, counts from the nearest pixel. To resample looks instead, open them with ``geobox=``.
    weights
        ``"taper"``: by the inverse of the distance to the middle of the swath, tapered to nothing at its
        edge, ``(1 - d / R) / d``. ``"idw"``: the inverse of the distance alone, the published recipe;
        an orbit that ends still weighs up to a half there, which leaves a step. Or a function from the
        distance in metres (a float32 array) to positive weights; on a cluster it must be picklable.

    Returns
    -------
    xarray.Dataset
        As of :func:`s2cube.percentile`; ``count`` adds up the orbits.

    Raises
    ------
    CubeError
        A cube has no ``relative_orbit``; cubes differ in bands, level or (without ``geobox``) in grid;
        an argument is wrong.

    Notes
    -----
    Percentiles by orbit and season, blended by inverse distance, follow the recipe of pan-European
    mosaics (seasons: M. Witjes and others 2023, PeerJ 11:e15478). The taper is that of R. Franke and
    G. Nielson (1980), Smooth interpolation of large sets of scattered data, IJNME 15, 1691-1704. The
    middle of a swath comes from the orbit's geometry (:mod:`s2cube.kernels.orbit`), not from what of it
    was opened, so an area may be mosaicked piece by piece.

    Clouds that hide all looks of an orbit end it too: there the blend has the step between the orbits.

    Examples
    --------
    >>> import s2cube
    >>> clear = s2cube.testing.simulate_cube(seed=1, bands=["red"]).s2.mask_clouds()
    >>> mosaic = s2cube.mosaic_orbits(clear, q=25, seasons="MS")
    >>> mosaic["B04"].dims
    ('time', 'y', 'x')
    """
    given = [cubes] if isinstance(cubes, xr.Dataset) else list(cubes)
    if not given:
        raise CubeError("No cube to mosaic.")
    tiles = [schema.validate(cube) for cube in given]
    names = _same_bands(tiles, bands)
    _same_level(tiles)
    asked = check_q(q)
    weigh = _function(weights)
    grid = _grid(tiles, geobox)
    days = [schema.solar_days(cube) for cube in tiles]
    orbits = [_orbits(cube) for cube in tiles]
    periods = find_periods(np.concatenate(days), seasons, months)
    # Those that looked in any period.
    numbers = np.unique(np.concatenate(orbits)[np.concatenate(periods.groups)]).tolist()

    by_orbit: dict[str, list[Any]] = {band: [] for band in names}
    for orbit in numbers:
        looks = _of_orbit(orbit, orbits, periods.groups)
        for band in names:
            planes = [
                _onto(grid, cube, percentile_planes(cube[band].data, asked, groups, device=device))
                for cube, groups in zip(tiles, looks, strict=True)
                if any(len(group) for group in groups)
            ]
            one = planes[0]
            if len(planes) > 1:
                one = map_pixels(blend.mean_of_overlap, *planes, dtype=np.float32)
            by_orbit[band].append(one)
    like = by_orbit[names[0]][0][:, 0]
    shares = [
        map_pixels(weigh, _distance(grid, orbit, like), dtype=np.float32)[None] for orbit in numbers
    ]
    blended = {
        band: map_pixels(blend.blend, *planes, *shares, dtype=np.float32)
        for band, planes in by_orbit.items()
    }
    coords = {name: value for name, value in tiles[0].coords.items() if not value.dims}
    coords |= {name: xr.DataArray(value) for name, value in schema.grid_coords(grid).items()}
    made = percentile_images(blended, q, periods, coords, tiles[0].attrs)
    return schema.record(
        made,
        "mosaic_orbits",
        q=list(asked),
        bands=names,
        orbits=numbers,
        weights=weights if isinstance(weights, str) else getattr(weights, "__name__", "given"),
        **periods.told,
    )


def _same_bands(tiles: list[xr.Dataset], bands: str | Iterable[str] | None) -> list[str]:
    names = schema.pick_bands(tiles[0], bands)
    held = [schema.bands_of(cube) for cube in tiles]
    wanted = set(names) if bands is not None else set().union(*held)
    for own in held:
        if missing := sorted(wanted.difference(own)):
            raise CubeError(
                f"A cube holds no {', '.join(missing)}: open all with the same bands, or say bands=."
            )
    return names


def _same_level(tiles: list[xr.Dataset]) -> None:
    told = (cube.coords.get("processing_level") for cube in tiles)
    levels = sorted({str(level.item()) for level in told if level is not None})
    if len(levels) > 1:
        raise CubeError(f"The cubes are of levels {' and '.join(levels)}: mosaic those of one level.")


def _orbits(cube: xr.Dataset) -> NDArray[np.int64]:
    """Return the relative orbit of each look, if all are known."""
    orbits = schema.orbits_of(cube)
    if not ((orbits >= 1) & (orbits <= ORBITS)).all():
        wrong = sorted({int(orbit) for orbit in orbits if not 1 <= orbit <= ORBITS})
        raise CubeError(
            f"Relative orbits are 1 to {ORBITS}; the cube has {wrong}. -1 stands for unknown: select "
            "the looks whose orbit is known."
        )
    return orbits


def _of_orbit(
    orbit: int, orbits: list[NDArray[np.int64]], groups: list[NDArray[np.intp]]
) -> list[list[NDArray[np.intp]]]:
    """Return, cube by cube, the looks of one orbit in each period; `groups` number all looks."""
    found = []
    first = 0
    for own in orbits:
        here = [group[(group >= first) & (group < first + len(own))] - first for group in groups]
        found.append([group[own[group] == orbit] for group in here])
        first += len(own)
    return found


def _grid(tiles: list[xr.Dataset], geobox: "GeoBox | None") -> "GeoBox":
    grids = [schema.geobox_of(cube) for cube in tiles]
    if geobox is not None:
        if not hasattr(geobox, "transform"):
            raise CubeError(f"geobox is an odc.geo GeoBox, got {geobox!r}.")
        return geobox
    if any(grid != grids[0] for grid in grids[1:]):
        raise CubeError(
            "The cubes lie on different grids: say with geobox= on which the mosaic shall lie."
        )
    return grids[0]


def _onto(grid: "GeoBox", cube: xr.Dataset, planes: Any) -> Any:
    """Return planes, shape ``(period, plane, y, x)``, on `grid`: values bilinear, counts nearest."""
    own = schema.geobox_of(cube)
    if own == grid:
        return planes
    from odc.geo.xr import wrap_xr, xr_reproject

    periods, number = planes.shape[:2]
    flat = planes.reshape(periods * number, *planes.shape[2:])
    chunks: Any = {} if isinstance(planes, np.ndarray) else {"chunks": tuple(planes.chunksize[2:])}

    def warped(method: str) -> Any:
        source = wrap_xr(flat, own, axis=1, nodata=float("nan"))
        moved = xr_reproject(source, grid, resampling=method, dst_nodata=float("nan"), **chunks).data
        return moved.reshape(periods, number, *moved.shape[1:])

    values, counts = warped("bilinear"), warped("nearest")
    return map_pixels(_last_of_second, values, counts, dtype=np.float32)


def _last_of_second(values: NDArray[np.float32], counts: NDArray[np.float32]) -> NDArray[np.float32]:
    both = values.copy()
    both[:, -1] = np.nan_to_num(counts[:, -1])
    return both


def _distance(grid: "GeoBox", orbit: int, like: Any) -> Any:
    """Return how far each pixel lies from the middle of a swath, shape ``(1, y, x)``."""
    coords = schema.grid_coords(grid)
    y, x = (coords[dim].values.astype(np.float64) for dim in ("y", "x"))
    pixel = (abs(float(grid.transform.e)), abs(float(grid.transform.a)))
    crs: Any = grid.crs
    where = {"relative_orbit": orbit, "pixel": pixel, "to_lonlat": _ToLonLat(crs.wkt)}
    return map_grid(blend.distance_to_centre, y, x, like=like, dtype=np.float32, **where)


@dataclass(frozen=True)
class _ToLonLat:
    """From coordinates of a CRS to degrees; pickled and named by the CRS."""

    wkt: str

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Any, Any]:
        from pyproj import Transformer

        # One for each call: they may not be shared by threads.
        lon, lat = Transformer.from_crs(self.wkt, "EPSG:4326", always_xy=True).transform(x, y)
        return lon, lat


def _function(weights: Weights) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    if callable(weights):
        return _Given(weights)
    if weights not in _WEIGHTS:
        raise CubeError(
            f"weights are {' or '.join(map(repr, _WEIGHTS))}, or a function of the distance in metres; "
            f"got {weights!r}."
        )
    return _WEIGHTS[weights]


@dataclass(frozen=True)
class _Given:
    """The user's weights, checked: one of 0 would lose what only that orbit sees."""

    function: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def __call__(self, distance: NDArray[np.float32]) -> NDArray[np.float32]:
        made = np.asarray(self.function(distance), dtype=np.float32)
        if made.shape != distance.shape or not ((made > 0) & (made < np.inf)).all():
            raise CubeError(
                f"weights= must give a positive number for each distance, shape {distance.shape}; "
                f"got shape {made.shape}, from {made.min():g} to {made.max():g}."
            )
        return made


def _taper(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    part = 1 - distance / np.float32(REACH)
    tapered: NDArray[np.float32] = np.maximum(part, np.float32(ALONE)) * _idw(distance)
    return tapered


def _idw(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    inverse = np.float32(NEAREST) / np.maximum(distance, np.float32(NEAREST))
    return inverse.astype(np.float32, copy=False)


_WEIGHTS: Final = {"taper": _taper, "idw": _idw}
