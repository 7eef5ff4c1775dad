"""``write_catalog``: dates of counts as Cloud-Optimized GeoTIFFs with STAC items, an archive on disk."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.export.files import item_of, new_folder, raster_asset, write_cog

__all__ = ["write_catalog"]


def write_catalog(
    grids: Iterable[xr.Dataset],
    folder: str | Path,
    *,
    collection: str,
    scale: float = schema.SCALE,
    offset: float = 0.0,
    nodata: int = 0,
    properties: Mapping[str, Any] | None = None,
) -> Path:
    """Write counts as an archive: one Cloud-Optimized GeoTIFF a band and date, one STAC item a date.

    Parameters
    ----------
    grids
        Datasets of integer counts, dims ``(time, y, x)``, of the same dates and place; one for each
        resolution. Variables are bands or ``SCL``; CRS in ``spatial_ref``.
    folder
        Where to write; a folder that is not there yet, or is empty.
    collection
        Id of the collection.
    scale, offset, nodata
        What the counts of reflectance bands mean, for ``raster:bands``.
    properties
        Further properties of every item, such as ``processing:level``.

    Returns
    -------
    pathlib.Path
        The catalogue's ``catalog.json``. It is written last: where it is, the archive is whole.

    Raises
    ------
    CubeError
        The dates of the grids differ, or a band stands in two of them.
    FileExistsError
        There is something at `folder`.
    """
    import pystac

    grids = list(grids)
    folder = Path(folder)
    path = folder / "catalog.json"
    names = [str(name) for grid in grids for name in grid.data_vars]
    if len(set(names)) < len(names):
        raise CubeError(f"Each band belongs to one grid, got {sorted(names)}.")
    times = grids[0]["time"].values
    if any(not np.array_equal(grid["time"].values, times) for grid in grids[1:]):
        raise CubeError("The grids differ in dates: select the same dates of each.")
    raster = {"scale": scale, "offset": offset, "nodata": nodata}
    with new_folder(folder) as partial:
        catalog = pystac.Catalog(collection, f"Archive of {collection}", title=collection)
        for step, time in enumerate(times):
            stamp = np.datetime_as_string(time, unit="D").replace("-", "")
            moment = time.astype("datetime64[us]").item()
            item = item_of(f"S2_{stamp}", schema.geobox_of(grids[0]), moment, dict(properties or {}))
            home = partial / item.id
            home.mkdir()
            for grid in grids:
                for name in map(str, grid.data_vars):
                    write_cog(grid[name].isel(time=step), home / f"{name}.tif", nodata=nodata)
                    said = raster if name in schema.BANDS else {"nodata": nodata}
                    item.add_asset(name, raster_asset(f"{name}.tif", grid[name], said))
            catalog.add_item(item)
        catalog.normalize_hrefs(str(partial))
        catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return path
