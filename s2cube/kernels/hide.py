"""Hiding looks: which pixels are taken away from a series, and taking them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["both_true", "draw", "hide", "under", "without"]

# SplitMix64 (Steele, Lea and Flood 2014): a number's successors look like chance.
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def hide(values: NDArray[np.float32], hidden: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return `values` with NaN where they are hidden."""
    return np.where(hidden, np.float32(np.nan), values)


def without(valid: NDArray[np.bool_], hidden: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what of `valid` is not hidden."""
    return valid & ~hidden


def both_true(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where both are True."""
    return one & other


def under(valid: NDArray[np.bool_], moved: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the clear pixels that lie under the clouds of another look, which `moved` calls clear."""
    return valid & ~moved


def draw(
    valid: NDArray[np.bool_],
    days: NDArray[np.int32],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    *,
    share: float,
    seed: int,
) -> NDArray[np.bool_]:
    """Choose a share of the clear pixels, by chance that depends on place and day only.

    Parameters
    ----------
    valid
        Which pixels are clear, shape ``(time, y, x)``.
    days, rows, columns
        Day of each step (-1 for those left alone), numbers of rows and columns in the whole image;
        shapes ``(time, 1, 1)``, ``(1, y, 1)`` and ``(1, 1, x)``.
    share
        How many, 0 to 1.
    seed
        Another seed makes another choice.

    Returns
    -------
    numpy.ndarray
        ``bool``, the shape of `valid`.
    """
    state: NDArray[np.uint64] = np.array(seed % 2**64, np.uint64)
    for part in (days, rows, columns):
        state = _mix(state ^ _mix(part.astype(np.int64).astype(np.uint64)))
    chance = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
    chosen: NDArray[np.bool_] = valid & (chance < share) & (days >= 0)
    return chosen


def _mix(number: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        number = number + _ODD
        number = (number ^ (number >> np.uint64(30))) * _FIRST
        number = (number ^ (number >> np.uint64(27))) * _SECOND
    return number ^ (number >> np.uint64(31))
