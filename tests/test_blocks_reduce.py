"""From the looks of a period to one image: the same for numpy and Dask, whatever the chunks."""

import pickle
import tracemalloc
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from chunkings import chunkings
from compare import same_bits
from engines import without_numba
from hypothesis import given, settings
from hypothesis import strategies as st

from s2cube.blocks import look_at_graph, reduce_time
from s2cube.blocks import reduce as reducing
from s2cube.composites import verbs

SHAPE = (23, 17, 13)


CHUNKS = chunkings(SHAPE)
groupings = st.lists(
    st.sets(st.integers(0, SHAPE[0] - 1)).map(lambda dates: np.array(sorted(dates), np.intp)),
    min_size=1,
    max_size=5,
)


def looks(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.random(shape).astype(np.float32)
    values[rng.random(shape) < 0.3] = np.nan
    return values


def describe(
    one: np.ndarray, other: np.ndarray, *, weights: np.ndarray, more: float = 0.0
) -> np.ndarray:
    """A kernel that shows what it was given: which dates, in which order, with which weights."""
    order = np.arange(1.0, len(one) + 1)[:, None, None] * weights[:, None, None]
    sums = [(np.nan_to_num(block) * order).sum(0) for block in (one, other)]
    number = np.full(one.shape[1:], len(one) + more)
    return np.stack([*sums, number]).astype(np.float32)


@given(CHUNKS, CHUNKS, groupings)
def test_dask_is_numpy(first: tuple, second: tuple, groups: list[np.ndarray]) -> None:
    """Groups with gaps, groups that overlap, groups without any date."""
    one, other = looks(1), looks(2)
    how: dict[str, Any] = {
        "groups": groups,
        "made": 3,
        "by_date": {"weights": np.arange(SHAPE[0]) % 5},
    }
    expected = np.stack(
        [describe(one[g], other[g], weights=how["by_date"]["weights"][g], more=2) for g in groups]
    )
    whole = reduce_time(describe, one, other, **how, more=2)
    assert same_bits(whole, expected)
    lazy = reduce_time(describe, da.from_array(one, first), da.from_array(other, second), **how, more=2)
    assert lazy.shape == (len(groups), 3, *SHAPE[1:])
    assert lazy.dtype == np.float32
    assert lazy.chunks[2:] == first[1:]
    assert same_bits(lazy.compute(scheduler="sync"), expected)
    mixed = reduce_time(describe, da.from_array(one, first), other, **how, more=2)
    assert same_bits(mixed.compute(scheduler="sync"), expected)


@settings(max_examples=20)
@given(CHUNKS)
def test_kernels_too(chunks: tuple) -> None:
    arrays = [looks(3), looks(4)]
    groups = [np.arange(9), np.arange(5, 23, 3), np.arange(0)]
    for kernel, made, keywords in (
        (verbs._percentiles, 3, {"q": (25.0, 75.0)}),
        (verbs._geomedian, 6, {"deviations": True}),
    ):
        given_ = arrays[:1] if made == 3 else arrays
        how: dict[str, Any] = {"groups": groups, "made": made, **keywords}
        lazy = reduce_time(kernel, *(da.from_array(array, chunks) for array in given_), **how)
        expected = reduce_time(kernel, *given_, **how)
        assert same_bits(lazy.compute(scheduler="sync"), expected)
        # A period without looks: no values, and none counted.
        assert np.isnan(expected[2, :-1]).all()
        assert (expected[2, -1] == 0).all()


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = looks(1), looks(2)
    how: dict[str, Any] = {
        "groups": [np.arange(20)], "made": 3, "by_date": {"weights": np.ones(SHAPE[0])}
    }  # fmt: skip
    whole = reduce_time(describe, one, other, **how)
    monkeypatch.setattr(reducing, "STRIP", 1)
    assert same_bits(reduce_time(describe, one, other, **how), whole)


@pytest.mark.parametrize("along", [1, 5])
def test_a_task_a_group_and_block(along: int) -> None:
    """Neither dates nor arrays make more of them: no joining, no cutting."""
    scenes = da.zeros((40, 64, 96), chunks=(along, 32, 32), dtype=np.float32)
    groups = [np.arange(30), np.arange(20, 40), np.arange(0)]
    for arrays in ([scenes], [scenes, scenes + 1, scenes + 2]):
        made = reduce_time(np.stack, *arrays, groups=groups, made=1)
        reads = {key for array in arrays for key in array.__dask_graph__()}
        assert len(set(made.__dask_graph__()) - reads) == 3 * 2 * 3


def test_a_group_asks_for_its_own_dates_only() -> None:
    """An image of June does not read July."""
    scenes = da.from_array(looks(1), (2, 17, 13))
    made = reduce_time(verbs._complete, scenes, groups=[np.arange(0, 4), np.arange(9, 23)], made=1)
    (june,) = dask.optimize(made[0])
    reads = [key for key in june.__dask_graph__() if isinstance(key, tuple) and key[0] == scenes.name]
    assert len(reads) <= 2


def test_the_same_call_has_the_same_keys() -> None:
    scenes = da.from_array(looks(1), (2, 17, 13))
    base: dict[str, Any] = {"groups": [np.arange(4), np.arange(9)], "made": 3, "q": (25.0, 75.0)}
    names = [
        reduce_time(verbs._percentiles, scenes, **{**base, **other}).name
        for other in (
            {},
            {},
            {"q": (25.0, 50.0)},
            {"groups": [np.arange(4), np.arange(8)]},
            {"by_date": {"weights": np.ones(23)}},
        )
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 4


def test_it_can_be_sent() -> None:
    made = reduce_time(
        verbs._percentiles, da.from_array(looks(1), (2, 9, 13)), groups=[np.arange(9)], made=2, q=(50.0,)
    )
    back = pickle.loads(pickle.dumps(made))
    assert back.name == made.name
    assert same_bits(back.compute(scheduler="sync"), made.compute(scheduler="sync"))


KERNELS: dict[str, tuple[Any, int, int, dict[str, Any]]] = {
    "percentiles": (verbs._percentiles, 1, 4, {"q": (25.0, 50.0, 75.0)}),
    "geomedian": (verbs._geomedian, 4, 8, {"deviations": True}),
    "count": (verbs._complete, 4, 1, {}),
}


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "numpy"])
@pytest.mark.parametrize("shape", [(40, 256, 256), (200, 8, 4096), (4, 512, 512)], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_declared_peaks_are_true(name: str, shape: tuple[int, int, int], compiled: bool) -> None:
    """Never less than a task needs, and not so much more that it would frighten without cause."""
    kernel, bands, made, keywords = KERNELS[name]
    arrays = [looks(band, shape) for band in range(bands)]
    how: dict[str, Any] = {"groups": [np.arange(shape[0])], "made": made, **keywords}
    lazy = reduce_time(kernel, *(da.from_array(a, (10, *shape[1:])) for a in arrays), **how)
    (peak,) = look_at_graph([lazy]).peaks
    assert peak.adapter == "reduce_time"

    def work() -> int:
        tracemalloc.start()
        reduce_time(kernel, *arrays, **how)
        measured = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return measured + sum(array.nbytes for array in arrays)

    small = [array[:, :1, :64] for array in arrays]
    reduce_time(kernel, *small, **how)
    if compiled:
        measured = work()
    else:
        with without_numba():
            measured = work()
    assert measured <= peak.task
    assert peak.task <= 3 * measured + 2**26


def test_declared_peak_of_part_of_the_dates() -> None:
    """Blocks come whole; of the largest group, not of all."""
    scenes = da.zeros((40, 512, 512), chunks=(1, 256, 256), dtype=np.float32)
    made = reduce_time(verbs._complete, scenes, groups=[np.arange(3), np.arange(10, 20)], made=1)
    (peak,) = look_at_graph([made]).peaks
    assert peak.inside == 10 * 256 * 256 * 4
