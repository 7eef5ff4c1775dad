"""Any way to cut arrays into chunks."""

from collections.abc import Sequence

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

Chunks = tuple[tuple[int, ...], ...]
MOST = 3 if settings.default.max_examples <= 60 else None
"""Cuts an axis, at most; the thorough profile knows no limit, down to chunks of single pixels."""


def cuts(length: int) -> st.SearchStrategy[tuple[int, ...]]:
    """An axis in chunks of any lengths, 1 among them."""
    marks = st.sets(st.integers(1, length - 1), max_size=MOST).map(sorted)
    return marks.map(lambda at: tuple(np.diff([0, *at, length]).tolist()))


def chunkings(shape: Sequence[int]) -> st.SearchStrategy[Chunks]:
    """Chunks as Dask takes them."""
    return st.tuples(*(cuts(length) for length in shape))
