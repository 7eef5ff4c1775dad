"""Slopes, told by a pair of level 1C and 2A: by how much more light each pixel gets than flat ground."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_slopes", "smoothed"]

Maps = NDArray[np.float64]
ROUNDS: Final = 12
STRONGEST: Final = 1.5
"""More light than this over that of flat ground is no slope."""


def smoothed(values: Maps, passes: int) -> Maps:
    """Smooth maps by a binomial filter of 3 × 3 px, so often; edges repeat."""
    for _ in range(passes):
        for axis in (-2, -1):
            wide = np.pad(
                values,
                [(0, 0)] * (values.ndim - 2) + [(1, 1) if a == axis else (0, 0) for a in (-2, -1)],
                "edge",
            )
            first, last = (np.take(wide, range(k, k + values.shape[axis]), axis) for k in (0, 2))
            values = 0.5 * values + 0.25 * (first + last)
    return values


def fit_slopes(
    flat: Maps, truth: Maps, clear: NDArray[np.bool_], *, passes: int = 2
) -> tuple[Maps, NDArray[np.float64], Maps]:
    """Fit what turns reflectance as of flat ground into what a processor made of it with its terrain.

    ``truth * (1 + part * extra) = gain * flat + shift``, all bands sharing `extra`, by turns.

    Parameters
    ----------
    flat, truth
        Shape ``(bands, time, y, x)``.
    clear
        What to learn from, the same shape.
    passes
        Of smoothing: slopes come from a terrain model that is coarser than pixels.

    Returns
    -------
    extra
        Shape ``(y, x)``, 0 where nothing is known; its middle is 0.
    part
        Shape ``(bands,)``: how much of it counts, with the mean 1.
    line
        Gain and shift, shape ``(2, bands)``.
    """
    bands = len(flat)
    extra = np.zeros(flat.shape[2:])
    part, line = np.ones(bands), np.zeros((2, bands))
    for turn in range(ROUNDS):
        weights = np.zeros(bands)
        for band in range(bands):
            where = clear[band]
            x, y = flat[band][where], truth[band][where]
            columns = [x, np.ones_like(x)]
            if turn:
                columns.append(-(truth[band] * extra)[where])
            found = np.linalg.lstsq(np.stack(columns, -1), y, rcond=None)[0]
            line[:, band] = found[:2]
            if turn:
                part[band] = np.clip(found[2], 0.2, 5)
            weights[band] = 1 / max(float(np.std(np.stack(columns, -1) @ found - y)), 0.003) ** 2
        extra = _extra(flat, truth, clear, part, line, weights, passes)
        # Flat ground is what the middle of the clear pixels is: only then do gains mean gains.
        extra -= np.median(extra[clear.any((0, 1))])
        extra *= part.mean()
        part = part / part.mean()
    return extra, part, line


def _extra(
    flat: Maps,
    truth: Maps,
    clear: NDArray[np.bool_],
    part: NDArray[np.float64],
    line: Maps,
    weights: NDArray[np.float64],
    passes: int,
) -> Maps:
    """Return the least squares of `extra`, smoothed more where less is known."""
    shape = (-1, 1, 1, 1)
    off = line[0].reshape(shape) * flat + line[1].reshape(shape) - truth
    slope = part.reshape(shape) * truth
    weight = np.where(clear, weights.reshape(shape), 0)
    sums = np.stack([
        np.where(clear, weight * slope * off, 0).sum((0, 1)),
        np.where(clear, weight * slope * slope, 0).sum((0, 1)),
    ])  # fmt: skip
    known = np.median(sums[1][sums[1] > 0])
    found = np.zeros(sums.shape[1:])
    for times in (64, 16, 1):
        above, below = smoothed(sums, passes * times)
        enough = below > 0.02 * known
        found = np.where(enough, above / np.maximum(below, 0.02 * known), found)
    return np.clip(found, -0.8, STRONGEST)
