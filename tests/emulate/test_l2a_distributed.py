"""``to_l2a`` on a cluster: the same, whether the air is given or told by the scene."""

from typing import Any

import numpy as np
from clusters import ON_A_CLUSTER
from compare import assert_same

import s2cube
from s2cube.testing import simulate_cube, simulate_l1c

pytestmark = ON_A_CLUSTER


def test_the_same_as_in_memory(client: Any) -> None:
    bands = ("B02", "B04", "B8A", "B09", "B12")
    ground = simulate_cube(shape=(40, 48), seed=3, end="2021-07-31", bands=bands, cloud_cover=0.1)
    seen = simulate_l1c(ground, aerosol=0.2, water_vapour=2.0, elevation=300)
    first = [cube.isel(time=[0]) for cube in (seen, ground)]
    spec = s2cube.fit_l2a(*first, elevation=300, slopes=True)
    pieces = seen.assign(
        {name: array.chunk(time=2, y=17, x=20) for name, array in seen.data_vars.items()}
    )
    for method, air in (
        ("given", {"aerosol": 0.2, "water_vapour": 2.0, "elevation": 300}),
        (spec, {"water_vapour": "scene"}),
    ):
        lazy, whole = (cube.s2.to_l2a(method, **air) for cube in (pieces, seen))
        assert_same(lazy, whole)
        assert np.array_equal(lazy["l2a_water_vapour"], whole["l2a_water_vapour"])
