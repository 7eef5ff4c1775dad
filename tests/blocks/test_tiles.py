"""Tiles: at fixed pixels of the grid, the same numbers in any chunks and in any part of it."""

import pickle
import tracemalloc
from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
from compare import same_bits
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st

from s2cube.blocks import cut_alike, look_at_graph, map_tiles
from s2cube.blocks.peak import declared

SIDE, HALO = 16, 5
REACH = SIDE + max(HALO, SIDE // 2)
"""From the edge of the array; farther inside, tiles are those of the grid."""
HOW: dict[str, Any] = {
    "side": SIDE, "halo": HALO, "length": 3, "dtypes": (np.float32, np.uint8), "work": 0
}  # fmt: skip


def looks(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


Inside = tuple[slice, slice]


def tell(
    one: np.ndarray, other: np.ndarray, *, origin: tuple[int, int], inside: Inside, more: float
) -> Iterator[Any]:
    """A kernel to which everything matters that it is given: where, how large, and which looks."""
    middle = one.mean(dtype=np.float64) + other[-1].max() * np.hypot(*origin)
    base = one[:3] * np.float32(middle) + np.float32(more)
    yield (base + np.nancumsum(other[:3], axis=2, dtype=np.float32))[:, *inside]
    yield np.full(base[:, *inside].shape, (origin[0] * 7 + origin[1] + one.shape[1]) % 251, np.uint8)


def draw(
    one: np.ndarray, other: np.ndarray, *, origin: tuple[int, int], inside: Inside
) -> list[np.ndarray]:
    """The same, but for sums: any window gives something else."""
    rng = np.random.default_rng([abs(origin[0]), abs(origin[1]), *one.shape])
    made = one[:3] * np.float32(other.mean(dtype=np.float64)) + rng.random(dtype=np.float32)
    return [made[:, *inside]]


DRAWN = {**HOW, "dtypes": (np.float32,)}


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    origin=st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)),
    chunks=st.tuples(st.integers(1, 4), st.integers(3, 90), st.integers(3, 90)),
)
def test_any_chunks_give_the_same(
    size: tuple[int, int], origin: tuple[int, int], chunks: tuple[int, int, int]
) -> None:
    one, other = looks((4, *size)), looks((4, *size), 1)
    whole = map_tiles(tell, one, other, origin=origin, more=0.5, **HOW)
    lazy = map_tiles(tell, da.from_array(one, chunks), other, origin=origin, more=0.5, **HOW)
    for expected, got, dtype in zip(whole, lazy, HOW["dtypes"], strict=True):
        assert expected.shape == got.shape == (3, *size)
        assert expected.dtype == got.dtype == dtype
        assert same_bits(got.compute(scheduler="sync"), expected)


@settings(max_examples=30)
@given(
    origin=st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)),
    top=st.integers(0, 60),
    left=st.integers(0, 60),
    size=st.tuples(st.integers(2 * REACH + 1, 120), st.integers(2 * REACH + 1, 120)),
)
def test_any_part_of_a_grid_gives_the_same_inside(
    origin: tuple[int, int], top: int, left: int, size: tuple[int, int]
) -> None:
    one, other = looks((4, 180, 180)), looks((4, 180, 180), 1)
    (whole,) = map_tiles(draw, one, other, origin=origin, **DRAWN)
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    at = (origin[0] + top, origin[1] + left)
    (part,) = map_tiles(draw, one[:, rows, columns], other[:, rows, columns], origin=at, **DRAWN)
    # Far from the edge of the part, and of the whole.
    far = np.pad(np.ones((180 - 2 * REACH,) * 2, bool), REACH)[rows, columns]
    far[:REACH] = far[-REACH:] = far[:, :REACH] = far[:, -REACH:] = False
    assert same_bits(part[:, far], whole[:, rows, columns][:, far])


def test_tiles_are_those_of_the_grid() -> None:
    seen = []

    def look(window: np.ndarray, *, origin: tuple[int, int], inside: Inside) -> list[np.ndarray]:
        seen.append((origin, window.shape[1:]))
        return [window[:, *inside]]

    image = looks((1, 60, 23))
    how = {**HOW, "length": 1, "dtypes": (np.float32,)}
    (same,) = map_tiles(look, da.from_array(image, (1, 7, 9)), origin=(-20, 4), **how)
    assert same_bits(same.compute(scheduler="sync"), image)
    # Rows -20 to 40: edges at -16, 0, 16, 32, of which the first leaves 4 rows and goes; so does the one
    # of columns, 4 to 27, at 16: 12 and 11 are more than half of a tile, so it stays.
    assert same.chunks == ((1,), (20, 16, 16, 8), (12, 11))
    assert sorted(seen) == [
        ((y, x), (height, width))
        for y, height in ((-20, 25), (-5, 26), (11, 26), (27, 13))
        for x, width in ((4, 17), (11, 16))
    ]


def test_little_at_an_end_goes_with_its_neighbour() -> None:
    for origin, sizes in ((0, (16, 16, 8)), (1, (15, 16, 9)), (10, (22, 18)), (8, (8, 16, 16))):
        image = da.zeros((2, 40, 3), chunks=(1, 8, 3), dtype=np.float32)
        made, _ = map_tiles(tell, image, image, origin=(origin, 0), more=0.0, **HOW)
        assert made.chunks == ((3,), sizes, (3,))


def test_each_tile_is_computed_once_and_only_if_needed() -> None:
    calls = []

    def look(window: np.ndarray, *, origin: tuple[int, int], inside: Inside) -> list[np.ndarray]:
        calls.append(origin)
        return [window[:, *inside], window[:, *inside] > 0]

    image = da.from_array(looks((3, 64, 64)), (1, 20, 20))
    how = {**HOW, "dtypes": (np.float32, np.bool_)}
    both = map_tiles(look, image, origin=(0, 0), **how)
    da.compute(*both, scheduler="sync")
    assert len(calls) == len(set(calls)) == 16
    calls.clear()
    both[1][:, 16:48, :16].compute(scheduler="sync")
    assert len(calls) == 2


def test_graphs_are_deterministic_and_travel() -> None:
    image = da.from_array(looks((4, 40, 40)), (1, 20, 20))
    one, again, other, moved = (
        map_tiles(tell, image, image, origin=(at, 0), more=more, **HOW)[0]
        for at, more in ((0, 1.0), (0, 1.0), (0, 2.0), (16, 1.0))
    )
    assert one.name == again.name
    assert tokenize(one) == tokenize(again)
    assert len({one.name, other.name, moved.name}) == 3
    back = pickle.loads(pickle.dumps(one))
    assert same_bits(back.compute(scheduler="sync"), again.compute())


def test_tasks_grow_with_tiles_not_with_dates() -> None:
    """Above the rechunking, which joins dates."""

    def tasks(dates: int) -> int:
        image = da.zeros((dates, 64, 64), chunks=(dates, 64, 64), dtype=np.float32)
        return look_at_graph(map_tiles(tell, image, image, origin=(0, 0), more=1.0, **HOW)).tasks

    assert tasks(90) == tasks(30)


def test_results_can_be_cut_alike() -> None:
    image = da.zeros((4, 40, 40), chunks=(1, 20, 20), dtype=np.float32)
    made, _ = map_tiles(tell, image, image, origin=(3, 3), more=1.0, **HOW)
    assert cut_alike(image, made).chunks[1:] == made.chunks[1:]
    assert cut_alike(image[0], made).chunks == made.chunks[1:]
    here = np.zeros((4, 40, 40))
    assert cut_alike(here, made) is here
    assert cut_alike(image, here) is image


def twice(one: np.ndarray, valid: np.ndarray, *, origin: Any, inside: Inside) -> list[np.ndarray]:
    """Make 9 dates of 4, by way of a stack that takes 20 bytes a pixel and date."""
    stack = np.stack([one] * 5)
    made = np.empty((2, 9, *one[0][inside].shape), np.float32)
    made[:] = stack[:2].mean() + valid.sum() + origin[0]
    return [made[0], made[1]]


@pytest.mark.parametrize("chunks", [(4, 150, 150), (1, 40, 90), (4, 300, 300)])
@pytest.mark.parametrize("side", [32, 64, 300])
def test_declared_peaks_are_true(chunks: tuple[int, int, int], side: int) -> None:
    """Never less than a task needs, and not so much more that it would frighten without cause."""
    image = da.from_array(np.ones((4, 300, 300), np.float32), chunks)
    made = map_tiles(
        twice, image, image > 0, origin=(5, 0), side=side, halo=16, length=9, dtypes=[np.float32] * 2,
        work=4 * 20,
    )  # fmt: skip
    graph = made[1].__dask_graph__()
    peaks = {name: peak for name, peak in declared(graph) if peak.adapter == "map_tiles"}
    assert len(peaks) == 2
    for name, peak in peaks.items():
        most = max(_measure(graph, key) for key in graph.layers[name].get_output_keys())
        assert most <= peak.task + sum(peak.held.values()) <= 3 * most


def _measure(graph: Any, key: tuple[Any, ...]) -> int:
    """Return what the task of `key` takes, what goes in counted."""
    from dask._task_spec import convert_legacy_graph

    tasks = convert_legacy_graph(dict(graph.to_dict()))
    known: dict[Any, Any] = {}

    def value(of: Any) -> Any:
        if of not in known:
            known[of] = tasks[of]({need: value(need) for need in tasks[of].dependencies})
        return known[of]

    needs = {need: value(need) for need in tasks[key].dependencies}
    inside = sum(
        sum(array.nbytes for array in (found if isinstance(found, tuple) else (found,)))
        for found in needs.values()
    )
    tracemalloc.start()
    tasks[key](needs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak + inside
