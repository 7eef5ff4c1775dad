"""How many deviations hold 68 and 95 % of the errors, counted on the errors of one method."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.gapfill.intervals import EDGES
from s2cube.schema import Provenance

__all__ = ["GAUSSIAN", "PERCENTS", "count_quantiles", "width"]

PERCENTS: Final = (68, 95)
GAUSSIAN: Final = {68: (1.0,) * 5, 95: (1.96,) * 5}
"""Of errors with tails as short as a Gaussian's: where nothing was counted."""
FEWEST: Final = 2000
"""Values of days that are enough to count; of fewer, all days are counted."""


def count_quantiles(multiples: NDArray[Any], age: NDArray[Any]) -> NDArray[np.float32]:
    """Return how many deviations hold so many of the errors.

    Parameters
    ----------
    multiples
        Errors as multiples of the deviation, without sign.
    age
        Days to the nearest clear look.

    Returns
    -------
    numpy.ndarray
        ``float32``, by percent and days.

    Examples
    --------
    >>> errors = np.abs(np.random.default_rng(0).standard_normal(100_000))
    >>> count_quantiles(errors, np.full(100_000, 3)).round(1)[:, 0].tolist()
    [1.0, 2.0]
    """
    found = np.empty((len(PERCENTS), len(EDGES) + 1), np.float32)
    place = np.searchsorted(EDGES, age)
    for number in range(len(EDGES) + 1):
        some = multiples[place == number]
        found[:, number] = np.percentile(some if len(some) >= FEWEST else multiples, PERCENTS)
    return found


def width(
    deviation: NDArray[np.float32],
    source: NDArray[np.uint8],
    age: NDArray[np.int16],
    *,
    factors: tuple[float, ...],
) -> NDArray[np.float32]:
    """Return half of the width of an interval: 0 where observed, NaN where never observed.

    Parameters
    ----------
    deviation, source, age
        As for :func:`s2cube.gapfill.intervals.half_width`.
    factors
        How many deviations it is, by days.
    """
    factor = np.asarray(factors, np.float32)[np.searchsorted(EDGES, age)]
    wide: NDArray[np.float32] = np.where(source == Provenance.OBSERVED, 0, deviation * factor)
    return np.where(source == Provenance.NEVER_OBSERVED, np.float32(np.nan), wide)
