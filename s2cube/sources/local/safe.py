"""ESA's products as they are downloaded: what their metadata tell."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from s2cube import harmonize, schema
from s2cube.errors import CatalogError, HarmonizationError
from s2cube.kernels.counts import SATURATED
from s2cube.sources.local.found import (
    Found,
    Said,
    band_of,
    bounds,
    lonlat_bounds,
    platform_of,
    remoteness,
)
from s2cube.sources.local.metadata import Metadata, parse
from s2cube.sources.local.storage import IMAGES, PRODUCT_XML, Product
from s2cube.sources.scene import BandFacts, Box, Scene

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["scenes_in"]

_LEVELS: Final = {"Level-1C_User_Product": "L1C", "Level-2A_User_Product": "L2A"}
_TILES: Final = {"Level-1C_Tile_ID": "L1C", "Level-2A_Tile_ID": "L2A"}
_GRANULE_XML: Final = re.compile(
    r"(?P<granule>GRANULE/[^/]+)/(MTD_TL|S2[A-Z]_\w+_MTD_L(1C|2A)_TL_\w+)\.xml", re.IGNORECASE
)
# In the order of their `band_id` in metadata.
_BANDS: Final = tuple(schema.BANDS)


@dataclass(frozen=True)
class _Facts:
    """What the metadata of the whole product tell."""

    product: Product
    xml: Metadata
    level: str
    name: str
    baseline: harmonize.Baseline | None
    scale: float | None
    offsets: Mapping[str, float]
    """In counts, by band; empty where the metadata have none."""
    nodata: float

    def declared(self, band: str, scale: float) -> float | None:
        """Return the offset that the metadata declare, as reflectance.

        Raises
        ------
        HarmonizationError
            They declare those of other bands.
        """
        if self.offsets:
            if band not in self.offsets:
                raise HarmonizationError(f"{self.xml.where} declares no offset of {band}: say offset=.")
            return round(self.offsets[band] * scale, 9)
        # Metadata of before 04.00 have no list, which means 0. Where the baseline is not told (Sen2Cor
        # run by hand) it means nothing.
        return None if self.baseline is None else 0.0


def scenes_in(product: Product, said: Said) -> list[Found]:
    """Return the scenes of a product, one a tile; images are not opened.

    Raises
    ------
    ReadError
        A metadata file cannot be read.
    CatalogError
        It is not what a product's metadata are, or lacks what is needed.
    HarmonizationError
        It is not told, or not known, what counts are worth.
    """
    facts = _facts(product, said)
    granules = [match for name in product.names if (match := _GRANULE_XML.fullmatch(name))]
    if not granules:
        raise CatalogError(
            f"{product.path} has no granule (GRANULE/*/MTD_TL.xml): the product is not complete."
        )
    single = len(granules) == 1
    return [_found(facts, match["granule"], match.string, said, single=single) for match in granules]


def _facts(product: Product, said: Said) -> _Facts:
    names = [name for name in product.names if PRODUCT_XML.fullmatch(name)]
    if len(names) > 1:
        raise CatalogError(
            f"{product.path} holds the metadata of {len(names)} products ({', '.join(names)}): give "
            "each its own folder."
        )
    xml = parse(product.read(names[0]), product.where(names[0]))
    if xml.kind not in _LEVELS:
        raise CatalogError(
            f"{xml.where} is no metadata of a level-1C or level-2A product: its root is {xml.kind}."
        )
    level = _LEVELS[xml.kind]
    uri = xml.find(*(("PRODUCT_URI_2A", "PRODUCT_URI") if level == "L2A" else ("PRODUCT_URI",)))
    worth = xml.find(
        *(
            ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
            if level == "L2A"
            else ("QUANTIFICATION_VALUE",)
        )
    )
    scale = said.scale
    if scale is None:
        if not worth or not xml.as_number(worth, "the quantification value") > 0:
            raise HarmonizationError(
                f"{xml.where} has no quantification value: what a count is worth is not known; ESA's "
                "is scale=1e-4."
            )
        scale = 1 / float(worth)
    special = dict(zip(xml.all("SPECIAL_VALUE_TEXT"), xml.all("SPECIAL_VALUE_INDEX"), strict=False))
    saturated = special.get("SATURATED", SATURATED)
    if float(saturated) != SATURATED:
        raise HarmonizationError(
            f"{xml.where} declares {saturated} as the count of saturated pixels; only {SATURATED} is "
            "known."
        )
    nodata = xml.as_number(special.get("NODATA"), "the special value NODATA")
    if said.nodata not in (None, nodata):
        raise HarmonizationError(
            f"{xml.where} says that {nodata:g} is missing, and nodata={said.nodata:g} contradicts it: "
            "leave nodata= out."
        )
    tag = "BOA_ADD_OFFSET" if level == "L2A" else "RADIO_ADD_OFFSET"
    return _Facts(
        product=product,
        xml=xml,
        level=level,
        name=re.sub(r"\.SAFE$", "", uri) or product.name,
        baseline=harmonize.parse_baseline(xml.text("PROCESSING_BASELINE")),
        scale=scale,
        offsets=dict(_offsets(xml, tag)),
        nodata=nodata,
    )


def _offsets(xml: Metadata, tag: str) -> Iterator[tuple[str, float]]:
    for element in xml.elements(tag):
        number = element.get("band_id", "")
        if not number.isdecimal() or int(number) >= len(_BANDS):
            raise HarmonizationError(f"{xml.where}: {tag} of band_id {number!r}, which is no band.")
        yield _BANDS[int(number)], xml.as_number(element.text, tag)


def _found(facts: _Facts, granule: str, name: str, said: Said, *, single: bool) -> Found:
    """Return one granule."""
    product, about = facts.product, facts.xml
    xml = parse(product.read(name), product.where(name))
    if _TILES.get(xml.kind) != facts.level:
        raise CatalogError(
            f"{xml.where} is no metadata of a {facts.level} granule: its root is {xml.kind}."
        )
    grids = _grids(xml)
    tile_id = xml.text("TILE_ID_2A", "TILE_ID") if facts.level == "L2A" else xml.text("TILE_ID")
    tile = re.search(r"_T(\d\d[A-Z]{3})", tile_id)
    if tile is None:
        raise CatalogError(f"{xml.where}: TILE_ID is {tile_id!r}, which names no tile.")
    files = _images(product, f"{granule}/IMG_DATA/", grids)
    if not files:
        raise CatalogError(f"{product.where(granule)} has no image of a band: it is not complete.")
    geometry, box = _footprint(about, grids, single=single)
    datastrip = re.search(r"_S(\d{8}T\d{6})", xml.find("DATASTRIP_ID_2A", "DATASTRIP_ID"))
    datatakes = [element.get("datatakeIdentifier", "") for element in about.elements("Datatake")]
    orbit = about.find("SENSING_ORBIT_NUMBER")
    scene = Scene(
        id=facts.name if single else tile_id,
        time=_time(xml, xml.find("SENSING_TIME") or about.text("DATATAKE_SENSING_START")),
        geometry=geometry,
        bbox=box,
        sensor="sentinel-2",
        level=facts.level,
        platform=platform_of(about.find("SPACECRAFT_NAME")),
        relative_orbit=int(about.as_number(orbit, "SENSING_ORBIT_NUMBER")) if orbit else -1,
        baseline="" if facts.baseline is None else "{:02}.{:02}".format(*facts.baseline),
        # Its end is the baseline: of two versions of one datatake it would make two.
        datatake=re.sub(r"_N\d\d\.\d\d$", "", datatakes[0]) if datatakes else "",
        tile=tile[1],
        datastrip=datastrip[1] if datastrip else "",
        created=about.find("GENERATION_TIME"),
        bands={},
        told=_angles(xml),
    )

    def band_facts(band: str) -> BandFacts:
        return _band_facts(facts, band, *files[band], grids, said)

    listed = _listed(about, tile[1])
    return Found(
        scene,
        frozenset(files),
        band_facts,
        str(product.path),
        tuple(band for band in (*_BANDS, schema.SCL) if band in listed and band not in files),
    )


def _band_facts(
    facts: _Facts, band: str, name: str, size: int, grids: Mapping[int, "GeoBox"], said: Said
) -> BandFacts:
    href, grid = facts.product.href(name), grids[size]
    if band == schema.SCL:
        return BandFacts(href, "uint8", 0.0, 1.0, 0.0, grid, schema.scl_attrs(), classes=True)
    assert facts.scale is not None
    offset = said.offset_of(
        harmonize.OffsetFacts(
            f"{band} of {facts.name}",
            baseline=facts.baseline,
            original=True,
            declared=facts.declared(band, facts.scale),
        )
    )
    attrs = schema.band_attrs(band)
    return BandFacts(href, "uint16", facts.nodata, facts.scale, offset, grid, attrs)


def _images(product: Product, folder: str, grids: Mapping[int, "GeoBox"]) -> dict[str, tuple[str, int]]:
    """Return by band its file and pixel size (m): the native size where there are several."""
    found: dict[str, tuple[str, int]] = {}
    for name in product.names:
        path = PurePosixPath(name)
        if not name.lower().startswith(folder.lower()) or path.suffix.lower() not in IMAGES:
            continue
        if (band := band_of(path.stem)) is None:
            continue
        told = re.search(r"_(10|20|60)m$", path.stem, re.IGNORECASE)
        # Level 1C, and files of old products that do not tell: as the instrument has them.
        size = int(told[1]) if told else 20 if band == schema.SCL else schema.BANDS[band].resolution
        if size not in grids:
            raise CatalogError(f"{product.where(name)}: the granule's metadata have no {size} m grid.")
        if band not in found or remoteness(band, size) < remoteness(band, found[band][1]):
            found[band] = name, size
    return found


def _listed(about: Metadata, tile: str) -> set[str | None]:
    """Return the bands of a tile that the product's metadata list."""
    tags = ("IMAGE_FILE", "IMAGE_FILE_2A", "IMAGE_ID", "IMAGE_ID_2A")
    stems = (PurePosixPath(text).name for tag in tags for text in about.all(tag))
    return {band_of(stem) for stem in stems if f"T{tile}_" in stem}


def _grids(xml: Metadata) -> dict[int, "GeoBox"]:
    """Return the grids of a granule by pixel size (m)."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    system = schema.parse_crs(xml.text("HORIZONTAL_CS_CODE"))
    sizes = {element.get("resolution"): element for element in xml.elements("Size")}
    grids = {}
    for element in xml.elements("Geoposition"):
        told = element.get("resolution", "")
        if told not in sizes:
            raise CatalogError(f"{xml.where} has a Geoposition, and no Size, of resolution {told!r}.")

        def number(parent: Any, tag: str) -> float:
            return xml.as_number(parent.findtext(tag), tag)

        shape = int(number(sizes[told], "NROWS")), int(number(sizes[told], "NCOLS"))
        x, y, dx, dy = (number(element, tag) for tag in ("ULX", "ULY", "XDIM", "YDIM"))
        grids[round(abs(dx))] = GeoBox(shape, Affine(dx, 0, x, 0, dy, y), system)
    if not grids:
        raise CatalogError(f"{xml.where} has no Tile_Geocoding: where its pixels are is not known.")
    return grids


def _footprint(
    about: Metadata, grids: Mapping[int, "GeoBox"], *, single: bool
) -> tuple[dict[str, Any], Box]:
    """Return where a granule has data: of a product of several tiles, the whole tile."""
    numbers = about.find("EXT_POS_LIST").split() if single else []
    if len(numbers) >= 8 and len(numbers) % 2 == 0:
        values = [about.as_number(text, "EXT_POS_LIST") for text in numbers]
        latitudes, longitudes = values[::2], values[1::2]
        ring = [[lon, lat] for lon, lat in zip(longitudes, latitudes, strict=True)]
        return {"type": "Polygon", "coordinates": [ring]}, bounds(longitudes, latitudes)
    grid = next(iter(grids.values()))
    return grid.geographic_extent.json, lonlat_bounds(grid)


def _time(xml: Metadata, text: str) -> np.datetime64:
    try:
        return np.datetime64(text.removesuffix("Z"), "ns")
    except ValueError:
        raise CatalogError(f"{xml.where}: {text!r} is no time.") from None


def _angles(xml: Metadata) -> dict[str, float]:
    """Return the mean angles, degrees: of the sun, and of the view (mean of the bands)."""
    told = {}
    for key, tag in (("sun", "Mean_Sun_Angle"), ("view", "Mean_Viewing_Incidence_Angle")):
        pairs = [
            tuple(
                xml.as_number(element.findtext(part), part) for part in ("ZENITH_ANGLE", "AZIMUTH_ANGLE")
            )
            for element in xml.elements(tag)
        ]
        known = [pair for pair in pairs if all(map(math.isfinite, pair))]
        if known:
            zenith, azimuth = np.array(known).T
            # Azimuths are averaged as directions: 359 and 1 give 0.
            turn = np.exp(1j * np.radians(azimuth)).mean()
            told[f"{key}_zenith"] = round(float(zenith.mean()), 4)
            told[f"{key}_azimuth"] = round(float(np.degrees(np.angle(turn)) % 360), 4)
    return told
