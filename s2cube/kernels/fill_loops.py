"""Loops for filling that numba compiles; see :mod:`s2cube.kernels.loops`.

They do what :mod:`~s2cube.kernels.fill` and :mod:`~s2cube.kernels.whittaker` do with numpy, operation by
operation, so that the numbers are the same to the bit; but on tiles that stay in the processor's cache.
"""

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.loops import exact

__all__ = ["last", "linear", "whittaker"]

F = np.float32


@exact
def last(
    values: NDArray, valid: NDArray, steps: NDArray, backwards: bool, lanes: int, out: NDArray
) -> None:
    """See :func:`s2cube.kernels.fill.fill_last`; arguments as in :func:`linear`.

    `backwards` is whether the first clear look holds before it too.
    """
    looks, pixels = values.shape
    held, start = np.empty(lanes, F), np.empty(lanes, F)
    for first in range(0, pixels, lanes):
        n = min(lanes, pixels - first)
        start[:] = np.nan
        if backwards:
            for k in range(looks - 1, -1, -1):
                value, clears = values[k, first : first + n], valid[k, first : first + n]
                for i in range(n):
                    start[i] = value[i] if clears[i] else start[i]
        held[:] = start
        done = 0
        for t in range(len(steps)):
            while done <= steps[t]:
                value, clears = values[done, first : first + n], valid[done, first : first + n]
                for i in range(n):
                    held[i] = value[i] if clears[i] else held[i]
                done += 1
            out[t, first : first + n] = held[:n]


@exact
def linear(
    values: NDArray, valid: NDArray, days: NDArray, targets: NDArray, steps: NDArray, lanes: int,
    out: NDArray,
) -> None:  # fmt: skip
    """See :func:`s2cube.kernels.fill.fill_linear`.

    `values` and `valid` are ``(looks, pixels)``, one look a day; `steps` is the number of the last look
    up to each target, -1 for none; `out` is ``(targets, pixels)``.
    """
    looks, pixels = values.shape
    clear = np.empty((looks, lanes), F)
    before, after = np.empty((looks, lanes), F), np.empty((looks, lanes), F)
    past, later = np.empty((looks, lanes), F), np.empty((looks, lanes), F)
    start, slope, since = np.empty(lanes, F), np.empty(lanes, F), np.empty(lanes, F)
    for first in range(0, pixels, lanes):
        n = min(lanes, pixels - first)
        for k in range(looks):
            value, clears, row = values[k, first : first + n], valid[k, first : first + n], clear[k]
            up, day = max(k - 1, 0), F(days[k])
            for i in range(n):
                row[i] = value[i] if clears[i] else F(np.nan)
                seen = row[i] == row[i]
                before[k, i] = row[i] if seen or k == 0 else before[up, i]
                past[k, i] = day if seen or k == 0 else past[up, i]
        for k in range(looks - 1, -1, -1):
            row, day = clear[k], F(days[k])
            down = min(k + 1, looks - 1)
            for i in range(n):
                seen = row[i] == row[i]
                after[k, i] = row[i] if seen or k == looks - 1 else after[down, i]
                later[k, i] = day if seen or k == looks - 1 else later[down, i]
        for t in range(len(targets)):
            k = steps[t]
            if t == 0 or k != steps[t - 1]:
                for i in range(n):
                    if k < 0 or k + 1 == looks:
                        start[i] = after[0, i] if k < 0 else before[k, i]
                        slope[i] = F(0)
                        since[i] = F(0)
                    else:
                        left, right = before[k, i], after[k + 1, i]
                        since[i] = past[k, i]
                        steep = (right - left) / (later[k + 1, i] - since[i])
                        slope[i] = steep if steep == steep else F(0)
                        start[i] = left if left == left else right
            day = F(targets[t])
            line = out[t, first : first + n]
            for i in range(n):
                line[i] = (day - since[i]) * slope[i] + start[i]


@exact
def whittaker(
    clear: NDArray, weights: NDArray, moves: NDArray, start: NDArray, smoothed: bool,
    steps: NDArray, parts: NDArray, lanes: int, out: NDArray,
) -> None:  # fmt: skip
    """See :func:`s2cube.kernels.whittaker.fill_whittaker`.

    `clear` and `weights` are ``(looks, pixels)``; `moves` ``(looks - 1, 5)``, how value and slope move
    and what that adds to their variance, which is `start` at first; `steps` the look before each target,
    `parts` ``(targets, 4)`` the weights of value and slope there and at the next look.
    """
    looks, pixels = clear.shape
    z, s, begin = np.empty((looks, lanes)), np.empty((looks, lanes)), np.zeros(lanes)
    v11, v12, v22 = np.empty((looks, lanes)), np.empty((looks, lanes)), np.empty((looks, lanes))
    for first in range(0, pixels, lanes):
        n = min(lanes, pixels - first)
        for k in range(looks - 1, -1, -1):
            row, own = clear[k, first : first + n], weights[k, first : first + n]
            for i in range(n):
                begin[i] = np.float64(row[i]) if own[i] > 0 else begin[i]
        for k in range(looks):
            row, own = clear[k, first : first + n], weights[k, first : first + n]
            if k > 0:
                move, left, q11, q12, q22 = moves[k - 1]
            up = max(k - 1, 0)
            for i in range(n):
                if k == 0:
                    value, slope, a, b, c = begin[i], 0.0, start[0], 0.0, start[1]
                else:
                    value = z[up, i] + move * s[up, i]
                    slope = left * s[up, i]
                    a = v11[up, i] + 2 * move * v12[up, i] + move * move * v22[up, i] + q11
                    b = left * (v12[up, i] + move * v22[up, i]) + q12
                    c = left * left * v22[up, i] + q22
                weight = np.float64(own[i])
                share = weight / (weight * a + 1)
                look = np.float64(row[i]) if weight > 0 else 0.0
                off = share * (look - value)
                z[k, i] = value + a * off
                s[k, i] = slope + b * off
                v22[k, i] = c - b * b * share
                v12[k, i] = b - a * b * share
                v11[k, i] = a - a * a * share
        if smoothed:
            for k in range(looks - 2, -1, -1):
                move, left, q11, q12, q22 = moves[k]
                for i in range(n):
                    a, b, c = v11[k, i], v12[k, i], v22[k, i]
                    to_value, to_slope = a + move * b, b + move * c
                    p11 = to_value + move * to_slope + q11
                    p12 = left * to_slope + q12
                    p22 = left * left * c + q22
                    by_value = z[k + 1, i] - (z[k, i] + move * s[k, i])
                    by_slope = s[k + 1, i] - left * s[k, i]
                    whole = p11 * p22 - p12 * p12
                    one = (p22 * by_value - p12 * by_slope) / whole
                    two = (p11 * by_slope - p12 * by_value) / whole
                    z[k, i] = z[k, i] + (to_value * one + left * b * two)
                    s[k, i] = s[k, i] + (to_slope * one + left * c * two)
        for t in range(len(steps)):
            k = steps[t]
            ahead = min(k + 1, looks - 1)
            p0, p1, p2, p3 = parts[t]
            line = out[t, first : first + n]
            for i in range(n):
                line[i] = p0 * z[k, i] + p1 * s[k, i] + p2 * z[ahead, i] + p3 * s[ahead, i]
