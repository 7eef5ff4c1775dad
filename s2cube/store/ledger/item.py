"""The STAC item of a store, beside it: ``daily.zarr.item.json``."""

import json
from collections.abc import Mapping
from typing import Any, Final

from s2cube import schema
from s2cube.export.files import item_of
from s2cube.store.geozarr import geozarr_attrs
from s2cube.store.layout import encoding_of
from s2cube.store.ledger.ledger import Ledger

__all__ = ["put_item"]

SUFFIX: Final = ".item.json"
ZARR: Final = "application/vnd+zarr"
"""Media type of a Zarr store, as pystac has it."""
HISTORY: Final = "s2cube:history"
"""The property by which an item is known to be ours."""


def put_item(ledger: Ledger, layout: Mapping[str, Any], recipe: Mapping[str, str]) -> None:
    """Put the item of a finished store beside it.

    Not inside, where Zarr would take it for a part of the hierarchy. A file of that name that is
    something else stays as it is.
    """
    home, name = ledger.store.alone()
    there = home.get(f"{name}{SUFFIX}")
    if there is None or HISTORY in _properties(there):
        content = json.dumps(item_of_store(name, layout, recipe), indent=1, sort_keys=True)
        home.put(f"{name}{SUFFIX}", content.encode())


def _properties(content: bytes) -> Any:
    try:
        return json.loads(content)["properties"]
    except (ValueError, KeyError, TypeError):
        return ()


def item_of_store(name: str, layout: Mapping[str, Any], recipe: Mapping[str, str]) -> dict[str, Any]:
    """Return the item of the store called `name`, as plain JSON.

    It tells no time of making: the same work gives the same item.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    grid = Affine(*layout["transform"])
    geobox = GeoBox(tuple(layout["shape"][1:]), grid, schema.parse_crs(layout["crs"]))
    days = layout["days"]
    located = geozarr_attrs(geobox)
    properties = {
        "start_datetime": f"{days['first']}T00:00:00Z",
        "end_datetime": f"{days['last']}T23:59:59Z",
        "proj:shape": located["spatial:shape"],
        "proj:transform": located["spatial:transform"],
        HISTORY: recipe["history"].splitlines(),
    }
    item = item_of(name.removesuffix(".zarr") or name, geobox, None, properties)
    bands = [schema.BANDS[band] for band in layout["variables"] if band in schema.BANDS]
    made: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    made["assets"]["data"] = {
        "href": f"./{name}",
        "type": ZARR,
        "roles": ["data"],
        "xarray:open_kwargs": {"engine": "zarr", "consolidated": True},
        "eo:bands": [{"name": band.id, "common_name": band.common_name} for band in bands],
        "raster:bands": [_raster(band.id) for band in bands],
    }
    return made


def _raster(band: str) -> dict[str, Any]:
    held = encoding_of(band)
    return {"data_type": held.dtype, "nodata": held.fill, "scale": schema.SCALE, "offset": 0.0}
