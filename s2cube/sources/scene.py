"""What a source tells of its scenes, as plain facts: what items, products and files have in common."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["PRODUCT_NAME", "BandFacts", "Box", "Scene", "product_name"]

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""

PRODUCT_NAME: Final = re.compile(
    r"(?P<platform>S2[A-Z])_MSI(?P<level>L1C|L2A)_(?P<start>\d{8}T\d{6})"
    r"(?:_N(?P<baseline>\d{4}))?_R(?P<orbit>\d{3})_T(?P<tile>\d{2}[A-Z]{3})"
)
"""An ESA product name, whole or shortened as Planetary Computer does."""


def product_name(text: str) -> dict[str, str]:
    """Return the parts of the ESA product name in `text`; empty where there is none.

    Examples
    --------
    >>> from s2cube.sources.scene import product_name
    >>> told = product_name("S2B_MSIL1C_20220615T101559_N0400_R065_T32UPC_20220615T122549.SAFE")
    >>> told["platform"], told["level"], told["baseline"], told["orbit"], told["tile"]
    ('S2B', 'L1C', '0400', '065', '32UPC')
    """
    match = PRODUCT_NAME.search(text)
    return {key: part for key, part in match.groupdict().items() if part} if match else {}


@dataclass(frozen=True)
class BandFacts:
    """Where a band's pixels are and what their counts mean."""

    href: str
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    """Reflectance to add."""
    grid: "GeoBox | None"
    """Where its pixels are; None where the item does not tell."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """CF attributes of the variable."""
    classes: bool = False
    """Whether it holds classes or flags: never interpolated, never scaled."""

    @property
    def counts(self) -> tuple[float, float, float | None, str]:
        """What its counts mean; bands that differ in it cannot be read as one."""
        return self.scale, self.offset, self.nodata, self.dtype


@dataclass(frozen=True)
class Scene:
    """One item: one tile of one datatake."""

    id: str
    time: np.datetime64
    """Acquisition, naive UTC."""
    geometry: Mapping[str, Any]
    bbox: Box
    sensor: str
    """``"sentinel-2"``, ``"sentinel-1"``, ``"landsat"``, ``"sentinel-3"``, ..."""
    level: str | None
    platform: str
    """``"sentinel-2a"``, empty where the item does not tell."""
    relative_orbit: int
    """1 to 143, -1 where the item does not tell."""
    baseline: str
    """``"05.10"``, empty where the item does not tell."""
    datatake: str
    """Empty where the item does not tell."""
    tile: str
    """MGRS tile ``"33UUU"``, empty where the item does not tell."""
    datastrip: str
    """Start of sensing of its datastrip, empty where the item does not tell."""
    created: str
    bands: Mapping[str, BandFacts]
    told: Mapping[str, Any] = field(default_factory=dict)
    """What else its source tells of it, as plain numbers and words: for ``items(cube)``."""

    @property
    def baseline_number(self) -> tuple[int, ...]:
        """The baseline, to be compared: 05.10 is later than 05.09, and any later than none."""
        return tuple(int(part) for part in self.baseline.split(".")) if self.baseline else ()

    def record(self) -> dict[str, Any]:
        """Return what ``items(cube)`` tells of it."""
        told = {
            "id": self.id,
            "platform": self.platform or None,
            "tile": self.tile or None,
            "relative_orbit": None if self.relative_orbit < 0 else self.relative_orbit,
            "processing_baseline": self.baseline or None,
        }
        offset = {band: facts.offset for band, facts in self.bands.items() if not facts.classes}
        return {**told, **self.told, "offset": offset}
