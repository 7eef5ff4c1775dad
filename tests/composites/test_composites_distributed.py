"""On a cluster: the same images by numpy, threads and processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from compare import assert_same

import s2cube

distributed = pytest.importorskip("distributed", reason="needs the extra 'distributed'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("cluster"),
    # Clusters in tests are torn down under open connections.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed.*"),
]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """The ambient client, of two worker processes on loopback: a plain ``.compute()`` goes to it."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_every_verb_gives_the_same_image(client: Any) -> None:
    clear = s2cube.testing.simulate_cube(shape=(48, 40), seed=1, bands=["red", "nir"]).s2.mask_clouds()
    weights = np.arange(clear.sizes["time"]) % 3
    lazy = clear.chunk(time=1, y=20, x=16)
    for verb in (
        lambda c: c.s2.percentile(),
        lambda c: c.s2.percentile((10, 90), period="pan-european"),
        lambda c: c.s2.percentile(device="cpu", period="MS"),
        lambda c: c.s2.geomedian(period="QS-DEC", weights=weights),
        lambda c: c.s2.count(months=[6, 7]),
    ):
        image = verb(lazy)
        here = verb(clear)
        assert_same(image.compute(), here)
        assert_same(image.compute(scheduler="threads"), here)
        assert_same(image.compute(scheduler="sync"), here)
