"""``mask_clouds``: take what is not clear out of the reflectance."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.errors import CubeError
from s2cube.masks.given import status_of_mask
from s2cube.masks.method import cloud_mask
from s2cube.masks.needs import METHODS
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
    snow: bool = False,
    water: bool = False,
    buffer: float | None = None,
    **options: Any,
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
    snow, water
        Whether to mask these too, beside `classes`.
    buffer
        Metres by which clouds and shadows grow; only with a method (a ready mask has its own).
    options
        Others of :func:`cloud_mask`, with a method: ``opening``, ``closing``, and the method's own.

    Returns
    -------
    xarray.Dataset
        The cube with masked reflectance and ``status``. Masking twice combines: where two masks
        speak, the higher state wins. Other variables (``SCL``) are left as they are.

    Raises
    ------
    CubeError
        A class or method is unknown, the method does not tell what is to be masked, or the mask does
        not fit the cube.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> clear = cube.s2.mask_clouds("scl", buffer=60)
    >>> bool(clear["B04"].isnull().mean() > cube["B04"].isnull().mean())
    True
    """
    cube = schema.validate(cube)
    also = [name for name, asked in (("snow", snow), ("clear_water", water)) if asked]
    dropped = dropped_states(classes, also)
    if isinstance(method_or_mask, str):
        _check_told(method_or_mask, also)
        found = cloud_mask(cube, method_or_mask, buffer=buffer, **options)
        # With its history, which says how the mask was made.
        status, cube = found[STATUS].data, cube.assign_attrs(found.attrs)
        words: object = method_or_mask
    else:
        if given := sorted({**({} if buffer is None else {"buffer": buffer}), **options}):
            raise CubeError(f"{given[0]} goes with a method; give it to cloud_mask() for a ready mask.")
        status, words = _given(cube, method_or_mask), "given"
    arrays = {STATUS: schema.variable(status, schema.status_attrs())}
    for band in schema.bands_of(cube):
        masked = map_pixels(_drop, cube[band].data, status, dtype=np.float32, states=tuple(dropped))
        arrays[band] = schema.variable(masked, cube[band].attrs)
    return schema.record(
        cube.assign(arrays),
        "mask_clouds",
        method=words,
        classes=sorted({Status(state).name.lower() for state in dropped if state not in _NO_LOOK}),
    )


def dropped_states(classes: Iterable[str], also: Iterable[str] = ()) -> list[int]:
    """Return the states of `classes` and of `also`, and those that are no measurement at all."""
    known = [status.name.lower() for status in Status if Status.CLEAR < status < Status.SATURATED]
    if not isinstance(classes, Iterable):
        raise CubeError(f"classes are names of states, got {classes!r}.")
    asked = [*([classes] if isinstance(classes, str) else classes), *also]
    if unknown := [name for name in asked if name not in known]:
        raise CubeError(f"Unknown classes {unknown}; classes to mask are among {known}.")
    return [*(int(Status[name.upper()]) for name in asked), *map(int, _NO_LOOK)]


def _check_told(method: str, also: list[str]) -> None:
    """Refuse to mask what a method does not tell: it would stay, and nobody would know."""
    if method not in METHODS:
        return
    for name in also:
        if Status[name.upper()] not in METHODS[method].tells:
            tell = [word for word, one in METHODS.items() if Status[name.upper()] in one.tells]
            raise CubeError(
                f"{method!r} does not tell {name.removeprefix('clear_')} apart; {', '.join(tell)} do: "
                "mask the result once more by one of them, with classes=()."
            )


def _given(cube: xr.Dataset, mask: xr.Dataset | xr.DataArray) -> object:
    """Return the status that a ready mask and the cube's own give together."""
    status = status_of_mask(mask, like=cube)
    if STATUS not in cube:
        return status
    return map_pixels(np.maximum, status, cube[STATUS].data, dtype=np.uint8)


def _drop(
    values: NDArray[np.float32], status: NDArray[np.uint8], *, states: tuple[int, ...]
) -> NDArray[np.float32]:
    return np.where(np.isin(status, states), np.float32(np.nan), values)
