"""``clear_share``: how much of the area each step has seen clearly."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import count_steps, map_grid, map_pixels
from s2cube.errors import CubeError
from s2cube.masks.apply import CLASSES, dropped_states
from s2cube.masks.given import Mask, status_of_mask
from s2cube.masks.method import cloud_mask
from s2cube.schema import STATUS

__all__ = ["clear_share"]

SMALL: Final = 10_000
"""Pixels around a geometry up to which it is found out at once whether it holds any."""
_NO_GEOMETRY: Final = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What odc-geo and shapely raise for what is none, or for an empty one."""


def clear_share(
    cube: xr.Dataset,
    method_or_mask: str | Mask = "scl",
    *,
    geometry: Any = None,
    classes: Iterable[str] | None = None,
) -> xr.DataArray:
    """Tell which share of the area each step has seen clearly, lazily.

    Parameters
    ----------
    cube
        A cube: for ``"scl"``, of level 2A with ``SCL``.
    method_or_mask
        A method of :func:`cloud_mask`, or a ready mask of the cube, as in :func:`mask_clouds`.
    geometry
        GeoJSON or shapely geometry in degrees: of the cube, only pixels whose centre lies inside.
        By default, all of the cube.
    classes
        States that are not clear, by name as in :func:`mask_clouds`. By default, those that it masks:
        ``thin_cloud``, ``shadow`` and ``cloud``.

    Returns
    -------
    xarray.DataArray
        ``clear_share``, float32 from 0 to 1, dims ``(time,)``, with the cube's coordinates along time.

    Raises
    ------
    CubeError
        The cube lacks what the method needs, the mask does not fit it, a class is unknown, the geometry
        is none, or holds no pixel of the cube.

    Notes
    -----
    The share is one of all pixels of the area: what a swath does not cover, and what is saturated or
    unread, counts as not clear. With ``"scl"`` only ``SCL`` is read when it is computed, and only the
    blocks around the geometry. How the cube has been masked before does not count.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> good = s2cube.clear_share(cube).compute() > 0.6
    >>> cube.sel(time=good).sizes["time"]
    27
    """
    cube = schema.validate(cube)
    if isinstance(method_or_mask, str):
        # Without the cube's own status, for which every band would have to be read.
        found = cloud_mask(cube.drop_vars(STATUS, errors="ignore"), method_or_mask)[STATUS].data
    else:
        found = status_of_mask(method_or_mask, like=cube)
    mask = cube.coords.to_dataset().assign({STATUS: schema.variable(found, {})})
    inside = None
    if geometry is not None:
        mask, shape = _around(mask, geometry)
        y, x = (mask[dim].values.astype(np.float64) for dim in ("y", "x"))
        inside = map_grid(_inside, y, x, like=mask[STATUS].data, dtype=np.bool_, shape=shape)
    status = mask[STATUS].data
    states = tuple(dropped_states(CLASSES if classes is None else classes))
    if inside is None:
        clear = map_pixels(_clear, status, dtype=np.bool_, states=states)
        among: Any = mask.sizes["y"] * mask.sizes["x"]
    else:
        clear = map_pixels(_clear, status, inside, dtype=np.bool_, states=states)
        among = count_steps(inside)
    along = {name: value for name, value in cube.coords.items() if set(value.dims) <= {"time"}}
    along.pop(schema.SPATIAL_REF, None)
    share = (count_steps(clear) / among).astype(np.float32)
    attrs = {"long_name": "share of clear pixels", "units": "1"}
    return xr.DataArray(share, along, ("time",), "clear_share", attrs)


def _clear(
    status: NDArray[np.uint8], inside: NDArray[np.bool_] | None = None, *, states: tuple[int, ...]
) -> NDArray[np.bool_]:
    clear = ~np.isin(status, states)
    return clear if inside is None else clear & inside


def _around(cube: xr.Dataset, geometry: Any) -> tuple[xr.Dataset, bytes]:
    """Return the part of `cube` around a geometry, and that as WKB in the cube's CRS."""
    import shapely
    from odc.geo.geom import Geometry

    grid = schema.geobox_of(cube)
    crs: Any = grid.crs
    try:
        given = getattr(geometry, "__geo_interface__", geometry)
        shape = geometry if isinstance(geometry, Geometry) else Geometry(given, "epsg:4326")
        own: Any = shape.crs
        # A point every kilometre: what is straight in one CRS is a curve in another.
        shape = shape.to_crs(crs, resolution=0.01 if own.geographic else 1000)
    except (*_NO_GEOMETRY, shapely.errors.ShapelyError) as error:
        raise CubeError(f"geometry is GeoJSON or a shapely geometry in degrees: {error!r}.") from None
    west, south, east, north = shape.boundingbox.bbox
    y, x = cube["y"].values, cube["x"].values
    rows, columns = (
        np.flatnonzero(at) for at in ((y >= south) & (y <= north), (x >= west) & (x <= east))
    )
    wkb: bytes = shapely.to_wkb(shape.geom)
    few = len(rows) * len(columns) <= SMALL
    if few and not _inside(y[rows][None, :, None], x[columns][None, None, :], shape=wkb).any():
        edges = tuple(round(edge, 5) for edge in grid.geographic_extent.boundingbox.bbox)
        raise CubeError(
            "No pixel of the cube has its centre inside the geometry; the cube covers "
            f"{edges} (west, south, east, north in degrees)."
        )
    return cube.isel(
        y=slice(int(rows[0]), int(rows[-1]) + 1), x=slice(int(columns[0]), int(columns[-1]) + 1)
    ), wkb


def _inside(y: NDArray[np.float64], x: NDArray[np.float64], *, shape: bytes) -> NDArray[np.bool_]:
    """Return which pixel centres lie inside."""
    import shapely

    across, down = np.broadcast_arrays(x, y)
    area = shapely.from_wkb(shape)
    shapely.prepare(area)
    inside: NDArray[np.bool_] = shapely.contains_xy(area, across, down)
    return inside
