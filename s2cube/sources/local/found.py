"""What is found on disk, before any image is chosen or opened; what the user says about it."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from s2cube import harmonize, schema
from s2cube.errors import CubeError, HarmonizationError
from s2cube.sources.scene import BandFacts, Box, Scene

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = [
    "Found",
    "Offset",
    "Said",
    "band_of",
    "bounds",
    "is_extra",
    "lonlat_bounds",
    "platform_of",
    "remoteness",
]

Offset = float | Literal["baseline", "declared"]

_NO_BANDS: Final = frozenset({
    "AOT", "WVP", "TCI", "PVI", "CLD", "SNW", "DDV", "DEM", "MSK", "CLDPRB", "SNWPRB", "QA10", "QA20",
    "QA60", "CLM", "CLP", "CLOUD", "SNOW", "VISUAL", "THUMBNAIL", "PREVIEW", "OVERVIEW", "DATAMASK",
})  # fmt: skip
"""What ESA, catalogues and Sentinel Hub put beside bands."""


@dataclass(frozen=True)
class Said:
    """What the user says of counts and names; None where nothing."""

    scale: float | None = None
    offset: Offset | None = None
    nodata: float | None = None
    level: str | None = None
    names: Sequence[str] | Mapping[str, str | None] | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not (_is_number(self.scale) and self.scale > 0):
            raise CubeError(f"scale is the reflectance of one count, above 0; got {self.scale!r}.")
        if self.nodata is not None and not _is_number(self.nodata):
            raise CubeError(f"nodata is the count that stands for missing; got {self.nodata!r}.")
        if not (
            self.offset is None or self.offset in ("baseline", "declared") or _is_number(self.offset)
        ):
            raise CubeError(
                "offset is reflectance to add (0 or -0.1), 'baseline' or 'declared'; got "
                f"{self.offset!r}."
            )
        if self.level is not None and self.level not in schema.LEVELS:
            raise CubeError(f"level is {' or '.join(map(repr, schema.LEVELS))}; got {self.level!r}.")
        if self.names is not None and (
            isinstance(self.names, str) or not isinstance(self.names, (Mapping, Sequence))
        ):
            raise CubeError(
                "names is a list of a file's bands in the order of the file, or maps your names to "
                f"ours; got {self.names!r}."
            )
        words = self.names.values() if isinstance(self.names, Mapping) else self.names or ()
        if odd := [one for one in words if not isinstance(one, (str, NoneType))]:
            raise CubeError(f"names gives ids or common names, or None for no band; got {odd[0]!r}.")

    def record(self) -> dict[str, object]:
        """Return what decides values, for ``history``."""
        told = {"scale": self.scale, "offset": self.offset, "nodata": self.nodata, "level": self.level}
        return {key: value for key, value in told.items() if value is not None}

    def offset_of(self, facts: harmonize.OffsetFacts) -> float:
        """Return the reflectance to add: the user's word, else what the rules say.

        Raises
        ------
        HarmonizationError
            Nothing tells it, or what is told contradicts itself.
        """
        if isinstance(self.offset, (int, float)):
            return float(self.offset)
        if self.offset == "declared":
            if facts.declared is None:
                raise HarmonizationError(
                    f"{facts.asset} declares no offset: say offset=0 or offset=-0.1."
                )
            return facts.declared
        if self.offset == "baseline":
            if facts.baseline is None:
                raise HarmonizationError(
                    f"offset='baseline', and nothing tells the processing baseline of {facts.asset}: "
                    "say offset=0 or offset=-0.1, or have pattern= read it from names ({baseline})."
                )
            facts = dataclasses.replace(facts, original=True, declared=None)
        return harmonize.offset_to_add(facts)


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return number and math.isfinite(float(value))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Found:
    """A scene, and a way to the facts of its bands: asking opens a file's header at most."""

    scene: Scene
    """Without bands; without level where nothing tells it."""
    held: frozenset[str]
    """Bands that there are files of."""
    facts: Callable[[str], BandFacts]
    where: str
    """Its folder or file, for errors."""
    absent: tuple[str, ...] = ()
    """Bands that its metadata list and that there are no files of."""
    unknown: tuple[Path, ...] = ()
    """Files whose name gives as their band what is none that is known."""

    def with_bands(self, bands: Sequence[str], level: str | None) -> Scene:
        """Return the scene with the facts of `bands`; `level` serves where nothing else tells it."""
        return dataclasses.replace(
            self.scene,
            level=self.scene.level or level,
            bands={band: self.facts(band) for band in bands},
        )


def band_of(name: str) -> str | None:
    """Return the band that a file's or layer's name means, ``"SCL"`` too; None where it is none.

    Examples
    --------
    >>> from s2cube.sources.local.found import band_of
    >>> band_of("T29UNU_20221005T115411_SCL_20m"), band_of("red"), band_of("B8A"), band_of("AOT")
    ('SCL', 'B04', 'B8A', None)
    """
    parts = name.upper().split("_")
    if schema.is_scl(name) or "SCL" in parts:
        return schema.SCL
    return schema.find_band(name)


def is_extra(name: str) -> bool:
    """Return whether a file's or layer's name means something known that is no band, such as AOT."""
    return name.upper() in _NO_BANDS


def platform_of(text: str) -> str:
    """Return ``"sentinel-2b"`` of ``"S2B"`` and ``"Sentinel-2B"``; empty of anything else."""
    plain = text.lower().replace("sentinel-", "s").replace("sentinel", "s")
    known = len(plain) == 3 and plain.startswith("s2") and plain[2].isalpha()
    return f"sentinel-{plain[1:]}" if known else ""


def remoteness(band: str, size: float) -> float:
    """Return how far a pixel size (m) is from the band's native one: B01 at 20 m is 60 m, enlarged."""
    native = 20 if band == schema.SCL else schema.BANDS[band].resolution
    return abs(math.log(size / native))


def lonlat_bounds(grid: "GeoBox") -> Box:
    """Return west, south, east, north of a grid; west lies east of east across the antimeridian."""
    outline: Any = grid.extent.exterior.segmented(grid.extent.boundingbox.span_x / 16)
    points = outline.to_crs("epsg:4326").points
    return bounds([point[0] for point in points], [point[1] for point in points])


def bounds(longitudes: Sequence[float], latitudes: Sequence[float]) -> Box:
    """Return west, south, east, north of points; west lies east of east across the antimeridian."""
    east = [(lon + 180) % 360 - 180 for lon in longitudes]
    if max(east) - min(east) > 180:
        west_side, east_side = [lon for lon in east if lon > 0], [lon for lon in east if lon <= 0]
        return min(west_side), min(latitudes), max(east_side), max(latitudes)
    return min(east), min(latitudes), max(east), max(latitudes)
