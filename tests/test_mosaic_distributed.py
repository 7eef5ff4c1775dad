"""On a cluster: the same mosaics by numpy, threads and processes."""

from typing import Any

import numpy as np
import pytest
import swaths
from clusters import ON_A_CLUSTER
from compare import assert_same

import s2cube

pytestmark = [
    *ON_A_CLUSTER,
    # rasterio hides its own warning by warnings.catch_warnings, which other threads undo.
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


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
