"""On a cluster: the same mosaics by numpy, threads and processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import swaths
from compare import assert_same

import s2cube

distributed = pytest.importorskip("distributed", reason="needs the extra 'distributed'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("cluster"),
    # Clusters in tests are torn down under open connections.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # rasterio hides its own warning by warnings.catch_warnings, which other threads undo.
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
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


def test_mosaics_are_the_same(client: Any) -> None:
    where = swaths.area(45, 4000.0, 30)
    rng = np.random.default_rng(0)
    cube = swaths.orbits_of(where, step=0.02, texture=lambda: rng.normal(0, 0.01, (30, 30)))
    west, east = cube.where(cube["x"] < cube["x"][20]), cube.where(cube["x"] > cube["x"][10])
    for weights in ("taper", np.ones_like):
        options = {"q": (25, 75), "seasons": "pan-european", "weights": weights}
        here = s2cube.mosaic_orbits([west, east], **options)
        lazy = s2cube.mosaic_orbits([tile.chunk(time=1, y=17, x=11) for tile in (west, east)], **options)
        assert_same(lazy.compute(), here)
        assert_same(lazy.compute(scheduler="threads"), here)


def test_other_grids_are_the_same_as_by_threads(client: Any) -> None:
    where = swaths.area(45, 4000.0, 30)
    cube = swaths.orbits_of(where, step=0.02).chunk(time=1, y=17, x=11)
    mosaic = s2cube.mosaic_orbits(cube, q=50, seasons="YS", geobox=where.geobox.zoom_out(1.5))
    assert_same(mosaic.compute(), mosaic.compute(scheduler="threads"))
