"""What a STAC item says about itself, as plain facts."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s2cube import schema
from s2cube.errors import CatalogError, CubeError
from s2cube.sources.assets import assets_by_band, data_type, href_of, native_grid, nodata_of, told_by
from s2cube.sources.facts import Word, baseline_of, name_parts, worth
from s2cube.sources.profiles import PROFILES, Product, Profile, product_of, profile_of
from s2cube.sources.quiet import plain
from s2cube.sources.scene import BandFacts, Box, Scene
from s2cube.sources.stac_api import patient_io, read_parquet

if TYPE_CHECKING:
    import pystac

__all__ = ["acquired", "footprint", "is_api", "read_items", "scenes_of"]


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
        raise CatalogError(f"The catalogue holds no item: {plain(repr(source))}.")
    return items


def _read(href: str) -> Iterator["pystac.Item"]:
    """Yield the items behind a path or URL."""
    import pystac

    try:
        if href.split("?")[0].endswith(".parquet"):
            yield from read_parquet(href)
            return
        io = patient_io()
        content = io.read_json(href)
        if content.get("type") == "FeatureCollection":
            yield from pystac.ItemCollection.from_dict(content)
            return
        found = io.stac_object_from_dict(content, href)
        if isinstance(found, pystac.Item):
            yield found
        elif isinstance(found, pystac.Catalog):
            yield from found.get_items(recursive=True)
    except (CatalogError, ImportError):
        raise
    except Exception as error:  # noqa: BLE001 - it is raised again, as ours
        # pystac raises whatever its file system, JSON or validation raised; to the user it is one
        # thing, a catalogue that cannot be read.
        raise _unreadable(href, error) from None


def _unreadable(href: str, error: Exception) -> CatalogError:
    # What was raised may name the link with its signature, so it is no cause of this.
    why = plain(str(error)) or type(error).__name__
    if isinstance(error, FileNotFoundError) and "/" not in href:
        why = f"there is no such file, nor is it a catalogue's name ({', '.join(PROFILES)})."
    elif isinstance(error, IsADirectoryError):
        why = "it is a folder: name the catalog.json in it; open_local() opens folders of products."
    return CatalogError(f"Cannot read a STAC catalogue or item at {plain(href)}: {why}")


def is_api(source: Any) -> bool:
    """Return whether `source` is the URL of a STAC API, which has to be searched rather than read."""
    if not (isinstance(source, str) and source.startswith(("http://", "https://"))):
        return False
    if source.split("?")[0].endswith((".json", ".geojson", ".parquet")):
        return False
    try:
        content = patient_io().read_json(source)
    except Exception as error:  # noqa: BLE001 - it is raised again, as ours
        raise _unreadable(source, error) from None
    return "conformsTo" in content or any(
        link.get("rel") == "search" for link in content.get("links", ())
    )


def scenes_of(
    items: Iterable["pystac.Item"],
    bands: Iterable[str] | None,
    profile: Profile | None = None,
    offset: Word | Mapping[str, Word] = None,
) -> tuple[list[Scene], list[str]]:
    """Return the facts of `items` for the asked bands, and those bands.

    Parameters
    ----------
    items
        Items of one collection or several, of one sensor.
    bands
        Ids or common names, ``"SCL"`` among them; None for all that every item has. ``SCL`` comes
        along wherever every item has it: it is lazy, and masks need it.
    profile
        What is known of their catalogue; None: each item's links tell.
    offset
        The user's word on the offset of reflectance, instead of the rules; for all items, or by id.

    Raises
    ------
    CatalogError
        An item lacks an asked asset, or the items are of several sensors.
    HarmonizationError
        It cannot be known what the counts of an item are worth.
    """
    items = list(items)
    products = [product_of(item, profile or profile_of(item)) for item in items]
    sensors = {product.sensor for product in products}
    if len(sensors) > 1:
        raise CatalogError(
            f"The items are of several sensors ({', '.join(sorted(sensors))}): open each apart."
        )
    if offset is not None and sensors != {"sentinel-2"}:
        raise CubeError(
            f"offset= is of the reflectance of Sentinel-2; the items are of {sensors.pop()}: what their "
            "counts are worth is told by a profile= (s2cube.Product(scale=..., offset=...))."
        )
    held = [assets_by_band(item, product) for item, product in zip(items, products, strict=True)]
    common = set.intersection(*(set(assets) for assets in held))
    sentinel_2 = sensors == {"sentinel-2"}
    asked = None if bands is None else _asked(bands, sentinel_2=sentinel_2)
    if asked is None:
        order = (*schema.BANDS, schema.SCL) if sentinel_2 else sorted(common)
        wanted = [band for band in order if band in common]
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
        _scene(
            item,
            {band: assets[band] for band in wanted},
            product,
            offset.get(item.id) if isinstance(offset, Mapping) else offset,
        )
        for item, assets, product in zip(items, held, products, strict=True)
    ]
    return scenes, wanted


def _asked(bands: str | Iterable[str], *, sentinel_2: bool) -> list[str]:
    names = schema.names_of(bands)
    if not sentinel_2:
        return list(dict.fromkeys(str(name) for name in names))
    found = [schema.SCL if str(n).upper() == schema.SCL else schema.band_id(n) for n in names]
    if found == [schema.SCL]:
        raise CatalogError("SCL alone is no cube: ask for at least one reflectance band.")
    return list(dict.fromkeys(found))


def _scene(item: "pystac.Item", keys: Mapping[str, str], product: Product, said: Word) -> Scene:
    """Return the facts of an item; `keys` are those of its assets by band.

    Raises
    ------
    CatalogError
        Some of its metadata is not what STAC says it is.
    """
    try:
        return _facts(item, keys, product, said)
    except (CatalogError, CubeError):
        raise
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        # Metadata can be odd in more ways than could be named; the item is what has to be known.
        raise CatalogError(
            f"Item {item.id} cannot be understood: {error!r}. Correct its metadata, or leave it out."
        ) from error


def _facts(item: "pystac.Item", keys: Mapping[str, str], product: Product, said: Word) -> Scene:
    properties = item.properties
    name = name_parts(item)
    # Where the user has said what the offset is, a contradiction is settled.
    baseline = baseline_of(item, product, agreed=said is None)
    return Scene(
        id=item.id,
        time=acquired(item),
        geometry=item.geometry or _outline(footprint(item)),
        bbox=footprint(item),
        sensor=product.sensor,
        level=product.level or _level(item, name, has_scl=schema.SCL in keys),
        platform=_platform(properties, name),
        relative_orbit=int(properties.get("sat:relative_orbit") or name.get("orbit") or -1),
        baseline="" if baseline is None else "{:02}.{:02}".format(*baseline),
        # Its end is the baseline: of two versions of one datatake it would make two.
        datatake=re.sub(r"_N\d\d\.\d\d$", "", str(properties.get("s2:datatake_id") or "")),
        tile=_tile(properties, name),
        datastrip=_datastrip(properties),
        created=str(properties.get("updated") or properties.get("created") or ""),
        bands={band: _band_facts(item, band, key, product, said) for band, key in keys.items()},
    )


def _outline(box: Box) -> dict[str, Any]:
    """Return a box as GeoJSON."""
    west, south, east, north = box
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return {"type": "Polygon", "coordinates": [ring]}


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


def _band_facts(item: "pystac.Item", band: str, key: str, product: Product, said: Word) -> BandFacts:
    """Return where an asset is, and what its counts mean."""
    asset = item.assets[key]
    classes = band in product.classes
    scale, offset = (1.0, 0.0) if classes else worth(item, key, band, product, said)
    told = data_type(item, asset, band)
    dtype = told or np.dtype("uint8" if band == schema.SCL else product.dtype)
    if str(told_by(asset)("unit")).lower() == "db":
        raise CatalogError(
            f"{band} of item {item.id} is in decibels, which cannot be resampled (their mean is not "
            "that of the power): open a product in linear power."
        )
    return BandFacts(
        href=href_of(item, asset),
        dtype=str(dtype),
        nodata=nodata_of(asset, dtype, f"{band} of item {item.id}", product.nodata),
        scale=scale,
        offset=offset,
        grid=native_grid(item, asset),
        attrs=_attrs(band, product, classes=classes),
        classes=classes,
    )


def _attrs(band: str, product: Product, *, classes: bool) -> dict[str, Any]:
    if product.sensor == "sentinel-2":
        return schema.scl_attrs() if classes else schema.band_attrs(band)
    return {"long_name": f"{band} {'flags' if classes else product.quantity}", "units": "1"}


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
