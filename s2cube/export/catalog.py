"""``write_catalog``: dates of counts as Cloud-Optimized GeoTIFFs with STAC items, an archive on disk."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

__all__ = ["write_catalog"]

_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]


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
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists: choose another folder, or remove it yourself.")
    names = [str(name) for grid in grids for name in grid.data_vars]
    if len(set(names)) < len(names):
        raise CubeError(f"Each band belongs to one grid, got {sorted(names)}.")
    times = grids[0]["time"].values
    if any(not np.array_equal(grid["time"].values, times) for grid in grids[1:]):
        raise CubeError("The grids differ in dates: select the same dates of each.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # pystac would take a suffix of a temporary name for that of a file.
    partial = Path(mkdtemp(prefix=f"{folder.name}-unfinished-", dir=folder.parent))
    catalog = pystac.Catalog(collection, f"Archive of {collection}", title=collection)
    raster = {"scale": scale, "offset": offset, "nodata": nodata}
    for step, time in enumerate(times):
        item = _item(grids, time, dict(properties or {}))
        home = partial / item.id
        home.mkdir(parents=True)
        for grid in grids:
            for name in map(str, grid.data_vars):
                _write_cog(grid[name].isel(time=step), home / f"{name}.tif", nodata)
                item.add_asset(name, _asset(name, grid, raster))
        catalog.add_item(item)
    catalog.normalize_hrefs(str(partial))
    catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)
    return path


def _item(grids: list[xr.Dataset], time: Any, properties: dict[str, Any]) -> "pystac.Item":
    """Return the item of one date, without assets: what is known, nothing invented."""
    import pystac

    geobox = schema.geobox_of(grids[0])
    footprint = geobox.extent.to_crs("epsg:4326")
    return pystac.Item(
        id=f"S2_{np.datetime_as_string(time, unit='D').replace('-', '')}",
        geometry=footprint.json,
        bbox=list(footprint.boundingbox.bbox),
        datetime=time.astype("datetime64[us]").item(),
        properties={**properties, **_projection(geobox)},
        stac_extensions=_EXTENSIONS,
    )


def _projection(geobox: "GeoBox") -> dict[str, Any]:
    crs: Any = geobox.crs
    if crs.epsg:
        return {"proj:code": f"EPSG:{crs.epsg}"}
    return {"proj:wkt2": crs.wkt}


def _asset(name: str, grid: xr.Dataset, raster: Mapping[str, Any]) -> "pystac.Asset":
    import pystac

    geobox = schema.geobox_of(grid)
    kind: dict[str, Any] = {"data_type": str(grid[name].dtype)}
    fields: dict[str, Any] = {
        "proj:shape": list(geobox.shape.yx),
        "proj:transform": [float(part) for part in geobox.transform[:6]],
        "gsd": abs(float(geobox.transform.a)),
    }
    if name in schema.BANDS:
        known = schema.BANDS[name]
        kind |= dict(raster)
        fields["eo:bands"] = [{"name": known.id, "common_name": known.common_name}]
    else:
        kind["nodata"] = raster["nodata"]
    fields["raster:bands"] = [kind]
    return pystac.Asset(
        f"./{name}.tif", media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields
    )


def _write_cog(image: xr.DataArray, path: Path, nodata: int) -> None:
    import rioxarray  # noqa: F401 - registers `.rio`

    # GDAL's own driver, through rioxarray. Classes must not be averaged in the overviews.
    how = "AVERAGE" if image.name in schema.BANDS else "NEAREST"
    image.rio.write_nodata(nodata).rio.to_raster(
        path, driver="COG", compress="DEFLATE", predictor="YES", overview_resampling=how
    )
