"""Ready masks: what they may be, and the status that they stand for."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.errors import CubeError
from s2cube.schema import STATUS, Status

__all__ = ["Mask", "status_of_mask"]

Mask = xr.Dataset | xr.DataArray


def status_of_mask(mask: Mask, *, like: Mask, name: str = "The mask") -> Any:
    """Return the status that a mask stands for, lazily where it is: shape ``(time, y, x)``.

    Parameters
    ----------
    mask
        A Dataset with ``status``, an array of that name, or a boolean one that is True where there is
        cloud.
    like
        Whose dates and grid it must have.
    name
        What errors call it.

    Raises
    ------
    CubeError
        It is none of these, or does not fit.
    """
    if isinstance(mask, xr.Dataset):
        if STATUS not in mask:
            raise CubeError(f"{name} has no 'status'; it has {list(mask.data_vars)}.")
        mask = mask[STATUS]
    if not isinstance(mask, xr.DataArray):
        raise CubeError(
            f"{name} is a {type(mask).__name__}: a mask is a method's name, a Dataset or a DataArray."
        )
    if set(mask.dims) != set(schema.DIMS):
        raise CubeError(f"{name} has dimensions {mask.dims}; needed are {schema.DIMS}.")
    mask = mask.transpose(*schema.DIMS)
    for dim in schema.DIMS:
        if mask.sizes[dim] != like.sizes[dim] or (
            dim in mask.indexes
            and dim in like.indexes
            and not mask.indexes[dim].equals(like.indexes[dim])
        ):
            steps, needed = mask.sizes[dim], like.sizes[dim]
            how = "other coordinates" if steps == needed else f"{steps} steps, not {needed}"
            raise CubeError(
                f"{name} differs along {dim!r} ({how}): choose what both have, as with "
                f".sel({dim}=other[{dim!r}]), or bring it onto the cube's grid first."
            )
    if mask.dtype == np.bool_:
        return map_pixels(_cloud_where, mask.data, dtype=np.uint8)
    if mask.dtype == np.uint8 and mask.name == STATUS:
        return mask.data
    raise CubeError(
        f"{name} is {mask.dtype} called {mask.name!r}: a mask is boolean, True where there is cloud, or "
        "called 'status' as cloud_mask() makes it. Of your own classes make a boolean: mask.isin([...])."
    )


def _cloud_where(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return mask.astype(np.uint8) * np.uint8(Status.CLOUD)
