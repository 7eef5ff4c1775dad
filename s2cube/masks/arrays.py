"""Masks of plain arrays, for those who have pixels and no cube."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.schema import STATUS

__all__ = ["mask_array"]

SIDE: Final = 10.0
"""Metres of a pixel, where nobody says."""
COUNTS: Final = 2.5
"""More than this no median of reflectance is: it must be counts."""


def mask_array(
    mask: Callable[..., xr.Dataset],
    pixels: NDArray[np.floating[Any]],
    method: str,
    *,
    bands: Iterable[str] | None,
    level: str | None,
    resolution: float | None,
    **options: Any,
) -> NDArray[np.uint8]:
    """Return the status of an array, by making a cube of it and masking that.

    Parameters
    ----------
    mask
        :func:`~s2cube.cloud_mask`.
    pixels
        Reflectance, shape ``(y, x, band)`` or ``(time, y, x, band)``, NaN where nothing is known.
    bands, level
        Names of the bands in their order, and ``"L1C"`` or ``"L2A"``.
    resolution
        Metres of a pixel, for distances.
    options
        Of `mask`. A ``reference`` may be an array of shape ``(y, x, band)`` too.

    Returns
    -------
    numpy.ndarray
        ``uint8``, shape ``(y, x)`` or ``(time, y, x)``.
    """
    if bands is None or level is None:
        raise CubeError(
            "A plain array does not say what it holds: give bands=['B02', ...], in the order of its "
            "last axis, and level='L1C' or 'L2A'."
        )
    distances = [name for name in ("buffer", "opening", "closing") if options.get(name) is not None]
    if distances and resolution is None:
        raise CubeError(f"{distances[0]} is in metres: give resolution=, the metres of a pixel.")
    names = schema.band_ids(bands)
    cube = _cube(pixels, names, level, SIDE if resolution is None else resolution)
    if isinstance(options.get("reference"), np.ndarray):
        usual = _cube(options["reference"], names, level, SIDE if resolution is None else resolution)
        options["reference"] = usual.squeeze("time")
    status: NDArray[np.uint8] = np.asarray(mask(cube, method, **options)[STATUS].data)
    return status if pixels.ndim == 4 else status[0]


def _cube(
    pixels: NDArray[np.floating[Any]], names: list[str], level: str, resolution: float
) -> xr.Dataset:
    """Return a cube of `pixels`; place and dates are made up, and no method looks at them."""
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != len(names):
        raise CubeError(
            f"An array of {len(names)} bands has the shape (y, x, {len(names)}) or (time, y, x, "
            f"{len(names)}); got {pixels.shape}."
        )
    if not np.issubdtype(pixels.dtype, np.floating) or np.nanmedian(pixels) > COUNTS:
        raise CubeError(
            f"An array holds reflectance, about 0 to 1, as floats; got {pixels.dtype} that looks like "
            "counts. They become reflectance by counts / 10000, from processing baseline 04.00 on by "
            "(counts - 1000) / 10000; no data (0) becomes NaN."
        )
    if level not in schema.LEVELS:
        raise CubeError(f"level is one of {', '.join(schema.LEVELS)}; got {level!r}.")
    series = pixels if pixels.ndim == 4 else pixels[None]
    dates, height, width, _ = series.shape
    values = np.moveaxis(series, -1, 0).astype(np.float32)
    coords: dict[Hashable, Any] = {
        # All on one day: nobody said that some are of summer and some of winter.
        "time": np.datetime64("2020-06-01", "ns") + np.arange(dates) * np.timedelta64(1, "s"),
        **schema.grid_coords(_grid(height, width, resolution)),
        "processing_level": level,
    }
    arrays = {
        band: schema.variable(np.ascontiguousarray(plane), schema.band_attrs(band))
        for band, plane in zip(names, values, strict=True)
    }
    return xr.Dataset(arrays, coords)


def _grid(height: int, width: int, resolution: float) -> Any:
    from odc.geo.geobox import GeoBox

    corner = (500_000.0, 5_000_000.0)
    box = (corner[0], corner[1], corner[0] + width * resolution, corner[1] + height * resolution)
    return GeoBox.from_bbox(box, "EPSG:32632", shape=(height, width))
