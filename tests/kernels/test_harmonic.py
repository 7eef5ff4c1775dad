"""Annual harmonics against ridge regression as numpy solves it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2cube.kernels.harmonic import YEAR, fill_harmonic

PLAIN: dict[str, Any] = {"reach": "both", "smooth": True, "harmonics": 2, "ridge": 1.0}


def case(seed: int, looks: int, shape: tuple[int, int] = (2, 3)) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    days = np.sort(rng.choice(np.arange(17_500, 18_500), looks, replace=False)).astype(np.int32)
    return {
        "values": rng.normal(0.3, 0.1, (looks, *shape)).astype(np.float32),
        "valid": rng.random((looks, *shape)) < 0.6,
        "days": days,
        "targets": np.sort(rng.choice(np.arange(17_450, 18_550), 40, replace=False)).astype(np.int32),
    }


def waves(days: np.ndarray, harmonics: int) -> np.ndarray:
    columns = [np.ones(len(days))]
    for k in range(1, harmonics + 1):
        angle = 2 * np.pi * k * days / YEAR
        columns += [np.cos(angle), np.sin(angle)]
    return np.stack(columns, axis=1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 3), st.sampled_from([0.1, 3.0]),
       st.sampled_from(["both", "past"]))  # fmt: skip
def test_it_is_ridge_regression(seed: int, looks: int, harmonics: int, ridge: float, reach: Any) -> None:
    of = case(seed, looks)
    out = fill_harmonic(**of, **{**PLAIN, "harmonics": harmonics, "ridge": ridge, "reach": reach})
    assert out.dtype == np.float32
    penalty = np.diag([0.0, *(ridge * k * k for k in range(1, harmonics + 1) for _ in "cs")])
    for y, x in np.ndindex(2, 3):
        for i, target in enumerate(of["targets"]):
            used = of["valid"][:, y, x] & ((of["days"] <= target) | (reach == "both"))
            if not used.any():
                assert np.isnan(out[i, y, x])
                continue
            basis = waves(of["days"][used], harmonics)
            found = np.linalg.solve(
                basis.T @ basis + penalty, basis.T @ of["values"][used, y, x].astype(float)
            )
            expected = waves(of["targets"][[i]], harmonics) @ found
            np.testing.assert_allclose(out[i, y, x], expected[0], rtol=1e-5, atol=1e-6)


def test_a_season_comes_back_in_a_gap() -> None:
    """Three years with a summer missing: better than any line across it."""
    days = np.arange(17_000, 18_095, 7, dtype=np.int32)
    season = 0.3 + 0.1 * np.cos(2 * np.pi * (days - 17_360) / YEAR)
    gap = (days > 17_640) & (days < 17_800)
    of = {"values": season.astype(np.float32)[:, None, None], "valid": ~gap[:, None, None],
          "days": days, "targets": days[gap]}  # fmt: skip
    out = fill_harmonic(**of, **{**PLAIN, "ridge": 0.1})
    assert np.abs(out[:, 0, 0] - season[gap]).max() < 0.005
    line = np.interp(days[gap], days[~gap], season[~gap])
    assert np.abs(line - season[gap]).max() > 0.05


def test_looks_pass_unless_smooth_and_pixels_are_apart() -> None:
    of = case(0, 30, (40, 150))
    of["targets"] = of["days"]
    out = fill_harmonic(**of, **{**PLAIN, "smooth": False})
    np.testing.assert_array_equal(out[of["valid"]], of["values"][of["valid"]])
    part = {**of, "values": of["values"][:, 3:5, 60:70], "valid": of["valid"][:, 3:5, 60:70]}
    np.testing.assert_array_equal(
        fill_harmonic(**part, **{**PLAIN, "smooth": False}), out[:, 3:5, 60:70]
    )


@pytest.mark.parametrize("reach", ["both", "past"])
def test_one_look_is_the_mean(reach: Any) -> None:
    of = case(0, 8, (1, 1))
    of["valid"][:] = False
    of["valid"][2] = True
    out = fill_harmonic(**of, **{**PLAIN, "reach": reach, "ridge": 2.0})
    known = np.isfinite(out)
    assert known.any()
    np.testing.assert_allclose(out[known], of["values"][2, 0, 0], rtol=1e-5)
