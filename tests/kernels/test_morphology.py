"""Buffers: exactly the pixels within the distance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s2cube.kernels.morphology import grow_status

GROWN = (3, 4, 5)
masks = hnp.arrays(
    np.uint8, st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 8)
)


def by_distance(status: np.ndarray, ry: float, rx: float) -> np.ndarray:
    """The definition, pixel by pixel."""
    out = status.copy()
    times, height, width = status.shape
    for t in range(times):
        for y, x in np.argwhere(np.isin(status[t], GROWN)):
            for v in range(height):
                for u in range(width):
                    far = ((v - y) / ry) ** 2 if ry else float(v != y) * 9
                    far += ((u - x) / rx) ** 2 if rx else float(u != x) * 9
                    if far <= 1 + 1e-9:
                        out[t, v, u] = max(out[t, v, u], status[t, y, x])
    return out


@given(masks, st.sampled_from([0, 0.5, 1, 1.5, 2, 2.3, 3, 12]), st.sampled_from([0, 1, 1.42, 2, 5]))
def test_grows_over_all_within_the_distance(status: np.ndarray, ry: float, rx: float) -> None:
    got = grow_status(status, radius=(ry, rx), states=GROWN)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, by_distance(status, ry, rx))


def test_no_data_neither_grows_nor_gives_way() -> None:
    status = np.zeros((1, 5, 5), np.uint8)
    status[0, 0, 0], status[0, 2, 2] = 7, 5
    grown = grow_status(status, radius=(9, 9), states=GROWN)
    assert grown[0, 0, 0] == 7
    assert (np.delete(grown.ravel(), 0) == 5).all()
