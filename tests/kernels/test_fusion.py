"""What another sensor tells: how much it helps, and that it does no harm."""

import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest
from sensors import FIRST, Place, place

from s2cube.kernels.fusion import MOVED, REACH, Sensor, sensor_bytes
from s2cube.kernels.window import Window
from s2cube.schema import Provenance

CAUSAL = pytest.mark.parametrize("causal", [False, True])


@cache
def known() -> Place:
    return place(4, noise=0.15)


@cache
def filled(causal: bool, told: bool) -> Window:
    return known().fill(sensors=None if told else [], causal=causal)


def same(one: Window, two: Window, which: Any = slice(None)) -> None:
    for name in ("bands", "deviation", "source"):
        np.testing.assert_array_equal(getattr(one, name)[which], getattr(two, name)[which], err_msg=name)


def test_it_halves_the_errors_of_long_gaps() -> None:
    assert known().off(filled(False, True)) < 0.5 * known().off(filled(False, False))


def test_causal_it_has_to_learn_first() -> None:
    """The first of three gaps is filled as without; the last has two thirds of the error."""
    of = known()
    gaps = (of.days[of.hidden] - of.days[0]) // 230
    errors = []
    for told in (False, True):
        off = np.abs(filled(True, told).bands - of.truth[of.hidden]).mean(axis=(1, 2, 3))
        errors.append([off[gaps == gap].mean() for gap in range(3)])
    without, told = np.array(errors)
    assert told[0] == without[0]
    assert told[2] < 0.67 * without[2]


@CAUSAL
@pytest.mark.parametrize("kind", ["white", "another place's"])
def test_noise_costs_next_to_nothing(kind: str, causal: bool) -> None:
    of, rng = known(), np.random.default_rng(0)
    noise = place(3).sensor
    if kind == "white":
        noise = Sensor(rng.standard_normal(noise.values.shape).astype(np.float32), noise.days)
    assert of.off(of.fill(sensors=[noise], causal=causal)) < 1.01 * of.off(filled(causal, False))


@CAUSAL
def test_absent_changes_nothing(causal: bool) -> None:
    """To the last bit: where it never saw anything, and on days that it saw nothing near to."""
    of = known()
    plain = filled(causal, False)
    nothing = Sensor(np.full_like(of.sensor.values, np.nan), of.sensor.days)
    none = Sensor(of.sensor.values[:0], of.sensor.days[:0])
    same(of.fill(sensors=[nothing, none], causal=causal), plain)
    # Beside a date that was made whole what it is off fades, so time alone here.
    how = {"same_date": False, "causal": causal}
    last = FIRST + 560
    early = Sensor(*(part[of.sensor.days <= last] for part in (of.sensor.values, of.sensor.days)))
    told, bare = of.fill(sensors=[early], **how), of.fill(sensors=[], **how)
    far = of.days[of.hidden] > last + REACH
    assert far.any()
    assert (told.bands != bare.bands)[~far].any()
    same(told, bare, far)


def test_it_may_miss_pixels() -> None:
    of = known()
    values = of.sensor.values.copy()
    values[:, 1, :, 20:] = np.nan
    told = of.fill(sensors=[Sensor(values, of.sensor.days)], same_date=False)
    bare = of.fill(sensors=[], same_date=False)
    np.testing.assert_array_equal(told.bands[..., 20:], bare.bands[..., 20:])
    error, before = (np.abs(one.bands - of.truth[of.hidden])[..., :20].mean() for one in (told, bare))
    assert error < 0.6 * before


def test_causal_does_not_know_the_future() -> None:
    """Later looks of both are changed, hidden or cut off."""
    of, rng = known(), np.random.default_rng(0)
    targets = np.arange(of.days[0], of.days[-1], 8, dtype=np.int32)
    whole = of.fill(targets, causal=True)
    assert (whole.source == Provenance.OTHER_SENSOR).any()
    day = int(of.days[75]) + 1
    truth, valid, values = of.truth.copy(), of.valid.copy(), of.sensor.values.copy()
    later = of.days > day
    truth[later] = rng.uniform(0, 1, truth[later].shape)
    valid[later] ^= True
    after = of.sensor.days > day
    values[after] = rng.uniform(-30, 5, values[after].shape)
    values[after & (rng.random(len(after)) < 0.3)] = np.nan
    other = of.but(truth=truth, valid=valid, sensor=Sensor(values, of.sensor.days))
    same(other.fill(targets, causal=True), whole, targets <= day)
    cut = Sensor(of.sensor.values[~after], of.sensor.days[~after])
    same(of.but(sensor=cut).fill(targets, causal=True), whole, targets <= day)


@CAUSAL
def test_values_do_not_depend_on_what_else_is_asked(causal: bool) -> None:
    of = known()
    whole, rows = filled(causal, True), [0, 3, 4, 11]
    same(of.fill(of.days[of.hidden][rows], causal=causal), whole_of(whole, rows))
    inside = slice(5, 30), slice(7, 33)
    part = of.fill(inside=inside, causal=causal)
    same(part, whole_of(whole, (..., *inside)))


def whole_of(window: Window, which: Any) -> Window:
    return Window(window.bands[which], window.deviation[which], window.source[which])


@CAUSAL
def test_units_do_not_matter(causal: bool) -> None:
    of = known()
    other = Sensor(of.sensor.values * np.float32(-300) + 1000, of.sensor.days)
    told = of.fill(sensors=[other], causal=causal)
    np.testing.assert_allclose(told.bands, filled(causal, True).bands, atol=2e-4)


def test_linear_backscatter_tells_nearly_what_decibels_do() -> None:
    of = known()
    linear = Sensor(10 ** (of.sensor.values / 10), of.sensor.days)
    assert of.off(of.fill(sensors=[linear])) < 1.15 * of.off(filled(False, True))


@pytest.mark.slow
def test_the_second_sensor_adds_to_the_first() -> None:
    of = known()
    first, second = (Sensor(of.sensor.values[:, [v]], of.sensor.days) for v in range(2))
    rng = np.random.default_rng(0)
    noise = Sensor(rng.standard_normal(first.values.shape).astype(np.float32), first.days)
    weak = Sensor(first.values + 4 * noise.values, first.days)
    errors = {
        name: of.off(of.fill(sensors=sensors))
        for name, sensors in {
            "weak": [weak], "both": [weak, second], "second": [second], "noisy": [second, noise],
        }.items()
    }  # fmt: skip
    assert errors["both"] < 0.95 * errors["weak"]
    assert errors["both"] < 1.2 * errors["second"]
    assert errors["noisy"] < 1.01 * errors["second"]


@CAUSAL
def test_what_was_moved_says_so(causal: bool) -> None:
    of = known()
    targets = np.unique(np.concatenate([of.days[of.hidden], of.days[::5]])).astype(np.int32)
    how = {"same_date": False, "causal": causal}
    told, plain = of.fill(targets, **how), of.fill(targets, sensors=[], **how)
    moved = np.abs(told.bands - plain.bands).max(axis=1)
    other = told.source == Provenance.OTHER_SENSOR
    assert other.mean() > 0.1
    # But where what was seen bounds what is filled.
    assert (moved[other] > 0.99 * MOVED).mean() > 0.99
    assert moved[~other & np.isfinite(moved)].max() < 1.01 * MOVED
    np.testing.assert_array_equal(told.source[~other], plain.source[~other])
    observed = plain.source == Provenance.OBSERVED
    assert observed.any()
    assert moved[observed].max() == 0


def test_days_do_not_jump() -> None:
    """It grows from clear looks, and fades where the sensor ends."""
    of = known()
    last = int(of.days[of.hidden][-1]) - 30
    early = Sensor(*(part[of.sensor.days <= last] for part in (of.sensor.values, of.sensor.days)))
    targets = np.arange(last - 60, last + 60, dtype=np.int32)
    how = {"sensors": [early], "same_date": False, "causal": False}
    moved = of.fill(targets, **how).bands - of.fill(targets, **{**how, "sensors": []}).bands
    assert np.abs(moved).max() > 0.02
    assert np.abs(np.diff(moved, axis=0)).max() < 0.35 * np.abs(moved).max()
    assert (moved[targets > last + REACH] == 0).all()


@pytest.mark.parametrize("looks", [1, 2, 5])
@CAUSAL
def test_few_looks_prove_nothing(looks: int, causal: bool) -> None:
    of = known()
    few = of.but(truth=of.truth[:looks], valid=of.valid[:looks], days=of.days[:looks])
    targets = np.arange(of.days[0], of.days[0] + 60, dtype=np.int32)
    same(few.fill(targets, causal=causal), few.fill(targets, sensors=[], causal=causal))


@pytest.mark.slow
def test_memory_is_what_is_said() -> None:
    of = place(0, years=0.8, shape=(36, 48))
    targets = np.arange(of.days[0], of.days[-1], 5, dtype=np.int32)
    peaks = []
    for sensors in ([], None):
        tracemalloc.start()
        of.fill(targets, sensors=sensors, uncertain=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    looks = len(of.days) + len(of.sensor.days)
    by_pixel, fixed = sensor_bytes(2, looks, len(targets))
    assert peaks[1] < peaks[0] + by_pixel * 36 * 48 + fixed
