"""Whittaker's smoother: the series that is as near to the looks and as smooth as may be.

Whittaker (1923), Eilers (2003): of all daily series ``z``, the one with the least sum of squared
distances to the clear looks plus ``smoothness`` times the sum of squared differences of its days, of
the first order (steps) or the second (changes of slope). It is the mean of a random walk of value, or
of slope, given the looks, so a Kalman filter and smoother find it, exactly: from look to look, not from
day to day, and the filter alone is the causal solution. All pixels share the days of their looks; a look
that a pixel lacks is one without weight.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.engine import compiled
from s2cube.kernels.fill import Days, Reach, clear_looks, finish
from s2cube.kernels.order import percentiles

__all__ = ["fill_whittaker"]

LANES: Final = 4096
"""Pixels worked on at once."""
FAST_LANES: Final = 64
"""The same of compiled loops."""
UNKNOWN: Final = (1e10, 1e7)
"""Variance of value and slope when nothing is known of them: large beside those of a look (1), and of
what days add, and small enough for the digits of float64."""
PASSES: Final = 3
"""Of robust weighting."""
LEAST: Final = 0.003
"""Reflectance: residuals are never taken for smaller, so that a quiet series keeps its looks."""
TUKEY: Final = 4.685
"""Deviations at which a look loses all weight (95 % efficient where errors are normal)."""

FARTHEST: Final = 400
"""Days before the first and after the last look that may be asked for."""

_Lanes = NDArray[np.float64]


def fill_whittaker(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    days: Days,
    targets: Days,
    reach: Reach,
    smooth: bool,
    order: int,
    smoothness: float,
    slope_days: float | None,
    robust: bool,
) -> NDArray[np.float32]:
    """Fill by Whittaker's smoother.

    Parameters
    ----------
    values, valid, days, targets, reach, smooth
        As in :func:`~s2cube.kernels.fill.fill_median`. Before the first and after the last look of the
        block the value at the end is held.
    order
        1 or 2.
    smoothness
        Weight of squared differences, in days.
    slope_days
        With order 2, days in which a slope that no look supports decays to a third, None for never, as
        in Eilers' smoother, which runs away in long gaps.
    robust
        Whether looks far off get less weight (Tukey's biweight).

    Returns
    -------
    numpy.ndarray
        ``float32``, shape ``(targets, y, x)``.
    """
    clear, days = clear_looks(values, valid, days)
    decay = 0.0 if order == 1 else 1.0 if slope_days is None else float(np.exp(-1 / slope_days))
    steps = _Steps(days, decay, smoothness, smoothed=reach == "both")
    flat = clear.reshape(len(days), -1)
    weights = np.isfinite(flat).astype(np.float32)
    if robust:
        series = np.empty_like(flat)
        for _ in range(PASSES):
            _solve(flat, weights, steps, steps.way(days), series)
            weights = _biweights(flat, series)
    out = np.empty((len(targets), flat.shape[1]), np.float32)
    _solve(flat, weights, steps, steps.way(targets), out)
    out = out.reshape(len(targets), *values.shape[1:])
    return finish(out, clear, days=days, targets=targets, reach=reach, smooth=smooth)


class _Steps:
    """How value and slope move from look to look: the same for all pixels."""

    def __init__(self, days: Days, decay: float, smoothness: float, *, smoothed: bool) -> None:
        self.days, self.smoothed = days, smoothed
        self.gaps = np.diff(days)
        longest = 2 * FARTHEST + int(days[-1] - days[0])
        power = decay ** np.arange(longest)
        reach = np.cumsum(power)
        noise = 1 / smoothness
        # By number of days, from 0: by how many slopes the value moves, what is left of the slope, and
        # the variance of value, of both and of slope that is added.
        self.table = np.zeros((longest + 1, 5))
        self.table[1:, 0] = decay * reach
        self.table[:, 1] = decay ** np.arange(longest + 1)
        for column, part in enumerate((reach * reach, reach * power, power * power), start=2):
            self.table[1:, column] = noise * np.cumsum(part)
        self.moves = self.table[self.gaps]
        """By gap between looks."""
        lasting = max(1, noise) * UNKNOWN[1] if decay == 1 else noise / (1 - decay**2)
        self.start = (UNKNOWN[0], lasting)
        """Variances of value and slope before the first look."""

    def way(self, targets: Days) -> tuple[NDArray[np.intp], _Lanes]:
        """Return the look before each target, and what value and slope of it and of the next one weigh.

        Causal: go on from the look before. Else take the likeliest way from look to look, and hold the
        ends.
        """
        at = np.searchsorted(self.days, targets, side="right") - 1
        step = np.maximum(at, 0)
        after = np.where(at < 0, 0, targets - self.days[step])
        parts = np.zeros((len(targets), 4))
        parts[:, 0] = 1
        if not self.smoothed:
            parts[:, 1] = self.table[after, 0]
            return step, parts
        inside = (at >= 0) & (at + 1 < len(self.days)) & (after > 0)
        parts[inside] = self._between(self.gaps[step[inside]], after[inside])
        return step, parts

    def _between(self, gap: Days, after: Days) -> _Lanes:
        """Return the weights of value and slope at both ends of gaps, some days after they began."""
        move, left, q11, q12, q22 = self.table[gap].T
        so_far, _, first, mixed, _ = self.table[after].T
        to_go, left_then, *_ = self.table[gap - after].T
        # What is shared with the end of the gap, of the noise so far.
        one, two = first + to_go * mixed, left_then * mixed
        whole = q11 * q22 - q12 * q12
        value, slope = (q22 * one - q12 * two) / whole, (q11 * two - q12 * one) / whole
        return np.stack([1 - value, so_far - (value * move + slope * left), value, slope], axis=1)


def _solve(
    clear: NDArray[np.float32],
    weights: NDArray[np.float32],
    steps: _Steps,
    way: tuple[NDArray[np.intp], _Lanes],
    out: NDArray[np.float32],
) -> None:
    """Fill; `clear` and `weights` are ``(looks, pixels)``, `out` ``(targets, pixels)``."""
    if fast := compiled("fill_loops"):
        start = np.array(steps.start)
        fast.whittaker(clear, weights, steps.moves, start, steps.smoothed, *way, FAST_LANES, out)
        return
    for first in range(0, clear.shape[1], LANES):
        lanes = slice(first, first + LANES)
        weight = weights[:, lanes].astype(np.float64)
        looks = np.where(weight > 0, clear[:, lanes], 0).astype(np.float64)
        z, s, *variances = _forward(looks, weight, steps)
        if steps.smoothed:
            z, s = _backward(z, s, variances, steps)
        for line, step, part in zip(out[:, lanes], *way, strict=True):
            ahead = min(step + 1, len(looks) - 1)
            line[:] = part[0] * z[step] + part[1] * s[step] + part[2] * z[ahead] + part[3] * s[ahead]


def _forward(looks: _Lanes, weights: _Lanes, steps: _Steps) -> tuple[_Lanes, ...]:
    """Filter: return value, slope and their variances (11, 12, 22) after each look."""
    count, lanes = looks.shape
    kept = tuple(np.empty((count, lanes)) for _ in range(5))
    # Where a pixel begins is its first look, so that a single one tells of no slope.
    seen = (weights > 0).argmax(axis=0)
    z, s, b = looks[seen, np.arange(lanes)], np.zeros(lanes), np.zeros(lanes)
    a, c = (np.full(lanes, variance) for variance in steps.start)
    for k in range(count):
        if k:
            move, left, q11, q12, q22 = steps.moves[k - 1]
            z = z + move * s
            s = left * s
            a = a + 2 * move * b + move * move * c + q11
            b = left * (b + move * c) + q12
            c = left * left * c + q22
        share = weights[k] / (weights[k] * a + 1)
        off = share * (looks[k] - z)
        z = z + a * off
        s = s + b * off
        c = c - b * b * share
        b = b - a * b * share
        a = a - a * a * share
        for array, now in zip(kept, (z, s, a, b, c), strict=True):
            array[k] = now
    return kept


def _backward(
    values: _Lanes, slopes: _Lanes, variances: list[_Lanes], steps: _Steps
) -> tuple[_Lanes, _Lanes]:
    """Smooth (Rauch, Tung and Striebel 1965): return value and slope at each look, given all looks."""
    z, s = values.copy(), slopes.copy()
    for k in range(len(values) - 2, -1, -1):
        move, left, q11, q12, q22 = steps.moves[k]
        a, b, c = (part[k] for part in variances)
        to_value, to_slope = a + move * b, b + move * c
        p11 = to_value + move * to_slope + q11
        p12 = left * to_slope + q12
        p22 = left * left * c + q22
        by_value = z[k + 1] - (values[k] + move * slopes[k])
        by_slope = s[k + 1] - left * slopes[k]
        whole = p11 * p22 - p12 * p12
        one = (p22 * by_value - p12 * by_slope) / whole
        two = (p11 * by_slope - p12 * by_value) / whole
        z[k] += to_value * one + left * b * two
        s[k] += to_slope * one + left * c * two
    return z, s


def _biweights(clear: NDArray[np.float32], series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weight of each look, by how far it is from the series."""
    off = np.abs(clear - series)
    (middle,), _ = percentiles(off, (50,))
    far = off / (np.float32(TUKEY) * np.maximum(np.float32(1.4826) * middle, np.float32(LEAST)))
    with np.errstate(invalid="ignore"):
        weights: NDArray[np.float32] = np.where(far < 1, (1 - far * far) ** 2, np.float32(0))
    return weights
