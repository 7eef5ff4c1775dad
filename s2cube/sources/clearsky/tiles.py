"""Dates made of whole tiles: tiles and minitiles of today's service, images of that of 2024."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from s2cube.errors import CatalogError, CubeError, ServiceError
from s2cube.sources.clearsky.client import Service
from s2cube.sources.clearsky.request import (
    Download,
    Window,
    day_of,
    edges,
    identity_of,
    offered,
    outline,
    square_km,
    whole,
)

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = [
    "SHARE_OF_TILE", "ImagePlan", "Tile", "TilePlan", "better_as_tile", "find_images", "find_tiles",
    "ids_by_date",
]  # fmt: skip

SHARE_OF_TILE: Final = 262.0
"""Area above which a tile is cheaper than a composite, km²: a tenth of a tile, the service says."""
PIXEL: Final = 10
"""Size of the pixels of tiles, m."""
_SLIVER: Final = 1e-3
"""Share of the area that may be missing for rounding."""


@dataclass(frozen=True)
class Tile:
    """A tile or minitile that meets the cube's grid."""

    guid: str
    window: Window
    """The part of the grid that its data may reach."""
    area_km2: float


@dataclass(frozen=True)
class TilePlan:
    """A date is one download a tile."""

    grid: "GeoBox"
    outputs: tuple[str, ...]
    model: str
    constellations: tuple[str, ...]
    tiles: tuple[Tile, ...]
    product: Literal["tile", "minitile"]

    def __dask_tokenize__(self) -> Any:
        from dask.tokenize import normalize_token

        guids = tuple(tile.guid for tile in self.tiles)
        parts = self.product, self.grid, self.outputs, self.model, self.constellations, guids
        return normalize_token(parts)

    @property
    def factor(self) -> int:
        """Pixels of a tile along a side of one of the grid."""
        return round(self.grid.transform.a) // PIXEL

    def windows(self, date: str) -> list[Window]:  # noqa: ARG002 - all dates are alike
        """Return where the tiles may have pixels."""
        return [tile.window for tile in self.tiles]

    def download(self, date: str, number: int) -> Download:
        """Return a tile of a date."""
        tile = self.tiles[number]
        holds = offered(self.model)
        size = 2 * len(holds) * int(tile.area_km2 * 1e6 / PIXEL**2)
        return Download(
            identity_of(self.product, date, self._terms(tile.guid)),
            f"/api/satelliteimages/process/{self.product}",
            date,
            holds,
            tile.window,
            size,
            tile.guid,
        )

    def body(self, download: Download) -> dict[str, Any]:
        """Return the body of the call."""
        return {**self._terms(download.tile), "Date": f"{download.date}T00:00:00Z"}

    def halves(self, download: Download, what: str) -> list[Download]:
        """Refuse: a tile is whole."""
        raise ServiceError(
            f"ClearSKY finds too large in {what}, and cannot split: tile {download.tile}."
        )

    def holder(self, told: Any, download: Download) -> None:
        """Return nothing: no other download holds all of a tile."""

    def _terms(self, guid: str) -> dict[str, Any]:
        name = "TileGuid" if self.product == "tile" else "MiniTileGuid"
        return {
            name: guid,
            "Model": self.model,
            "SatelliteConstellations": list(self.constellations),
        }


@dataclass(frozen=True)
class ImagePlan:
    """A date is one image a position, as the service of 2024 had them."""

    grid: "GeoBox"
    outputs: tuple[str, ...]
    images: tuple[tuple[str, tuple[str, ...]], ...]
    """By date, the ids of its images."""

    @property
    def factor(self) -> int:
        """Pixels of an image along a side of one of the grid."""
        return round(self.grid.transform.a) // PIXEL

    def windows(self, date: str) -> list[Window]:
        """Return all of the grid for each image: the service does not tell where they lie."""
        return [whole(self.grid)] * len(self._ids[date])

    def download(self, date: str, number: int) -> Download:
        """Return an image of a date."""
        image = self._ids[date][number]
        return Download(
            identity_of("tile2024", date, {"id": image}),
            f"/api/satelliteimages?satelliteImageId={image}",
            date,
            offered(""),
            whole(self.grid),
            0,
            image,
        )

    @property
    def _ids(self) -> Mapping[str, tuple[str, ...]]:
        return dict(self.images)

    def body(self, download: Download) -> None:
        """Return nothing: the call answers a signed link."""

    def halves(self, download: Download, what: str) -> list[Download]:
        """Refuse: an image is whole."""
        raise ServiceError(
            f"ClearSKY finds too large in {what}, and cannot split: image {download.tile}."
        )

    def holder(self, told: Any, download: Download) -> None:
        """Return nothing: no other download holds all of an image."""


def find_tiles(service: Service, grid: "GeoBox", product: Literal["tile", "minitile"]) -> list[Tile]:
    """Return the tiles that meet the grid, the largest share first.

    Raises
    ------
    CatalogError
        There is none, or a part of the area lies only in tiles of other zones, which do not share the
        grid's pixels.
    """
    import shapely
    from odc.geo.geom import Geometry

    box = outline(grid, whole(grid))
    area = shapely.from_wkt(box)
    found, ours, others = [], [], []
    for guid, small, epsg, shape in service.ask("/api/tasking/search/tiles", {"Wkt": box}, _tiles):
        if small != (product == "minitile") or not shape.intersects(area):
            continue
        if epsg != str(_epsg(grid)):
            others.append(shape)
            continue
        ours.append(shape)
        footprint = Geometry(shape, "epsg:4326")
        if (window := _reach(grid, footprint)) is not None:
            found.append(Tile(guid, window, _square_km(shape)))
    lost = shapely.difference(shapely.union_all(others), shapely.union_all(ours)).intersection(area)
    if not found or lost.area > _SLIVER * area.area:
        zones = "only tiles of other UTM zones" if others else "no tile"
        raise CatalogError(
            f"ClearSKY has {zones} in {'a part of ' if found else ''}the area for EPSG:{_epsg(grid)}: "
            "use product='composite', which fetches pixels over from neighbouring zones, or crs=."
        )
    return sorted(found, key=lambda t: (-_pixels(t.window), t.guid))


def find_images(
    service: Service, grid: "GeoBox", first: str, last: str
) -> dict[str, dict[tuple[str, int, int], str]]:
    """Return the images of the service of 2024 by date: their ids by zone and position.

    Raises
    ------
    CubeError
        They lie in several zones, which do not share their pixels.
    """
    # The parameter is named after a bounding box: a plain one, without points along its edges.
    import shapely

    box = str(shapely.from_wkt(outline(grid, whole(grid))).envelope.wkt)
    by_date = service.ask(
        "/api/satelliteimages/boundingbox/",
        {"BoundingBoxWkt": box, "From": first, "Until": last},
        _images,
    )
    zones = sorted({zone for images in by_date.values() for zone, _, _ in images})
    if len(zones) > 1:
        raise CubeError(
            f"The area meets tiles of the zones {', '.join(zones)}, which do not share their pixels: "
            "open it zone by zone, or use product='composite'."
        )
    return by_date


def _tiles(data: Any) -> list[tuple[str, bool, str, Any]]:
    """Read the answer of the search for tiles: guid, whether it is a minitile, EPSG code, outline."""
    import shapely

    return [
        (
            str(told["Guid"]),
            bool(told.get("MiniTile")),
            str(told.get("Epsg")).upper().removeprefix("EPSG:"),
            shapely.from_wkt(told["DataGeogWkt"]),
        )
        for told in (data or {}).get("Tiles", [])
    ]


def _images(data: Any) -> dict[str, dict[tuple[str, int, int], str]]:
    """Read the answer of the search of 2024: ids of images by date, zone and position."""
    by_date: dict[str, dict[tuple[str, int, int], str]] = {}
    for place in data or []:
        position = (str(place["Zone"]), int(place["XPosition"]), int(place["YPosition"]))
        for image in place["SatelliteImageZones"]:
            identifier = str(image["SatelliteImageId"])
            if not re.fullmatch(r"[\w-]+", identifier):
                raise ValueError(f"the id of an image is {identifier!r}")
            by_date.setdefault(day_of(image["ImageDate"]), {})[position] = identifier
    return by_date


def _epsg(grid: "GeoBox") -> int:
    crs: Any = grid.crs
    return int(crs.epsg)


def _reach(grid: "GeoBox", footprint: Any) -> Window | None:
    """Return the part of the grid that a footprint may reach, with a pixel to spare; None if none."""
    box = footprint.segmented(0.01).to_crs(grid.crs).boundingbox
    left, _, _, top = edges(grid, whole(grid))
    step = grid.transform.a
    rows = (int((top - box.top) // step) - 1, int((top - box.bottom) // step) + 2)
    columns = (int((box.left - left) // step) - 1, int((box.right - left) // step) + 2)
    window = (
        max(rows[0], 0),
        min(rows[1], grid.shape.y),
        max(columns[0], 0),
        min(columns[1], grid.shape.x),
    )
    return window if window[0] < window[1] and window[2] < window[3] else None


def _pixels(window: Window) -> int:
    return (window[1] - window[0]) * (window[3] - window[2])


def _square_km(shape: Any) -> float:
    from pyproj import Geod

    return abs(float(Geod(ellps="WGS84").geometry_area_perimeter(shape)[0])) / 1e6


def better_as_tile(grid: "GeoBox") -> bool:
    """Return whether the service's rule of thumb prefers a tile to a composite for the grid's area."""
    return square_km(grid, whole(grid)) > SHARE_OF_TILE


def ids_by_date(
    images: Mapping[str, Mapping[tuple[str, int, int], str]], dates: Sequence[str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the ids of the images of `dates`, in the order of their positions."""
    return tuple((date, tuple(images[date][place] for place in sorted(images[date]))) for date in dates)
