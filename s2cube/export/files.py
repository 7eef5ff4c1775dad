"""One image as a file, and what a STAC item says of it."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import xarray as xr

from s2cube import schema

if TYPE_CHECKING:
    import datetime

    import pystac
    from odc.geo.geobox import GeoBox

__all__ = ["item_of", "new_folder", "raster_asset", "write_cog"]

_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]
AVERAGED: Final = (*schema.BANDS, "emad", "smad", "bcmad")
"""Variables whose overviews are means; classes and counts must not be averaged."""


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; it gets its name when all is written, and is removed otherwise.

    Raises
    ------
    FileExistsError
        There is something at `folder`.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists: choose another folder, or remove it yourself.")
    # Not tempfile's, which others may not read. And pystac would take a suffix for that of a file.
    partial = folder.with_name(f"{folder.name}-unfinished-{uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)


def item_of(
    name: str, geobox: "GeoBox", moment: "datetime.datetime | None", properties: Mapping[str, Any]
) -> "pystac.Item":
    """Return an item without assets: what is known, nothing invented."""
    import pystac

    crs: Any = geobox.crs
    footprint = geobox.extent.to_crs("epsg:4326")
    code = {"proj:code": f"EPSG:{crs.epsg}"} if crs.epsg else {"proj:wkt2": crs.wkt}
    return pystac.Item(
        id=name,
        geometry=footprint.json,
        bbox=list(footprint.boundingbox.bbox),
        datetime=moment,
        properties={**properties, **code},
        stac_extensions=_EXTENSIONS,
    )


def raster_asset(href: str, image: xr.DataArray, said: Mapping[str, Any]) -> "pystac.Asset":
    """Return the asset of a file beside its item; `said` is for ``raster:bands``."""
    import pystac

    geobox = schema.geobox_of(image.to_dataset(name=image.name or "image"))
    fields: dict[str, Any] = {
        "proj:shape": list(geobox.shape.yx),
        "proj:transform": [float(part) for part in geobox.transform[:6]],
        "gsd": abs(float(geobox.transform.a)),
    }
    if image.name in schema.BANDS:
        known = schema.BANDS[str(image.name)]
        fields["eo:bands"] = [{"name": known.id, "common_name": known.common_name}]
    fields["raster:bands"] = [{"data_type": str(image.dtype), **said}]
    return pystac.Asset(
        f"./{href}", media_type=pystac.MediaType.COG, roles=["data"], extra_fields=fields
    )


def write_cog(
    image: xr.DataArray, path: Path, *, nodata: float | None, scale: float = 1.0, offset: float = 0.0
) -> None:
    """Write an image, dims ``(y, x)``, by GDAL's own driver, through rioxarray."""
    import rioxarray  # noqa: F401 - registers `.rio`

    how = "AVERAGE" if image.name in AVERAGED else "NEAREST"
    # Its own attributes only: the CRS is in those of spatial_ref.
    plain = image.drop_attrs(deep=False)
    plain.encoding = {}
    if nodata is not None:
        plain = plain.rio.write_nodata(nodata)
    if (scale, offset) != (1.0, 0.0):
        plain.attrs |= {"scale_factor": scale, "add_offset": offset}
    plain.rio.to_raster(path, driver="COG", compress="DEFLATE", predictor="YES", overview_resampling=how)
