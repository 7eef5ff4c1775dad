"""Masks by spectra on a cluster: the numbers of one process."""

import pytest
from clusters import ON_A_CLUSTER
from compare import assert_same
from distributed import Client

import s2cube

pytestmark = ON_A_CLUSTER


@pytest.mark.parametrize("method", ["spectral", "spectral-temporal"])
def test_same_on_a_cluster(method: str, client: Client) -> None:
    cube = s2cube.testing.simulate_cube(
        shape=(60, 70), seed=7, cloud_cover=0, bands=["B02", "B03", "B04", "B08"], end="2021-06-30"
    )
    cloudy, _ = s2cube.testing.add_clouds(cube, cover=0.3, seed=1)
    lazy = s2cube.cloud_mask(cloudy.chunk({"time": 5, "y": 30, "x": 40}), method, buffer=20)
    assert_same(lazy.compute(), s2cube.cloud_mask(cloudy, method, buffer=20).compute(scheduler="sync"))
