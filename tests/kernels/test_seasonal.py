"""What time alone says of a window."""

from typing import Any

import numpy as np
import pytest
from windows import off, scene

from s2cube.kernels import process
from s2cube.kernels.engine import compiled
from s2cube.kernels.fill import fill_linear
from s2cube.kernels.seasonal import settle
from s2cube.schema import Provenance

ALONE: dict[str, Any] = {"same_date": False}


@pytest.fixture(params=["compiled", pytest.param("numpy", marks=pytest.mark.thorough)], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(process, "compiled", lambda _: None)
    elif compiled() is None:
        pytest.skip("needs the extra 'fast'")


def test_a_hidden_season_is_nearer_than_a_straight_line() -> None:
    """Two years of a smooth season with noise, and six weeks hidden at a time."""
    of, calm = (scene(3, looks=80, weather=0, noise=noise, shape=(24, 24)) for noise in (0.01, 0))
    errors = []
    for k in (30, 40, 50):
        rows = slice(k, k + 8)
        valid = of.valid.copy()
        hidden, valid[rows] = valid[rows].copy(), False
        gappy = of.but(valid=valid)
        days = of.days[rows]
        said = gappy.fill(days, **ALONE).bands
        line = np.stack(
            [fill_linear(gappy.values[:, b], valid, days=of.days, targets=days) for b in range(3)],
            axis=1,
        )
        apart = [np.abs(each - calm.truth[rows]) for each in (said, line)]
        errors.append([error.transpose(0, 2, 3, 1)[hidden].mean() for error in apart])
    ours, theirs = np.mean(errors, axis=0)
    assert ours < 0.85 * theirs


def test_a_hazy_date_counts_less() -> None:
    """One date is 0.15 too bright everywhere: the days around it hardly move."""
    of = scene(4, looks=60, weather=0.005)
    hazy = of.truth.copy()
    hazy[30] += 0.15
    between = [int(of.days[30]) - 1, int(of.days[30]) + 1]
    moved = of.but(truth=hazy).fill(between, **ALONE).bands - of.fill(between, **ALONE).bands
    assert np.nanmean(np.abs(moved)) < 0.015


def test_series_do_not_jump_beside_a_clear_look() -> None:
    of = scene(5, looks=30, weather=0.03)
    k = int(np.flatnonzero(of.valid.all(axis=(1, 2)))[3])
    day = int(of.days[k])
    before, on, after = of.fill([day - 1, day, day + 1], **ALONE).bands
    jump = np.abs(before - on).mean() + np.abs(after - on).mean()
    assert jump < 0.5 * np.abs(of.truth[k] - of.truth[k - 1]).mean()


def test_bands_and_pixels_may_change_places() -> None:
    """Where all pixels of a window are used to estimate, none is special."""
    of = scene(6, looks=20, shape=(20, 24))
    targets = np.arange(of.days[0], of.days[-1], 3)
    whole = of.fill(targets, **ALONE).bands
    flipped = of.but(truth=of.truth[:, :, ::-1, ::-1], valid=of.valid[:, ::-1, ::-1])
    np.testing.assert_allclose(flipped.fill(targets, **ALONE).bands[:, :, ::-1, ::-1], whole, atol=2e-5)
    turned = of.but(truth=of.truth[:, ::-1]).fill(targets, **ALONE).bands[:, ::-1]
    np.testing.assert_allclose(turned, whole, atol=2e-5)


def test_a_date_without_clear_pixels_is_no_date() -> None:
    of = scene(7)
    valid = of.valid.copy()
    valid[[3, 9]] = False
    keep = np.setdiff1d(np.arange(len(of.days)), [3, 9])
    less = of.but(truth=of.truth[keep], valid=valid[keep], days=of.days[keep])
    for causal in (False, True):
        one = of.but(valid=valid).fill(of.days, causal=causal, **ALONE)
        two = less.fill(of.days, causal=causal, **ALONE)
        np.testing.assert_array_equal(one.bands, two.bands)
        np.testing.assert_array_equal(one.source, two.source)


def test_scale_and_offset_of_reflectance_do_not_matter() -> None:
    """Two-sided: twice the reflectance gives twice the values."""
    of = scene(8)
    days = of.days[[4, 5]] + 1
    one, two = of.fill(days, **ALONE), of.but(truth=of.truth * 2).fill(days, **ALONE)
    np.testing.assert_allclose(two.bands, 2 * one.bands, atol=3e-4)


def test_deviations_grow_with_what_is_not_known() -> None:
    of = scene(9, looks=40, weather=0.01)
    valid = of.valid.copy()
    valid[15:25] = False
    gappy = of.but(valid=valid)
    middle, near = (of.days[14] + of.days[25]) // 2, of.days[14] + 1
    for causal in (False, True):
        close, far = gappy.fill([near, middle], causal=causal, **ALONE).deviation
        assert np.nanmean(far) > 1.2 * np.nanmean(close)
    assert gappy.fill([near], uncertain=False, **ALONE).deviation.shape[0] == 0


def test_smooth_leaves_noise_out() -> None:
    of = scene(10, looks=60, weather=0, noise=0.02)
    calm = scene(10, looks=60, weather=0, noise=0)
    window = of.fill(smooth=True, **ALONE)
    assert off(window, calm, of.valid) < 0.6 * off(of.fill(**ALONE), calm, of.valid)
    assert Provenance.OBSERVED not in window.source


def test_a_date_of_haze_does_not_bend_the_season() -> None:
    """The curve of a window is robust: one date that is all off is not followed."""
    days = np.arange(0, 365, 10, dtype=np.int32)
    season = (0.2 + 0.1 * np.sin(2 * np.pi * days / 365.25)).astype(np.float32)
    looks = np.repeat(season[:, None, None], 50, axis=2)
    clear = np.ones((len(days), 50), bool)
    calm, _ = settle(looks.copy(), clear, days, days)
    looks[18] += 0.5
    hazy, _ = settle(looks, clear, days, days)
    assert np.abs(hazy - calm).max() < 0.01
