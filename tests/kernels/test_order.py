"""Percentiles against numpy's, whatever the series and whoever computes them."""

import itertools
import warnings
from typing import Any

import numbagg
import numpy as np
import pytest
from compare import same_bits
from engines import COMPILED, ENGINES, NUMPY, Engine, every_engine, needs_numba
from hypothesis import given
from hypothesis import strategies as st

from s2cube.kernels.order import percentiles, ranks, sorting_network

QUARTILES = (25.0, 50.0, 75.0)


def expected(values: np.ndarray, q: tuple[float, ...]) -> np.ndarray:
    """Return numpy's answer, in double precision."""
    if not len(values):
        return np.full((len(q), *values.shape[1:]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanpercentile(values.astype(np.float64), q, axis=0)


def series(length: int, seed: int, kind: str, missing: float, pixels: int = 5) -> np.ndarray:
    """Series of some pixels, shape ``(time, pixel)``."""
    rng = np.random.default_rng(seed)
    shape = (length, pixels)
    values = {
        "grid": lambda: rng.integers(-900, 12_000, shape) / 1e4,
        "far": lambda: rng.integers(-60_000, 60_000, shape) / 1e4,
        "few": lambda: rng.integers(-2, 3, shape) / 1e4,
        "any": lambda: rng.normal(0.2, 0.4, shape),
        "mixed": lambda: np.where(
            rng.random(pixels) < 0.5, rng.normal(0, 1, shape), rng.integers(-9, 9999, shape) / 1e4
        ),
    }[kind]().astype(np.float32)
    values[rng.random(shape) < missing] = np.nan
    if length and pixels > 2:
        values[:, 1] = np.nan
    return values


KINDS = st.sampled_from(["grid", "far", "few", "any", "mixed"])
MISSING = st.sampled_from([0.0, 0.05, 0.45, 0.9])
PERCENTS = st.lists(
    st.sampled_from([0.0, 2.5, 5.0, 10.0, 25.0, 29.0, 50.0, 75.0, 95.0, 99.9, 100.0])
    | st.floats(0, 100),
    min_size=1,
    max_size=4,
).map(tuple)
LENGTHS = st.integers(0, 24) | st.integers(0, 300)


def assert_numpys(engine: Engine, values: np.ndarray, q: tuple[float, ...]) -> None:
    found, count = engine.percentiles(values, q)
    assert found.dtype == np.float32
    assert count.dtype == np.int16
    np.testing.assert_array_equal(count, np.isfinite(values).sum(0))
    wanted = expected(values, q)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    # Between two values, each rounded to float32: a unit or two in the last place of the larger one.
    allowed = 2 * np.finfo(np.float32).eps * np.nanmax(abs(values), axis=0, initial=1e-6)
    difference = np.nan_to_num(abs(found - wanted))
    assert (difference <= allowed).all(), difference.max()


@every_engine
@given(LENGTHS, st.integers(0, 2**32 - 1), KINDS, MISSING, PERCENTS)
def test_as_numpys(
    engine: Engine, length: int, seed: int, kind: str, missing: float, q: tuple[float, ...]
) -> None:
    assert_numpys(engine, series(length, seed, kind, missing), q)


@every_engine
@pytest.mark.parametrize("kind", ["grid", "any"])
def test_a_thousand_looks(engine: Engine, kind: str) -> None:
    assert_numpys(engine, series(1000, 1, kind, 0.3, pixels=300), (5.0, 50.0, 100.0))


@every_engine
def test_no_looks_at_all(engine: Engine) -> None:
    found, count = engine.percentiles(np.empty((0, 3, 4), np.float32), QUARTILES)
    assert found.shape == (3, 3, 4)
    assert np.isnan(found).all()
    assert count.shape == (3, 4)
    assert not count.any()


@every_engine
def test_whole_numbers_come_back_exactly(engine: Engine) -> None:
    """The smallest, largest and middle of an odd number of looks are looks, to the bit."""
    for kind in ("grid", "far", "any"):
        values = series(73, 3, kind, 0.0)[:, [0, 2, 3]]
        found, _ = engine.percentiles(values, (0.0, 50.0, 100.0))
        assert same_bits(found, np.sort(values, axis=0)[[0, 36, 72]])


@given(LENGTHS, st.integers(0, 2**32 - 1), KINDS, MISSING, PERCENTS)
def test_all_engines_give_the_same_bits(
    length: int, seed: int, kind: str, missing: float, q: tuple[float, ...]
) -> None:
    values = series(length, seed, kind, missing)
    first, *others = [
        param.values[0].percentiles(values, q)
        for param in ENGINES
        if not any(mark.args[:1] == (True,) for mark in param.marks)
    ]
    for other in others:
        assert same_bits(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])


@needs_numba
@given(LENGTHS, st.integers(0, 2**32 - 1), st.sampled_from(["grid", "few"]), MISSING)
def test_on_and_off_the_grid_are_the_same(length: int, seed: int, kind: str, missing: float) -> None:
    """Whole counts are sorted as integers, unless a neighbour has others: that must not show."""
    values = series(length, seed, kind, missing)
    neighbour = np.full((length, 1), 0.123456789, np.float32)
    alone, _ = COMPILED.percentiles(values, QUARTILES)
    beside, _ = COMPILED.percentiles(np.hstack([values, neighbour]), QUARTILES)
    assert same_bits(alone, beside[:, :-1])


@every_engine
@pytest.mark.parametrize("edge", [3.2765, 3.2766, 3.2767, 3.2768, 6.5535, 40.0, 3e5, -3.2766, -3.2769])
def test_bright_beyond_what_integers_hold(engine: Engine, edge: float) -> None:
    """Sixteen bits end at 3.2767: glints and clouds beyond it are values too."""
    values = np.array([[0.1], [edge], [0.3], [np.nan], [edge]], np.float32)
    found, count = engine.percentiles(values, (0.0, 50.0, 100.0))
    assert count.item() == 4
    np.testing.assert_allclose(found, expected(values, (0.0, 50.0, 100.0)), rtol=3e-7)


@every_engine
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), KINDS, MISSING)
def test_the_order_of_dates_does_not_matter(
    engine: Engine, length: int, seed: int, kind: str, missing: float
) -> None:
    values = series(length, seed, kind, missing)
    shuffled = values[np.random.default_rng(seed).permutation(length)]
    one, other = (engine.percentiles(some, QUARTILES) for some in (values, shuffled))
    assert same_bits(one[0], other[0])
    np.testing.assert_array_equal(one[1], other[1])


@every_engine
def test_neighbours_do_not_matter(engine: Engine) -> None:
    """More pixels than a tile, cut anywhere."""
    values = series(30, 5, "mixed", 0.3, pixels=1000)
    whole, _ = engine.percentiles(values, QUARTILES)
    for cut in (1, 255, 256, 257, 999):
        parts = [engine.percentiles(part, QUARTILES)[0] for part in (values[:, :cut], values[:, cut:])]
        assert same_bits(np.concatenate(parts, axis=1), whole)


@every_engine
def test_what_is_given_stays_as_it_is(engine: Engine) -> None:
    for values in (series(20, 1, "grid", 0.3), series(20, 1, "any", 0.3)):
        before = values.copy()
        engine.percentiles(values, QUARTILES)
        assert same_bits(values, before)


@every_engine
def test_strided_views(engine: Engine) -> None:
    """As blocks come: cut out of larger ones, in any order of memory."""
    values = series(12, 7, "any", 0.2, pixels=60).reshape(12, 6, 10)
    view = np.asfortranarray(values)[::2, 1:5, ::3]
    found, count = engine.percentiles(view, QUARTILES)
    copied, same = engine.percentiles(view.copy(), QUARTILES)
    assert found.shape == (3, 4, 4)
    assert same_bits(found, copied)
    np.testing.assert_array_equal(count, same)


@pytest.mark.thorough
def test_as_numbaggs() -> None:
    values = series(73, 9, "any", 0.4, pixels=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = numbagg.nanquantile(np.ascontiguousarray(values.T), [0.25, 0.5, 0.75], axis=-1)
    np.testing.assert_allclose(percentiles(values, QUARTILES)[0], theirs, rtol=0, atol=5e-7)


def run(network: np.ndarray, rows: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    for upper, lower in network:
        rows[[upper, lower]] = np.sort(rows[[upper, lower]], axis=0)
    return rows


@pytest.mark.parametrize("length", range(1, 13))
def test_the_network_sorts(length: int) -> None:
    """A network that sorts every pattern of zeros and ones sorts everything (Knuth, 5.3.4)."""
    patterns = np.array(list(itertools.product((0, 1), repeat=length)), np.int8).reshape(-1, length).T
    sorted_ = np.sort(patterns, axis=0)
    np.testing.assert_array_equal(run(sorting_network(length), patterns), sorted_)
    for upto in range(length + 1):
        first = run(sorting_network(length, upto), patterns)[:upto]
        np.testing.assert_array_equal(first, sorted_[:upto])


@given(st.integers(1, 1000), st.integers(0, 2**32 - 1))
def test_a_long_network_sorts(length: int, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(0, length, (length, 4))
    np.testing.assert_array_equal(run(sorting_network(length), rows), np.sort(rows, axis=0))


def test_low_percentiles_need_less_sorting() -> None:
    assert len(sorting_network(73, 20)) < len(sorting_network(73))
    assert len(sorting_network(73, 73)) == len(sorting_network(73))


def test_tables_that_are_shared_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        sorting_network(9)[0] = 1


@given(PERCENTS, st.integers(0, 200))
def test_ranks_stay_within_the_series(q: tuple[float, ...], length: int) -> None:
    low, part = ranks(q, length)
    assert low.shape == part.shape == (len(q), length + 1)
    assert (low >= 0).all()
    assert (low <= np.maximum(np.arange(length + 1) - 1, 0)).all()
    assert ((part >= 0) & (part <= 1)).all()


def test_without_numba_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is chosen by what is installed; numbers do not tell which it was."""
    from s2cube.kernels import engine

    def not_there(name: str) -> Any:
        assert name == "numba"

    engine.compiled.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "find_spec", not_there)
        assert engine.compiled() is None
    engine.compiled.cache_clear()
    values = series(20, 1, "grid", 0.3)
    assert same_bits(NUMPY.percentiles(values, QUARTILES)[0], percentiles(values, QUARTILES)[0])
