"""What a STAC item says about itself, as plain facts."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from s2cube import schema
from s2cube.errors import CatalogError, HarmonizationError
from s2cube.sources.scene import BandFacts, Box, Scene

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

__all__ = ["acquired", "footprint", "read_items", "scenes_of"]

_PRODUCT: Final = re.compile(
    r"(?P<platform>S2[A-Z])_MSI(?P<level>L1C|L2A)_(?P<start>\d{8}T\d{6})"
    r"(?:_N(?P<baseline>\d{4}))?_R(?P<orbit>\d{3})_T(?P<tile>\d{2}[A-Z]{3})"
)
"""An ESA product name, whole or shortened as Planetary Computer does."""

_OTHER_RULES: Final = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
"""Flags of providers whose declared offset alone does not tell what their pixels hold."""


def read_items(source: Any) -> list["pystac.Item"]:
    """Return the items of a catalogue, a file, an ItemCollection or a list.

    Raises
    ------
    CatalogError
        It cannot be read, is an API, or holds no item.
    """
    import pystac

    if isinstance(source, pystac.Item):
        items = [source]
    elif isinstance(source, pystac.Catalog):
        items = list(source.get_items(recursive=True))
    elif isinstance(source, (str, Path)):
        items = list(_read(str(source)))
    elif isinstance(source, Iterable):
        items = list(source)
        if strange := [item for item in items if not isinstance(item, pystac.Item)]:
            raise CatalogError(f"Expected pystac Items, got {type(strange[0]).__name__} among them.")
    else:
        raise CatalogError(
            "source is a path or URL of a STAC catalogue or item, an ItemCollection or a list of "
            f"items; got {type(source).__name__}."
        )
    if not items:
        raise CatalogError(f"The catalogue holds no item: {source!r}.")
    return items


def _read(href: str) -> Iterator["pystac.Item"]:
    """Yield the items behind a path or URL."""
    import pystac

    try:
        content = pystac.StacIO.default().read_json(href)
        if "conformsTo" in content or any(
            link.get("rel") == "search" for link in content.get("links", ())
        ):
            raise CatalogError(
                f"{href} is a STAC API, which has to be searched: pass the items you find, "
                "open_stac(pystac_client.Client.open(url).search(...).item_collection())."
            )
        if content.get("type") == "FeatureCollection":
            yield from pystac.ItemCollection.from_dict(content)
            return
        found = pystac.read_file(href)
        if isinstance(found, pystac.Item):
            yield found
        elif isinstance(found, pystac.Catalog):
            yield from found.get_items(recursive=True)
    except CatalogError:
        raise
    except Exception as error:
        # pystac raises whatever its file system, JSON or validation raised; to the user it is one
        # thing, a catalogue that cannot be read.
        raise CatalogError(f"Cannot read a STAC catalogue or item at {href}: {error}") from error


def scenes_of(
    items: Iterable["pystac.Item"], bands: Iterable[str] | None
) -> tuple[list[Scene], list[str]]:
    """Return the facts of `items` for the asked bands, and those bands.

    Parameters
    ----------
    items
        Items of one collection or several.
    bands
        Ids or common names, ``"SCL"`` among them; None for all that every item has. ``SCL`` comes
        along wherever every item has it: it is lazy, and masks need it.

    Raises
    ------
    CatalogError
        An item lacks an asked asset.
    """
    items = list(items)
    held = [_assets_by_band(item) for item in items]
    common = set.intersection(*(set(assets) for assets in held))
    asked = None if bands is None else _asked(bands)
    if asked is None:
        wanted = [band for band in (*schema.BANDS, schema.SCL) if band in common]
        if not set(wanted) - {schema.SCL}:
            raise CatalogError(
                f"No band is in all {len(items)} items; {items[0].id} has "
                f"{', '.join(items[0].assets) or 'no asset'}."
            )
    else:
        wanted = asked + [schema.SCL] * (schema.SCL in common and schema.SCL not in asked)
        lacking = [
            (item, [band for band in asked if band not in assets])
            for item, assets in zip(items, held, strict=True)
            if not set(asked) <= set(assets)
        ]
        if lacking:
            item, missing = lacking[0]
            raise CatalogError(
                f"{len(lacking)} of {len(items)} items lack an asked asset. {item.id} has no "
                f"{', '.join(missing)}; its assets: {', '.join(item.assets) or 'none'}. Leave these "
                "bands or these items out."
            )
    scenes = [
        _scene(item, {band: assets[band] for band in wanted})
        for item, assets in zip(items, held, strict=True)
    ]
    return scenes, wanted


def _asked(bands: str | Iterable[str]) -> list[str]:
    names = schema.names_of(bands)
    found = [schema.SCL if str(n).upper() == schema.SCL else schema.band_id(n) for n in names]
    if found == [schema.SCL]:
        raise CatalogError("SCL alone is no cube: ask for at least one reflectance band.")
    return list(dict.fromkeys(found))


def _assets_by_band(item: "pystac.Item") -> dict[str, "pystac.Asset"]:
    """Return the asset of each band, the finest where several have it (``B02_10m``, ``B02_60m``)."""
    found: dict[str, pystac.Asset] = {}
    for key, asset in item.assets.items():
        if (band := _band_of(key, asset)) is None:
            continue
        if band not in found or _pixel(asset) < _pixel(found[band]):
            found[band] = asset
    return found


def _band_of(key: str, asset: "pystac.Asset") -> str | None:
    """Return the band an asset holds: by its key, else by the one band it declares."""
    if key.lower() in ("scl", "scl_20m", "scl_60m"):
        return schema.SCL
    if (band := schema.find_band(key)) is not None:
        return band
    declared = asset.extra_fields.get("eo:bands") or asset.extra_fields.get("bands") or []
    if len(declared) != 1:
        return None
    return schema.find_band(declared[0].get("name"))


def _pixel(asset: "pystac.Asset") -> float:
    """Return the pixel size that an asset declares, infinite where it does not."""
    transform = asset.extra_fields.get("proj:transform")
    return abs(transform[0]) if transform else float(asset.extra_fields.get("gsd", "inf"))


def _scene(item: "pystac.Item", assets: Mapping[str, "pystac.Asset"]) -> Scene:
    properties = item.properties
    match = _PRODUCT.search(str(properties.get("s2:product_uri", item.id)))
    name = match.groupdict() if match else {}
    if item.geometry is None:
        raise CatalogError(f"Item {item.id} has no geometry: it cannot be placed.")
    baseline = str(
        properties.get("s2:processing_baseline")
        or properties.get("processing:version")
        or name.get("baseline")
        or ""
    )
    digits = re.fullmatch(r"(\d\d)\.?(\d\d)", baseline)
    return Scene(
        id=item.id,
        time=acquired(item),
        geometry=item.geometry,
        bbox=footprint(item),
        sensor="sentinel-2",
        level=_level(item, name, has_scl=schema.SCL in assets),
        platform=_platform(properties, name),
        relative_orbit=int(properties.get("sat:relative_orbit") or name.get("orbit") or -1),
        baseline=f"{digits[1]}.{digits[2]}" if digits else "",
        # Its end is the baseline: of two versions of one datatake it would make two.
        datatake=re.sub(r"_N\d\d\.\d\d$", "", str(properties.get("s2:datatake_id") or "")),
        tile=_tile(properties, name),
        datastrip=_datastrip(properties),
        created=str(properties.get("updated") or properties.get("created") or ""),
        bands={band: _band_facts(item, band, asset) for band, asset in assets.items()},
    )


def _level(item: "pystac.Item", name: Mapping[str, Any], *, has_scl: bool) -> str | None:
    words = (
        item.properties.get("s2:product_type"),
        item.properties.get("processing:level"),
        name.get("level"),
        item.collection_id,
    )
    for word in words:
        plain = re.sub("[^a-z0-9]", "", str(word or "").lower())
        for level, marks in (
            ("L1C", ("l1c", "level1c", "msi1c")),
            ("L2A", ("l2a", "level2a", "msi2a")),
        ):
            if any(mark in plain for mark in marks):
                return level
    return "L2A" if has_scl else None


def _platform(properties: Mapping[str, Any], name: Mapping[str, Any]) -> str:
    if told := properties.get("platform"):
        return str(told).lower()
    return f"sentinel-2{name['platform'][2].lower()}" if name else ""


def _tile(properties: Mapping[str, Any], name: Mapping[str, Any]) -> str:
    told = properties.get("s2:mgrs_tile") or properties.get("grid:code") or name.get("tile") or ""
    return str(told).removeprefix("MGRS-")


def _datastrip(properties: Mapping[str, Any]) -> str:
    match = re.search(r"_S(\d{8}T\d{6})", str(properties.get("s2:datastrip_id", "")))
    return match[1] if match else ""


def _band_facts(item: "pystac.Item", band: str, asset: "pystac.Asset") -> BandFacts:
    """Return what an asset declares about its counts.

    Raises
    ------
    HarmonizationError
        A reflectance band declares no scale and offset, or the provider has a rule of its own.
    """
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

    is_scl = band == schema.SCL
    scale, offset = (1.0, 0.0) if is_scl else _declared(item, band, told("scale"), told("offset"))
    nodata, dtype = told("nodata"), told("data_type")
    if dtype is None and scale > 0.01 and not is_scl:
        raise HarmonizationError(
            f"Item {item.id} does not declare the data type of {band}, and a scale of {scale:g} is not "
            "that of ESA's counts: add data_type to raster:bands."
        )
    return BandFacts(
        href=str(asset.get_absolute_href() or asset.href),
        dtype=str(dtype or ("uint8" if is_scl else "uint16")),
        nodata=0.0 if nodata is None else float(nodata),
        scale=scale,
        offset=offset,
        grid=_native_grid({**item.properties, **extra}),
        classes=is_scl,
    )


def _native_grid(fields: Mapping[str, Any]) -> "GeoBox | None":
    """Return the grid that the STAC projection extension describes."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    shape, transform = fields.get("proj:shape"), fields.get("proj:transform")
    crs = fields.get("proj:code") or fields.get("proj:epsg") or fields.get("proj:wkt2")
    if not (shape and transform and crs):
        return None
    return GeoBox(tuple(shape), Affine(*transform[:6]), schema.parse_crs(crs))


def acquired(item: "pystac.Item") -> np.datetime64:
    """Return when an item was acquired, naive UTC."""
    when = item.datetime or item.common_metadata.start_datetime
    if when is None:
        raise CatalogError(f"Item {item.id} has no datetime.")
    if when.tzinfo is not None:
        when = when.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(when, "ns")


def footprint(item: "pystac.Item") -> Box:
    """Return west, south, east, north of an item; west lies east of east across the antimeridian."""
    edges = item.bbox
    if edges is None:
        if item.geometry is None:
            raise CatalogError(f"Item {item.id} has neither bbox nor geometry: it cannot be placed.")
        from odc.geo.geom import Geometry

        edges = list(Geometry(item.geometry, "epsg:4326").boundingbox.bbox)
    half = len(edges) // 2
    return float(edges[0]), float(edges[1]), float(edges[half]), float(edges[half + 1])


def _declared(
    item: "pystac.Item", band: str, scale: float | None, offset: float | None
) -> tuple[float, float]:
    if flags := [key for key in _OTHER_RULES if key in item.properties]:
        raise HarmonizationError(
            f"Item {item.id} carries {flags[0]!r}, so its declared offset does not tell what its "
            "pixels hold (some providers declare -0.1 after removing it). This version reads items "
            "whose raster:scale and raster:offset describe their pixels."
        )
    if scale is None or offset is None:
        raise HarmonizationError(
            f"Item {item.id} does not declare what the counts of {band} are worth (raster:scale and "
            "raster:offset on the asset, or in raster:bands). Add them: scale 1e-4, and offset 0 "
            "before processing baseline 04.00 or where it has been removed, else -0.1."
        )
    return float(scale), float(offset)
