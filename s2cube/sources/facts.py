"""What a STAC item says of the offset of its assets, and the words it says it with."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from s2cube import harmonize, schema
from s2cube.errors import CatalogError, HarmonizationError
from s2cube.sources.profiles import Product, product_of, profile_of
from s2cube.sources.scene import product_name

if TYPE_CHECKING:
    import pystac

__all__ = [
    "band_of",
    "baseline_of",
    "name_parts",
    "offset_facts",
    "original",
    "reflectance_offset",
    "told_by",
]

_REMOVED: Final = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Flags of Earth Search (v1, v0): the offset has been removed from its own GeoTIFFs."""
_BASELINE: Final = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
_PRODUCT_NAMES: Final = ("s2:product_uri", "sentinel:product_id", "title")
_NO_REFLECTANCE: Final = re.compile(
    r"(scl|aot|wvp|tci|visual|overview|preview|rendered_preview|thumbnail|quicklook|cloud|snow|cld|cldprb"
    r"|snw|snwprb|cirrus_mask|tilejson|datastrip|product|.*(metadata|manifest|info))"
    r"([-_](10m|20m|60m|jp2))*",
    re.IGNORECASE,
)
"""Assets without reflectance: they take no offset."""


def reflectance_offset(item: "pystac.Item", asset: str) -> float:
    """Return what has to be added to ``count * scale`` of an asset to get reflectance.

    Before processing baseline 04.00 it is 0, from it on -0.1, unless the provider has removed it; the
    date does not decide, as old scenes are processed anew. :data:`s2cube.harmonize.RULES` has the
    order in which the item's words are believed.

    Parameters
    ----------
    item
        A ``pystac.Item`` of Sentinel-2, of any provider.
    asset
        Key of one of its assets. Of Earth Search's items, ``"red"`` and ``"red-jp2"`` may differ.

    Returns
    -------
    float
        Reflectance to add: 0.0 or -0.1. Classes, water vapour, aerosol and pictures take 0.0.

    Raises
    ------
    HarmonizationError
        The item does not tell it, contradicts itself, or declares an offset that ESA does not have.
    CatalogError
        It has no such asset, or it cannot be known whether that holds reflectance.

    Examples
    --------
    >>> import datetime, pystac, s2cube
    >>> item = pystac.Item(
    ...     "scene", None, None, datetime.datetime(2020, 7, 1), {"s2:processing_baseline": "05.00"}
    ... )
    >>> item.add_asset("B04", pystac.Asset("B04.tif"))
    >>> s2cube.reflectance_offset(item, "B04")
    -0.1
    """
    if asset not in item.assets:
        raise CatalogError(
            f"Item {item.id} has no asset {asset!r}; it has {', '.join(item.assets) or 'none'}."
        )
    product = product_of(item, profile_of(None, [item]))
    if product.sensor != "sentinel-2":
        raise CatalogError(f"Item {item.id} is of {product.sensor}; the rules are those of Sentinel-2.")
    band = band_of(asset, item.assets[asset], product)
    if band is None and not _NO_REFLECTANCE.fullmatch(asset):
        raise CatalogError(
            f"It cannot be known whether asset {asset!r} of item {item.id} holds reflectance: its name "
            "is no band's, and it does not declare one band."
        )
    measures = band is not None and band != schema.SCL
    return harmonize.offset_to_add(offset_facts(item, asset, asset, measures=measures))


def offset_facts(
    item: "pystac.Item", key: str, name: str, *, measures: bool = True
) -> harmonize.OffsetFacts:
    """Collect what an item says of the offset of one of its assets."""
    asset = item.assets[key]
    declared = told_by(asset)("offset")
    flags = [item.properties[flag] for flag in _REMOVED if item.properties.get(flag) is not None]
    return harmonize.OffsetFacts(
        f"{name} of item {item.id}",
        measures=measures,
        baseline=baseline_of(item) if measures else None,
        removed=bool(flags[0]) if flags else None,
        original=original(key, asset),
        declared=None if declared is None else float(declared),
    )


def baseline_of(item: "pystac.Item") -> harmonize.Baseline | None:
    """Return the processing baseline; None where the item does not tell it, or tells 99.99.

    Raises
    ------
    HarmonizationError
        It tells two, and they differ in whether there is an offset.
    """
    properties = item.properties
    texts: list[object] = [properties.get(key) for key in _BASELINE]
    texts += [name_parts(item).get("baseline")]
    if not any(texts):
        # The end of these names is the baseline too: GS2A_20230701T171901_041908_N05.09.
        ends = [
            str(properties.get(key, "")) for key in ("s2:datatake_id", "s2:granule_id", "s2:tile_id")
        ]
        texts = [match[1] for text in ends if (match := re.search(r"_N(\d\d\.\d\d)$", text))]
    if any(str(text).lstrip("N").replace(".", "") == "9999" for text in texts):
        return None
    told = [found for text in texts if (found := harmonize.parse_baseline(text)) is not None]
    if len({found >= harmonize.FIRST_WITH_OFFSET for found in told}) > 1:
        names = sorted({"{:02}.{:02}".format(*found) for found in told})
        raise HarmonizationError(
            f"Item {item.id} tells several processing baselines ({', '.join(names)}): correct "
            "s2:processing_baseline, or say the offset with offset=."
        )
    return told[0] if told else None


def name_parts(item: "pystac.Item") -> Mapping[str, str]:
    """Return the parts of ESA's product name, wherever the item keeps it."""
    for text in (*(item.properties.get(key) for key in _PRODUCT_NAMES), item.id):
        if parts := product_name(str(text or "")):
            return parts
    return {}


def band_of(key: str, asset: "pystac.Asset", product: Product) -> str | None:
    """Return the band an asset holds: by its key, else by the one band it declares."""
    if key in product.bands:
        return product.bands[key]
    if product.sensor != "sentinel-2":
        raster = "data" in (asset.roles or []) or told_by(asset)("data_type") is not None
        return key if raster and not product.bands else None
    key = key.removesuffix("-jp2")
    if schema.is_scl(key):
        return schema.SCL
    if (band := schema.find_band(key)) is not None:
        return band
    declared = asset.extra_fields.get("eo:bands") or asset.extra_fields.get("bands") or []
    if len(declared) != 1 or _NO_REFLECTANCE.fullmatch(key):
        return None
    return schema.find_band(declared[0].get("name"))


def original(key: str, asset: "pystac.Asset") -> bool:
    """Return whether an asset is a JP2: ESA's own file, as no provider writes any."""
    return key.endswith("-jp2") or asset.href.split("?")[0].lower().endswith(".jp2")


def told_by(asset: "pystac.Asset") -> Callable[[str], Any]:
    """Return a look-up of what an asset declares of its raster, in any version of the extensions."""
    extra = asset.extra_fields
    v1 = (extra.get("raster:bands") or [{}])[0]
    v2 = (extra.get("bands") or [{}])[0]

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
