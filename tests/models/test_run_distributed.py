"""Each worker loads a network once, and gives the numbers that any other gives."""

from typing import Any

import numpy as np
import pytest
from clusters import ON_A_CLUSTER
from compare import assert_same
from networks import chance

import s2cube

pytestmark = ON_A_CLUSTER
pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("safetensors", reason="needs the extra 'torch'")


def _loads() -> int:
    from s2cube.models import run

    return run._load.cache_info().misses


@pytest.mark.parametrize("inside", [True, False], ids=["weights in the graph", "weights in a file"])
def test_on_two_workers(client: Any, tmp_path: Any, inside: bool) -> None:
    spec = chance(seed=11 + inside)
    if not inside:
        spec = spec.save(tmp_path / "mine.safetensors")
    bands = ("B02", "B04", "B08")
    cube = s2cube.testing.simulate_cube(shape=(90, 80), seed=2, bands=bands).isel(time=slice(6))
    here = s2cube.cloud_mask(cube, "segmentation", model=spec, probability=True)
    assert len(np.unique(here["status"])) > 1
    before = client.run(_loads)
    lazy = s2cube.cloud_mask(
        cube.chunk(time=1, y=45, x=40), "segmentation", model=spec, probability=True
    )
    assert_same(lazy, here)
    after = client.run(_loads)
    assert max(after[worker] - before[worker] for worker in after) == 1
