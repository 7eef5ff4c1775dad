"""Coefficients of the air, and what undoes it: physics that must hold, and the same bits everywhere."""

import numpy as np
import pytest
from compare import same_bits
from hypothesis import given
from hypothesis import strategies as st

from s2cube.emulate import weights
from s2cube.kernels import atmosphere
from s2cube.kernels.atmosphere import MODELLED, Air, coefficients, to_surface, top


def air(**changed: object) -> Air:
    usual = {
        "sun_zenith": 35.0, "view_zenith": 5.0, "azimuth": 60.0, "aerosol": 0.15, "water_vapour": 1.5,
        "ozone": 0.3, "elevation": 100.0,
    }  # fmt: skip
    return Air(*(np.atleast_1d(np.asarray(one, float)) for one in (usual | changed).values()))


def steps(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None, None]


def test_no_air_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    toa = rng.uniform(-0.05, 1.2, (2, 5, 6)).astype(np.float32)
    assert same_bits(to_surface(toa, steps(1, 1), steps(0, 0), steps(0, 0)), toa)


@given(
    sun=st.floats(0, 75), aerosol=st.floats(0.01, 0.8), wet=st.floats(0.2, 5), height=st.floats(0, 4000),
    view=st.floats(0, 12), azimuth=st.floats(0, 180),
)  # fmt: skip
def test_it_undoes_the_air(
    sun: float, aerosol: float, wet: float, height: float, view: float, azimuth: float
) -> None:
    """Whatever the air, the ground comes back within a tenth of a count, negative and bright too."""
    sky = air(
        sun_zenith=sun, aerosol=aerosol, water_vapour=wet, elevation=height, view_zenith=view,
        azimuth=azimuth,
    )  # fmt: skip
    ground = np.linspace(-0.02, 1.0, 64, dtype=np.float32).reshape(1, 8, 8)
    for row in range(len(MODELLED)):
        a, b, c = (
            one[row].astype(np.float32)[:, None, None] for one in coefficients(weights.load(), sky)
        )
        back = to_surface(top(ground, a, b, c), a, b, c)
        assert np.abs(back - ground).max() < 1e-5


def test_physics_has_its_signs() -> None:
    """What every book says: more of it, and more is lost or added, most in the blue."""
    load = weights.load()
    usual = coefficients(load, air())
    hazy = coefficients(load, air(aerosol=0.5))
    high = coefficients(load, air(elevation=3000))
    low = coefficients(load, air(sun_zenith=70))
    wet = coefficients(load, air(water_vapour=5))
    blue, near, vapour, short = (MODELLED.index(band) for band in ("B02", "B8A", "B09", "B12"))
    assert (hazy.b > usual.b).all()
    assert (high.b[:10] < usual.b[:10]).all()
    assert (low.a > usual.a).all()
    assert usual.b[blue] > 5 * usual.b[near] > 5 * usual.b[short]
    assert wet.a[vapour] > 1.4 * usual.a[vapour]
    assert np.allclose(wet.a[blue], usual.a[blue], rtol=5e-3)
    assert (usual.a > 1).all()
    assert ((usual.c > 0) & (usual.c < 0.3)).all()


def test_what_6s_says() -> None:
    """One sky, asked of 6S by hand: 30° sun, aerosol 0.2, 2 g of water, 0.3 of ozone, at 500 m."""
    sky = air(
        sun_zenith=30, view_zenith=5, azimuth=160, aerosol=0.2, water_vapour=1.55, elevation=500,
    )  # fmt: skip
    # What ground of 20 % looks like from above.
    seen = {
        "B01": 0.2432062, "B02": 0.2229505, "B04": 0.19573, "B08": 0.1876514, "B11": 0.1896017,
        "B12": 0.18025,
    }  # fmt: skip
    a, b, c = coefficients(weights.load(), sky, list(seen))
    y = a[:, 0] * np.array(list(seen.values())) - b[:, 0]
    assert np.abs(y / (1 + c[:, 0] * y) - 0.2).max() < 0.004


def test_steps_do_not_know_each_other() -> None:
    load = weights.load()
    both = coefficients(load, air(sun_zenith=[20.0, 60.0], aerosol=[0.1, 0.4]))
    alone = [coefficients(load, air(sun_zenith=s, aerosol=t)) for s, t in ((20.0, 0.1), (60.0, 0.4))]
    for parts in zip(both, *alone, strict=True):
        assert np.array_equal(parts[0], np.concatenate(parts[1:], axis=1))


@pytest.mark.parametrize("sloping", [False, True])
def test_engines_give_the_same_bits(sloping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(1)
    toa = rng.uniform(-0.1, 1.5, (3, 40, 50)).astype(np.float32)
    toa[0, :5] = np.nan
    a, b, c = steps(1.1, 1.3, np.nan), steps(0.05, 0.1, 0.1), steps(0.1, 0.2, 0.1)
    extra = rng.uniform(-2, 2, (1, 40, 50)).astype(np.float32)
    extra[0, 0, 0] = np.nan
    slope = (extra, steps(0.9, 1.2, 1)) if sloping else ()
    compiled = to_surface(toa, a, b, c, *slope)
    monkeypatch.setattr(atmosphere, "compiled", lambda _: None)
    assert same_bits(compiled, to_surface(toa, a, b, c, *slope))
    assert np.isnan(compiled[0, :5]).all()
    assert np.isnan(compiled[2]).all()
    assert np.isfinite(compiled[1, 1:]).all()


def test_slopes_are_learnt_and_undone() -> None:
    """A field of hills, known: what is learnt of half of its light is what was put there."""
    from s2cube.kernels.slopes import fit_slopes

    rng = np.random.default_rng(2)
    down, across = np.mgrid[:60, :50]
    hills = 0.3 * np.sin(down / 9) * np.cos(across / 11)
    flat = rng.uniform(0.05, 0.5, (6, 1, 60, 50))
    truth = flat / (1 + hills)
    clear = np.ones(flat.shape, bool)
    clear[:, :, 20:26, 20:26] = False
    extra, part, line = fit_slopes(flat, truth, clear)
    assert np.allclose(part, 1, atol=0.05)
    made = (line[0][:, None, None, None] * flat + line[1][:, None, None, None]) / (1 + part[0] * extra)
    assert np.abs(made - truth)[clear].mean() < 0.1 * np.abs(flat - truth)[clear].mean()
