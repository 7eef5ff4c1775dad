"""Whether masks agree with the series they mask, pixel by pixel."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.order import percentiles
from s2cube.schema import Status

__all__ = ["FACTS", "consistency"]

FACTS: Final = (
    "looks", "clear", "tested", "outside", "bright", "dark", "triples", "spikes",
    "usual", "usual_masked",
)  # fmt: skip
"""What is counted, by mask and pixel."""
FEWEST: Final = 10
"""Looks that a range must rest on."""
RANGE: Final = 5.0
"""Median absolute deviations: 3.4 standard deviations of a normal distribution."""
LEAST: Final = 0.005
"""Reflectance: no deviation is taken for smaller; air and calibration alone make as much."""
SPIKE: Final = (0.04, 0.10)
"""Reflectance above the line between neighbours in blue, and below it in the near infrared."""
WINDOW: Final = 60
"""Days that the neighbours of a look may lie apart."""
STEADY: Final = (0.03, 0.05)
"""Reflectance by which a bright stable target may change, in blue and in the near infrared."""
STRIP: Final = 2**18
"""Values of a series of one band worked on at once."""

_Bands = tuple[NDArray[np.float32], NDArray[np.float32]]


def consistency(
    blue: NDArray[np.float32],
    nir: NDArray[np.float32],
    *masks: NDArray[np.uint8],
    days: NDArray[np.int32],
    white: float,
) -> NDArray[np.int32]:
    """Count, by mask and pixel, the looks that speak for and against it.

    Parameters
    ----------
    blue, nir
        Reflectance, shape ``(time, y, x)``, not masked.
    *masks
        ``status``, the same shape.
    days
        Days of the looks, ascending.
    white
        Reflectance in blue from which on a stable target is bright.

    Returns
    -------
    numpy.ndarray
        ``int32``, shape ``(masks * len(FACTS), y, x)``.
    """
    out = np.zeros((len(masks) * len(FACTS), *blue.shape[1:]), np.int32)
    step = max(1, STRIP // max(1, blue.shape[0] * blue.shape[2]))
    for start in range(0, blue.shape[1], step):
        rows = slice(start, start + step)
        parts = tuple(mask[:, rows] for mask in masks)
        out[:, rows] = _strip((blue[:, rows], nir[:, rows]), parts, days, white)
    return out


def _strip(
    bands: _Bands, masks: tuple[NDArray[np.uint8], ...], days: NDArray[np.int32], white: float
) -> NDArray[np.int32]:
    looks = np.isfinite(bands[0]) & np.isfinite(bands[1])
    for mask in masks:
        looks &= mask < Status.SATURATED
    clear = [looks & (mask <= Status.CLEAR_WATER) for mask in masks]
    # One yardstick for all: what most of them call clear.
    votes = sum(one.astype(np.uint8) for one in clear)
    ranges = _left_range(bands, 2 * np.asarray(votes) > len(masks))
    usual = looks & _usual(bands, looks, white)
    found = []
    for mask, own in zip(masks, clear, strict=True):
        masked = (mask >= Status.THIN_CLOUD) & (mask <= Status.CLOUD)
        outside = [own & where for where in ranges]
        spikes = _spikes(bands, own, days)
        found += [looks, own, *outside, *spikes, usual, usual & masked]
    return np.stack([where.sum(axis=0, dtype=np.int32) for where in found])


def _left_range(bands: _Bands, reference: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return which looks can be tested, leave the range at all, are too bright, too dark."""
    distances = []
    for band in bands:
        known = np.where(reference, band, np.float32(np.nan))
        middle, seen = percentiles(known, (50,))
        spread, _ = percentiles(np.abs(known - middle), (50,))
        distances.append((band - middle) / np.maximum(spread, np.float32(LEAST)))
    tested = np.broadcast_to(seen >= FEWEST, reference.shape)
    blue, nir = distances
    with np.errstate(invalid="ignore"):
        bright, dark = tested & (blue > RANGE), tested & (nir < -RANGE)
        outside = tested & ((np.abs(blue) > RANGE) | (np.abs(nir) > RANGE))
    return [tested, outside, bright, dark]


def _spikes(
    bands: _Bands, clear: NDArray[np.bool_], days: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which clear looks have clear neighbours in time, and which of them stick out."""
    steps = np.arange(len(days))[:, None, None]
    before = np.full(clear.shape, -1)
    before[1:] = np.maximum.accumulate(np.where(clear, steps, -1), axis=0)[:-1]
    after = np.full(clear.shape, len(days))
    later = np.where(clear, steps, len(days))[::-1]
    after[:-1] = np.minimum.accumulate(later, axis=0)[::-1][1:]
    tested = clear & (before >= 0) & (after < len(days))
    before, after = np.where(tested, before, 0), np.where(tested, after, 0)
    span = days[after] - days[before]
    tested &= (span > 0) & (span <= WINDOW)
    part = ((days[:, None, None] - days[before]) / np.maximum(span, 1)).astype(np.float32)
    beyond = []
    for band in bands:
        first, last = (np.take_along_axis(band, at, axis=0) for at in (before, after))
        beyond.append(band - (first + part * (last - first)))
    with np.errstate(invalid="ignore"):
        spikes: NDArray[np.bool_] = tested & ((beyond[0] > SPIKE[0]) | (beyond[1] < -SPIKE[1]))
    return tested, spikes


def _usual(bands: _Bands, looks: NDArray[np.bool_], white: float) -> NDArray[np.bool_]:
    """Return the looks at bright stable targets that show them as they are.

    Such a target is bright even in its dark looks, so no mask is needed to find it: clouds only change
    the upper end.
    """
    same = looks.copy()
    for band, (number, steady) in zip(bands, enumerate(STEADY), strict=True):
        (low, high), seen = percentiles(np.where(looks, band, np.float32(np.nan)), (10, 30))
        with np.errstate(invalid="ignore"):
            stable = (seen >= FEWEST) & (high - low < steady)
            if number == 0:
                stable &= low > white
            same &= stable & (band >= low - np.float32(steady)) & (band <= high + np.float32(steady))
    return same
