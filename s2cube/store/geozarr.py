"""The GeoZarr conventions ``proj:`` and ``spatial:``: grid and CRS for readers that know no CF.

They are the Zarr conventions of these names, version 1: attributes of the group, and of each array,
where some readers look only. They say the same as ``spatial_ref`` and the coordinates.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["geozarr_attrs", "without_geozarr"]

_HOME: Final = "https://{}/zarr-conventions/{}/{}"
_CONVENTIONS: Final = [
    {
        "schema_url": _HOME.format("raw.githubusercontent.com", repository, "refs/tags/v1/schema.json"),
        "spec_url": _HOME.format("github.com", repository, "blob/v1/README.md"),
        "uuid": uuid,
        "name": name,
        "description": description,
    }
    # With the colon: rioxarray compares the names.
    for repository, name, uuid, description in (
        ("geo-proj", "proj:", "f17cb550-5864-4468-aeb7-f3180cfb622f",
         "Coordinate reference system information for geospatial data"),
        ("spatial", "spatial:", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
         "Spatial coordinate information"),
    )
]  # fmt: skip


def geozarr_attrs(geobox: "GeoBox") -> dict[str, Any]:
    """Return the attributes of a group or an array with dimensions ``y`` and ``x`` on that grid."""
    crs: Any = geobox.crs
    code = {"proj:code": f"EPSG:{crs.epsg}"} if crs.epsg else {"proj:wkt2": crs.wkt}
    return {
        "zarr_conventions": [dict(convention) for convention in _CONVENTIONS],
        **code,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform_type": "affine",
        "spatial:transform": [float(part) for part in geobox.transform[:6]],
        "spatial:shape": list(geobox.shape.yx),
        "spatial:bbox": [float(side) for side in geobox.boundingbox.bbox],
        "spatial:registration": "pixel",
    }


def without_geozarr(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without those of the conventions: of a part of the grid they would be wrong."""
    return {
        key: value
        for key, value in attrs.items()
        if key != "zarr_conventions" and not str(key).startswith(("proj:", "spatial:"))
    }
