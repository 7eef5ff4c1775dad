"""On a cluster: filling and the judge give the same numbers."""

from typing import Any

import pandas as pd
import xarray as xr
from clusters import ON_A_CLUSTER
from compare import assert_same

from s2cube.evaluate import evaluate_gap_filling

pytestmark = ON_A_CLUSTER


def test_filling(client: Any, cube: xr.Dataset) -> None:
    for method in ("closest", "median", "whittaker", "harmonic"):

        def chain(c: xr.Dataset, name: str = method) -> xr.Dataset:
            return c.s2.mask_clouds("scl", buffer=50).s2.fill_gaps(name, freq="5D")

        assert_same(chain(cube.chunk(time=19, y=17, x=20)), chain(cube))


def test_evaluation(client: Any, cube: xr.Dataset) -> None:
    clear = cube[["B04", "B08", "SCL", "status"]].s2.mask_clouds("scl")
    how: dict[str, Any] = {"details": True, "progress": False}
    here = evaluate_gap_filling(clear, ["last", "linear"], **how)
    there = evaluate_gap_filling(clear.chunk(time=20, y=20, x=48), ["last", "linear"], **how)
    pd.testing.assert_frame_equal(there, here)
