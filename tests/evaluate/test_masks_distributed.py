"""Simulated clouds, and masks judged by them, on a cluster."""

from typing import Any

import pandas as pd
from clusters import ON_A_CLUSTER
from compare import assert_same

import s2cube
from s2cube.evaluate import check_masks, evaluate_masks
from s2cube.testing import add_clouds

pytestmark = ON_A_CLUSTER


def test_the_same_as_in_memory(client: Any) -> None:
    clear = s2cube.testing.simulate_cube(shape=(90, 70), seed=1, cloud_cover=0, end="2021-09-01")
    expected, truth = add_clouds(clear, seed=2)
    lazy, lazy_truth = add_clouds(clear.chunk(time=2, y=37, x=40), seed=2)
    assert_same(lazy, expected)
    assert_same(lazy_truth, truth)
    masks, lazy_masks = ({"blue": cube["B02"] > 0.15} for cube in (expected, lazy))
    pd.testing.assert_frame_equal(
        evaluate_masks(lazy_masks, lazy_truth, erode=30), evaluate_masks(masks, truth, erode=30)
    )
    pd.testing.assert_frame_equal(check_masks(lazy, lazy_masks), check_masks(expected, masks))
