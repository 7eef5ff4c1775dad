"""Downloaded GeoTIFFs: whether one is whole, and its counts on the cube's grid."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError, ReadError, ServiceError
from s2cube.schema import NODATA
from s2cube.sources.clearsky.request import Download, Window, edges, output_name

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["damage", "meet", "read_counts"]

_HAIR: Final = 1e-3
"""Share of a pixel that is rounding."""


def damage(path: Path) -> str:
    """Tell what is wrong with a GeoTIFF, empty if every pixel of it can be read.

    Notes
    -----
    A file that broke off opens all the same where what is missing is at its end, so it is read, once:
    some seconds for a whole tile, in pieces of a few rows of blocks.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError
    from rasterio.windows import Window as Pixels

    try:
        with rasterio.open(path) as file:
            if file.crs is None:
                return "it does not tell where it lies"
            rows = max(file.block_shapes[0][0], 64)
            for start in range(0, file.height, rows):
                file.read(window=Pixels(0, start, file.width, min(rows, file.height - start)))
    except (RasterioError, NotGeoreferencedWarning) as error:  # the latter where warnings are errors
        return str(error).replace(str(path), "the file")
    return ""


def meet(one: Window, other: Window) -> Window | None:
    """Return what two windows share, None if nothing."""
    top, bottom = max(one[0], other[0]), min(one[1], other[1])
    left, right = max(one[2], other[2]), min(one[3], other[3])
    return (top, bottom, left, right) if top < bottom and left < right else None


def read_counts(
    path: Path, download: Download, grid: "GeoBox", wanted: Sequence[str], part: Window
) -> tuple[Window, NDArray[np.int16]] | None:
    """Return the counts that a file has of a part of the grid; None where it has none.

    Parameters
    ----------
    path, download
        The file, and what it was asked for.
    grid
        The cube's grid, or that of its downloads where its pixels are coarser.
    wanted
        Bands and indices, all of which it holds.
    part
        Window of the grid.

    Returns
    -------
    tuple
        The window of the grid that it fills, and the counts, int16 of shape ``(wanted, y, x)``.

    Raises
    ------
    ServiceError
        The file is not on the grid, or not what was asked for: nothing is shifted to make it fit.
    ReadError
        It cannot be read.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(path) as file:
            problem = _unlike(file, download, grid)
            if not problem:
                held = _bands(file, download)
                found = _on_grid(file, [held[name] for name in wanted], grid, part)
    except RasterioError as error:
        reason = str(error)
    else:
        if problem:
            raise ServiceError(
                f"ClearSKY's answer for {download.date} does not fit the cube: {problem}. It is kept "
                f"as {path}; nothing of it was used."
            )
        return found
    # Raised here, not above: GDAL's error in its context could not be pickled.
    raise ReadError(
        f"Cannot read the download {path}: {reason}. It was whole when it was put there; if it is "
        "damaged, remove it, and computing again downloads (and pays) it again."
    )


def _unlike(file: Any, download: Download, grid: "GeoBox") -> str:
    """Tell how a file differs from what was asked for, empty if it does not."""
    if set(file.dtypes) != {"int16"}:
        return f"it holds {', '.join(sorted(set(file.dtypes)))}, not int16"
    if file.nodata not in (None, NODATA):
        return f"its no-data value is {file.nodata:g}, not {NODATA}"
    try:
        crs = schema.parse_crs(file.crs.to_wkt() if file.crs else None)
    except CubeError:
        return "it has no CRS"
    if crs != grid.crs:
        return f"it is in {crs}, the cube in {grid.crs}"
    if missing := [name for name in download.holds if name not in _bands(file, download)]:
        return f"it lacks {', '.join(missing)}: its {file.count} bands are {file.descriptions}"
    size = grid.transform.a
    a, b, c, d, e, f = file.transform[:6]
    if b or d or abs(a + e) > _HAIR * size or abs(a - size) > _HAIR / 1e4 * size:
        return f"its pixels are {a:.9g} x {-e:.9g} m, not {size:g} m"
    left, _, _, top = edges(grid, (0, 1, 0, 1))
    across, down = (c - left) / size, (top - f) / size
    if abs(across - round(across)) > _HAIR or abs(down - round(down)) > _HAIR:
        return f"its corner ({c:.12g}, {f:.12g}) lies between the cube's pixels"
    if download.tile:
        return ""
    left, bottom, right, top = edges(grid, download.window)
    hair = _HAIR * size
    if c > left + hair or f < top - hair:
        return f"it starts at ({c:.12g}, {f:.12g}), the pixels asked for at ({left}, {top})"
    if c + file.width * a < right - hair or f + file.height * e > bottom + hair:
        return f"its {file.height} x {file.width} pixels do not reach to ({right}, {bottom})"
    return ""


def _bands(file: Any, download: Download) -> dict[str, int]:
    """Return the number of each band: by its description, else by the order asked for."""
    told = {output_name(text): number for number, text in enumerate(file.descriptions, start=1) if text}
    if set(told) - {""}:
        return told
    if file.count != len(download.holds):
        return {}
    return {name: number for number, name in enumerate(download.holds, start=1)}


def _on_grid(
    file: Any, bands: list[int], grid: "GeoBox", part: Window
) -> tuple[Window, NDArray[np.int16]] | None:
    """Return the window of the grid that a file fills within `part`, and its counts there."""
    from rasterio.windows import Window as Pixels

    size = file.transform.a
    left, _, _, top = edges(grid, (0, 1, 0, 1))
    # Where the file starts, in pixels from the grid's corner.
    row, column = round((top - file.transform.f) / size), round((file.transform.c - left) / size)
    window = meet(part, (row, row + file.height, column, column + file.width))
    if window is None:
        return None
    y0, y1, x0, x1 = window
    return window, file.read(bands, window=Pixels(x0 - column, y0 - row, x1 - x0, y1 - y0))
