"""Filling against numpy's own interpolation, pixel by pixel."""

from typing import Any

import bottleneck
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2cube.kernels import fill
from s2cube.kernels.engine import compiled
from s2cube.kernels.fill import (
    clear_age,
    fill_closest,
    fill_last,
    fill_linear,
    fill_median,
    provenance,
)
from s2cube.schema import NO_AGE, Provenance


@pytest.fixture(params=["compiled", "numpy"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(fill, "compiled", lambda _: None)
    elif compiled() is None:
        pytest.skip("needs the extra 'fast'")


@st.composite
def series(draw: st.DrawFn) -> dict[str, Any]:
    """Looks of a few pixels on irregular days (some days twice), and dates in and around them."""
    days = draw(st.lists(st.integers(18_000, 18_060), min_size=1, max_size=12).map(sorted))
    targets = draw(
        st.lists(st.integers(17_980, 18_080), min_size=1, max_size=30, unique=True).map(sorted)
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (len(days), 2, 3)
    values = rng.normal(0.2, 0.2, shape).astype(np.float32)
    valid = rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.6, 1.0]))
    # What lies under a mask must not matter, NaN or not.
    values[~valid & (rng.random(shape) < 0.5)] = np.nan
    return {
        "values": values,
        "valid": valid,
        "days": np.array(days, np.int32),
        "targets": np.array(targets, np.int32),
    }


def clear_looks(case: dict[str, Any], y: int, x: int) -> tuple[np.ndarray, np.ndarray]:
    """Days and values of a pixel's clear looks; of several on one day, the last."""
    seen = {
        int(day): float(value)
        for day, value, ok in zip(
            case["days"], case["values"][:, y, x], case["valid"][:, y, x], strict=True
        )
        if ok
    }
    return np.array(list(seen), float), np.array(list(seen.values()))


@given(series())
def test_linear_is_numpys(case: dict[str, Any]) -> None:
    out = fill_linear(**case)
    assert out.dtype == np.float32
    for y, x in np.ndindex(2, 3):
        days, values = clear_looks(case, y, x)
        if len(days) == 0:
            assert np.isnan(out[:, y, x]).all()
            continue
        expected = np.interp(case["targets"], days, values)
        np.testing.assert_allclose(out[:, y, x], expected, rtol=2e-6, atol=2e-7)
        for day, value in zip(days, values, strict=True):
            on = case["targets"] == day
            assert (out[on, y, x] == np.float32(value)).all(), "a clear look passes bit for bit"


@given(series(), st.sampled_from(["past", "both"]))
def test_last_holds_the_last(case: dict[str, Any], reach: Any) -> None:
    out = fill_last(**case, reach=reach)
    for y, x in np.ndindex(2, 3):
        days, values = clear_looks(case, y, x)
        for i, target in enumerate(case["targets"]):
            before = values[days <= target]
            if len(before):
                assert out[i, y, x] == np.float32(before[-1])
            elif len(values) and reach == "both":
                assert out[i, y, x] == np.float32(values[0])
            else:
                assert np.isnan(out[i, y, x])


@given(series())
def test_last_equals_bottlenecks_push(case: dict[str, Any]) -> None:
    case["days"] = np.arange(len(case["days"]), dtype=np.int32)
    case["targets"] = case["days"]
    clear = np.where(case["valid"], case["values"], np.float32(np.nan))
    np.testing.assert_array_equal(fill_last(**case, reach="past"), bottleneck.push(clear, axis=0))


def test_engines_agree_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    case = {
        "values": rng.normal(0.2, 0.1, (40, 30, 33)).astype(np.float32),
        "valid": rng.random((40, 30, 33)) < 0.4,
        "days": np.sort(rng.integers(18_000, 18_200, 40)).astype(np.int32),
        "targets": np.arange(17_990, 18_210, dtype=np.int32),
    }
    one = fill_linear(**case)
    monkeypatch.setattr(fill, "compiled", lambda _: None)
    np.testing.assert_array_equal(one, fill_linear(**case))


@given(series())
def test_closest_is_the_nearest_look(case: dict[str, Any]) -> None:
    out = fill_closest(**case)
    for y, x in np.ndindex(2, 3):
        days, values = clear_looks(case, y, x)
        for i, target in enumerate(case["targets"]):
            if len(days) == 0:
                assert np.isnan(out[i, y, x])
                continue
            # Of two as near argmin takes the first, which is the one before.
            assert out[i, y, x] == np.float32(values[np.abs(days - target).argmin()])


@given(series(), st.sampled_from(["past", "both"]), st.integers(0, 20), st.booleans())
def test_median_is_numpys(case: dict[str, Any], reach: Any, window: int, smooth: bool) -> None:
    out = fill_median(**case, reach=reach, window=window, smooth=smooth)
    other = fill_last(**case, reach=reach) if reach == "past" else fill_closest(**case)
    for y, x in np.ndindex(2, 3):
        days, values = clear_looks(case, y, x)
        for i, target in enumerate(case["targets"]):
            after = target if reach == "past" else target + window
            near = values[(days >= target - window) & (days <= after)]
            if target in days and not smooth:
                assert out[i, y, x] == np.float32(values[days == target][0])
            elif len(near):
                np.testing.assert_allclose(out[i, y, x], np.median(near), rtol=1e-6, atol=1e-7)
            else:
                np.testing.assert_array_equal(out[i, y, x], other[i, y, x])


@given(series(), st.sampled_from(["past", "both"]), st.sampled_from([1, 2]))
def test_provenance_and_age_tell_the_truth(case: dict[str, Any], reach: Any, between: int) -> None:
    del case["values"]
    kinds = provenance(**case, reach=reach, between=between)
    ages = clear_age(**case, reach=reach, between=between)
    assert (kinds.dtype, ages.dtype) == (np.uint8, np.int16)
    for y, x in np.ndindex(2, 3):
        days = case["days"][case["valid"][:, y, x]]
        for i, target in enumerate(case["targets"]):
            past, later = days[days <= target], days[days > target]
            if reach == "past":
                later = later[:0]
            if target in past:
                kind, age = Provenance.OBSERVED, 0
            elif len(past) and len(later):
                kind = Provenance(between)
                ahead = later.min() - target
                age = target - past.max() if between == 2 else min(target - past.max(), ahead)
            elif len(past) or len(later):
                kind = Provenance.EXTRAPOLATED
                age = target - past.max() if len(past) else later.min() - target
            else:
                kind, age = Provenance.NEVER_OBSERVED, NO_AGE
            assert kinds[i, y, x] == kind
            assert ages[i, y, x] == age


@given(series(), st.integers(0, 11))
def test_nothing_leans_on_the_future_when_causal(case: dict[str, Any], cut: int) -> None:
    """Changing everything after a day changes nothing up to it."""
    day = case["days"][min(cut, len(case["days"]) - 1)]
    other = {**case, "values": case["values"].copy(), "valid": case["valid"].copy()}
    after = case["days"] > day
    other["values"][after] = 9
    other["valid"][after] = ~other["valid"][after]
    until = case["targets"] <= day
    for one, two in (
        (fill_last(**case, reach="past"), fill_last(**other, reach="past")),
        *(
            (
                function(**_facts(case), reach="past", between=2),
                function(**_facts(other), reach="past", between=2),
            )
            for function in (provenance, clear_age)
        ),
    ):
        np.testing.assert_array_equal(one[until], two[until])


def _facts(case: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in case.items() if key != "values"}


@pytest.mark.parametrize("years", [30, 89, 100])
def test_ages_of_decades_fit(years: int) -> None:
    facts = {
        "valid": np.ones((1, 1, 1), bool),
        "days": np.array([0], np.int32),
        "targets": np.array([years * 365], np.int32),
    }
    assert clear_age(**facts, reach="past", between=2).item() == min(years * 365, 32767)
