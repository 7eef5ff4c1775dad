"""Windows: at fixed pixels, each computed once, blended to the same numbers whatever the chunks."""

import pickle
import tracemalloc
from typing import Any

import dask.array as da
import numpy as np
import pytest
from compare import same_bits
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

from s2cube.blocks import map_windows
from s2cube.blocks.peak import declared

SIDE, STEP, BEFORE = 16, 12, 4
TAPER = np.concatenate([[0, 0.3, 0.7, 0.9], np.ones(8), [0.8, 0.6, 0.2, 0]]).astype(np.float32)
GEOMETRY: dict[str, Any] = {"step": STEP, "before": BEFORE, "taper": TAPER, "work": 0}


def looks(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same(window: np.ndarray) -> np.ndarray:
    return window[:, None]


def sums(one: np.ndarray, other: np.ndarray, *, more: float) -> np.ndarray:
    """A kernel to which it matters where its window lies."""
    across = np.nancumsum(one, axis=2, dtype=np.float32) * other
    down = np.nancumsum(other, axis=1, dtype=np.float32) + np.float32(more)
    return np.stack([across, down], axis=1)


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 60), st.integers(1, 60)),
    chunks=st.tuples(st.integers(1, 4), st.integers(3, 60), st.integers(3, 60)),
    seed=st.integers(0, 100),
)
def test_any_chunks_give_the_same(
    shape: tuple[int, int, int], chunks: tuple[int, int, int], seed: int
) -> None:
    one, other = looks(shape, seed), looks(shape, seed + 1)
    one[one > 1.5] = np.nan
    whole = map_windows(sums, one, other, made=2, more=0.5, **GEOMETRY)
    assert whole.shape == (shape[0], 2, *shape[1:])
    lazy = map_windows(sums, da.from_array(one, chunks), other, made=2, more=0.5, **GEOMETRY)
    assert lazy.dtype == np.float32
    assert lazy.chunks[2:] == da.from_array(one, chunks).chunks[1:]
    assert same_bits(lazy.compute(scheduler="sync"), whole)


@given(height=st.integers(1, 50), width=st.integers(1, 50))
def test_a_kernel_that_changes_nothing(height: int, width: int) -> None:
    """Blending has weights that add up to one, and what is missing stays where it is."""
    image = looks((2, height, width))
    image[image < -1] = np.nan
    blended = map_windows(same, image, made=1, **GEOMETRY)[:, 0]
    np.testing.assert_allclose(blended, image, rtol=1e-6)


def test_windows_lie_where_they_should_and_see_a_mirror_beyond_the_edge() -> None:
    image = looks((1, 30, 21))
    seen = []

    def look(window: np.ndarray) -> np.ndarray:
        seen.append(window[0])
        return same(window)

    map_windows(look, image, made=1, **GEOMETRY)
    padded = np.pad(image[0], ((BEFORE, SIDE), (BEFORE, SIDE)), mode="symmetric")
    # The last begins before the last pixel: -4, 8, 20 along y and -4, 8 along x; 20 has no weight at 20.
    expected = [
        padded[y : y + SIDE, x : x + SIDE] for y in range(0, 25, STEP) for x in range(0, 13, STEP)
    ]
    assert len(seen) == len(expected)
    for got, wanted in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_each_window_is_computed_once() -> None:
    calls = []

    def look(window: np.ndarray) -> np.ndarray:
        calls.append(window.shape)
        return same(window)

    image = looks((3, 50, 40))
    map_windows(look, da.from_array(image, (1, 7, 5)), made=1, **GEOMETRY).compute(scheduler="sync")
    assert calls == [(1, SIDE, SIDE)] * (3 * 5 * 4)


def test_only_what_is_needed_is_computed() -> None:
    calls = []

    def look(window: np.ndarray) -> np.ndarray:
        calls.append(window.shape)
        return same(window)

    lazy = map_windows(look, da.from_array(looks((3, 50, 40)), (1, 10, 10)), made=1, **GEOMETRY)
    lazy[1:2, :, 10:20, :10].compute(scheduler="sync")
    assert len(calls) == 4


def test_graphs_are_deterministic_and_travel() -> None:
    image = da.from_array(looks((2, 40, 40)), (1, 20, 20))
    one, again, other = (
        map_windows(sums, image, image, made=2, more=more, **GEOMETRY) for more in (1.0, 1.0, 2.0)
    )
    assert one.name == again.name != other.name
    assert tokenize(one) == tokenize(again)
    back = pickle.loads(pickle.dumps(one))
    assert same_bits(back.compute(scheduler="sync"), again.compute())


def smooth(window: np.ndarray) -> np.ndarray:
    return np.stack([window] * 3, axis=1)


@pytest.mark.parametrize("chunks", [(2, 150, 150), (2, 40, 90), (1, 64, 64)])
def test_declared_peaks_are_true(chunks: tuple[int, int, int]) -> None:
    """Never less than a task needs, and not so much more that it would frighten without cause."""
    image = da.from_array(np.ones((2, 300, 300), np.float32), chunks)
    taper = np.ones(64, np.float32)
    lazy = map_windows(smooth, image, step=60, before=4, taper=taper, made=3, work=0)
    graph = lazy.__dask_graph__()
    peaks = dict(declared(graph))
    assert [name.partition("-")[0] for name in sorted(peaks)] == ["blend", "windows"]
    for name, peak in peaks.items():
        measured = max(_measure(lazy, key) for key in graph.layers[name])
        assert measured <= peak.task <= 3 * measured


def _measure(lazy: Any, key: tuple[Any, ...]) -> int:
    """Return what the task of `key` takes, what goes in counted."""
    from dask._task_spec import convert_legacy_graph

    graph = convert_legacy_graph(dict(lazy.__dask_graph__().to_dict()))
    known: dict[Any, Any] = {}

    def value(of: Any) -> Any:
        if of not in known:
            needs = {need: value(need) for need in graph[of].dependencies}
            known[of] = graph[of](needs)
        return known[of]

    needs = {need: value(need) for need in graph[key].dependencies}
    inside = sum(array.nbytes for array in needs.values())
    tracemalloc.start()
    graph[key](needs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak + inside
