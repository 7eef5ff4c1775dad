"""Spectra and perceptrons: a pixel's result is its own, and missing bands make no guesses."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2cube.kernels.spectral import TILE, change_features, probabilities, spectral_features

NAMES = ("B02", "B03", "B04", "B08", "B11", "B10")
N_LOOK, N_CHANGE = 23, 55


def layers(inputs: int, states: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    widths = [inputs, 32, 32, states]
    return [
        (rng.normal(0, 0.3, (b, a)).astype(np.float32), rng.normal(0, 0.3, b).astype(np.float32))
        for a, b in itertools.pairwise(widths)
    ]


def drawn(shape: tuple[int, ...], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {band: rng.uniform(-0.02, 1.1, shape).astype(np.float32) for band in NAMES}


def slow(features: np.ndarray, stack: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The same perceptron, in double precision and by the textbook."""
    values = features.astype(np.float64)
    for number, (weights, bias) in enumerate(stack):
        values = weights.astype(np.float64) @ values + bias[:, None]
        if number + 1 < len(stack):
            values = np.where(values > 0, values, 0)
    odds = np.exp(values - values.max(0))
    return odds / odds.sum(0)


def test_against_the_textbook() -> None:
    now, usual = drawn((1, 60, 50), 1), drawn((1, 60, 50), 2)
    flat = [{band: values.ravel() for band, values in bands.items()} for bands in (now, usual)]
    look, change = spectral_features(flat[0]), change_features(*flat)
    assert look.dtype == change.dtype == np.float32
    assert (len(look), len(change)) == (N_LOOK, N_CHANGE)
    for found, expected in (
        (probabilities(now, layers(N_LOOK, 5)), slow(look, layers(N_LOOK, 5))),
        (probabilities(now, layers(N_CHANGE, 6), usual), slow(change, layers(N_CHANGE, 6))),
    ):
        assert found.dtype == np.float32
        assert found.shape[1:] == (1, 60, 50)
        np.testing.assert_allclose(found.reshape(len(found), -1), expected, atol=2e-5)


def test_each_date_has_its_own_reference() -> None:
    now, usual = drawn((5, 8, 9), 1), drawn((2, 8, 9), 2)
    which, stack = np.array([0, 1, 1, 0, 1]), layers(N_CHANGE, 6)
    found = probabilities(now, stack, usual, which=which)
    for date, image in enumerate(which):
        one, own = (
            {band: values[at : at + 1] for band, values in bands.items()}
            for bands, at in ((now, date), (usual, image))
        )
        np.testing.assert_array_equal(found[:, [date]], probabilities(one, stack, own))


@settings(max_examples=25)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    cut=st.integers(0, 70),
    seed=st.integers(0, 99),
)
def test_a_pixel_does_not_depend_on_those_beside_it(
    height: int, width: int, cut: int, seed: int
) -> None:
    bands = drawn((2, height, width), seed)
    stack = layers(N_LOOK, 5)
    whole = probabilities(bands, stack)
    parts = [
        probabilities({band: values[:, rows] for band, values in bands.items()}, stack)
        for rows in (slice(None, cut), slice(cut, None))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=2))


def test_a_pixel_is_the_same_anywhere_in_a_tile() -> None:
    one = {band: np.full(3 * TILE + 7, value, np.float32) for band, value in zip(
        NAMES, (0.1, 0.12, 0.2, 0.31, 0.25, 0.002), strict=True)}  # fmt: skip
    found = probabilities(one, layers(N_LOOK, 5))
    assert (found == found[:, :1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_missing_bands_and_missing_references(seed: int) -> None:
    rng = np.random.default_rng(seed)
    now, usual = drawn((4, 20, 30), seed), drawn((1, 20, 30), seed + 1)
    gone = rng.random((4, 20, 30)) < 0.2
    now["B03"][gone] = np.nan
    unknown = rng.random((20, 30)) < 0.3
    usual["B08"][0, unknown] = np.nan
    look, change = layers(N_LOOK, 5), layers(N_CHANGE, 6, 1)
    found = probabilities(now, change, usual, look)
    assert np.isnan(found[:, gone]).all()
    assert not np.isnan(found[:, ~gone]).any()
    np.testing.assert_allclose(found[:, ~gone].sum(0), 1, atol=1e-5)
    # Where what is usual is not known, the look speaks for itself: it knows five of six states.
    alone = probabilities(now, look)
    only = np.broadcast_to(unknown, gone.shape) & ~gone
    np.testing.assert_array_equal(found[:5, only], alone[:, only])
    assert (found[5, only] == 0).all()
    assert (found[5, ~gone & ~unknown] > 0).all()


def test_zeros_and_negatives_are_numbers() -> None:
    bands = {band: np.array([0, -0.01, -0.2, 1.6], np.float32) for band in NAMES}
    with np.errstate(all="raise"):
        found = probabilities(bands, layers(N_LOOK, 5))
        changed = change_features(bands, {band: -values for band, values in bands.items()})
    assert np.isfinite(found).all()
    assert np.isfinite(changed).all()
