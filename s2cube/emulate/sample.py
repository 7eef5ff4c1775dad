"""Pixels of a cube to learn from: read at once, the same whatever the chunks."""

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.schema import SCL, SCL_STATUS, STATUS, Status

__all__ = ["CLIPPED", "clear", "lattice", "stretches", "usable"]

CLIPPED: Final = 1e-4
"""Reflectance at or below which processors before baseline 04.00 cut off: one count."""
DATES: Final = 64
"""Of which samples are read together."""
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


def stretches(cube: xr.Dataset) -> Iterator[slice]:
    """Cut time into pieces of some dates, so that samples of all are never held at once.

    Never within a chunk, which would be read twice.
    """
    steps = cube.sizes["time"]
    chunks = next((array.chunks for array in cube.data_vars.values() if array.chunks), None)
    start = 0
    for end in accumulate(chunks[0] if chunks else (1,) * steps):
        if end - start >= DATES or end == steps:
            yield slice(start, end)
            start = end


def clear(cube: xr.Dataset) -> NDArray[np.bool_]:
    """Return which looks are clear as far as ``status`` tells; ``(time, y, x)``."""
    if STATUS in cube:
        return np.asarray(cube[STATUS].values <= Status.SNOW)
    return np.ones(cube[schema.bands_of(cube)[0]].shape, bool)


def usable(cube: xr.Dataset) -> NDArray[np.bool_]:
    """Return which looks at level 2A are clear and lit, as far as the cube tells; ``(time, y, x)``."""
    found = clear(cube)
    if SCL in cube:
        good = [c for c, s in SCL_STATUS.items() if s in (Status.CLEAR, Status.CLEAR_WATER, Status.SNOW)]
        found &= np.isin(cube[SCL].values, [one for one in good if one != _DARK])
    return found
