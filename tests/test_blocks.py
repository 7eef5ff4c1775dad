"""Block adapters: one answer for numpy and Dask, whatever the chunks."""

import dask.array as da
import numpy as np
import pytest
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

from s2cube.blocks import count_blocks, map_halo, map_pixels, map_time
from s2cube.kernels.morphology import grow_status

SHAPE = (5, 17, 13)


def cuts(length: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Any way to cut an axis into chunks."""
    marks = st.sets(st.integers(1, length - 1)).map(sorted)
    return marks.map(lambda at: tuple(np.diff([0, *at, length]).tolist()))


chunkings = st.tuples(*(cuts(length) for length in SHAPE))


def random(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 7, shape).astype(np.uint8)


def add(one: np.ndarray, other: np.ndarray, *, more: int) -> np.ndarray:
    return one + other + np.uint8(more)


@given(chunkings, chunkings)
def test_pixels(first: tuple, second: tuple) -> None:
    one, other, column = random(1), random(2), random(3, (SHAPE[0], 1, 1))
    for b, c in ((other, second), (column, ((SHAPE[0],), (1,), (1,)))):
        expected = map_pixels(add, one, b, dtype=np.uint8, more=1)
        lazy = map_pixels(add, da.from_array(one, first), da.from_array(b, c), dtype=np.uint8, more=1)
        mixed = map_pixels(add, da.from_array(one, first), b, dtype=np.uint8, more=1)
        np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)
        np.testing.assert_array_equal(mixed.compute(scheduler="sync"), expected)


@given(chunkings, st.sampled_from([0.0, 1.0, 2.5, 6.0, 40.0]))
def test_halo(chunks: tuple, radius: float) -> None:
    status = random(4)
    how = {
        "dtype": np.uint8,
        "depth": (int(radius), int(radius)),
        "radius": (radius, radius),
        "grown": (5,),
    }
    expected = map_halo(grow_status, status, **how)
    lazy = map_halo(grow_status, da.from_array(status, chunks), **how)
    assert lazy.shape == SHAPE
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def test_a_small_last_chunk_does_not_join_all() -> None:
    status = da.zeros((1, 2051, 2051), chunks=(1, 1024, 1024), dtype=np.uint8)
    grown = map_halo(grow_status, status, depth=(6, 6), dtype=np.uint8, radius=(6, 6), grown=(5,))
    assert grown.chunks[1] == (1024, 1027)


def repeat_sum(block: np.ndarray, other: np.ndarray, *, times: int) -> np.ndarray:
    return np.repeat((block + other).sum(axis=0, keepdims=True), times, axis=0).astype(np.int64)


@given(chunkings)
def test_time(chunks: tuple) -> None:
    one, other = random(5), random(6)
    expected = map_time(repeat_sum, one, other, length=3, dtype=np.int64, times=3)
    lazy = map_time(repeat_sum, da.from_array(one, chunks), other, length=3, dtype=np.int64, times=3)
    assert lazy.shape == (3, *SHAPE[1:])
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def zeros(block: np.ndarray) -> int:
    return int((block == 0).sum())


@given(chunkings)
def test_count(chunks: tuple) -> None:
    array = random(7)
    lazy = count_blocks(zeros, da.from_array(array, chunks))
    assert lazy.compute(scheduler="sync") == count_blocks(zeros, array) == (array == 0).sum()


def test_large_blocks_are_cut_before_time_is_joined() -> None:
    """A scene of one chunk must not become a year of one chunk."""
    scenes = da.zeros((40, 2000, 1500), chunks=(1, -1, -1), dtype=np.uint8)
    daily = map_time(repeat_sum, scenes, scenes, length=2, dtype=np.int64, times=2)
    assert max(daily.chunks[1]) <= 256
    assert max(daily.chunks[2]) <= 256


def test_nothing_is_computed_and_keys_are_deterministic() -> None:
    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    scene = da.from_array(random(8), (1, 8, 8))
    lazy = [
        map_pixels(explode, scene, dtype=np.uint8),
        map_time(explode, scene, length=5, dtype=np.uint8),
    ]
    with pytest.raises(AssertionError, match="computed"):
        lazy[0].compute(scheduler="sync")
    same = [map_pixels(add, scene, scene, dtype=np.uint8, more=more).name for more in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
    assert tokenize(scene) == tokenize(da.from_array(random(8), (1, 8, 8)))


@settings(max_examples=5)
@given(st.integers(1, 4))
def test_tasks_grow_with_blocks(scale: int) -> None:
    """A filled band has a few tasks a block and date, not more with every band or date asked for."""
    scenes = da.zeros((10, 256 * scale, 256), chunks=(1, 256, 256), dtype=np.uint8)
    filled = map_time(repeat_sum, scenes, scenes, length=300, dtype=np.int64, times=300)
    above = len(filled.__dask_graph__()) - len(scenes.__dask_graph__())
    assert above <= 4 * scale
