"""Level-1C cubes for masks by other people's models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import s2cube
from s2cube.schema import BANDS


@pytest.fixture(scope="session")
def top() -> xr.Dataset:
    """All bands of four dates, said to be of level 1C: what clouds look like is right enough."""
    cube = s2cube.testing.simulate_cube(shape=(60, 70), seed=3, bands=list(BANDS))
    steps = [1, 4, 6, 9]
    return cube.isel(time=steps).drop_vars("SCL").assign_coords(processing_level="L1C")


@pytest.fixture
def italy(real_data: Callable[[str], Path]) -> xr.Dataset:
    """Level 1C of 2018, 30 dates of 256 × 256 pixels of 10 m."""
    path = real_data("sen12mscrts_p0/sen12mscrts_ROIs2017_146_p0_s2l1c.nc")
    with xr.open_dataset(path, mask_and_scale=False) as ds:
        cube = s2cube.as_cube(
            ds[list(BANDS)], scale=1e-4, offset=0, nodata=0, level="L1C", crs="EPSG:4326"
        )
        return cube.compute()


@pytest.fixture
def holes() -> Callable[[xr.Dataset], xr.Dataset]:
    """Take pixels away: a strip as of a swath, single ones, one band of a few, and all of a date."""

    def take(cube: xr.Dataset) -> xr.Dataset:
        gone = np.zeros(cube["B02"].shape, bool)
        gone[0, :, :13] = True
        gone[1] = np.random.default_rng(0).random(gone.shape[1:]) < 0.1
        gone[-1] = True
        other = gone.copy()
        other[0, 20:24, 30:34] = True
        return cube.map(lambda band: band.where(~(other if band.name == "B04" else gone)))

    return take
