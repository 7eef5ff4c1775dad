"""``scl``: Sen2Cor's scene classification."""

from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.kernels.counts import read_failed_value
from s2cube.masks.detected import Detected
from s2cube.schema import SCL, Status

__all__ = ["detect"]

_CLASSES: Final = 256


def detect(cube: xr.Dataset) -> Detected:
    """Return the status that the scene classification of a level-2A cube stands for."""
    schema.validate(cube, level="L2A", scl=True)
    return Detected(map_pixels(_status_of_scl, cube[SCL].data, dtype=np.uint8))


def _status_of_scl(scl: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Look the classes up; a class that Sen2Cor does not have counts as no data."""
    table = np.full(_CLASSES, Status.NO_DATA, dtype=np.uint8)
    for value, status in schema.SCL_STATUS.items():
        table[value] = status
    table[int(read_failed_value(scl.dtype))] = Status.READ_FAILED
    return table[scl]
