"""The cube contract: what a Dataset must be, and the pieces that verbs make cubes of."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from s2cube.errors import CubeError
from s2cube.schema.grid import geobox_of
from s2cube.schema.tables import BANDS, DIMS, SCL, SPATIAL_REF, STATUS, band_ids


def bands_of(cube: xr.Dataset) -> list[str]:
    """Return the reflectance bands that `cube` holds, in its own order."""
    return [str(name) for name in cube.data_vars if name in BANDS]


def pick_bands(cube: xr.Dataset, bands: str | Iterable[str] | None) -> list[str]:
    """Return the ids of the asked `bands`, all of `cube` where None; refuse what it does not hold."""
    held = bands_of(cube)
    if bands is None:
        return held
    asked = band_ids(bands)
    if missing := [band for band in asked if band not in held]:
        raise CubeError(f"The cube holds no {', '.join(missing)}; it holds {', '.join(held)}.")
    return asked


def variable(data: Any, attrs: dict[str, Any], **encoding: Any) -> xr.Variable:
    """Return a ``(time, y, x)`` variable of a cube, tied to its grid mapping."""
    return xr.Variable(DIMS, data, attrs, {"grid_mapping": SPATIAL_REF, **encoding})


def record(cube: xr.Dataset, verb: str, **arguments: object) -> xr.Dataset:
    """Note in the CF attribute ``history`` that `verb` made `cube`, and with which arguments.

    It holds what decides the values and nothing that changes from run to run (no time of day, no
    library version, no chunk size): the writer keeps it and shows it when settings differ.
    """
    words = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    past = str(cube.attrs.get("history", ""))
    return cube.assign_attrs(history=f"{past}\n{verb}({words})".strip())


def _no_cube(given: object) -> str:
    path = isinstance(given, (str, Path))
    how = "open_daily(), open_stac() or open_local() opens one" if path else "as_cube() makes one"
    return f"A cube is an xarray.Dataset, got {type(given).__name__}: s2cube.{how}."


def validate(
    cube: xr.Dataset,
    *,
    bands: str | Iterable[str] | None = None,
    level: str | None = None,
    scl: bool = False,
) -> xr.Dataset:
    """Hold a Dataset against the cube contract.

    Nothing is computed. ``time`` is cast to ``datetime64[ns]``; all else must be right already.

    Parameters
    ----------
    cube
        Dataset with dimensions ``(time, y, x)``.
    bands
        Bands that must be there, by id or common name.
    level
        Processing level that it must have, ``"L1C"`` or ``"L2A"``.
    scl
        Whether it must hold the scene classification, ``SCL``.

    Returns
    -------
    xarray.Dataset
        The same cube.

    Raises
    ------
    CubeError
        It is not a cube as described in :mod:`s2cube.schema`; the message says what to do.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> s2cube.validate(cube, bands=["red", "nir"], level="L2A").sizes["time"]
    57
    """
    if not isinstance(cube, xr.Dataset):
        raise CubeError(_no_cube(cube))
    if "time" not in cube.dims:
        raise CubeError(
            f"The cube has no 'time' dimension (it has {', '.join(map(str, cube.dims)) or 'none'}): "
            "an image is not a series; open several dates, or name the dimension with as_cube()."
        )
    held = pick_bands(cube, bands)
    if not held:
        raise CubeError(
            f"No Sentinel-2 band among {', '.join(map(str, cube.data_vars)) or 'no variables'}: "
            "s2cube.as_cube() renames bands (names={'your name': 'B04'})."
        )
    for name in [*held, *(name for name in (SCL, STATUS) if name in cube)]:
        _validate_variable(cube[name])
    if missing := [dim for dim in DIMS if dim not in cube.indexes]:
        raise CubeError(f"Dimension {missing[0]!r} has no coordinate: give the cube its values.")
    times = cube.indexes["time"]
    if len(times) == 0:
        raise CubeError("The cube has no date: what was selected left none.")
    if times.dtype.kind != "M":
        raise CubeError(f"'time' is {times.dtype}, not datetime64: decode it (xarray.decode_cf).")
    if not times.is_monotonic_increasing or not times.is_unique:
        raise CubeError(
            "'time' must be sorted and unique: use cube.sortby('time'), and merge looks of the same "
            "time (open_stac(groupby='solar_day') does)."
        )
    transform = geobox_of(cube).transform
    if transform.e > 0:
        raise CubeError("'y' must descend (north up): cube.sortby('y', ascending=False).")
    if transform.a < 0:
        raise CubeError("'x' must ascend: cube.sortby('x').")
    if level is not None:
        got = str(cube.coords["processing_level"].item()) if "processing_level" in cube.coords else ""
        if got != level:
            raise CubeError(f"This needs level {level}, the cube is {got or 'of unknown level'}.")
    if scl and SCL not in cube:
        raise CubeError(
            "The cube has no scene classification 'SCL': open a level-2A source that has it, or pass "
            "your own mask."
        )
    if times.dtype != np.dtype("datetime64[ns]"):
        cube = cube.assign_coords(time=("time", times.values.astype("datetime64[ns]")))
    return cube


def _validate_variable(array: xr.DataArray) -> None:
    """Raise where a band, SCL or status has other dimensions or another type than the contract's."""
    if array.dims != DIMS:
        raise CubeError(
            f"{array.name!r} has dimensions {array.dims}, a cube has {DIMS}: s2cube.as_cube()."
        )
    wanted = np.float32 if array.name in BANDS else np.uint8
    if array.dtype != wanted:
        raise CubeError(
            f"{array.name!r} is {array.dtype}, a cube holds {np.dtype(wanted)}: s2cube.as_cube() "
            "turns counts into reflectance."
        )
