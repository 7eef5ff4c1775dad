"""Which looks of a series are shifted by an offset: what one look can tell, what two can, all of them.

Plain arrays in and out. A look is shifted by -0.1, 0 or 0.1; costs are negative logarithms of how
plausible that is.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DECISIVE",
    "LINKS",
    "SHIFTS",
    "comparable",
    "compare",
    "cost_of_look",
    "cost_of_pair",
    "margins",
]

Costs = NDArray[np.float64]

SHIFTS: Final = (-0.1, 0.0, 0.1)
"""Reflectance that a look has too much: -0.1 is an offset added twice, 0.1 one that was not added."""
LINKS: Final = 3
"""How many looks before it each is compared with: clouds may have spoiled the nearest."""
DECISIVE: Final = 2.5
"""Costs by which a shift must beat the two others."""

LIE: Final = 1.5
"""Metadata are mostly right."""
BELOW: Final = (-0.01, 0.008)
"""From where on a dark end is too dark, and by how much it costs one more. Atmospheric correction takes
too much now and then, but hardly 0.04 of whole percentiles in all bands."""
ABOVE: Final = (0.05, 0.02)
"""The same of one too bright: haze, which is common."""
MOST: Final = (12.0, 3.0)
"""Cost at most of too dark (nothing else explains it), too bright (haze and thin cloud do)."""

VISIBLE: Final = 0.02
"""Reflectance by which the median of a pair differs from date to date, visible bands."""
INFRARED: Final = 0.05
"""The same in the near infrared, where seasons are seen."""
SPOILED: Final = 2.0
"""Cost at most of a pair: one of the two may be hazy."""
ALIKE: Final = 0.025
"""Visible bands that a look shifts by more than this apart are shifted by haze, snow or smoke."""
CONTRAST: Final = 0.5
"""An offset leaves contrasts as they are, haze does not: the most that they may change, log2."""


def cost_of_look(dark: float, *, tells_bright: bool, applied: float | None = None) -> Costs:
    """Return what each of :data:`SHIFTS` costs one look by itself.

    Parameters
    ----------
    dark
        Reflectance of the dark end of what is clear.
    tells_bright
        Whether it is of something that is known to be dark. Of bare ground or of anything, a bright
        dark end tells nothing.
    applied
        The offset that was added, where it is known: what was not added cannot have been added twice.
    """
    true = dark - np.array(SHIFTS)
    cost = np.minimum(np.maximum(BELOW[0] - true, 0) / BELOW[1], MOST[0])
    if not tells_bright:
        return cost
    cost += np.minimum(np.maximum(true - ABOVE[0], 0) / ABOVE[1], MOST[1])
    # Not without evidence: what is right more often than not would add up along a series to certainty.
    cost += np.array([LIE, 0, LIE])
    if applied is not None:
        cost += np.array([applied > -0.05, False, applied < -0.05])
    return cost


def compare(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return by how much a look is above another, band by band, and how contrasts differ.

    Parameters
    ----------
    one, other
        The same pixels, clear in both, shape ``(band, pixel)``.

    Returns
    -------
    difference, contrast
        Median difference; log2 of the ratio of the ranges from the 10th to the 90th percentile.
    """
    difference = np.median(one.astype(np.float64) - other, axis=1)
    ranges = [np.subtract(*np.percentile(look, [90, 10], axis=1)) for look in (one, other)]
    # A count is the least that a range can be told from zero by.
    contrast = np.log2(np.maximum(ranges[0], 1e-4) / np.maximum(ranges[1], 1e-4))
    return difference, contrast


def comparable(
    difference: NDArray[np.float64], contrast: NDArray[np.float64], visible: NDArray[np.bool_]
) -> bool:
    """Return whether an offset, or nothing, may be all that two looks differ by.

    Haze, smoke and snow shift the visible bands by different amounts, or take contrast away.

    Parameters
    ----------
    difference, contrast
        As :func:`compare` gives them.
    visible
        Which of the bands are visible.
    """
    if visible.any() and np.ptp(difference[visible]) > ALIKE:
        return False
    # Contrasts are large, and so well told, in the infrared; in the visible noise is half of them.
    telling = contrast[~visible] if not visible.all() else contrast
    return bool(np.abs(np.median(telling)) <= CONTRAST)


def cost_of_pair(difference: NDArray[np.float64], visible: NDArray[np.bool_]) -> Costs:
    """Return what the shifts of two comparable looks cost.

    Parameters
    ----------
    difference
        As :func:`compare` gives it.
    visible
        Which of the bands are visible.

    Returns
    -------
    numpy.ndarray
        Shape (3, 3): shift of the one, shift of the other.
    """
    shifts = np.array(SHIFTS)
    apart = (shifts[:, None] - shifts[None, :])[..., None]
    squares = ((difference - apart) / np.where(visible, VISIBLE, INFRARED)) ** 2
    cost = np.zeros((3, 3))
    # Bands err together: they count as one and a half, however many there are.
    if visible.any():
        cost += 0.75 * squares[..., visible].mean(-1)
    if not visible.all():
        cost += 0.5 * squares[..., ~visible].mean(-1)
    return np.minimum(cost, SPOILED)


def margins(looks: Sequence[Costs], pairs: Sequence[Sequence[Costs]]) -> Costs:
    """Return what each shift of each look costs when all the others take the shifts that suit it best.

    Exact, by dynamic programming along the series.

    Parameters
    ----------
    looks
        By look, :func:`cost_of_look`.
    pairs
        By look, up to :data:`LINKS` of :func:`cost_of_pair` with the look before, the one before that,
        and so on; zeros where two cannot be compared.

    Returns
    -------
    numpy.ndarray
        Shape ``(look, 3)``, the least of each row is 0.

    Examples
    --------
    >>> from s2cube.evaluate.shifts import margins, cost_of_look
    >>> margins([cost_of_look(-0.08, tells_bright=True)], [[]]).argmin()
    np.int64(0)
    """
    steps = [_step(look, before) for look, before in zip(looks, pairs, strict=True)]
    ahead = [np.zeros((3, 3, 3))]
    for step in steps:
        ahead.append((ahead[-1][..., None] + step).min(axis=0))
    result = np.zeros((len(looks), 3))
    behind = np.zeros((3, 3, 3))
    for n in range(len(steps) - 1, -1, -1):
        result[n] = (ahead[n + 1] + behind).min(axis=(0, 1))
        behind = (steps[n] + behind[None]).min(axis=-1)
    lowest: Costs = result - result.min(axis=1, keepdims=True)
    return lowest


def _step(look: Costs, before: Sequence[Costs]) -> Costs:
    """Return the cost of a look by the shifts of the three before it and its own, oldest first."""
    cost = np.zeros((3,) * (LINKS + 1)) + look
    for back, pair in enumerate(before, start=1):
        shape = [1] * (LINKS + 1)
        shape[LINKS - back] = shape[LINKS] = 3
        # The own shift is the first axis of a pair, and the last one here.
        cost = cost + pair.T.reshape(shape)
    return cost
