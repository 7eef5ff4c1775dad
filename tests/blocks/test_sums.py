"""Sums over blocks: the same whole numbers for any chunks."""

from typing import Any

import dask.array as da
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from s2cube.blocks import look_at_graph, sum_blocks


def _two(block: np.ndarray, rows: np.ndarray, *, unit: float) -> np.ndarray:
    whole = np.rint(block / unit).astype(np.int64)
    return np.array([whole.sum(), (whole * rows).sum(), len(block)])


@settings(max_examples=10)
@given(st.tuples(st.integers(1, 5), st.integers(3, 9), st.integers(3, 11)))
def test_any_chunks_give_the_same(chunks: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).normal(0, 1, (5, 9, 11)).astype(np.float32)
    rows = np.arange(9)[None, :, None]
    how: dict[str, Any] = {"length": 3, "unit": 1e-3}
    here = sum_blocks(_two, values, rows, **how)
    lazy = sum_blocks(_two, da.from_array(values, chunks), rows, **how)
    assert lazy.dtype == np.int64
    assert lazy.shape == (3,)
    got = np.asarray(lazy)
    np.testing.assert_array_equal(got[:2], here[:2])
    blocks = -(-9 // chunks[1]) * -(-11 // chunks[2])
    assert got[2] == 5 * blocks, "each block holds all dates"


def test_the_peak_is_declared() -> None:
    values = da.ones((6, 20, 20), chunks=(2, 10, 20), dtype=np.float32)
    rows = np.arange(20)[None, :, None]
    (peak,) = look_at_graph([sum_blocks(_two, values, rows, length=3, unit=1.0)]).peaks
    assert peak.adapter == "sum_blocks"
    assert peak.task >= 6 * 10 * 20 * 4
