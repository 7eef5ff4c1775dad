"""What a date's clear pixels say of those beside them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from windows import Scene, off, scene

import s2cube
from s2cube.kernels.fill import fill_linear
from s2cube.kernels.similar import FOLDS, _huber, _regress, folds_of
from s2cube.schema import Provenance


@pytest.mark.parametrize("causal", [False, True])
def test_neighbours_tell_what_time_does_not(causal: bool) -> None:
    """What weather does to a crop shows on its clear fields."""
    of = scene(1, looks=20, weather=0.03)
    time, both = (of.fill(causal=causal, same_date=same) for same in (False, True))
    made = both.source == Provenance.SAME_DATE
    assert made.mean() > 0.05
    assert off(both, of, made) < 0.6 * off(time, of, made)


def test_deviations_are_about_right() -> None:
    of = scene(1, looks=20, weather=0.03)
    window = of.fill()
    made = np.broadcast_to((window.source == Provenance.SAME_DATE)[:, None], window.bands.shape)
    error = np.abs(window.bands - of.truth)[made]
    within = (error < window.deviation[made]).mean()
    assert 0.5 < within < 0.9


def test_too_few_clear_pixels_are_not_asked() -> None:
    of = scene(2)
    valid = of.valid.copy()
    valid[5] = False
    valid[5, :14, :14] = True
    window = of.but(valid=valid).fill(of.days[[5]])
    assert Provenance.SAME_DATE not in window.source
    valid[5, :15, :15] = True
    window = of.but(valid=valid).fill(of.days[[5]])
    assert Provenance.SAME_DATE in window.source


def test_made_pixels_jump_no_more_than_clear_ones() -> None:
    """From the day before to the date and on to the day after."""
    of = scene(3, looks=24, weather=0.01)
    share = of.valid.mean(axis=(1, 2))
    jumps = []
    for k in np.flatnonzero((share > 0.3) & (share < 1))[3:8].tolist():
        day = int(of.days[k])
        before, on, after = of.fill([day - 1, day, day + 1]).bands
        jump = np.abs(before - on) + np.abs(after - on)
        jumps.append([jump[:, where].mean() for where in (~of.valid[k], of.valid[k])])
    made, clear = np.mean(jumps, axis=0)
    assert made < 1.1 * clear


def test_a_hazy_date_shows_on_its_day_only() -> None:
    """Its cloudy pixels are made like its clear ones; the day after is not, nor is anything smooth."""
    of = scene(4, looks=40, weather=0.005)
    k = int(np.flatnonzero((of.valid.mean(axis=(1, 2)) > 0.3) & ~of.valid.all(axis=(1, 2)))[6])
    truth = of.truth.copy()
    truth[k] += 0.15
    hazy, day = of.but(truth=truth), int(of.days[k])
    rise = hazy.fill([day, day + 1]).bands - of.fill([day, day + 1]).bands
    made = ~of.valid[k]
    assert rise[0][:, made].mean() > 0.1
    assert np.abs(rise[1][:, made]).mean() < 0.02
    calm = hazy.fill([day], smooth=True).bands - of.fill([day], smooth=True).bands
    assert np.abs(calm).mean() < 0.02


def test_a_cloud_that_was_missed_is_no_ground() -> None:
    """All that is called clear is cloud: hidden pixels keep to time, and are told to be unsure."""
    of = scene(4, looks=40, weather=0.005)
    k = int(np.flatnonzero((of.valid.mean(axis=(1, 2)) > 0.3) & ~of.valid.all(axis=(1, 2)))[6])
    truth = of.truth.copy()
    truth[k] += 0.5
    cloudy, calm = (one.fill([of.days[k]]) for one in (of.but(truth=truth), of))
    made = ~of.valid[k]
    assert (cloudy.bands - calm.bands)[0][:, made].mean() < 0.25
    assert cloudy.deviation[0][:, made].mean() > 5 * calm.deviation[0][:, made].mean()


def test_what_is_held_out_lies_at_fixed_pixels() -> None:
    whole = folds_of((1000, 2000), (60, 70)).reshape(60, 70)
    part = folds_of((1007, 2011), (30, 40)).reshape(30, 40)
    np.testing.assert_array_equal(part, whole[7:37, 11:51])
    assert np.bincount(whole.ravel(), minlength=5).min() > 0.1 * whole.size


def test_one_crop_says_nothing_wrong() -> None:
    """All clear pixels alike, of one value: no feature varies, and nothing breaks."""
    truth = np.full((6, 2, 20, 20), 0.2, np.float32)
    valid = np.ones((6, 20, 20), bool)
    valid[3, :8] = False
    of = Scene(truth, valid, np.arange(17_000, 17_060, 10, dtype=np.int32))
    window = of.fill()
    np.testing.assert_allclose(window.bands, 0.2, atol=1e-4)
    assert (window.source[3, :8] == Provenance.SAME_DATE).all()


def test_real_clouds(real_data: Callable[[str], Path]) -> None:
    """Romania, clouds of other dates: at most 0.6 of what a straight line is off."""
    path = real_data("nrt_romania/sentinel2_cube_subset_romania_10m.nc")
    with xr.open_dataset(path, mask_and_scale=False) as data:
        some = data.isel(time=slice(40, 90), x=slice(0, 64), y=slice(0, 64)).load()
    cube = s2cube.as_cube(
        some, scale=1e-4, offset=0, nodata=0, level="L2A", crs="EPSG:3035"
    ).s2.mask_clouds("scl", buffer=40)
    bands = ["B02", "B03", "B04", "B08"]
    truth = np.stack([cube[band].values for band in bands], axis=1)
    seen = np.isfinite(truth).all(axis=1)
    days = s2cube.schema.solar_days(cube)
    share = seen.mean(axis=(1, 2))
    hidden, donors = np.flatnonzero(share > 0.6)[2:-2:2], np.flatnonzero((share > 0.3) & (share < 0.8))
    valid = seen.copy()
    rng = np.random.default_rng(0)
    for k in hidden.tolist():
        valid[k] &= seen[rng.choice(donors), ::-1]
    where = seen & ~valid
    of = Scene(truth, valid, days)
    line = [fill_linear(of.values[:, b], valid, days=days, targets=days) for b in range(4)]
    error = {}
    for name, found in (("line", np.stack(line, axis=1)), ("similar", of.fill().bands)):
        apart = np.abs(found - truth)[np.broadcast_to(where[:, None], truth.shape)]
        error[name] = np.nanmean(apart)
    assert error["similar"] < 0.6 * error["line"]


def test_residuals_are_those_of_pixels_held_out() -> None:
    """Of what can only be learnt by heart nothing is explained, and deviations stay honest."""
    rng = np.random.default_rng(0)
    target = rng.standard_normal((2, 500)).astype(np.float32)
    features = np.concatenate([np.ones((1, 500)), rng.standard_normal((100, 500))]).astype(np.float32)
    _, off, _ = _regress(features, target, np.arange(500) % FOLDS)
    assert np.abs(off).mean() > 0.98 * np.abs(target).mean()


def test_pixels_far_off_count_less() -> None:
    """A cloud that was missed does not rule the regression."""
    off = np.full((2, 100), 0.01, np.float32)
    off[:, 7] = 0.5
    weight = _huber(off)
    assert weight[7] < 0.05
    np.testing.assert_allclose(np.delete(weight, 7), 1, atol=1e-3)
