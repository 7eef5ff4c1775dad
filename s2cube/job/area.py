"""The grid of a job, from what its file says of the area."""

import difflib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from s2cube import schema
from s2cube.errors import CubeError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["below", "grid_of", "mgrs_bounds", "only"]

TILE: Final = 109_800
"""Side of a tile of Sentinel-2, m."""
STEP: Final = 60
"""Its corner lies on a multiple of it."""
_COLUMNS: Final = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
"""Letters of the columns by zone, modulo 3; the first is 100 km east."""
_ROWS: Final = "ABCDEFGHJKLMNPQRSTUV"
"""Letters of the rows, which repeat after 2000 km; in even zones they begin with F."""
_BANDS: Final = "CDEFGHJKLMNPQRSTUVWX"
"""Letters of the bands of 8 degrees, from 80 degrees south."""


def only(given: Any, known: tuple[str, ...], where: str) -> dict[str, Any]:
    """Return a mapping of a job file if it has no other keys.

    Raises
    ------
    CubeError
        It is no mapping, or has others; it says which was meant.
    """
    if not isinstance(given, Mapping):
        raise CubeError(f"{where} has keys and values ({', '.join(known)}); got {given!r}.")
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
            raise CubeError(f"{where} has no {key!r}: {hint}")
    return dict(given)


def grid_of(
    area: Any, crs: Any, resolution: Any, folder: Path
) -> "tuple[GeoBox, dict[str, Any] | None]":
    """Return the grid of a job, and its geometry in degrees where there is one.

    Parameters
    ----------
    area
        ``{"bbox": [west, south, east, north]}`` in degrees, ``{"geometry": ...}`` (GeoJSON, or the name
        of a file of it), or ``{"mgrs": "33UUU"}``.
    crs
        None for that of the tile.
    resolution
        In units of the CRS.
    folder
        Where the job file lies.
    """
    from odc.geo.geobox import GeoBox
    from odc.geo.geom import BoundingBox, Geometry, box

    given = only(area, ("bbox", "geometry", "mgrs"), "area")
    if len(given) != 1:
        raise CubeError(f"area is one of bbox, geometry and mgrs; got {', '.join(given) or 'none'}.")
    if isinstance(resolution, bool) or not isinstance(resolution, (int, float)) or resolution <= 0:
        raise CubeError(f"resolution is a size in units of the CRS; got {resolution!r}.")
    if "mgrs" in given:
        code, left, bottom, right, top = mgrs_bounds(given["mgrs"])
        if crs is not None and schema.parse_crs(crs) != schema.parse_crs(code):
            raise CubeError(f"Tile {given['mgrs']} is in {code}: leave crs out, or give a bbox.")
        edges = BoundingBox(left, bottom, right, top, code)
        return GeoBox.from_bbox(edges, resolution=resolution), None
    if "geometry" in given:
        geometry = _geometry(given["geometry"], folder)
        shape = Geometry(geometry, "epsg:4326")
    else:
        geometry, shape = None, box(*_bbox(given["bbox"]), "epsg:4326")
    if crs is None:
        west, south, east, north = shape.boundingbox.bbox
        zone = int((west + east) / 2 // 6) + 31
        nearest = f"EPSG:{326 if south + north >= 0 else 327}{zone:02}"
        raise CubeError(f"crs is missing: {nearest} is the UTM zone of the middle of the area.")
    system = schema.parse_crs(crs)
    if system.geographic:
        raise CubeError(f"crs is one in metres, got {crs}; the resolution would be in degrees.")
    # Many points along the edges: on the plane they are curves.
    fine = max(shape.boundingbox.span_x, shape.boundingbox.span_y) / 64
    edges = shape.segmented(fine).to_crs(system).boundingbox
    return GeoBox.from_bbox(edges, resolution=resolution), geometry


def _bbox(given: Any) -> tuple[float, float, float, float]:
    if not isinstance(given, (list, tuple)) or len(given) != 4:
        raise CubeError(f"bbox is [west, south, east, north] in degrees; got {given!r}.")
    try:
        west, south, east, north = (float(edge) for edge in given)
    except (TypeError, ValueError):
        raise CubeError(f"bbox is four numbers; got {given!r}.") from None
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise CubeError(f"bbox is [west, south, east, north] in degrees, in that order; got {given!r}.")
    return west, south, east, north


def _geometry(given: Any, folder: Path) -> dict[str, Any]:
    """Return GeoJSON that is written out, or lies in a file beside the job."""
    if isinstance(given, str):
        path = folder / below(given, "geometry")
        try:
            given = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CubeError(f"geometry: {path} is no GeoJSON: {error}") from None
    if isinstance(given, Mapping) and given.get("type") == "FeatureCollection":
        parts = [feature["geometry"] for feature in given.get("features", ())]
        given = {"type": "GeometryCollection", "geometries": parts}
    elif isinstance(given, Mapping) and given.get("type") == "Feature":
        given = given.get("geometry")
    if not isinstance(given, Mapping) or not {"coordinates", "geometries"} & set(given):
        raise CubeError("geometry is GeoJSON, or the name of a file of it beside the job file.")
    return dict(given)


def below(name: Any, what: str) -> Path:
    """Return a path that does not climb: what a job file names is in its folder, or named in full."""
    if not isinstance(name, str) or not name:
        raise CubeError(f"{what} is a path; got {name!r}.")
    path = Path(name)
    if ".." in path.parts:
        raise CubeError(f"{what}: {name!r} climbs out of the job file's folder: name it in full.")
    return path


def mgrs_bounds(tile: Any) -> tuple[str, float, float, float, float]:
    """Return the CRS and left, bottom, right, top of a tile of Sentinel-2.

    Examples
    --------
    >>> from s2cube.job.area import mgrs_bounds
    >>> mgrs_bounds("33UUP")
    ('EPSG:32633', 300000, 5290200, 409800, 5400000)
    """
    found = re.fullmatch(r"T?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])", str(tile))
    zone = int(found[1]) if found else 0
    column = _COLUMNS[zone % 3].find(found[3]) if found else -1
    if found is None or not 1 <= zone <= 60 or column < 0:
        raise CubeError(f"mgrs is a tile such as 33UUP; got {tile!r}.")
    east = 100_000 * (column + 1)
    north = 100_000 * ((_ROWS.index(found[4]) - (5 if zone % 2 == 0 else 0)) % 20)
    band = _BANDS.index(found[2])
    south = band < _BANDS.index("N")
    # Metres from the equator to the middle of the band tell which of the repeated rows it is.
    middle = (8 * band - 76) * 110_600 + (10_000_000 if south else 0)
    north += 2_000_000 * round((middle - north) / 2_000_000)
    left = east // STEP * STEP
    # Counted from the equator.
    zero = 10_000_000 if south else 0
    top = math.ceil((north + 100_000 - zero) / STEP) * STEP + zero
    return f"EPSG:{327 if south else 326}{zone:02}", left, top - TILE, left + TILE, top
