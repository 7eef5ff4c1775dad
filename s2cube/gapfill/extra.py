"""What other sensors saw, held against the cube that they are to help to fill."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.errors import CubeError
from s2cube.schema import DIMS, SPATIAL_REF

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Extra", "read_extra"]

NEAR: Final = 0.05
"""Pixels that two grids may be apart and still be one: coordinates are often kept in float32."""
ALIGN: Final = (
    "other.odc.reproject(cube.odc.geobox) (odc-geo), or other.rio.reproject_match(cube) (rioxarray)"
)


@dataclass(frozen=True)
class Extra:
    """The looks of another sensor, on the grid of a cube. Arrays are lazy where its Dataset is."""

    names: tuple[str, ...]
    """Of its variables."""
    arrays: tuple[Any, ...]
    """``float32``, ``(time, y, x)``, NaN where it saw nothing."""
    days: NDArray[np.int32]
    """Solar day of each look, ascending; some may be equal."""


def read_extra(extra: xr.Dataset | Iterable[xr.Dataset] | None, cube: xr.Dataset) -> tuple[Extra, ...]:
    """Return what other sensors saw, after holding it against the grid of a cube. Nothing is computed.

    Parameters
    ----------
    extra
        See :func:`~s2cube.fill_gaps`.
    cube
        The cube that is filled.

    Raises
    ------
    CubeError
        Not on the cube's grid, no dates, dates unsorted or twice, integers, nothing at all.
    """
    if extra is None:
        return ()
    several = [extra] if isinstance(extra, (xr.Dataset, xr.DataArray)) else extra
    if not isinstance(several, Iterable):
        raise CubeError(f"extra is a Dataset or a list of them; got {type(extra).__name__}.")
    box = schema.geobox_of(cube)
    return tuple(_read(one, f"extra[{i}]", box) for i, one in enumerate(several))


def _read(extra: Any, name: str, box: "GeoBox") -> Extra:
    if not isinstance(extra, xr.Dataset):
        words = "; .to_dataset(name=...) makes one" if isinstance(extra, xr.DataArray) else ""
        raise CubeError(f"{name} is a {type(extra).__name__}, not an xarray.Dataset{words}.")
    if not len(extra.data_vars):
        raise CubeError(f"{name} has no variables: nothing can be learnt from it.")
    for key, array in extra.data_vars.items():
        _check_array(array, f"{key!r} of {name}")
    times = _times(extra, name)
    _check_grid(extra, name, box)
    arrays = [array.transpose(*DIMS).data for array in extra.data_vars.values()]
    names = tuple(str(key) for key in extra.data_vars)
    days = schema.solar_day(times.astype("datetime64[ns]"), schema.longitude_of(box))
    return Extra(names, tuple(map_pixels(_finite, data, dtype=np.float32) for data in arrays), days)


def _finite(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return ``float32`` values with NaN for all that is no number."""
    found: NDArray[np.float32] = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    return found


def _check_array(array: xr.DataArray, name: str) -> None:
    if set(array.dims) != set(DIMS):
        raise CubeError(
            f"{name} has dimensions {array.dims}, not {DIMS}: rename them, and drop what has no dates "
            "(extra.drop_vars), which tells nothing of a day."
        )
    if array.dtype.kind != "f":
        raise CubeError(
            f"{name} is {array.dtype}: missing is NaN, so it must be float. Mask what is no data and "
            "convert (array.where(array != nodata).astype('float32')), or drop it (extra.drop_vars)."
        )


def _times(extra: xr.Dataset, name: str) -> NDArray[Any]:
    if "time" not in extra.indexes:
        raise CubeError(f"{name} has no coordinate 'time': give each look its date.")
    times = extra.indexes["time"]
    if len(times) == 0:
        raise CubeError(f"{name} has no date: leave it out, or open the period of the cube.")
    if times.dtype.kind != "M":
        raise CubeError(
            f"'time' of {name} is {times.dtype}, not datetime64: xarray.decode_cf decodes it."
        )
    if not times.is_monotonic_increasing:
        raise CubeError(f"'time' of {name} is not sorted: extra.sortby('time').")
    if not times.is_unique:
        raise CubeError(
            f"'time' of {name} has one time twice: extra.groupby('time').mean() makes one look of them."
        )
    found: NDArray[Any] = times.values
    return found


def _check_grid(extra: xr.Dataset, name: str, box: "GeoBox") -> None:
    if SPATIAL_REF not in extra.coords:
        raise CubeError(
            f"{name} has no CRS (coordinate 'spatial_ref'): extra.odc.assign_crs(...) or "
            "extra.rio.write_crs(...) names it."
        )
    other = schema.geobox_of(extra)
    if other.crs != box.crs:
        raise CubeError(f"{name} is in {other.crs}, the cube in {box.crs}. Align it: {ALIGN}.")
    # Where pixels (0, 0) and (1, 1) of the one lie in the other.
    apart = ~box.transform * other.transform
    far = max(abs(a - b) for a, b in zip(apart * (0, 0) + apart * (1, 1), (0, 0, 1, 1), strict=True))
    if tuple(other.shape) != tuple(box.shape) or far > NEAR:
        raise CubeError(
            f"{name} is not on the grid of the cube: it has {other.shape[0]} x {other.shape[1]} px from "
            f"({other.transform.c:g}, {other.transform.f:g}) of {other.transform.a:g}, the cube "
            f"{box.shape[0]} x {box.shape[1]} px from ({box.transform.c:g}, {box.transform.f:g}) of "
            f"{box.transform.a:g}. Align it: {ALIGN}."
        )
