"""Block adapters: one answer for numpy and Dask, whatever the chunks."""

import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from chunkings import chunkings
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

from s2cube import harmonize
from s2cube.blocks import (
    count_blocks,
    count_steps,
    look_at_graph,
    map_grid,
    map_halo,
    map_pixels,
    map_time,
)
from s2cube.kernels import counts, fill
from s2cube.kernels.morphology import grow_status

SHAPE = (5, 17, 13)


CHUNKS = chunkings(SHAPE)


def random(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 7, shape).astype(np.uint8)


def add(one: np.ndarray, other: np.ndarray, *, more: int) -> np.ndarray:
    return one + other + np.uint8(more)


@given(CHUNKS, CHUNKS)
def test_pixels(first: tuple, second: tuple) -> None:
    one, other, column = random(1), random(2), random(3, (SHAPE[0], 1, 1))
    for b, c in ((other, second), (column, ((SHAPE[0],), (1,), (1,)))):
        expected = map_pixels(add, one, b, dtype=np.uint8, more=1)
        lazy = map_pixels(add, da.from_array(one, first), da.from_array(b, c), dtype=np.uint8, more=1)
        mixed = map_pixels(add, da.from_array(one, first), b, dtype=np.uint8, more=1)
        np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)
        np.testing.assert_array_equal(mixed.compute(scheduler="sync"), expected)


@given(CHUNKS, st.sampled_from([0.0, 1.0, 2.5, 6.0, 40.0]))
def test_halo(chunks: tuple, radius: float) -> None:
    status = random(4)
    how = {
        "dtype": np.uint8,
        "depth": (int(radius), int(radius)),
        "radius": (radius, radius),
        "states": (5,),
    }
    expected = map_halo(grow_status, status, **how)
    lazy = map_halo(grow_status, da.from_array(status, chunks), **how)
    assert lazy.shape == SHAPE
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def test_a_small_last_chunk_does_not_join_all() -> None:
    status = da.zeros((1, 2051, 2051), chunks=(1, 1024, 1024), dtype=np.uint8)
    grown = map_halo(grow_status, status, depth=(6, 6), dtype=np.uint8, radius=(6, 6), states=(5,))
    assert grown.chunks[1] == (1024, 1027)


def repeat_sum(block: np.ndarray, other: np.ndarray, *, times: int) -> np.ndarray:
    return np.repeat((block + other).sum(axis=0, keepdims=True), times, axis=0).astype(np.int64)


@given(CHUNKS)
def test_time(chunks: tuple) -> None:
    one, other = random(5), random(6)
    expected = map_time(repeat_sum, one, other, length=3, dtype=np.int64, times=3)
    lazy = map_time(repeat_sum, da.from_array(one, chunks), other, length=3, dtype=np.int64, times=3)
    assert lazy.shape == (3, *SHAPE[1:])
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def zeros(block: np.ndarray) -> int:
    return int((block == 0).sum())


@given(CHUNKS)
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


@given(CHUNKS)
def test_steps(chunks: tuple) -> None:
    array = random(9) > 3
    lazy = count_steps(da.from_array(array, chunks))
    assert lazy.shape == SHAPE[:1]
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), array.sum(axis=(1, 2)))
    np.testing.assert_array_equal(count_steps(array), array.sum(axis=(1, 2)))


def above(y: np.ndarray, x: np.ndarray, *, line: float) -> np.ndarray:
    return y > x + line


@given(CHUNKS)
def test_grid(chunks: tuple) -> None:
    like, y, x = random(10), np.arange(17.0)[::-1], np.arange(13.0)
    expected = map_grid(above, y, x, like=like, dtype=np.bool_, line=2.0)
    lazy = map_grid(above, y, x, like=da.from_array(like, chunks), dtype=np.bool_, line=2.0)
    assert lazy.shape == expected.shape == (1, *SHAPE[1:])
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


SIDE = (1, 256, 256)
SERIES = (60, 32, 32)
DAYS: dict[str, Any] = {
    "days": np.arange(0, 300, 5, dtype=np.int32),
    "targets": np.arange(300, dtype=np.int32),
}
REACH: dict[str, Any] = {**DAYS, "reach": "both", "between": 1}


def floats(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(11).random(shape).astype(np.float32)


def times(function: Callable[..., Any], dtype: str, *arrays: np.ndarray, **keywords: Any) -> tuple:
    def adapt(*given: Any) -> Any:
        return map_time(function, *given, length=300, dtype=dtype, **keywords)

    return adapt, arrays


def pixels(function: Callable[..., Any], dtype: str, *arrays: np.ndarray, **keywords: Any) -> tuple:
    return lambda *given: map_pixels(function, *given, dtype=dtype, **keywords), arrays


def grows(radius: float) -> tuple:
    how: dict[str, Any] = {"radius": (radius, radius), "states": (3, 4, 5), "dtype": "u1"}
    return lambda given: map_halo(grow_status, given, depth=(int(radius),) * 2, **how), (
        random(4, SIDE),
    )


COUNTS = (floats(SIDE) * 9000).astype(np.uint16)
VALID = floats(SERIES) > 0.4
KERNELS = {
    "decode": pixels(
        counts.decode, "f4", COUNTS, nodata=0, scale=1e-4, offset=np.full((1, 1, 1), -0.1), marked=True
    ),
    "one status": pixels(counts.look_status, "u1", COUNTS, nodata=(0,), marked=True),
    "four status": pixels(counts.look_status, "u1", *[COUNTS] * 4, nodata=(0,) * 4, marked=True),
    "classes": pixels(harmonize._as_classes, "u1", floats(SIDE)),
    "encode": pixels(counts.encode, "i2", floats(SIDE)),
    "small buffer": grows(1.0),
    "buffer": grows(6.0),
    "large buffer": grows(60.0),
    "linear": times(fill.fill_linear, "f4", floats(SERIES), VALID, **DAYS),
    "last": times(fill.fill_last, "f4", floats(SERIES), VALID, reach="both", **DAYS),
    "provenance": times(fill.provenance, "u1", VALID, **REACH),
    "age": times(fill.clear_age, "i2", VALID, **REACH),
    "clamped": (lambda given: count_blocks(counts.clamped, given, by_block=True), (floats(SIDE),)),
    "steps": (count_steps, (COUNTS > 300,)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_declared_peaks_are_true(name: str) -> None:
    """Never less than a task needs, and not so much more that it would frighten without cause."""
    adapt, arrays = KERNELS[name]
    (peak,) = look_at_graph([adapt(*[da.from_array(array, array.shape) for array in arrays])]).peaks
    adapt(*arrays)
    tracemalloc.start()
    result = adapt(*arrays)
    measured = tracemalloc.get_traced_memory()[1] + sum(array.nbytes for array in arrays)
    tracemalloc.stop()
    assert result is not None
    assert measured <= peak.task <= 3 * measured


def test_declared_peak_of_what_is_fused() -> None:
    """A mask on decoded counts is one task: it keeps what passes inside it."""
    raw = da.from_array(COUNTS, COUNTS.shape)
    values = map_pixels(counts.decode, raw, dtype=np.float32, nodata=0, scale=1e-4)
    twice = map_pixels(np.add, values, values, dtype=np.float32)
    (peak,) = look_at_graph([map_pixels(np.multiply, twice, values, dtype=np.float32)]).peaks
    assert peak.task >= COUNTS.nbytes + 3 * values.nbytes
    assert peak.task <= 3 * (COUNTS.nbytes + 3 * values.nbytes)


def test_declaring_changes_nothing_for_dask() -> None:
    """Names, tokens, fusion and pickles are those of the kernel."""
    scene = da.from_array(random(8), (1, 8, 8))
    one = map_pixels(add, scene, scene, dtype=np.uint8, more=1)
    assert one.name.startswith("add-")
    assert one.name == map_pixels(add, scene, scene, dtype=np.uint8, more=1).name
    assert one.name != map_pixels(repeat_sum, scene, scene, dtype=np.uint8, times=1).name
    twice = map_pixels(add, one, one, dtype=np.uint8, more=1)
    (fused,) = dask.optimize(twice)
    assert len(fused.__dask_graph__()) < len(twice.__dask_graph__())
    back = pickle.loads(pickle.dumps(twice))
    np.testing.assert_array_equal(back.compute(scheduler="sync"), twice.compute(scheduler="sync"))
    assert look_at_graph([back]).peaks == look_at_graph([twice]).peaks


def test_joining_series_declares_what_is_held() -> None:
    """All dates of one chunk of the source, out of which blocks are cut; once for all who share it."""
    scenes = da.zeros((40, 1024, 1024), chunks=(1, 512, 512), dtype=np.uint8)
    one = map_time(repeat_sum, scenes, scenes, length=2, dtype=np.int64, times=2)
    other = map_time(repeat_sum, scenes, scenes, length=3, dtype=np.int64, times=3)
    for peak in look_at_graph([one, other]).peaks:
        assert peak.held == {scenes.name: 40 * 512 * 512}
