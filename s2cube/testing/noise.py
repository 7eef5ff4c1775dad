"""Fractal noise that is a function of the place: the same there, whatever block is made."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["fractal"]

DEVIATION: Final = 3.62
"""Makes the deviation of a layer 1: that of its lattice is 0.577, of which the spline keeps 48 %."""


def fractal(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    *,
    seed: int,
    sizes: tuple[float, float],
    octaves: int,
    roughness: float,
) -> NDArray[np.float32]:
    """Return noise of several scales, each half as large as the one before.

    Parameters
    ----------
    y, x
        Places along the two axes, shapes ``(n,)`` and ``(m,)``.
    seed
        The same seed gives the same noise at the same place.
    sizes
        The largest scale along y and x, in the unit of the places.
    octaves
        Number of scales.
    roughness
        Amplitude of a scale as a share of that of the one before.

    Returns
    -------
    numpy.ndarray
        ``float32``, shape ``(n, m)``, mean 0 and deviation 1 over an area that is large beside `sizes`.
        Every value is made from its own place by additions and products only, so that no block and no
        vector unit changes it.
    """
    total = np.zeros((len(y), len(x)), np.float32)
    weight, power = 1.0, 0.0
    for octave in range(octaves):
        scale = 2.0**octave
        layer = _layer(y * (scale / sizes[0]), x * (scale / sizes[1]), seed + 7919 * octave)
        layer *= np.float32(weight)
        total += layer
        power += weight**2
        weight *= roughness
    total *= np.float32(DEVIATION / power**0.5)
    return total


def _layer(y: NDArray[np.float64], x: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    """Return a cubic B-spline over random values at whole numbers: first along y, then along x."""
    j, down = _spline(y)
    i, across = _spline(x)
    lattice = _random(np.arange(j.min() - 1, j.max() + 3), np.arange(i.min() - 1, i.max() + 3), seed)
    j, i = j - j.min(), i - i.min()
    rows = sum(down[k][:, None] * lattice[j + k] for k in range(4))
    made: NDArray[np.float32] = across[0] * np.take(rows, i, axis=1)
    for k in range(1, 4):
        made += across[k] * np.take(rows, i + k, axis=1)
    return made


def _spline(at: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the whole number below each place, and the weights of the four around it."""
    below = np.floor(at)
    t = at - below
    rest = 1 - t
    weights = np.stack(
        [
            rest * rest * rest / 6,
            (4 - 6 * t * t + 3 * t * t * t) / 6,
            (4 - 6 * rest * rest + 3 * rest * rest * rest) / 6,
            t * t * t / 6,
        ]
    )
    return below.astype(np.int64), weights.astype(np.float32)


def _random(j: NDArray[np.int64], i: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Return a number from -1 to 1 for each pair, by the mixing function of SplitMix64.

    A generator of numpy's gives its numbers in order, so that a block would have to draw all those
    before it. Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators.
    """
    rows = j.astype(np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
    columns = i.astype(np.uint64)[None, :] * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (rows + np.array(seed % 2**64, np.uint64)) ^ columns
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**23)) - np.float32(1)
