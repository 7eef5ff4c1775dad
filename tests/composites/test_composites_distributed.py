"""On a cluster: the same images by numpy, threads and processes."""

from typing import Any

import numpy as np
from clusters import ON_A_CLUSTER
from compare import assert_same

import s2cube

pytestmark = ON_A_CLUSTER


def test_every_verb_gives_the_same_image(client: Any) -> None:
    clear = s2cube.testing.simulate_cube(shape=(48, 40), seed=1, bands=["red", "nir"]).s2.mask_clouds()
    weights = np.arange(clear.sizes["time"]) % 3
    lazy = clear.chunk(time=9, y=20, x=16)
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
