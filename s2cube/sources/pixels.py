"""One file onto one grid: what is no measurement is set aside first, then the rest is resampled.

odc-loader's own reader resamples with one missing count, the file's or else the item's, and knows of no
saturated one. Here a pixel is missing where the file says so and where the item does, and a pixel to
which any saturated one contributes, by however little, is saturated: what it would have been is not
known, only that it is brighter. Overviews are used as they are: whoever made them may have mixed
saturated pixels into them. Not those of classes, which may be mixtures: 4 and 8 are no 6.
"""

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.counts import SATURATED, representable
from s2cube.sources.told import Told, grid_of

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from odc.loader import RasterLoadParams
    from rasterio import DatasetReader

__all__ = ["Block", "fill_of", "read_pixels"]

Block = tuple[tuple[slice, slice], np.ndarray]
"""A part of a grid and its pixels."""

_REACH: Final = {"bilinear": 1, "cubic": 2, "cubic_spline": 2, "lanczos": 3}
"""Pixels of the source that a method looks at, either side."""
_WEIGHING: Final = {*_REACH, "average", "rms", "sum"}
"""Methods that take pixels by weight; the others take those that they look at."""
_LARGE: Final = 2**25
"""Pixels of a source that are resampled at once, at most."""
_STAND_IN: Final = 5000
"""What is resampled in place of a saturated count."""
_SHARE: Final = 1e-6
"""Weight up to which a saturated pixel is noise of the coordinates: its stand-in moves no count."""


def fill_of(cfg: "RasterLoadParams") -> float:
    """Return what stands for a missing pixel in blocks read with `cfg`."""
    if cfg.fill_value is not None:
        return cfg.fill_value
    return math.nan if np.dtype(cfg.dtype).kind == "f" else 0.0


def read_pixels(
    link: str, band: int, told: Told, cfg: "RasterLoadParams", grid: "GeoBox", *, saturated: bool
) -> Block:
    """Return the part of `grid` that a file covers, and its pixels there.

    Parameters
    ----------
    link
        What rasterio opens.
    band
        Of the file, from 1.
    told
        What the file should be.
    cfg
        Type and missing count of the result, and how it is resampled.
    grid
        Where pixels are wanted.
    saturated
        Whether 65535 means saturated, in ``uint16``.

    Raises
    ------
    MisplacedError, HarmonizationError
        As :meth:`~s2cube.sources.told.Told.check`.
    rasterio.errors.RasterioError
        It cannot be read.
    """
    import rasterio
    from odc.geo.overlap import compute_reproject_roi

    with rasterio.open(link, sharing=False) as file:
        found = told.check(file, band)
        # The nearest pixel stays the nearest, whatever the shift.
        info = compute_reproject_roi(found, grid, ttol=0.9 if cfg.nearest else 0.05)
        roi: Any = info.roi_dst
        part = grid[roi]
        if 0 in part.shape or any(one.start >= one.stop for one in info.roi_src):
            return roi, np.full(part.shape, fill_of(cfg), cfg.dtype)
        if info.paste_ok and info.read_shrink == 1:
            return roi, _set_aside(file.read(band, window=_slices(info.roi_src)), file, band, cfg)
        saturated = saturated and file.dtypes[band - 1] == "uint16" and not cfg.nearest
        scale = max(info.scale2.xy)
        level = None if told.classes else _overview(file, band, info.read_shrink)
        if level is None:
            return roi, _resampled(file, band, cfg, part, scale, saturated=saturated)
        factor = file.overviews(band)[level]
        with rasterio.open(link, sharing=False, overview_level=level) as smaller:
            return roi, _resampled(smaller, band, cfg, part, scale / factor, saturated=saturated)


def _slices(roi: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    rows, columns = roi
    return (rows.start, rows.stop), (columns.start, columns.stop)


def _overview(file: "DatasetReader", band: int, shrink: int) -> int | None:
    """Return the number of the coarsest overview that is finer than what is wanted."""
    levels = [level for level, factor in enumerate(file.overviews(band)) if factor <= shrink]
    return max(levels, default=None) if shrink > 1 else None


def _set_aside(
    pixels: NDArray, file: "DatasetReader", band: int, cfg: "RasterLoadParams"
) -> NDArray[Any]:
    """Return `pixels` as they are wanted, missing where the file says so or the item does."""
    fill, own, dtype = fill_of(cfg), pixels.dtype, np.dtype(cfg.dtype)
    words = {value for value in (file.nodatavals[band - 1], fill) if representable(value, own)}
    # What is the same before and after needs no change.
    changes = words - {fill}
    if own.kind != "f" and not changes:
        return pixels.astype(dtype, copy=False)
    missing = ~np.isfinite(pixels) if own.kind == "f" else np.zeros(pixels.shape, dtype=bool)
    for value in words:
        missing |= pixels == own.type(value)
    held = pixels.astype(dtype)
    held[missing] = fill
    return held


def _resampled(
    file: "DatasetReader",
    band: int,
    cfg: "RasterLoadParams",
    grid: "GeoBox",
    scale: float,
    *,
    saturated: bool,
) -> NDArray[Any]:
    """Return what `file` has on `grid`, of which a pixel is `scale` of its own wide."""
    own = grid_of(file)
    rows, columns = _window(own, grid, math.ceil(_REACH.get(cfg.resampling, 1) * max(scale, 1)) + 2)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    if area <= 0:
        return np.full(grid.shape, fill_of(cfg), cfg.dtype)
    if area > _LARGE and max(grid.shape) > 1:
        axis = 0 if grid.shape.y >= grid.shape.x else 1
        half = grid.shape.yx[axis] // 2
        halves = (np.s_[:half], np.s_[half:]) if axis == 0 else (np.s_[:, :half], np.s_[:, half:])
        return np.concatenate(
            [_resampled(file, band, cfg, grid[one], scale, saturated=saturated) for one in halves], axis
        )
    counts = file.read(band, window=_slices((rows, columns)))
    pixels, fill, place = _set_aside(counts, file, band, cfg), fill_of(cfg), own[rows, columns]
    if not saturated or fill == SATURATED or not (beyond := pixels == SATURATED).any():
        return _warped(pixels, place, grid, cfg.resampling, cfg.dtype, fill)
    # The nearest pixel decides what is missing: not a saturated one, so those are kept, as others.
    values = _warped(
        np.where(beyond, pixels.dtype.type(_STAND_IN), pixels),
        place,
        grid,
        cfg.resampling,
        cfg.dtype,
        fill,
    )
    method = cfg.resampling if cfg.resampling in _WEIGHING else "max"
    share = _warped(beyond.view(np.uint8), place, grid, method, "float32", None)
    values[(np.abs(share) > _SHARE) & (values != fill)] = SATURATED
    return values


def _window(own: "GeoBox", grid: "GeoBox", margin: int) -> tuple[slice, slice]:
    """Return the rows and columns of `own` that resampling onto `grid` looks at."""
    from rasterio.warp import transform_bounds

    box = grid.boundingbox.bbox
    if own.crs != grid.crs:
        box = transform_bounds(str(grid.crs), str(own.crs), *box, densify_pts=21)
    left, bottom, right, top = box
    if not np.isfinite(box).all() or left > right:
        # Beyond what its projection can show, or across the antimeridian.
        return slice(0, own.shape.y), slice(0, own.shape.x)
    corners = [~own.transform * (x, y) for x in (left, right) for y in (bottom, top)]
    ends = []
    for places, length in zip(zip(*corners, strict=True), own.shape.xy, strict=True):
        first, last = math.floor(min(places)) - margin, math.ceil(max(places)) + margin
        ends.append(slice(max(first, 0), min(last, length)))
    columns, rows = ends
    return rows, columns


def _warped(
    pixels: NDArray, place: "GeoBox", grid: "GeoBox", method: str, dtype: Any, missing: float | None
) -> NDArray[Any]:
    """Resample in memory."""
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    result: NDArray[Any] = np.full(grid.shape, 0 if missing is None else missing, dtype)
    reproject(
        pixels,
        result,
        src_transform=place.transform,
        src_crs=str(place.crs),
        src_nodata=missing,
        dst_transform=grid.transform,
        dst_crs=str(grid.crs),
        dst_nodata=missing,
        resampling=Resampling[method],
    )
    return result
