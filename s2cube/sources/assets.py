"""What the assets of a STAC item say of themselves: their band, their data type, their grid."""

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from s2cube import schema
from s2cube.errors import CatalogError, HarmonizationError
from s2cube.sources.profiles import Product

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

__all__ = [
    "assets_by_band",
    "band_of",
    "data_type",
    "href_of",
    "is_picture",
    "native_grid",
    "nodata_of",
    "number",
    "original",
    "told_by",
]

_KEY: Final = re.compile(
    r"(?:s2[a-d]?[-_]l[12][ac][-_]|(?:l[12][ac]_)?t\d{2}[a-z]{3}_\d{8}t\d{6}_)?"
    r"(?P<name>[a-z0-9]+?)(?:[-_.](?P<size>[126]0)m)?(?:[-_.](?:jp2|tiff?))*",
    re.IGNORECASE,
)
"""``B04``, ``red``, ``B04_10m``, ``red-jp2``, ``S2-L2A-B04``, ``T33UUU_20170216T102101_B8A_20m``: whole
names, as ``MSK_QUALIT_B04`` and ``view_azimuth_B04`` end in a band too."""
_PICTURES: Final = re.compile(
    r"(scl|aot|wvp|tci|visual|overview|preview|rendered_preview|thumbnail|quicklook|cloud|snow|cld|cldprb"
    r"|snw|snwprb|cirrus_mask|tilejson|datastrip|product|.*(metadata|manifest|info))"
    r"([-_](10m|20m|60m|jp2))*",
    re.IGNORECASE,
)
"""Assets without reflectance: they take no offset."""
_ASIDE: Final = re.compile(
    r"(^|[-_.])(msk|masks?|qa|qualit|quality|detfoo|defect|satura|azimuth|zenith|angles?|snr)([-_.]|$)",
    re.IGNORECASE,
)
"""Words in the names of assets that tell of a band and are none."""
_NO_BAND: Final = frozenset(
    {"thumbnail", "overview", "visual", "graphic", "tiles", "metadata", "data-mask", "mask", "cloud",
     "saturation", "cloud-shadow", "shadow", "snow-ice", "land-water", "water-mask", "azimuth",
     "sun-azimuth", "sun-elevation", "incidence-angle", "terrain-shadow", "terrain-occlusion"}
)  # fmt: skip
"""Roles of assets that hold no measurement."""


def band_of(key: str, asset: "pystac.Asset", product: Product) -> str | None:
    """Return the band an asset holds: by its key, else by the one band it declares."""
    if key in product.bands:
        return product.bands[key]
    if product.sensor != "sentinel-2":
        raster = "data" in (asset.roles or []) or told_by(asset)("data_type") is not None
        return key if raster and not product.bands else None
    if _named(key) == schema.SCL:
        return schema.SCL
    if _NO_BAND & set(asset.roles or ()):
        return None
    if (band := _named(key)) is not None:
        return band
    if is_picture(key) or _ASIDE.search(key):
        return None
    declared = _bands(asset, "eo:bands") or _bands(asset, "bands")
    if len(declared) != 1:
        return None
    words = (declared[0].get(word) for word in ("name", "common_name", "eo:common_name"))
    return next((band for word in words if (band := _named(word)) not in (None, schema.SCL)), None)


def _named(word: object) -> str | None:
    """Return the band, or SCL, that is called so."""
    if schema.is_scl(word):
        return schema.SCL
    match = _KEY.fullmatch(str(word))
    if match is None:
        return None
    return schema.SCL if match["name"].upper() == schema.SCL else schema.find_band(match["name"])


def is_picture(key: str) -> bool:
    """Return whether an asset is known to hold no reflectance: classes, vapour, a picture, a text."""
    return _PICTURES.fullmatch(key) is not None


def assets_by_band(item: "pystac.Item", product: Product) -> dict[str, str]:
    """Return the key of each band's asset, the best where several have it.

    That is the finest (``B02_10m`` before ``B02_60m``), and of equals the one that is no JP2: it reads
    many times faster.
    """
    found: dict[str, str] = {}
    for key, asset in item.assets.items():
        band = band_of(key, asset, product)
        if band is not None and (
            band not in found or _worth(key, asset) < _worth(found[band], item.assets[found[band]])
        ):
            found[band] = key
    return found


def _worth(key: str, asset: "pystac.Asset") -> tuple[float, bool]:
    """Return the pixel size that an asset tells (infinite: none), and whether it is a JP2."""
    transform = asset.extra_fields.get("proj:transform") or [None]
    match = _KEY.fullmatch(key)
    sizes = (
        transform[0],
        told_by(asset)("spatial_resolution"),
        match["size"] if match else None,
        asset.extra_fields.get("gsd"),
    )
    size = next((size for size in sizes if size is not None), math.inf)
    return abs(number(size, f"The pixel size of asset {key}{_owner(asset)}")), original(key, asset)


def original(key: str, asset: "pystac.Asset") -> bool:
    """Return whether an asset is a JP2: ESA's own file, as no provider writes any."""
    jp2 = asset.href.split("?")[0].lower().endswith(".jp2")
    return jp2 or key.endswith("-jp2") or asset.media_type == "image/jp2"


def told_by(asset: "pystac.Asset") -> Callable[[str], Any]:
    """Return a look-up of what an asset declares of its raster, in any version of the extensions.

    Raises
    ------
    CatalogError
        Its bands are no list of objects.
    """
    extra = asset.extra_fields
    v1, v2 = (next(iter(_bands(asset, field)), {}) for field in ("raster:bands", "bands"))

    def told(key: str) -> Any:
        for place, name in (
            (extra, f"raster:{key}"),
            (v2, f"raster:{key}"),
            (v1, key),
            (v2, key),
            (extra, key),
        ):
            if place.get(name) is not None:
                return place[name]
        return None

    return told


def _bands(asset: "pystac.Asset", field: str) -> list[Mapping[str, Any]]:
    """Return the bands that a field of an asset lists; plain names are names."""
    told = asset.extra_fields.get(field) or []
    if not isinstance(told, (list, tuple)) or any(
        not isinstance(one, (Mapping, str)) and one is not None for one in told
    ):
        raise CatalogError(
            f"{field}{_owner(asset)} is a list of objects, got {told!r:.100}: correct it."
        )
    return [{"name": one} if isinstance(one, str) else one or {} for one in told]


def _owner(asset: "pystac.Asset") -> str:
    return f" of item {getattr(asset.owner, 'id', '')}" if asset.owner is not None else ""


def number(value: Any, what: str) -> float:
    """Return a number of an item's metadata.

    Raises
    ------
    HarmonizationError
        It is none; a text may hold one.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise HarmonizationError(f"{what} is {value!r}, which is no number: correct the item.") from None


def data_type(item: "pystac.Item", asset: "pystac.Asset", name: str) -> np.dtype | None:
    """Return the data type that an asset declares; None where it declares none."""
    told = told_by(asset)("data_type")
    if told is None:
        return None
    try:
        dtype = np.dtype(str(told).lower())
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf":
        raise HarmonizationError(
            f"{name} of item {item.id} declares the data type {told!r}; known are those of whole and "
            "real numbers (uint16, float32, ...): correct data_type."
        )
    return dtype


def nodata_of(asset: "pystac.Asset", dtype: np.dtype, name: str, default: float | None) -> float | None:
    """Return the no-data value of an asset, by default `default`.

    NaN is None: in real numbers it is missing whatever is declared, and whole numbers cannot hold it.
    """
    told = told_by(asset)("nodata")
    if told is None:
        return default
    value = number(told, f"The no-data value of {name}")
    if math.isnan(value):
        return None if dtype.kind == "f" else default
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        raise HarmonizationError(
            f"{name} declares the no-data value {told!r}, which {dtype} cannot hold: correct nodata."
        )
    return value


def href_of(item: "pystac.Item", asset: "pystac.Asset") -> str:
    """Return where an asset's file is.

    Raises
    ------
    CatalogError
        Its link is relative, and the item does not know where it lies itself.
    """
    href = asset.get_absolute_href()
    if href is None:
        raise CatalogError(
            f"Item {item.id} has the relative link {asset.href!r} and does not say where it lies: "
            "read it from its file (pystac.Item.from_file), or tell it with item.set_self_href(...)."
        )
    return str(href)


def native_grid(item: "pystac.Item", asset: "pystac.Asset") -> "GeoBox | None":
    """Return the grid that the projection extension describes; None where it does not.

    Raises
    ------
    CatalogError
        What it says is no grid.
    """
    from affine import Affine
    from odc.geo.geobox import GeoBox

    places = (asset.extra_fields, item.properties)
    shape, transform = (
        next((place[key] for place in places if place.get(key)), None)
        for key in ("proj:shape", "proj:transform")
    )
    try:
        crs = next((crs for place in places if (crs := _crs(place))), None)
        if not (shape and transform and crs):
            return None
        rows, columns = (int(length) for length in shape)
        affine = Affine(*(float(part) for part in transform[:6]))
        return GeoBox((rows, columns), affine, schema.parse_crs(crs))
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # pyproj's are RuntimeErrors, ours ValueErrors
        raise CatalogError(
            f"Item {item.id} does not say where the pixels of {asset.href.rpartition('/')[2]} are: "
            f"proj:shape {shape}, proj:transform {transform}: {error}."
        ) from None


def _crs(fields: Mapping[str, Any]) -> Any:
    """Return the CRS that some fields tell, in any of the projection extension's ways."""
    if crs := fields.get("proj:code") or fields.get("proj:epsg") or fields.get("proj:wkt2"):
        return crs
    if told := fields.get("proj:projjson"):
        from pyproj import CRS

        return CRS.from_json_dict(told)
    return None
