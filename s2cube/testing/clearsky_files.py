"""Files of the stand-in for ClearSKY Vision: which pixels, which counts, as GeoTIFFs."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError

__all__ = ["BANDS", "NODATA", "contained", "counts_on", "footprint", "outputs_of", "square_km", "tiff"]

BANDS: Final = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
NODATA: Final = -32768


def contained(area: Any, resolution: int, crs: Any) -> tuple[Any, NDArray[np.bool_]] | None:
    """Return the grid of the pixels within `area`, and which of it they are; None if there are none."""
    import shapely
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import Geometry

    shape = Geometry(area, "epsg:4326").to_crs(crs).geom
    left, bottom, right, top = shape.bounds
    x = np.arange(np.floor(left / resolution), np.ceil(right / resolution) + 1) * resolution
    y = np.arange(np.ceil(top / resolution), np.floor(bottom / resolution) - 1, -1) * resolution
    corners = shapely.contains_xy(shape, *np.meshgrid(x, y))
    inside = corners[1:, 1:] & corners[:-1, 1:] & corners[1:, :-1] & corners[:-1, :-1]
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    inside = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    transform = Affine(resolution, 0, x[columns[0]], 0, -resolution, y[rows[0]])
    return GeoBox(inside.shape, transform, crs), inside


def counts_on(look: xr.Dataset, source: Any, grid: Any, names: Sequence[str]) -> NDArray[np.int16]:
    """Return the counts of one date of a cube on a grid whose pixels are whole pixels of the cube.

    Parameters
    ----------
    look
        The date.
    source, grid
        The cube's grid, and the one asked for.
    names
        Bands and indices (``"B08_B04"``).
    """
    step, size = source.transform.a, grid.transform.a
    factor = round(size / step)
    column = round((grid.transform.c - source.transform.c) / step)
    row = round((source.transform.f - grid.transform.f) / step)
    height, width = (side * factor for side in grid.shape)
    top, left = max(row, 0), max(column, 0)
    bottom = max(min(row + height, source.shape.y), top)
    right = max(min(column + width, source.shape.x), left)

    def band(name: str) -> NDArray[np.float64]:
        values = np.full((height, width), np.nan)
        if name in look:
            cut = look[name].isel(y=slice(top, bottom), x=slice(left, right)).values
            values[top - row : bottom - row, left - column : right - column] = np.rint(
                cut.astype(np.float64) * 10_000
            )
        cells = values.reshape(grid.shape.y, factor, grid.shape.x, factor)
        seen = np.isfinite(cells).sum(axis=(1, 3))
        mean: NDArray[np.float64] = np.nansum(cells, axis=(1, 3)) / np.maximum(seen, 1)
        return np.where(seen > 0, np.rint(mean), np.nan)

    layers = []
    for name in names:
        one, _, other = name.partition("_")
        values = band(one)
        if other:
            first, second = values, band(other)
            total = np.where(first + second == 0, np.nan, first + second)
            values = np.rint((first - second) / total * 32767).clip(-32767, 32767)
        layers.append(np.where(np.isfinite(values), values, NODATA))
    return np.array(layers).astype(np.int16)


def outputs_of(text: str) -> list[str] | None:
    """Return the bands that ``Bandnames`` asks for: ``"B2, [B8_B4]"`` → ``["B02", "B08_B04"]``."""
    if text in ("all", "rgb"):
        return list(BANDS) if text == "all" else ["B04", "B03", "B02"]
    names = []
    for part in text.split(","):
        word = part.strip()
        try:
            names.append("_".join(schema.band_id(one) for one in word.strip("[]").split("_")))
        except CubeError:
            return None
    return names


def footprint(grid: Any) -> Any:
    """Return the outline of a grid in degrees."""
    return grid.extent.segmented(1000).to_crs("epsg:4326").geom


def square_km(shape: Any) -> float:
    """Return the area of a shape in degrees, km²."""
    from pyproj import Geod

    return abs(float(Geod(ellps="WGS84").geometry_area_perimeter(shape)[0])) / 1e6


def tiff(counts: NDArray[np.int16], grid: Any, names: Sequence[str], driver: str) -> bytes:
    """Return counts as the bytes of a GeoTIFF (``"GTiff"``) or a Cloud-Optimized one (``"COG"``)."""
    from rasterio.io import MemoryFile

    layout = (
        {"tiled": True, "blockxsize": 64, "blockysize": 64} if driver == "GTiff" else {"blocksize": 128}
    )
    with MemoryFile() as memory:
        with memory.open(
            driver=driver, width=counts.shape[2], height=counts.shape[1], count=len(counts),
            dtype="int16", crs=str(grid.crs), transform=grid.transform, nodata=NODATA,
            compress="deflate", **layout,
        ) as file:  # fmt: skip
            file.write(counts)
            file.descriptions = [_service_name(name) for name in names]
        return bytes(memory.getbuffer())


def _service_name(name: str) -> str:
    words = ["B" + band[1:].lstrip("0") for band in name.split("_")]
    return f"[{'_'.join(words)}]" if len(words) > 1 else words[0]
