"""What is known of catalogues: where they are, how they sign, what their assets hold."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from s2cube import schema
from s2cube.errors import CatalogError, CubeError
from s2cube.sources.signing import PlanetaryComputer

if TYPE_CHECKING:
    import pystac

__all__ = ["PROFILES", "Product", "Profile", "access_of", "named", "product_of", "profile_of"]


@dataclass(frozen=True)
class Product:
    """What the assets of a collection hold, where its items do not say it themselves."""

    sensor: str = "sentinel-2"
    """Goes into the cube's ``sensor``."""
    level: str | None = None
    """``"L1C"`` or ``"L2A"``; None: the items tell."""
    bands: Mapping[str, str] = field(default_factory=dict)
    """Names of assets to names of bands, ``{"refl_665": "B04"}``. Sentinel-2's usual names need none;
    of other sensors, only these can be opened (all assets under their own names, where it is empty)."""
    classes: tuple[str, ...] = (schema.SCL,)
    """Bands that hold classes or flags: never interpolated, never scaled."""
    dtype: str | None = "uint16"
    nodata: float | None = 0
    scale: float | None = 1e-4
    """Value of one count; None where the items must declare it."""
    offset: float | Literal["rule", "declared"] = "rule"
    """What to add to ``count * scale``: a number, what the asset declares, or what the rules for
    Sentinel-2 say (:data:`s2cube.harmonize.RULES`)."""
    quantity: str = "reflectance"
    """What the values are, in words: goes into their ``long_name``."""
    baseline: tuple[str, ...] = ()
    """Properties that tell ESA's processing baseline here, besides ``s2:processing_baseline``."""

    def __post_init__(self) -> None:
        offset = self.offset
        told = isinstance(offset, (int, float)) and math.isfinite(offset)
        if not (told or offset in ("rule", "declared")) or isinstance(offset, bool):
            raise CubeError(f"offset is a number, 'rule' or 'declared', got {self.offset!r}.")


@dataclass(frozen=True)
class Profile:
    """A catalogue: where it is searched, how its links are signed, what its collections hold.

    Examples
    --------
    A catalogue of your own, whose files lie behind links that have to be signed:

    >>> import s2cube
    >>> mine = s2cube.Profile(
    ...     "mine",
    ...     url="https://stac.example.org/v1",
    ...     collections={"s2-toa": s2cube.Product(level="L1C", bands={"refl_665": "B04"})},
    ...     gdal={"GDAL_HTTP_AUTH": "BEARER", "GDAL_HTTP_BEARER": "..."},
    ... )
    >>> cube = s2cube.open_stac(mine, bbox=(5, 45, 5.1, 45.1), datetime="2024")  # doctest: +SKIP
    """

    name: str
    url: str = ""
    """Root of its STAC API; empty where it has none."""
    collections: Mapping[str, Product] = field(default_factory=dict)
    """By the collection's id; the first is searched where the user names none."""
    sign: Callable[[str], Any] | None = None
    """``sign(href)`` → the link to read (or a :class:`~s2cube.Signed`, which is kept until it expires),
    called in the task that reads: a function that pickles, or :class:`~s2cube.PlanetaryComputer`."""
    gdal: Mapping[str, str] = field(default_factory=dict)
    """Settings of GDAL that its files need; they travel to workers, so a scheduler can see them. What
    the user has configured wins."""
    files: str = ""
    """How the links of its files begin, a regular expression: by it items are known as its own."""
    others: Product = field(default_factory=Product)
    """Its collections of Sentinel-2 that are not listed."""


_S1_RTC: Final = Product(
    sensor="sentinel-1",
    bands={"vv": "VV", "vh": "VH", "hh": "HH", "hv": "HV"},
    classes=(),
    dtype="float32",
    nodata=-32768,
    scale=1.0,
    offset=0.0,
    quantity="gamma0 backscatter, linear power",
)
_LANDSAT: Final = Product(
    sensor="landsat",
    # Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619): 2.75e-5 a count, -0.2.
    bands={
        **{b: b for b in ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22")},
        "qa_pixel": "qa_pixel",
    },
    classes=("qa_pixel",),
    scale=2.75e-5,
    offset=-0.2,
)
_S3: Final = Product(
    sensor="sentinel-3", classes=(), dtype=None, nodata=None, scale=None, offset="declared"
)

PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile(
            "earth-search",
            "https://earth-search.aws.element84.com/v1",
            {
                "sentinel-2-l2a": Product(level="L2A"),
                "sentinel-2-c1-l2a": Product(level="L2A"),
                "sentinel-2-l1c": Product(level="L1C"),
                "sentinel-s2-l2a-cogs": Product(level="L2A"),
                "landsat-c2-l2": _LANDSAT,
            },
            # The Cloud-Optimized GeoTIFFs of level 2A are public. Level 1C and the JP2 are on S3 where
            # the reader pays: who wants that sets AWS_REQUEST_PAYER himself.
        ),
        Profile(
            "planetary-computer",
            "https://planetarycomputer.microsoft.com/api/stac/v1",
            {
                "sentinel-2-l2a": Product(level="L2A"),
                "sentinel-1-rtc": _S1_RTC,
                "landsat-c2-l2": _LANDSAT,
                "sentinel-3-olci-lfr-l2-netcdf": _S3,
                "sentinel-3-synergy-syn-l2-netcdf": _S3,
            },
            sign=PlanetaryComputer(),
            files=r"https://[a-z0-9]+\.blob\.core\.windows\.net/",
        ),
        Profile(
            "cdse",
            "https://stac.dataspace.copernicus.eu/v1",
            {
                f"sentinel-2-{level.lower()}": Product(level=level, baseline=("processing:version",))
                for level in ("L2A", "L1C")
            },
            # Needs S3 keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) made in its user portal.
            gdal={
                "AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu",
                "AWS_VIRTUAL_HOSTING": "FALSE",
                "AWS_HTTPS": "YES",
            },
            files=r"s3://eodata/|https://eodata\.",
            others=Product(baseline=("processing:version",)),
        ),
    )
}
"""The catalogues that are known by name."""

_PRODUCTS: Final[Mapping[str, Product]] = {
    # Of two catalogues that have it the first: what the other says beyond that is its own.
    **{id_: known.collections[id_] for known in [*PROFILES.values()][::-1] for id_ in known.collections},
    "sentinel-3": _S3,
}
"""What is known by the collection's id alone, wherever the item comes from."""
_SENTINEL_2: Final = re.compile(r"sentinel-?s?-?2|s2[a-d]?(?![a-z0-9])", re.IGNORECASE)
"""How platforms, constellations, collections and products of Sentinel-2 begin."""
_NAMESPACES: Final = ("s2:", "sentinel:", "earthsearch:")
_ESA: Final = re.compile(r"(B(0\d|1[0-2]|8A)|SCL)([-_.].*)?", re.IGNORECASE)
_LANDSAT_LEVEL_2: Final = re.compile(r"c2-?l2|l2s[pr]", re.IGNORECASE)
"""In collections, ``landsat:correction`` and ids: Collection 2, level 2."""


def named(profile: "str | Profile | None") -> Profile | None:
    """Return the profile given, or the one of that name; None for None.

    Raises
    ------
    CubeError
        The name is not known.
    """
    if profile is None or isinstance(profile, Profile):
        return profile
    if profile not in PROFILES:
        raise CubeError(
            f"profile={profile!r} is not known; known: {', '.join(PROFILES)}, or a Profile of yours."
        )
    return PROFILES[profile]


def profile_of(item: "pystac.Item") -> Profile:
    """Return the profile that the files of `item`, or its links to an API, tell; else an empty one."""
    known = PROFILES.values()
    hrefs = [asset.href for asset in item.assets.values()]
    for one in known:
        if one.files and any(re.match(one.files, href) for href in hrefs):
            return one
    hosts = {urlsplit(str(link.target)).hostname for link in item.links if link.target}
    return next((one for one in known if urlsplit(one.url).hostname in hosts), Profile(""))


def access_of(profiles: Iterable[Profile]) -> tuple[Callable[[str], Any] | None, dict[str, str]]:
    """Return how the files of some catalogues are read together: who signs, and settings of GDAL.

    Raises
    ------
    CatalogError
        They cannot be read together.
    """
    used = list({one.name: one for one in profiles}.values())
    signers = [one.sign for one in used if one.sign is not None]
    settings = [dict(one.gdal) for one in used]
    if len(signers) > 1 or any(other != settings[0] for other in settings):
        raise CatalogError(
            f"The items are of several catalogues ({', '.join(one.name or 'others' for one in used)}), "
            "whose files are read with different settings: open each apart, on one geobox=, and join "
            "the cubes with xarray.concat()."
        )
    # One signer leaves the links of others alone.
    return next(iter(signers), None), settings[0] if settings else {}


def product_of(item: "pystac.Item", profile: Profile) -> Product:
    """Return what the assets of `item` hold.

    Raises
    ------
    CatalogError
        It is of a sensor, or of a product of it, that nothing describes.
    """
    collection = str(item.collection_id or "")
    if collection in profile.collections:
        return profile.collections[collection]
    if collection in _PRODUCTS:
        return _PRODUCTS[collection]
    told = [str(item.properties.get(key) or "").lower() for key in ("constellation", "platform")]
    sensor = next(("-".join(word.split()) for word in told if word), "")
    if _SENTINEL_2.match(sensor) or (not sensor and _like_sentinel_2(item)):
        return profile.others
    if sensor.startswith("sentinel-3"):
        return _S3
    why = f"and nothing is known of its collection {collection!r}"
    if sensor.startswith("landsat"):
        words = (collection, item.id, item.properties.get("landsat:correction"))
        if any(_LANDSAT_LEVEL_2.search(str(word or "")) for word in words):
            return _LANDSAT
        why = "and does not tell that it is Collection 2, level 2 (landsat:correction L2SP or L2SR)"
    elif sensor.startswith("sentinel-1"):
        why = "of which only terrain-corrected backscatter in linear power (RTC) can be laid on a grid"
    whose = f"is of {sensor}," if sensor else "tells neither constellation nor platform,"
    raise CatalogError(
        f"Item {item.id} {whose} {why}. Add what it does not tell, or say what its assets hold: "
        f"profile=s2cube.Profile('mine', collections={{{collection!r}: s2cube.Product(sensor=..., "
        "bands={...}, dtype=..., scale=..., offset=...)})."
    )


def _like_sentinel_2(item: "pystac.Item") -> bool:
    """Return whether an item that does not tell its sensor tells otherwise that it is Sentinel-2's."""
    words = (item.id, item.collection_id, item.properties.get("s2:product_uri"))
    return (
        any(_SENTINEL_2.match(str(word or "")) for word in words)
        or any(key.startswith(_NAMESPACES) for key in item.properties)
        or any(_ESA.fullmatch(key) for key in item.assets)
    )
