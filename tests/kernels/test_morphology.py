"""Buffers, opening, closing: exactly the pixels that the distance decides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s2cube.kernels.morphology import close_status, grow_status, open_status

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


def grown(mask: np.ndarray, ry: float, rx: float) -> np.ndarray:
    return by_distance(mask.astype(np.uint8) * 5, ry, rx) == 5


RADII = st.sampled_from([(1, 1), (2, 1.42), (0, 2), (3, 1), (1.5, 2.3)])


@given(masks, RADII)
def test_opening_clears_what_holds_no_disk(status: np.ndarray, radius: tuple[float, float]) -> None:
    masked = np.isin(status, GROWN)
    kept = grown(~grown(~masked, *radius), *radius)
    got = open_status(status, radius=radius, states=GROWN)
    # Snow, water and what was not measured are none of its business.
    np.testing.assert_array_equal(got, np.where(masked & ~kept, 0, status))


@given(masks, RADII)
def test_closing_fills_what_holds_no_disk(status: np.ndarray, radius: tuple[float, float]) -> None:
    """Beyond the edge it is clear, so nothing near it is filled; and no higher state gives way."""
    left = np.pad(
        ~grown(np.isin(status, GROWN), *radius), ((0, 0), (4, 4), (4, 4)), constant_values=True
    )
    filled = ~grown(left, *radius)[:, 4:-4, 4:-4]
    seen = np.where(np.isin(status, GROWN), status, 0)
    got = close_status(status, radius=radius, states=GROWN)
    expected = np.where(filled, np.maximum(status, by_distance(seen, *radius)), status)
    np.testing.assert_array_equal(got, expected)
