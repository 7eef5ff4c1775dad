"""Intervals of mean errors, by drawing whole dates: pixels of one are no others."""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["draws", "middle"]

DRAWS: Final = 1000
LEVEL: Final = 95.0
"""Percent that an interval holds."""


@lru_cache(maxsize=64)
def draws(count: int) -> NDArray[np.float64]:
    """Return how often each of `count` dates is drawn, in each draw: shape ``(draws, count)``."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    weights: NDArray[np.float64] = drawn.astype(float)
    return weights


def middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return between which two lie 95 % of the draws' values."""
    low, high = np.percentile(values, ((100 - LEVEL) / 2, (100 + LEVEL) / 2))
    return float(low), float(high)
