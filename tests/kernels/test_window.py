"""Windows: what passes, what is leant on, and what is not."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from windows import Scene, scene

from s2cube.kernels import process
from s2cube.kernels.engine import compiled
from s2cube.kernels.seasonal import SAMPLE
from s2cube.kernels.window import Window, fill_window, peak_bytes
from s2cube.schema import Provenance

SAME = pytest.mark.parametrize("same_date", [False, True])
CAUSAL = pytest.mark.parametrize("causal", [False, True])


@pytest.fixture(params=["compiled", pytest.param("numpy", marks=pytest.mark.thorough)], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(process, "compiled", lambda _: None)
    elif compiled() is None:
        pytest.skip("needs the extra 'fast'")


def same(one: Window, two: Window) -> None:
    for name in ("bands", "deviation", "source"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def daily(of: Scene) -> np.ndarray:
    return np.arange(of.days[0] - 3, of.days[-1] + 4, dtype=np.int32)


@SAME
@CAUSAL
def test_clear_looks_pass_bit_for_bit(same_date: bool, causal: bool) -> None:
    of = scene(0)
    window = of.fill(same_date=same_date, causal=causal)
    clear = np.broadcast_to(of.valid[:, None], of.truth.shape)
    np.testing.assert_array_equal(window.bands[clear], of.truth[clear])
    np.testing.assert_array_equal(window.source == Provenance.OBSERVED, of.valid)
    assert window.bands.dtype == window.deviation.dtype == np.float32
    assert (window.deviation[np.isfinite(window.bands)] > 0).all()


@SAME
@pytest.mark.parametrize("smooth", [False, True])
def test_causal_does_not_know_the_future(same_date: bool, smooth: bool) -> None:
    """On looks and between them: later looks are changed, hidden, laid bare, or cut off."""
    of, rng = scene(1, looks=20), np.random.default_rng(0)
    how = {"same_date": same_date, "causal": True, "smooth": smooth}
    targets = daily(of)
    whole = of.fill(targets, **how)
    for k in (2, 8, 15):
        for until in (int(of.days[k]), int(of.days[k + 1]) - 1):
            upto = targets[targets <= until]
            known = Window(*(part[: len(upto)] for part in (whole.bands, whole.deviation, whole.source)))
            truth, valid = of.truth.copy(), of.valid.copy()
            truth[k + 1 :] = rng.uniform(0, 1, truth[k + 1 :].shape)
            valid[k + 1 :] ^= True
            changed = of.but(truth=truth, valid=valid).fill(targets, **how)
            same(
                Window(*(p[: len(upto)] for p in (changed.bands, changed.deviation, changed.source))),
                known,
            )
            cut = Scene(of.truth[: k + 1], of.valid[: k + 1], of.days[: k + 1])
            same(cut.fill(upto, **how), known)


def test_what_is_causal_never_lies_between_two_looks() -> None:
    """Nor on one that was smoothed."""
    of = scene(1, looks=8, shape=(12, 16))
    for smooth in (False, True):
        source = of.fill(daily(of), causal=True, smooth=smooth).source
        assert (source != Provenance.INTERPOLATED).all()
        assert (source == Provenance.EXTRAPOLATED).any()


@CAUSAL
def test_same_date_is_said_of_that_date_alone(causal: bool) -> None:
    """Not of the days after it, on which what it said fades."""
    of = scene(1, looks=10)
    source = of.fill(daily(of), causal=causal).source
    told = daily(of)[(source == Provenance.SAME_DATE).any(axis=(1, 2))]
    assert len(told)
    assert set(told) <= set(of.days)


def test_causal_learns_from_pixels_that_chance_alone_picks() -> None:
    """Of a window larger than what is learnt from: which pixels will ever be clear is not known yet."""
    of = scene(2, looks=7, shape=(46, 48))
    assert of.valid[0].size > SAMPLE
    of.valid[:-1, :, :12] = False
    targets = np.arange(of.days[0], of.days[-1], dtype=np.int32)
    hidden = of.valid.copy()
    hidden[-1] = False
    hidden[-1, 0, 20] = True
    how = {"causal": True, "same_date": False}
    same(of.fill(targets, **how), of.but(valid=hidden).fill(targets, **how))


@SAME
@CAUSAL
def test_nothing_under_masks_is_read(same_date: bool, causal: bool) -> None:
    of = scene(2)
    how = {"days": of.days, "targets": daily(of), "origin": (3, 5)}
    results = []
    for garbage in (np.nan, np.inf, -1e30, 7.0):
        values = np.where(of.valid[:, None], of.truth, np.float32(garbage))
        results.append(fill_window(values, of.valid, same_date=same_date, causal=causal, **how))
    for other in results[1:]:
        same(results[0], other)


@SAME
@CAUSAL
def test_pixels_never_seen_are_missing(same_date: bool, causal: bool) -> None:
    of = scene(3)
    valid = of.valid.copy()
    valid[:, 10:14, 5:9] = False
    valid[:9, 20, 20] = False
    gappy = of.but(valid=valid)
    window = gappy.fill(daily(of), same_date=same_date, causal=causal)
    assert np.isnan(window.bands[:, :, 10:14, 5:9]).all()
    assert np.isnan(window.deviation[:, :, 10:14, 5:9]).all()
    assert (window.source[:, 10:14, 5:9] == Provenance.NEVER_OBSERVED).all()
    missing = np.isnan(window.bands).all(axis=1)
    np.testing.assert_array_equal(missing, np.isnan(window.bands).any(axis=1))
    np.testing.assert_array_equal(missing, window.source == Provenance.NEVER_OBSERVED)
    first = np.where(valid, of.days[:, None, None], 10**6).min(axis=0)
    early = daily(of)[:, None, None] < first
    expected = early if causal else np.broadcast_to(first == 10**6, early.shape)
    np.testing.assert_array_equal(missing, expected)


@SAME
@CAUSAL
def test_values_do_not_depend_on_what_else_is_asked(same_date: bool, causal: bool) -> None:
    """Neither other days, nor which pixels are returned."""
    of = scene(4)
    how = {"same_date": same_date, "causal": causal}
    whole = of.fill(daily(of), **how)
    some = [0, 5, 17, 18, 40, len(whole.bands) - 1]
    few = of.fill(daily(of)[some], **how)
    same(few, Window(whole.bands[some], whole.deviation[some], whole.source[some]))
    inside = slice(8, 30), slice(16, 48)
    part = of.fill(daily(of), inside=inside, **how)
    cut = (slice(None), *inside)
    same(part, Window(whole.bands[:, *cut], whole.deviation[:, *cut], whole.source[cut]))


@SAME
@CAUSAL
def test_of_several_clear_looks_on_a_day_the_last_counts(same_date: bool, causal: bool) -> None:
    of = scene(5)
    twice = np.repeat(np.arange(len(of.days)), 2)
    valid, truth = of.valid[twice], of.truth[twice]
    valid[::2, ::2] &= True
    valid[1::2, ::2] = False
    truth[::2, :, 1::2] = 0.9
    double = Scene(truth, valid, of.days[twice])
    one = double.fill(daily(of), same_date=same_date, causal=causal)
    same(one, of.fill(daily(of), same_date=same_date, causal=causal))


@SAME
@CAUSAL
@pytest.mark.parametrize("looks", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (18, 16)])
def test_tiny_windows(shape: tuple[int, int], looks: int, same_date: bool, causal: bool) -> None:
    rng = np.random.default_rng(0)
    days = np.arange(17_000, 17_000 + 10 * looks, 10, dtype=np.int32)
    truth = rng.uniform(0.1, 0.3, (looks, 2, *shape)).astype(np.float32)
    of = Scene(truth, np.ones((looks, *shape), bool), days)
    targets = np.arange(16_990, 17_050, 3, dtype=np.int32)
    window = of.fill(targets, same_date=same_date, causal=causal)
    assert window.bands.shape == window.deviation.shape == (len(targets), 2, *shape)
    known = targets >= days[0] if causal and looks else np.full(len(targets), looks > 0)
    np.testing.assert_array_equal(np.isfinite(window.bands).all(axis=(1, 2, 3)), known)
    np.testing.assert_array_equal(np.isnan(window.bands).all(axis=(1, 2, 3)), ~known)
    if looks:
        assert np.abs(window.bands[known]).max() < 0.6
    if looks == 1:
        np.testing.assert_allclose(
            window.bands[known], np.broadcast_to(truth, window.bands[known].shape), atol=0.05
        )


@SAME
@CAUSAL
def test_the_same_again(same_date: bool, causal: bool) -> None:
    of = scene(6)
    how = {"same_date": same_date, "causal": causal}
    same(of.fill(daily(of), **how), of.fill(daily(of), **how))


@SAME
@CAUSAL
def test_engines_agree(same_date: bool, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    of = scene(7)
    one = of.fill(daily(of), same_date=same_date, causal=causal)
    monkeypatch.setattr(process, "compiled", lambda _: None)
    two = of.fill(daily(of), same_date=same_date, causal=causal)
    np.testing.assert_allclose(one.bands, two.bands, atol=2e-5)
    np.testing.assert_array_equal(one.source, two.source)


@SAME
def test_memory_is_what_is_said(same_date: bool) -> None:
    import tracemalloc

    of = scene(8, looks=24, shape=(64, 64), bands=4)
    targets, values = daily(of), of.values
    how = {"days": of.days, "targets": targets, "origin": (0, 0), "causal": False}
    fill_window(values[:3], of.valid[:3], **{**how, "days": of.days[:3]}, same_date=same_date)
    tracemalloc.start()
    fill_window(values, of.valid, **how, same_date=same_date)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    said = peak_bytes(
        looks=24, bands=4, pixels=64**2, targets=len(targets), inside=64**2, deviations=True
    )
    assert peak < said < 3 * peak


@pytest.mark.parametrize("causal", [False, True])
def test_nothing_is_filled_beyond_what_was_seen(causal: bool) -> None:
    """In the window, and up to the day where causal."""
    of = scene(11, looks=24, weather=0.05)
    window = of.fill(np.arange(of.days[0], of.days[-1] + 1), causal=causal)
    for t, day in enumerate(range(of.days[0], of.days[-1] + 1)):
        known = (of.days <= day) | (not causal)
        looks = np.moveaxis(of.values[known], 1, 0)[:, of.valid[known]]
        filled = window.bands[t].reshape(len(looks), -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nothing seen yet
            assert not (np.nanmin(filled, axis=1) < looks.min(axis=1)).any()
            assert not (np.nanmax(filled, axis=1) > looks.max(axis=1)).any()


@pytest.mark.slow
def test_the_threads_of_blas_do_not_matter() -> None:
    """A worker has one, a notebook as many as there are cores."""
    told = "import sys, windows; sys.stdout.buffer.write(windows.scene(12).fill().bands.tobytes())"
    found = []
    for threads in ("1", "2"):
        more = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        run = subprocess.run(
            [sys.executable, "-c", told],
            env={**os.environ, **more, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        )
        found.append(run.stdout)
    assert found[0] == found[1]
