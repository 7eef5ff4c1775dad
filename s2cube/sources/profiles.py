"""What is known of catalogues: where they are, how they sign, what their assets hold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from s2cube import schema
from s2cube.errors import CatalogError, CubeError
from s2cube.sources.signing import PlanetaryComputer

if TYPE_CHECKING:
    import pystac

__all__ = ["PROFILES", "Product", "Profile", "product_of", "profile_of"]


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

    def __post_init__(self) -> None:
        told = isinstance(self.offset, (int, float)) or self.offset in ("rule", "declared")
        if not told or isinstance(self.offset, bool):
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
        ),
        Profile(
            "cdse",
            "https://stac.dataspace.copernicus.eu/v1",
            {"sentinel-2-l2a": Product(level="L2A"), "sentinel-2-l1c": Product(level="L1C")},
            # Needs S3 keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) made in its user portal.
            gdal={
                "AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu",
                "AWS_VIRTUAL_HOSTING": "FALSE",
                "AWS_HTTPS": "YES",
            },
        ),
    )
}
"""The catalogues that are known by name."""

_PRODUCTS: Final[Mapping[str, Product]] = {
    **{id_: product for known in PROFILES.values() for id_, product in known.collections.items()},
    "sentinel-3": _S3,
}
"""What is known by the collection's id alone, wherever the item comes from."""
_BY_PLATFORM: Final = {"landsat": _LANDSAT, "sentinel-3": _S3}


def profile_of(profile: "str | Profile | None", items: "list[pystac.Item]") -> Profile:
    """Return the profile given, or the one whose API the links of `items` name, or an empty one.

    Raises
    ------
    CubeError
        The name is not known.
    """
    if isinstance(profile, Profile):
        return profile
    if profile is not None:
        if profile not in PROFILES:
            raise CubeError(
                f"profile={profile!r} is not known; known: {', '.join(PROFILES)}, or a Profile of yours."
            )
        return PROFILES[profile]
    hosts = {urlsplit(str(link.target)).hostname for item in items for link in item.links if link.target}
    for known in PROFILES.values():
        if urlsplit(known.url).hostname in hosts:
            return known
    return Profile("")


def product_of(item: "pystac.Item", profile: Profile) -> Product:
    """Return what the assets of `item` hold.

    Raises
    ------
    CatalogError
        It is of a sensor whose assets nothing describes.
    """
    collection = str(item.collection_id or "")
    if collection in profile.collections:
        return profile.collections[collection]
    if collection in _PRODUCTS:
        return _PRODUCTS[collection]
    told = str(item.properties.get("constellation") or item.properties.get("platform") or "").lower()
    told = told.replace(" ", "-")
    for platform, product in _BY_PLATFORM.items():
        if told.startswith(platform):
            return product
    if told.startswith("sentinel-1"):
        raise CatalogError(
            f"Item {item.id} is of Sentinel-1, in the collection {collection!r}, which is not known: "
            "only terrain-corrected backscatter in linear power (RTC) can be laid on a grid. If it is "
            "that, say so: profile=s2cube.Profile('mine', collections={"
            f"{collection!r}: s2cube.Product(sensor='sentinel-1', ...)}})."
        )
    return Product()
