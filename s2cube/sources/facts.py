"""What a STAC item says of the offset of its assets, and what their counts are worth."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from s2cube import harmonize, schema
from s2cube.errors import CatalogError, HarmonizationError
from s2cube.sources.assets import band_of, data_type, is_picture, number, original, told_by
from s2cube.sources.profiles import Product, product_of, profile_of
from s2cube.sources.scene import product_name

if TYPE_CHECKING:
    import pystac

__all__ = ["Word", "baseline_of", "name_parts", "reflectance_offset", "worth"]

Word = float | Literal["declared"] | None
"""The user's word on the offset of an item; None leaves it to the rules."""

_REMOVED: Final = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Flags of Earth Search (v1, v0): the offset has been removed from its own GeoTIFFs."""
_BASELINE: Final = ("s2:processing_baseline", "sentinel:processing_baseline")
_PRODUCT_NAMES: Final = ("s2:product_uri", "sentinel:product_id", "title")
_ENDS: Final = ("s2:datatake_id", "s2:granule_id", "s2:tile_id")
_NOT_COUNTS: Final = 0.01
"""Reflectance of one count is less in every product: a larger scale is not that of counts."""


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
    product = product_of(item, profile_of(item))
    if product.sensor != "sentinel-2":
        raise CatalogError(f"Item {item.id} is of {product.sensor}; the rules are those of Sentinel-2.")
    band = band_of(asset, item.assets[asset], product)
    if band is None and not is_picture(asset):
        raise CatalogError(
            f"It cannot be known whether asset {asset!r} of item {item.id} holds reflectance: its name "
            "is no band's, and it does not declare one band."
        )
    if band is None or band == schema.SCL:
        return harmonize.offset_to_add(harmonize.OffsetFacts(asset, measures=False))
    return worth(item, asset, asset, product)[1]


def worth(
    item: "pystac.Item", key: str, name: str, product: Product, said: Word = None
) -> tuple[float, float]:
    """Return scale and offset of the counts of an asset: reflectance of one, and what to add.

    Parameters
    ----------
    key, name
        Of the asset, and what errors call it.
    product
        What is known of its collection.
    said
        The user's word on the offset.

    Raises
    ------
    HarmonizationError
        The item does not tell, contradicts itself, or tells what cannot be.
    """
    asset, what = item.assets[key], f"{name} of item {item.id}"
    told, dtype = told_by(asset), data_type(item, asset, name)
    scale = None if told("scale") is None else number(told("scale"), f"The scale of {what}")
    offset = None if told("offset") is None else number(told("offset"), f"The offset of {what}")
    rule = product.offset == "rule"
    whole = (dtype or np.dtype(product.dtype or "float32")).kind in "iu"
    if scale is not None and not 0 < scale < np.inf:
        raise HarmonizationError(f"{what} declares a scale of {scale:g}: correct it, it is above 0.")
    if rule and dtype is None and scale is not None and scale > _NOT_COUNTS:
        raise HarmonizationError(
            f"Item {item.id} does not declare the data type of {name}, and a scale of {scale:g} is not "
            "that of ESA's counts: add data_type to raster:bands."
        )
    # GDAL has 1 and 0 where nothing was set, and rio-stac writes that down: of counts it says nothing.
    unset = whole and scale == 1 and product.scale not in (None, 1)
    if rule and whole and not unset and scale is not None and scale > _NOT_COUNTS:
        raise HarmonizationError(
            f"{what} declares a scale of {scale:g}, which is not the reflectance of one count (ESA's is "
            "0.0001): correct raster:scale."
        )
    if unset:
        scale = None
    if scale is None:
        scale = _known_scale(what, product, dtype)
    if isinstance(said, (int, float)):
        return scale, float(said)
    if said == "declared" or product.offset == "declared":
        if offset is None:
            raise HarmonizationError(f"{what} declares no offset (raster:offset): say it.")
        if rule:
            harmonize.check_unit(what, offset)
        return scale, offset
    declared = None if unset and offset == 0 else offset
    if isinstance(product.offset, (int, float)):
        return scale, float(product.offset if declared is None else declared)
    facts = harmonize.OffsetFacts(
        what,
        baseline=baseline_of(item, product),
        removed=_removed(item),
        original=original(key, asset),
        declared=declared,
    )
    if not whole and declared is None and facts.removed is not True:
        raise HarmonizationError(
            f"{what} holds {dtype or product.dtype} and declares no offset: a processing baseline tells "
            "that of ESA's counts only. Say it with offset=0 (it is reflectance) or offset=-0.1."
        )
    return scale, harmonize.offset_to_add(facts)


def _known_scale(what: str, product: Product, dtype: np.dtype | None) -> float:
    """Return the scale that the asset's product has."""
    if product.scale is None or (dtype is None and product.dtype is None):
        raise HarmonizationError(
            f"{what} does not declare its scale and data type (raster:scale, data_type), and nothing is "
            "known of its collection: pass a profile= that tells them."
        )
    if dtype is not None and product.dtype is not None:
        known = np.dtype(product.dtype)
        if (dtype.kind == "f") != (known.kind == "f"):
            raise HarmonizationError(
                f"{what} holds {dtype} and declares no scale; {product.scale:g} is that of {known}. Add "
                "raster:scale to the item (1 for reflectance), or pass a profile= that tells it: "
                f"s2cube.Product(dtype='{dtype}', scale=1, offset=0)."
            )
    return product.scale


def _removed(item: "pystac.Item") -> bool | None:
    """Return the provider's flag; None where there is none.

    Raises
    ------
    HarmonizationError
        It is neither true nor false, or there are two that differ.
    """
    found: dict[str, bool] = {}
    for name in _REMOVED:
        told = item.properties.get(name)
        if told is None:
            continue
        words = {"true": True, "false": False}
        flag = told if isinstance(told, bool) else words.get(str(told).strip().lower())
        if flag is None:
            raise HarmonizationError(
                f"Item {item.id} has {name} = {told!r}, which is neither true nor false: correct it, or "
                "say the offset with offset=."
            )
        found[name] = flag
    if len(set(found.values())) > 1:
        raise HarmonizationError(
            f"Item {item.id} says both {' and '.join(f'{k} = {v}' for k, v in found.items())}. "
            "Correct one of the two, or say the offset with offset=."
        )
    return next(iter(found.values()), None)


def baseline_of(
    item: "pystac.Item", product: Product, *, agreed: bool = True
) -> harmonize.Baseline | None:
    """Return the processing baseline; None where the item does not tell it, or tells 99.99.

    Parameters
    ----------
    agreed
        Whether two that differ in whether there is an offset are an error; else the first is returned.

    Raises
    ------
    HarmonizationError
        It tells two, and they differ.
    """
    properties = item.properties
    texts = [properties.get(key) for key in (*_BASELINE, *product.baseline)]
    texts += [name.get("baseline") for name in _names(item)]
    told = _baselines(texts)
    if told == [] and not _by_hand(texts):
        # The end of these names is the baseline too: GS2A_20230701T171901_041908_N05.09.
        ends = [re.search(r"_N(\d\d\.\d\d)$", str(properties.get(key, ""))) for key in _ENDS]
        texts = [match[1] for match in ends if match]
        # The version of whatever software made it, unless it looks like ESA's baseline.
        version = properties.get("processing:version")
        if not texts and isinstance(version, str) and re.fullmatch(r"\d\d\.\d\d", version):
            texts = [version]
        told = _baselines(texts)
    if _by_hand(texts):
        return None
    if agreed and len({found >= harmonize.FIRST_WITH_OFFSET for found in told}) > 1:
        names = sorted({"{:02}.{:02}".format(*found) for found in told})
        raise HarmonizationError(
            f"Item {item.id} tells several processing baselines ({', '.join(names)}): correct "
            "s2:processing_baseline, or say the offset with offset=."
        )
    return told[0] if told else None


def _baselines(texts: list[Any]) -> list[harmonize.Baseline]:
    return [found for text in texts if (found := harmonize.parse_baseline(text)) is not None]


def _by_hand(texts: list[Any]) -> bool:
    """Return whether one of `texts` is 99.99: Sen2Cor was run by hand."""
    return any(str(text).strip().lstrip("N") in ("99.99", "9999") for text in texts)


def _names(item: "pystac.Item") -> list[dict[str, str]]:
    """Return the parts of ESA's product name, wherever the item keeps it, whole or shortened."""
    words = (*(item.properties.get(key) for key in _PRODUCT_NAMES), item.id)
    return [parts for word in words if (parts := product_name(str(word or "")))]


def name_parts(item: "pystac.Item") -> Mapping[str, str]:
    """Return the parts of ESA's product name; of several the first has the word."""
    return {key: part for parts in reversed(_names(item)) for key, part in parts.items()}
