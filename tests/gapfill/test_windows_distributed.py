"""Methods of windows on a cluster: the same numbers."""

from typing import Any

import pytest
import xarray as xr
from clusters import ON_A_CLUSTER
from compare import assert_same

pytestmark = ON_A_CLUSTER


@pytest.mark.parametrize("method", ["seasonal", "similar"])
def test_same_numbers(client: Any, cube: xr.Dataset, method: str) -> None:
    clear = cube[["B04", "B08", "SCL", "status"]].s2.mask_clouds("scl", buffer=20)
    lazy = clear.chunk(time=5, y=17, x=20).s2.fill_gaps(method, freq="15D", uncertainty=True)
    assert_same(lazy.compute(), clear.s2.fill_gaps(method, freq="15D", uncertainty=True))
