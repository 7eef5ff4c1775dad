"""``cloud_mask``: from a cube and the name of a method to the ``status`` of every look."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_halo, map_pixels
from s2cube.errors import CubeError
from s2cube.kernels.counts import read_failed_value
from s2cube.kernels.morphology import grow_status
from s2cube.schema import SCL, STATUS, Status

__all__ = ["cloud_mask"]

GROWN: Final = (int(Status.THIN_CLOUD), int(Status.SHADOW), int(Status.CLOUD))
"""What a buffer grows: SCL 3, 8, 9 and 10. Snow, water and missing data have no soft edge."""


FARTHEST: Final = 10_000
"""Metres: a buffer beyond it is a slip."""


def cloud_mask(cube: xr.Dataset, method: str = "scl", *, buffer: float | None = None) -> xr.Dataset:
    """Tell, for every look at every pixel, whether it is clear, lazily.

    Parameters
    ----------
    cube
        A cube.
    method
        ``"scl"``: Sen2Cor's scene classification (level 2A, variable ``SCL``).
    buffer
        Metres by which cloud, thin cloud and shadow grow, None for none. A pixel is taken in when
        its centre lies at most that far from the centre of a cloudy one.

    Returns
    -------
    xarray.Dataset
        ``status``, uint8 flags of :class:`~s2cube.schema.Status`, dims ``(time, y, x)``.

    Raises
    ------
    CubeError
        The method is unknown, the cube lacks what the method needs, or `buffer` is negative.

    Notes
    -----
    SCL is known to take bright roofs, sand and snow for cloud, to miss thin cloud over water, and to
    miss shadows far from their cloud (Baetens et al. 2019, https://doi.org/10.3390/rs11040433).

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> mask = s2cube.cloud_mask(cube, "scl", buffer=60)
    >>> mask["status"].dtype
    dtype('uint8')
    """
    if not isinstance(method, str) or method not in _METHODS:
        raise CubeError(f"Unknown mask method {method!r}; known: {', '.join(_METHODS)}.")
    cube = schema.validate(cube)
    status = _METHODS[method](cube)
    if buffer is not None:
        radius = _radius(cube, buffer)
        depth = (math.floor(radius[0] + 1e-9), math.floor(radius[1] + 1e-9))
        status = map_halo(grow_status, status, depth=depth, dtype=np.uint8, radius=radius, grown=GROWN)
    if STATUS in cube:
        # After the buffer: what was masked before, or never measured, must not grow again.
        status = map_pixels(np.maximum, status, cube[STATUS].data, dtype=np.uint8)
    result = xr.Dataset({STATUS: schema.variable(status, schema.status_attrs())}, cube.coords)
    return schema.record(result.assign_attrs(cube.attrs), "cloud_mask", method=method, buffer=buffer)


def _scl(cube: xr.Dataset) -> object:
    schema.validate(cube, level="L2A", scl=True)
    return map_pixels(_status_of_scl, cube[SCL].data, dtype=np.uint8)


_METHODS: Final[dict[str, Callable[[xr.Dataset], object]]] = {"scl": _scl}


def _status_of_scl(scl: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Look the classes up; a class that Sen2Cor does not have counts as no data."""
    table = np.full(256, Status.NO_DATA, dtype=np.uint8)
    for value, status in schema.SCL_STATUS.items():
        table[value] = status
    table[int(read_failed_value(scl.dtype))] = Status.READ_FAILED
    return table[scl]


def _radius(cube: xr.Dataset, buffer: float) -> tuple[float, float]:
    """Return `buffer` metres in pixels along y and x."""
    if isinstance(buffer, bool) or not isinstance(buffer, (int, float, np.number)):
        raise CubeError(f"buffer is a distance in metres, 0 or more; got {buffer!r}.")
    if not 0 <= buffer <= FARTHEST:
        raise CubeError(
            f"buffer is a distance in metres, 0 or more; got {buffer!r} (at most {FARTHEST})."
        )
    geobox = schema.geobox_of(cube)
    dx, dy = abs(geobox.transform.a), abs(geobox.transform.e)
    if geobox.crs is not None and geobox.crs.geographic:
        # A sphere will do for a buffer; the cube's middle latitude stands for all of it.
        latitude = math.radians(float(geobox.extent.centroid.points[0][1]))
        metre = 111_195.0
        return buffer / (dy * metre), buffer / (dx * metre * max(math.cos(latitude), 1e-6))
    if geobox.crs is not None and geobox.crs.units[0] not in ("metre", "meter", "m"):
        raise CubeError(
            f"buffer is in metres, but the grid is in {geobox.crs.units[0]}: "
            "open the cube in a metric or geographic CRS."
        )
    return buffer / dy, buffer / dx
