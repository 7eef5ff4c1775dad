"""Comparing a mask with the truth: pairs of states in one byte, and what lies near edges."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.morphology import grow_status
from s2cube.schema import Status

__all__ = ["SIDE", "common_looks", "near_edges", "pair_codes", "pair_counts"]

SIDE: Final = 8
"""States of a look, rounded up to a power of two."""
LEFT_OUT: Final = 255
_GROUPS: Final = np.array([0, 0, 1, 3, 2, 3, 255, 255, 255], np.uint8)
"""Clear, snow, shadow, cloud; no look, by ``status``."""


def common_looks(
    truth: NDArray[np.uint8], *masks: NDArray[np.uint8], left_out: tuple[int, ...] = ()
) -> NDArray[np.uint8]:
    """Return `truth`, with ``no_data`` where any mask or itself has no look, or it is `left_out`."""
    nowhere = (truth >= Status.SATURATED) | np.isin(truth, left_out)
    for mask in masks:
        nowhere |= mask >= Status.SATURATED
    return np.where(nowhere, np.uint8(Status.NO_DATA), truth)


def near_edges(truth: NDArray[np.uint8], *, radius: tuple[float, float]) -> NDArray[np.bool_]:
    """Return where another class of `truth` lies within a distance.

    Parameters
    ----------
    truth
        States, shape ``(time, y, x)``. Clear land and water are one class, thin and thick cloud too;
        where there is no look there is no class, and no edge.
    radius
        Distance in pixels along ``y`` and ``x``, from centre to centre.

    Returns
    -------
    numpy.ndarray
        ``bool``, the same shape.
    """
    groups = _GROUPS[truth]
    looked = groups < 255
    near = np.zeros(truth.shape, bool)
    for ranks in (np.where(looked, groups, 0), np.where(looked, 3 - groups, 0)):
        seen = ranks.astype(np.uint8)
        near |= looked & (grow_status(seen, radius=radius, states=(1, 2, 3)) > seen)
    return near


def pair_codes(
    truth: NDArray[np.uint8], mask: NDArray[np.uint8], near: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Return a byte for each look that tells both states, and whether it is near an edge."""
    codes = truth * np.uint8(SIDE) + mask
    if near is not None:
        codes += near * np.uint8(SIDE * SIDE)
    return np.where(np.maximum(truth, mask) >= Status.SATURATED, np.uint8(LEFT_OUT), codes)


def pair_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each pair of states occurs, from how often each code does.

    Returns
    -------
    numpy.ndarray
        ``int64``, shape ``(2, 8, 8)``: far from edges and near them, by truth, by mask.

    Examples
    --------
    >>> codes = pair_codes(np.array([5, 5, 0, 7], "u1"), np.array([5, 4, 0, 0], "u1"))
    >>> far, _ = pair_counts(np.bincount(codes, minlength=256))
    >>> int(far[5, 5]), int(far[5, 4]), int(far[0, 0]), int(far.sum())
    (1, 1, 1, 3)
    """
    return counts[: 2 * SIDE * SIDE].reshape(2, SIDE, SIDE)
