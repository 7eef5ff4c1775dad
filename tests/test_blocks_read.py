"""Arrays that are read when they are computed: the same for any chunks, named after what reads."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from s2cube.blocks import Location, Need, is_lazy, look_at_graph, read_blocks

SHAPE = (3, 2, 7, 5)


@dataclass(frozen=True)
class Numbers:
    """Every value its own place; each date is brought in a western and an eastern part."""

    start: int = 0
    brought: Counter[Need] = field(default_factory=Counter)
    broken: tuple[Need, ...] = ()

    def __dask_tokenize__(self) -> tuple[str, int, str]:
        return "numbers", self.start, str(self.broken)

    def needs(self, location: Location) -> list[Need]:
        (first, last), _, _, (left, right) = location
        sides = [side for side, here in enumerate((left < 3, right > 3)) if here]
        return [(day, side) for day in range(first, last) for side in sides]

    def bring(self, need: Need) -> bool:
        self.brought[need] += 1
        return need not in self.broken

    def read(self, location: Location, failed: Sequence[Need]) -> np.ndarray:
        whole = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE) + self.start
        for day, side in failed:
            whole[day, :, :, (slice(0, 3), slice(3, 5))[side]] = -1
        return whole[tuple(slice(*edge) for edge in location)]


CHUNKS = [(1, -1, 3, 2), (2, 2, 7, 5), (-1, -1, -1, -1), (9, 9, 9, 9), None]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_any_chunks_give_the_same(chunks: tuple[int, ...] | None) -> None:
    source = Numbers(broken=((1, 1),))
    got = read_blocks(source, SHAPE, chunks=chunks, dtype=np.int32)
    assert is_lazy(got) == (chunks is not None)
    expected = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    expected[1, :, :, 3:] = -1
    np.testing.assert_array_equal(np.asarray(got), expected)
    assert source.brought == {(day, side): 1 for day in range(3) for side in range(2)}


def test_only_what_is_needed_is_brought() -> None:
    source = Numbers()
    lazy = read_blocks(source, SHAPE, chunks=(1, -1, 4, 3), dtype=np.int32)
    assert not source.brought
    lazy[2, :, :2, :2].compute()
    assert source.brought == {(2, 0): 1}


def test_tasks_are_named_after_what_reads() -> None:
    one, same, other, coarse = (
        read_blocks(Numbers(start), SHAPE, chunks=(1, -1, rows, 5), dtype=np.int32)
        for start, rows in ((0, 4), (0, 4), (1, 4), (0, 7))
    )
    assert one.name == same.name != other.name
    keys = [
        {key for key in dict(a.__dask_graph__()) if "bring" in str(key)} for a in (one, other, coarse)
    ]
    assert keys[0] == keys[2], "what is brought serves all chunks"
    assert not keys[0] & keys[1]
    assert len(keys[0]) == 3 * 2


def test_the_peak_is_declared() -> None:
    lazy = read_blocks(Numbers(), SHAPE, chunks=(1, -1, 4, 5), dtype=np.int32)
    (peak,) = look_at_graph([lazy]).peaks
    assert (peak.adapter, peak.made) == ("read_blocks", 2 * 4 * 5 * 4)
