"""The grid that a cube is opened on."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from s2cube import schema
from s2cube.errors import CatalogError, CubeError
from s2cube.sources.scene import Box

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["lonlat_box", "sides", "target_grid"]


def lonlat_box(bbox: Sequence[float] | None, geometry: Any, geobox: "GeoBox | None") -> Box | None:
    """Return the area asked for as (west, south, east, north), or None for all there is.

    West lies east of east where `geobox` crosses the antimeridian: :func:`sides` parts it.

    Raises
    ------
    CubeError
        More than one of the three is given, the box is no box, or it crosses the antimeridian, of which
        only a geobox can say how to lay it on a plane.
    """
    if sum(part is not None for part in (bbox, geometry, geobox)) > 1:
        raise CubeError("Give one of bbox=, geometry= and geobox=, not several.")
    if geobox is not None:
        if getattr(geobox, "crs", None) is None:
            raise CubeError(f"geobox= is an odc.geo.geobox.GeoBox with a CRS, got {geobox!r}.")
        return _covered(geobox)
    if geometry is not None:
        return _bounds(_geometry(geometry).to_crs("epsg:4326"))
    if bbox is None:
        return None
    try:
        west, south, east, north = (float(edge) for edge in bbox)
    except (TypeError, ValueError):
        raise CubeError(
            f"bbox is (west, south, east, north) in degrees, got {bbox!r}; a shape goes into geometry=."
        ) from None
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90):
        raise CubeError(
            f"bbox is (west, south, east, north) in degrees, south below north; got {bbox!r}."
        )
    if west >= east:
        raise CubeError(
            f"bbox reaches from {west} east to {east}: it is empty, or crosses the antimeridian; "
            "open the two sides apart."
        )
    return west, south, east, north


def sides(box: Box) -> list[Box]:
    """Return a box in degrees, in two parts where it crosses the antimeridian.

    Examples
    --------
    >>> from s2cube.sources.grid import sides
    >>> sides((179.0, 10.0, -179.0, 11.0))
    [(179.0, 10.0, 180.0, 11.0), (-180.0, 10.0, -179.0, 11.0)]
    """
    west, south, east, north = box
    if west <= east:
        return [box]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _covered(geobox: "GeoBox") -> Box:
    """Return the box in degrees around a grid."""
    extent: Any = geobox.extent
    side = max(extent.boundingbox.span_x, extent.boundingbox.span_y)
    # Many points along the edges: in degrees they are curves.
    outline = np.array(extent.segmented(side / 64).to_crs("epsg:4326").boundary.coords)
    longitudes, south, north = outline[:, 0], outline[:, 1].min(), outline[:, 1].max()
    west, east = longitudes.min(), longitudes.max()
    if east - west > 180 or west < -180 or east > 180:
        around = longitudes % 360
        # If not even so it is narrow, it lies around a pole, or is most of the globe.
        if around.max() - around.min() < 180:
            west, east = around.min(), around.max() - 360
        else:
            west, east = -180.0, 180.0
    return float(west), float(south), float(east), float(north)


def _bounds(geometry: Any) -> Box:
    """Return the box around a geometry in degrees."""
    west, south, east, north = (float(edge) for edge in geometry.geom.bounds)
    widths = [
        part.bounds[2] - part.bounds[0] for part in getattr(geometry.geom, "geoms", [geometry.geom])
    ]
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise CubeError(
            f"geometry is in degrees, east from -180 to 180 and north from -90 to 90; it covers "
            f"{(west, south, east, north)}."
        )
    if east - west > 180 and max(widths) < 360:
        raise CubeError(
            f"geometry reaches from {west} to {east} east: it crosses the antimeridian, or covers more "
            "than half of the globe. Open the two sides apart, or say the grid with geobox=."
        )
    return west, south, east, north


def _geometry(geometry: Any) -> Any:
    from odc.geo.geom import Geometry

    if isinstance(geometry, Geometry):
        return geometry
    try:
        return Geometry(getattr(geometry, "__geo_interface__", geometry), "epsg:4326")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CubeError(f"geometry is GeoJSON or a shapely geometry in degrees: {error!r}.") from None


def target_grid(
    native: Sequence["GeoBox"],
    *,
    area: Box | None,
    resolution: float | None,
    crs: Any,
    geobox: "GeoBox | None",
) -> "GeoBox":
    """Return the grid to open on: the one given, or the sources' own, cut to the area.

    Pixel edges fall on those of the sources wherever CRS and resolution allow it, so that opening
    moves no pixel.

    Parameters
    ----------
    native
        Grids of all assets to be read.
    area
        West, south, east, north in degrees; None for all.
    resolution
        In units of the CRS; None for the finest of `native`.
    crs
        None for that of `native`.
    geobox
        Taken as it is.
    """
    from odc.geo.geom import bbox_union, box

    if geobox is not None:
        if resolution is not None or crs is not None:
            raise CubeError("geobox= settles resolution and CRS: leave resolution= and crs= out.")
        return geobox
    systems = list(dict.fromkeys(grid.crs for grid in native))
    if crs is None and len(systems) > 1:
        raise CubeError(
            f"The items lie in several CRSs ({', '.join(map(str, systems))}): choose one with crs=, "
            "or pass geobox=."
        )
    if crs is None and not systems:
        raise CatalogError("The items do not say where their pixels are (no proj:): pass geobox=.")
    system: Any = schema.parse_crs(crs) if crs is not None else systems[0]
    if system.geographic and resolution is not None and _size(resolution) >= 1:
        raise CubeError(
            f"resolution={resolution!r} is in degrees, the units of {system}: 10 m are about 0.0001. "
            "For metres leave crs= out, or choose a projected one."
        )
    same = [grid for grid in native if grid.crs == system]
    finest = min(same, key=lambda grid: abs(grid.transform.a * grid.transform.e), default=None)
    if resolution is not None:
        steps = (_size(resolution), _size(resolution))
    elif finest is not None:
        steps = (abs(finest.transform.a), abs(finest.transform.e))
    else:
        raise CubeError(f"The items are not in {system}: pass resolution= in its units.")
    if area is None:
        extent = bbox_union(grid.extent.to_crs(system).boundingbox for grid in native)
    else:
        # Many points along the edges: in another CRS they are curves.
        extent = box(*area, "epsg:4326").segmented(1 / 60).to_crs(system).boundingbox
    origin = (finest.transform.c, finest.transform.f) if finest is not None else (0.0, 0.0)
    return _snapped(extent, system, steps, origin)


def _size(resolution: Any) -> float:
    if isinstance(resolution, bool) or not isinstance(resolution, (int, float, np.number)):
        raise CubeError(f"resolution is one number, the size of a square pixel; got {resolution!r}.")
    if not resolution > 0:
        raise CubeError(f"resolution is a pixel size above 0, got {resolution!r}.")
    return float(resolution)


def _snapped(
    extent: Any, system: Any, steps: tuple[float, float], origin: tuple[float, float]
) -> "GeoBox":
    """Return the smallest grid over `extent` whose pixel edges pass through `origin`."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    # A hair's breadth beyond an edge is rounding, not a wish for one more pixel.
    hair = 1e-3
    (x0, y0), (dx, dy) = origin, steps
    left = math.floor((extent.left - x0) / dx + hair)
    right = math.ceil((extent.right - x0) / dx - hair)
    bottom = math.floor((extent.bottom - y0) / dy + hair)
    top = math.ceil((extent.top - y0) / dy - hair)
    shape = (max(top - bottom, 1), max(right - left, 1))
    return GeoBox(shape, Affine(dx, 0, x0 + left * dx, 0, -dy, y0 + top * dy), system)
