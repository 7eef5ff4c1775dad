"""What the tests of the store write."""

import numpy as np
import pytest
import xarray as xr

import s2cube


@pytest.fixture(scope="module")
def daily() -> xr.Dataset:
    """Four regions of which some pixels are never seen."""
    cube = s2cube.testing.simulate_cube(
        shape=(300, 530),
        seed=2,
        bands=["red", "nir"],
        start="2021-06-01",
        end="2021-08-01",
        chunks={"time": 1},
    )
    # A dark corner that is never seen clear, and negative reflectance.
    red = cube["B04"].where((cube["x"] > cube["x"][5]) | (cube["y"] < cube["y"][5])) - np.float32(0.03)
    cube["B04"] = red.astype("f4").assign_attrs(cube["B04"].attrs)
    return cube.s2.mask_clouds("scl").s2.fill_gaps("linear", freq="3D").chunk(time=-1, y=150, x=200)
