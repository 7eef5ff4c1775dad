"""Annual harmonics fitted to the clear looks of each pixel: what a season usually looks like there."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.fill import Days, Reach, clear_looks, finish

__all__ = ["fill_harmonic"]

LANES: Final = 4096
"""Pixels worked on at once."""
YEAR: Final = 365.2425

_Lanes = NDArray[np.float64]


def fill_harmonic(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    days: Days,
    targets: Days,
    reach: Reach,
    smooth: bool,
    harmonics: int,
    ridge: float,
) -> NDArray[np.float32]:
    """Fill by a mean and annual harmonics, fitted by ridge regression.

    Parameters
    ----------
    values, valid, days, targets, reach, smooth
        As in :func:`~s2cube.kernels.fill.fill_median`. ``"past"``: fitted anew after each look.
    harmonics
        Waves a year, of the fastest.
    ridge
        Weight that draws harmonics to 0, in looks; that of the k-th is k² times as much. Looks in one
        half of the year alone say little of the other, which then stays near the mean.

    Returns
    -------
    numpy.ndarray
        ``float32``, shape ``(targets, y, x)``.
    """
    clear, days = clear_looks(values, valid, days)
    flat = clear.reshape(len(days), -1)
    out = np.empty((len(targets), flat.shape[1]), np.float32)
    waves, wanted = _waves(days, harmonics), _waves(targets, harmonics)
    penalty = np.array([0.0, *(ridge * k**2 for k in range(1, harmonics + 1) for _ in "cs")])
    if reach == "both":
        runs = [(len(days), slice(0, len(targets)))]
    else:
        ends = np.searchsorted(days, targets, side="right")
        edges = np.flatnonzero(np.diff(ends, prepend=-1, append=-1))
        runs = [(int(ends[a]), slice(int(a), int(b))) for a, b in pairwise(edges)]
    for start in range(0, flat.shape[1], LANES):
        lanes = slice(start, start + LANES)
        _fill_lanes(flat[:, lanes], waves, wanted, penalty, runs, out[:, lanes])
    out = out.reshape(len(targets), *values.shape[1:])
    return finish(out, clear, days=days, targets=targets, reach=reach, smooth=smooth)


def _waves(days: Days, harmonics: int) -> NDArray[np.float64]:
    """Return 1 and the harmonics on each day, shape ``(days, 1 + 2 * harmonics)``."""
    angle = 2 * np.pi * (days.astype(np.float64)[:, None] / YEAR) * np.arange(1, harmonics + 1)
    both = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(len(days), -1)
    return np.concatenate([np.ones((len(days), 1)), both], axis=1)


def _fill_lanes(
    clear: NDArray[np.float32],
    waves: NDArray[np.float64],
    wanted: NDArray[np.float64],
    penalty: NDArray[np.float64],
    runs: list[tuple[int, slice]],
    out: NDArray[np.float32],
) -> None:
    """Fit the first looks of each run and predict its targets; sums go on from run to run."""
    size, lanes = waves.shape[1], clear.shape[1]
    seen = np.isfinite(clear)
    looks = np.where(seen, clear, 0).astype(np.float64)
    products = np.zeros((size, size, lanes))
    moments = np.zeros((size, lanes))
    for k in range(size):
        products[k, k] = penalty[k]
    done = 0
    for end, rows in runs:
        for step in range(done, end):
            wave = waves[step]
            for i in range(size):
                moments[i] += wave[i] * looks[step]
                for j in range(i + 1):
                    products[i, j] += np.where(seen[step], wave[i] * wave[j], 0.0)
        done = end
        found = _solve(products, moments)
        for row in range(rows.start, rows.stop):
            line = np.zeros(lanes)
            for i in range(size):
                line += wanted[row, i] * found[i]
            out[row] = line


def _solve(products: _Lanes, moments: _Lanes) -> list[Any]:
    """Solve a small system for each lane (Cholesky); those without looks give 0."""
    size = len(moments)
    lower: list[list[Any]] = [[None] * size for _ in range(size)]
    half: list[Any] = []
    for i in range(size):
        for j in range(i + 1):
            rest = products[i, j].copy()
            for k in range(j):
                rest -= lower[i][k] * lower[j][k]
            if i == j:
                lower[i][i] = np.sqrt(np.where(rest > 0, rest, 1))
            else:
                lower[i][j] = rest / lower[j][j]
        rest = moments[i].copy()
        for k in range(i):
            rest -= lower[i][k] * half[k]
        half.append(rest / lower[i][i])
    found: list[Any] = [None] * size
    for i in reversed(range(size)):
        rest = half[i]
        for k in range(i + 1, size):
            rest = rest - lower[k][i] * found[k]
        found[i] = rest / lower[i][i]
    return found
