"""What several tests compare with."""

import numpy as np
import xarray as xr


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Hold two cubes equal: every value (NaN too), type, coordinate and attribute."""
    one, other = one.compute(), other.compute()
    xr.testing.assert_identical(one, other)
    for name in one.variables:
        assert one[name].dtype == other[name].dtype, name


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two float arrays are equal to the last bit, NaN at the same places."""
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
