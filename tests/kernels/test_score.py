"""Sums of errors against numpy, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2cube.kernels import score
from s2cube.kernels.hide import draw
from s2cube.schema import NO_AGE


@given(st.integers(0, 2**32 - 1))
def test_tally_adds_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (3, 4, 5)
    error = rng.normal(0, 0.1, shape).astype(np.float32)
    error[rng.random(shape) < 0.2] = np.nan
    scored = rng.random(shape) < 0.7
    age = rng.choice([1, 5, 6, 15, 30, 60, 300, NO_AGE], shape).astype(np.int16)
    half = np.abs(rng.normal(0, 0.1, shape)).astype(np.float32)
    sums = score.tally(error, scored, age, half, half * 2)
    table = sums.reshape(3, len(score.BINS), len(score.SUMS))
    edges = [(1, 5), (6, 10), (11, 20), (21, 40), (41, 80), (81, 10_000)]
    for step in range(3):
        for number, name in enumerate(score.BINS):
            if name == "none":
                within = age[step] == NO_AGE
            else:
                low, high = edges[number]
                within = (age[step] >= low) & (age[step] <= high)
            own = scored[step] & within
            known = own & np.isfinite(error[step])
            values, wide = error[step][known].astype(float), half[step][known]
            expected = {
                "n": known.sum(),
                "missing": (own & ~known).sum(),
                "sum": values.sum(),
                "abs": np.abs(values).sum(),
                "square": (values**2).sum(),
                "n68": known.sum(),
                "in68": (np.abs(values) <= wide).sum(),
                "n95": known.sum(),
                "in95": (np.abs(values) <= 2 * wide).sum(),
            }
            for k, word in enumerate(score.SUMS):
                got = table[step, number, k] * score.unit_of(word)
                assert got == pytest.approx(expected[word], abs=1e-5), word


def test_similarity_is_one_for_the_same_and_less_for_others() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 0.5, (1, 20, 22)).astype(np.float32)
    same = score.similarity(score.pair(image, image))
    inside = np.s_[:, 3:-3, 3:-3]
    np.testing.assert_allclose(same[inside], 1, rtol=1e-6)
    assert np.isnan(same[:, :3]).all()
    assert np.isnan(same[:, :, -3:]).all()
    noisy = image + rng.normal(0, 0.1, image.shape).astype(np.float32)
    assert score.similarity(score.pair(noisy, image))[inside].mean() < 0.9
    image[0, 10, 10] = np.nan
    holed = score.similarity(score.pair(image, image))
    assert np.isnan(holed[0, 7:14, 7:14]).all(), "windows that are not complete tell nothing"
    assert np.isfinite(holed[0, 6, 6])
    # By its formula, of one window.
    a, b = noisy[0, 2:9, 4:11].astype(float), rng.uniform(0, 1, (7, 7))
    both = score.pair(a[None].astype(np.float32), b[None].astype(np.float32))
    shared = ((a - a.mean()) * (b - b.mean())).mean()
    expected = (2 * a.mean() * b.mean() + 1e-4) * (2 * shared + 9e-4)
    expected /= (a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (a.var() + b.var() + 9e-4)
    assert score.similarity(both)[0, 3, 3] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(score.similarity(both[:, :5])).all()


def test_angles_and_index() -> None:
    one, other = np.array([[[0.3]]], "f4"), np.array([[[0.4]]], "f4")
    zero = np.zeros((1, 1, 1), "f4")
    assert score.angles(one, zero, one, zero).item() == 0
    assert score.angles(one, zero, zero, one).item() == pytest.approx(np.pi / 2)
    # Brightness makes no angle.
    assert score.angles(one, other, 2 * one, 2 * other).item() == pytest.approx(0, abs=1e-3)
    error = score.index_errors(one, other, one, one)
    assert error.item() == pytest.approx(0.1 / 0.7)
    assert np.isnan(score.index_errors(zero, zero, one, one)).all()


def test_variation_of_a_line_is_that_of_its_looks() -> None:
    days = np.array([0, 4, 4, 9], np.int32)
    looks = np.array([0.1, 0.9, 0.3, 0.2], np.float32)[:, None, None]
    targets = np.arange(-2, 12, dtype=np.int32)
    line = np.interp(targets, [0, 4, 9], [0.1, 0.3, 0.2]).astype(np.float32)
    line[0] = 5.0  # before the first look: not counted
    both = np.concatenate([looks, line[:, None, None]])
    filled, of_looks = score.variation(both, looks=4, days=days, targets=targets)
    # Of two clear looks on one day the last counts: 0.1, 0.3, 0.2.
    assert of_looks * score.unit_of("abs") == pytest.approx(0.3)
    assert filled * score.unit_of("abs") == pytest.approx(0.3)


def test_near_look_is_the_one_before() -> None:
    days = np.array([0, 2, 3, 9, 11], np.int32)
    values = np.arange(5, dtype=np.float32)[:, None, None]
    valid = np.array([1, 1, 0, 1, 1], bool)[:, None, None]
    near = score.near_look(values, valid, days=days, within=3).ravel()
    np.testing.assert_array_equal(near, [np.nan, 0, 1, np.nan, 3])


def test_profile_counts_what_crosses_each_edge() -> None:
    image = np.zeros((2, 3, 4), np.float32)
    image[:, :, 2:] = 0.5
    image[1, 0, 0] = np.nan
    steps = score.jumps(image)
    rows, columns = np.arange(3)[None, :, None], np.arange(4)[None, None, :]
    n_rows, n_columns, rows_sum, columns_sum = np.split(
        score.profile(steps, rows, columns, shape=(3, 4)), [3, 7, 10]
    )
    assert n_rows.tolist() == [7, 8, 0]
    assert n_columns.tolist() == [5, 6, 6, 0]
    assert not rows_sum.any()
    np.testing.assert_allclose(columns_sum * score.unit_of("abs"), [0, 3, 0, 0])


def test_chance_depends_on_place_and_day_only() -> None:
    valid = np.ones((3, 50, 60), bool)
    days = np.array([10, -1, 12], np.int32)[:, None, None]
    rows, columns = np.arange(50)[None, :, None], np.arange(60)[None, None, :]
    whole = draw(valid, days, rows, columns, share=0.3, seed=5)
    part = draw(valid[:, 7:20, 30:], days, rows[:, 7:20], columns[:, :, 30:], share=0.3, seed=5)
    np.testing.assert_array_equal(part, whole[:, 7:20, 30:])
    assert not whole[1].any()
    assert abs(whole[0].mean() - 0.3) < 0.03
    assert abs((whole[0] & whole[2]).mean() - 0.09) < 0.02
    assert (draw(valid, days, rows, columns, share=0.3, seed=6) != whole).any()
