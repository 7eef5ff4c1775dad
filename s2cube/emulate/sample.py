"""Pixels of a cube to learn from: read at once, the same whatever the chunks."""

import math
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.schema import SCL, SCL_STATUS, STATUS, Status

__all__ = ["CLIPPED", "lattice", "usable"]

CLIPPED: Final = 1e-4
"""Reflectance at or below which processors before baseline 04.00 cut off: one count."""
_DARK: Final = 2
"""Class of the scene classification: dark ground, mostly shadow of the terrain."""


def lattice(cube: xr.Dataset, most: int) -> xr.Dataset:
    """Return every n-th row and column, so that at most so many pixels are left, in memory."""
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    step = max(1, math.ceil(math.sqrt(rows * columns / most)))
    if step == 1:
        return cube.compute()
    row, column = schema.first_pixel(schema.geobox_of(cube))
    # Counted from the grid's origin: a part of a cube has the same pixels.
    kept = cube.isel(y=slice(-row % step, None, step), x=slice(-column % step, None, step))
    # Bands alone: nothing asks for a grid, whose steps a single row would not tell.
    return kept.compute()


def usable(cube: xr.Dataset) -> NDArray[np.bool_]:
    """Return which looks at level 2A are clear and lit, as far as the cube tells; ``(time, y, x)``."""
    bands = schema.bands_of(cube)
    found: NDArray[np.bool_] = np.ones(cube[bands[0]].shape, bool)
    if SCL in cube:
        good = [c for c, s in SCL_STATUS.items() if s in (Status.CLEAR, Status.CLEAR_WATER, Status.SNOW)]
        found &= np.isin(cube[SCL].values, [one for one in good if one != _DARK])
    if STATUS in cube:
        found &= cube[STATUS].values <= Status.SNOW
    return found
