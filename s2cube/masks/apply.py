"""``mask_clouds``: take what is not clear out of the reflectance."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.errors import CubeError
from s2cube.masks.method import cloud_mask
from s2cube.schema import STATUS, Status

__all__ = ["CLASSES", "dropped_states", "mask_clouds"]

CLASSES: Final = ("thin_cloud", "shadow", "cloud")
"""What is masked unless told otherwise."""
_NO_LOOK: Final = (Status.SATURATED, Status.NO_DATA, Status.READ_FAILED)
"""What is always masked: there is no measurement."""


def mask_clouds(
    cube: xr.Dataset,
    method_or_mask: str | xr.Dataset | xr.DataArray = "scl",
    *,
    classes: Iterable[str] = CLASSES,
    buffer: float | None = None,
) -> xr.Dataset:
    """Set the reflectance of cloudy looks to missing, in all bands at once, lazily.

    Parameters
    ----------
    cube
        A cube.
    method_or_mask
        A method of :func:`cloud_mask`, a Dataset that it made, a ``status`` array, or a boolean
        array (dims ``time, y, x``) that is True where cloudy.
    classes
        States to mask, by name: ``clear_water``, ``snow``, ``thin_cloud``, ``shadow``, ``cloud``.
        Saturated, missing and unread pixels are masked always.
    buffer
        Metres by which clouds and shadows grow; only with a method (a ready mask has its own).

    Returns
    -------
    xarray.Dataset
        The cube with masked reflectance and ``status``. Masking twice combines: where two masks
        speak, the higher state wins. Other variables (``SCL``) are left as they are.

    Raises
    ------
    CubeError
        A class or method is unknown, or the mask does not fit the cube.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> clear = cube.s2.mask_clouds("scl", buffer=60)
    >>> bool(clear["B04"].isnull().mean() > cube["B04"].isnull().mean())
    True
    """
    cube = schema.validate(cube)
    dropped = dropped_states(classes)
    if isinstance(method_or_mask, str):
        status = cloud_mask(cube, method_or_mask, buffer=buffer)[STATUS].data
        words: object = method_or_mask
    else:
        if buffer is not None:
            raise CubeError("buffer goes with a method; give it to cloud_mask() for a ready mask.")
        status = _given(cube, method_or_mask)
        words = "given"
    arrays = {STATUS: schema.variable(status, schema.status_attrs())}
    for band in schema.bands_of(cube):
        masked = map_pixels(_drop, cube[band].data, status, dtype=np.float32, states=tuple(dropped))
        arrays[band] = schema.variable(masked, cube[band].attrs)
    return schema.record(
        cube.assign(arrays),
        "mask_clouds",
        method=words,
        classes=sorted(Status(state).name.lower() for state in dropped if state not in _NO_LOOK),
        buffer=buffer,
    )


def dropped_states(classes: Iterable[str]) -> list[int]:
    """Return the states of `classes`, and those that are no measurement at all."""
    known = [status.name.lower() for status in Status if Status.CLEAR < status < Status.SATURATED]
    if not isinstance(classes, Iterable):
        raise CubeError(f"classes are names of states, got {classes!r}.")
    asked = [classes] if isinstance(classes, str) else list(classes)
    if unknown := [name for name in asked if name not in known]:
        raise CubeError(f"Unknown classes {unknown}; classes to mask are among {known}.")
    return [*(int(Status[name.upper()]) for name in asked), *map(int, _NO_LOOK)]


def _given(cube: xr.Dataset, mask: xr.Dataset | xr.DataArray) -> object:
    """Return the status that a ready mask and the cube's own give together."""
    if isinstance(mask, xr.Dataset):
        if STATUS not in mask:
            raise CubeError(f"The mask has no 'status'; it has {list(mask.data_vars)}.")
        mask = mask[STATUS]
    if not isinstance(mask, xr.DataArray):
        raise CubeError(f"A mask is a method's name, a Dataset or a DataArray, got {type(mask)}.")
    if set(mask.dims) != set(schema.DIMS):
        raise CubeError(f"The mask has dimensions {mask.dims}, the cube has {schema.DIMS}.")
    mask = mask.transpose(*schema.DIMS)
    for dim in schema.DIMS:
        if dim in mask.coords and not mask.indexes[dim].equals(cube.indexes[dim]):
            raise CubeError(
                f"Mask and cube differ along {dim!r} ({mask.sizes[dim]} and {cube.sizes[dim]} "
                "steps, or other coordinates): make the mask from this cube."
            )
    if mask.shape != tuple(cube.sizes[dim] for dim in schema.DIMS):
        raise CubeError(f"Mask and cube differ in shape: {mask.shape}, {dict(cube.sizes)}.")
    if mask.dtype == np.bool_:
        status = map_pixels(_cloud_where, mask.data, dtype=np.uint8)
    elif mask.dtype == np.uint8 and mask.name == STATUS:
        status = mask.data
    else:
        raise CubeError(
            f"A mask is boolean, True where cloudy, or an array called 'status' as cloud_mask() makes "
            f"it; got {mask.dtype} called {mask.name!r}. Of your own classes make a boolean: "
            "mask.isin([...])."
        )
    if STATUS not in cube:
        return status
    return map_pixels(np.maximum, status, cube[STATUS].data, dtype=np.uint8)


def _cloud_where(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return mask.astype(np.uint8) * np.uint8(Status.CLOUD)


def _drop(
    values: NDArray[np.float32], status: NDArray[np.uint8], *, states: tuple[int, ...]
) -> NDArray[np.float32]:
    return np.where(np.isin(status, states), np.float32(np.nan), values)
