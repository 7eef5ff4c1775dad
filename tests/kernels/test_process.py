"""Gaussian processes in time against the dense formula."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2cube.kernels import process
from s2cube.kernels.engine import compiled
from s2cube.kernels.process import Process, Smoothed, Times, basis, smooth

PRIOR = Process(60, 1, 2, (0.7, 0.2))


@pytest.fixture(params=["compiled", "numpy"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(process, "compiled", lambda _: None)
    elif compiled() is None:
        pytest.skip("needs the extra 'fast'")


def case(seed: int, looks: int = 18, pixels: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    days = np.cumsum(rng.integers(1, 15, looks)).astype(np.int32)
    clear = rng.random((looks, pixels)) < 0.6
    values = rng.standard_normal((looks, 2, pixels)).astype(np.float32)
    return {
        "looks": values * clear[:, None],
        "clear": clear,
        "noise": (0.3 * rng.uniform(0.5, 3, looks)).astype(np.float32),
        "days": days,
        "targets": np.arange(days[0] - 4, days[-1] + 5, dtype=np.int32),
    }


def solve(of: dict[str, Any], *, causal: bool, runs: Any = None, share: float = 0.5) -> Smoothed:
    looks, clear, targets = of["looks"], of["clear"], of["targets"]
    steps, bands, pixels = looks.shape
    inside = pixels if runs is None else int((runs[:, 1] - runs[:, 0])[runs[:, 2] >= 0].sum())
    sizes = [looks.shape] * 3 + [(len(targets), bands, inside), (len(targets), inside), clear.shape]
    into = Smoothed(*(np.zeros(size, np.float32) for size in sizes))
    times = Times.of(of["days"], targets, PRIOR)
    shares = np.full(steps, share, np.float32), np.full(steps + 1, share, np.float32)
    smooth(looks, clear, of["noise"], PRIOR, times, shares, into, causal=causal, runs=runs)
    return into


def dense(of: dict[str, Any], pixel: int, day: int, known: np.ndarray) -> tuple[np.ndarray, float]:
    """Return mean and variance on a day given some looks, by solving the whole system."""
    prior = np.diag([PRIOR.offset, *np.repeat(PRIOR.harmonics, 2)])
    waves = basis(of["days"])[:, 1:].astype(float)
    own = basis(np.array([day]))[0, 1:].astype(float)
    days = of["days"][known].astype(float)
    among = np.exp(-np.abs(days[:, None] - days) / PRIOR.days) + waves[known] @ prior @ waves[known].T
    across = np.exp(-np.abs(days - day) / PRIOR.days) + waves[known] @ prior @ own
    weights = np.linalg.solve(among + np.diag(of["noise"][known]), across)
    return weights @ of["looks"][known, :, pixel], 1 + own @ prior @ own - weights @ across


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_it_is_the_dense_formula(seed: int, causal: bool) -> None:
    """Targets between, on, before and after looks; and each look by the others, itself left out."""
    of = case(seed)
    found = solve(of, causal=causal)
    for pixel in range(5):
        clear = of["clear"][:, pixel]
        for t, day in enumerate(of["targets"].tolist()):
            known = clear & (of["days"] <= day) if causal else clear
            mean, variance = dense(of, pixel, day, known)
            np.testing.assert_allclose(found.targets[t, :, pixel] / 0.5, mean, atol=2e-5)
            np.testing.assert_allclose(found.target_variance[t, pixel], variance, atol=2e-5)
        for k, day in enumerate(of["days"].tolist()):
            others = clear & (of["days"] < day) if causal else clear & (of["days"] != day)
            mean, variance = dense(of, pixel, day, others)
            np.testing.assert_allclose(found.alone[k, :, pixel], mean, atol=2e-5)
            np.testing.assert_allclose(found.others[k, :, pixel] / 0.5, mean, atol=2e-5)
            np.testing.assert_allclose(found.variance[k, pixel], variance, atol=2e-5)
            known = clear & (of["days"] <= day) if causal else clear
            own = dense(of, pixel, day, known)[0] if clear[k] else np.zeros(2)
            np.testing.assert_allclose(-found.own[k, :, pixel] / 0.5, own, atol=2e-5)


def test_pixels_do_not_know_of_each_other() -> None:
    """Nor targets: in other company, runs and order, each is the same to the bit."""
    of = case(1, pixels=300)
    whole = solve(of, causal=False)
    few = {key: value[..., 100:107] if key in ("looks", "clear") else value for key, value in of.items()}
    np.testing.assert_array_equal(solve(few, causal=False).targets, whole.targets[..., 100:107])
    one = solve({**of, "targets": of["targets"][[7]]}, causal=False)
    np.testing.assert_array_equal(one.targets[0], whole.targets[7])
    runs = np.array([[0, 20, -1], [20, 90, 0], [90, 100, -1], [100, 300, 70]])
    some = solve(of, causal=False, runs=runs)
    inside = np.r_[20:90, 100:300]
    np.testing.assert_array_equal(some.targets, whole.targets[..., inside])
    np.testing.assert_array_equal(some.target_variance, whole.target_variance[..., inside])
    np.testing.assert_array_equal(some.others, whole.others)


@pytest.mark.parametrize("causal", [False, True])
def test_engines_agree(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    of = case(2, looks=60, pixels=200)
    one = solve(of, causal=causal)
    monkeypatch.setattr(process, "compiled", lambda _: None)
    two = solve(of, causal=causal)
    for name in ("others", "alone", "own", "targets", "variance", "target_variance"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=2e-5, err_msg=name)
