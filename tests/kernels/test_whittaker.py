"""Whittaker's smoother against its definition, and against somebody else's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2cube.kernels import whittaker
from s2cube.kernels.engine import compiled
from s2cube.kernels.whittaker import fill_whittaker

PLAIN: dict[str, Any] = {"reach": "both", "smooth": True, "slope_days": None, "robust": False}


@pytest.fixture(params=["compiled", "numpy"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(whittaker, "compiled", lambda _: None)
    elif compiled() is None:
        pytest.skip("needs the extra 'fast'")


def case(seed: int, looks: int, share: float, shape: tuple[int, int] = (2, 3)) -> dict[str, Any]:
    """Looks of a few pixels, and all days from the first to the last."""
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(np.arange(18_000, 18_150), looks, replace=False)).astype(np.int32)
    valid = rng.random((looks, *shape)) < share
    # As many looks as a slope needs; fewer are another test.
    valid[rng.permutation(looks)[:3]] = True
    return {
        "values": rng.normal(0.3, 0.1, (looks, *shape)).astype(np.float32),
        "valid": valid,
        "days": days,
        "targets": np.arange(days[0], days[-1] + 1, dtype=np.int32),
    }


def by_definition(
    of: dict[str, Any], y: int, x: int, order: int, smoothness: float, decay: float = 1.0,
    until: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Solve the normal equations of the daily series, in full."""
    grid = of["targets"] if until is None else of["targets"][of["targets"] <= until]
    weight, look = np.zeros(len(grid)), np.zeros(len(grid))
    for day, value, seen in zip(of["days"], of["values"][:, y, x], of["valid"][:, y, x], strict=True):
        if seen and day <= grid[-1]:
            weight[day - grid[0]], look[day - grid[0]] = 1, value
    steps = np.diff(np.eye(len(grid)), axis=0)
    penalty = steps.T @ steps
    if order == 2:
        bends = steps[1:] - decay * steps[:-1]
        penalty = bends.T @ bends
        if decay < 1:  # the first slope is a slope like any other
            penalty += (1 - decay**2) * np.outer(steps[0], steps[0])
    return np.linalg.solve(np.diag(weight) + smoothness * penalty, weight * look)


@given(
    st.integers(0, 2**32 - 1), st.integers(4, 30), st.sampled_from([0.2, 0.6, 1.0]),
    st.sampled_from([(1, None), (2, None), (2, 5.0), (2, 30.0)]),
    st.sampled_from([3.0, 100.0, 1e4]),
)  # fmt: skip
def test_it_is_what_it_is_defined_as(
    seed: int, looks: int, share: float, kind: tuple[int, float | None], smoothness: float
) -> None:
    order, slope_days = kind
    of = case(seed, looks, share)
    how = {**PLAIN, "order": order, "smoothness": smoothness, "slope_days": slope_days}
    out = fill_whittaker(**of, **how)
    assert out.dtype == np.float32
    decay = 1.0 if slope_days is None else float(np.exp(-1 / slope_days))
    for y, x in np.ndindex(2, 3):
        expected = by_definition(of, y, x, order, smoothness, decay)
        known = np.ones(len(expected), bool)
        if order == 2 and decay == 1:
            # A straight line on and on beyond the looks is known badly, by both.
            seen = of["days"][of["valid"][:, y, x]]
            known = (of["targets"] >= seen[0]) & (of["targets"] <= seen[-1])
        np.testing.assert_allclose(out[known, y, x], expected[known], rtol=1e-4, atol=5e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, None), (2, 20.0)]))
def test_causal_is_the_end_of_the_past_alone(seed: int, kind: tuple[int, float | None]) -> None:
    order, slope_days = kind
    of = case(seed, 12, 0.7, (1, 2))
    how = {**PLAIN, "order": order, "smoothness": 20.0, "slope_days": slope_days, "reach": "past"}
    out = fill_whittaker(**of, **how)
    decay = 1.0 if slope_days is None else float(np.exp(-1 / slope_days))
    for x in range(2):
        for day in of["days"][of["valid"][:, 0, x]][1:]:
            if (at := int(day - of["targets"][0])) == 0:
                continue
            expected = by_definition(of, 0, x, order, 20.0, decay, until=int(day))[-1]
            np.testing.assert_allclose(out[at, 0, x], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_it_is_whittaker_eilers(order: int) -> None:
    theirs = pytest.importorskip("whittaker_eilers", reason="needs whittaker-eilers")
    of = case(5, 25, 0.7)
    out = fill_whittaker(**of, **{**PLAIN, "order": order, "smoothness": 50.0})
    for y, x in np.ndindex(2, 3):
        weight, look = np.zeros(len(out)), np.zeros(len(out))
        at = of["days"] - of["targets"][0]
        weight[at], look[at] = of["valid"][:, y, x], of["values"][:, y, x]
        smoother = theirs.WhittakerSmoother(50.0, order, len(out), weights=weight.tolist())
        np.testing.assert_allclose(out[:, y, x], smoother.smooth(look.tolist()), atol=1e-5)


def test_a_slope_does_not_run_away_in_a_long_gap() -> None:
    """Spring, then no look for half a year: the plain smoother of order 2 leaves the earth."""
    days = np.array([0, 5, 10, 15, 20, 200, 205], np.int32)
    of = {
        "values": np.array([0.1, 0.15, 0.2, 0.25, 0.3, 0.2, 0.15], np.float32)[:, None, None],
        "valid": np.ones((7, 1, 1), bool),
        "days": days,
        "targets": np.arange(0, 260, dtype=np.int32),
    }
    how = {**PLAIN, "order": 2, "smoothness": 100.0}
    wild, tame = (fill_whittaker(**of, **{**how, "slope_days": d}) for d in (None, 20.0))
    assert wild.max() > 0.6
    assert tame.max() < 0.42
    causal = fill_whittaker(**of, **{**how, "slope_days": 20.0, "reach": "past"})
    assert causal.max() < 0.55
    assert np.ptp(tame[205:]) == 0, "beyond the last look the value is held"


def test_values_do_not_depend_on_what_else_is_asked() -> None:
    """Neither on other dates, nor on the pixels beside."""
    of = case(1, 20, 0.5, (30, 5000))
    how = {**PLAIN, "order": 2, "smoothness": 10.0, "slope_days": 20.0}
    whole = fill_whittaker(**of, **how)
    part = {**of, "values": of["values"][:, 7:9, 111:300], "valid": of["valid"][:, 7:9, 111:300]}
    np.testing.assert_array_equal(fill_whittaker(**part, **how), whole[:, 7:9, 111:300])
    some = fill_whittaker(**{**of, "targets": of["targets"][[3, 50]]}, **how)
    np.testing.assert_array_equal(some, whole[[3, 50]])


def test_few_looks() -> None:
    """None: missing. One: its value for ever, also with a slope that nothing tells of."""
    of = case(0, 10, 1.0, (1, 2))
    of["valid"][:, 0, 0] = False
    of["valid"][:, 0, 1] = np.arange(10) == 4
    for order, reach in ((1, "both"), (2, "both"), (1, "past"), (2, "past")):
        how = {**PLAIN, "order": order, "smoothness": 10.0, "reach": reach}
        out = fill_whittaker(**of, **how)
        assert np.isnan(out[:, 0, 0]).all()
        known = out[:, 0, 1]
        if reach == "past":
            before = of["targets"] < of["days"][4]
            assert np.isnan(known[before]).all()
            known = known[~before]
        np.testing.assert_allclose(known, of["values"][4, 0, 1], rtol=1e-5)


def test_robust_weights_pass_over_a_missed_cloud() -> None:
    rng = np.random.default_rng(0)
    days = np.arange(0, 200, 5, dtype=np.int32)
    truth = 0.3 + 0.1 * np.sin(days / 40)
    values = (truth + rng.normal(0, 0.005, 40))[:, None, None].astype(np.float32)
    values[17] = 0.9
    of = {"values": values, "valid": np.ones(values.shape, bool), "days": days, "targets": days}
    how = {**PLAIN, "order": 2, "smoothness": 300.0, "slope_days": 30.0}
    plain, robust = (fill_whittaker(**of, **{**how, "robust": r}) for r in (False, True))
    off = [float(np.abs(out[:, 0, 0] - truth).max()) for out in (plain, robust)]
    assert off[0] > 0.05
    assert off[1] < 0.015


def test_engines_agree_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    of = case(3, 25, 0.6, (20, 31))
    for order, reach in ((1, "both"), (2, "both"), (2, "past")):
        how = {**PLAIN, "order": order, "smoothness": 7.0, "slope_days": 15.0, "reach": reach}
        one = fill_whittaker(**of, **how)
        with monkeypatch.context() as patch:
            patch.setattr(whittaker, "compiled", lambda _: None)
            np.testing.assert_array_equal(one, fill_whittaker(**of, **how))
