"""Loops for Gaussian processes in time that numba compiles; see :mod:`s2cube.kernels.loops`.

They do what :mod:`~s2cube.kernels.process` does with numpy, to the rounding of float32, on tiles that
stay in the processor's cache. Symmetric matrices are kept as their lower half, row by row.
"""

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.loops import exact

__all__ = ["smooth"]

F = np.float32
LEAST = F(1e-6)


@exact
def _times(half: NDArray, by: NDArray, out: NDArray) -> None:
    """Multiply symmetric matrices, of each lane one, with vectors ``(states, lanes)``."""
    states, lanes = by.shape
    out[:] = 0
    at = 0
    for i in range(states):
        for j in range(i):
            row = half[at]
            for n in range(lanes):
                out[i, n] += row[n] * by[j, n]
                out[j, n] += row[n] * by[i, n]
            at += 1
        row = half[at]
        for n in range(lanes):
            out[i, n] += row[n] * by[i, n]
        at += 1


@exact
def _with(half: NDArray, adds: NDArray, out: NDArray) -> None:
    """Multiply symmetric matrices with one vector ``(states)`` that all lanes share."""
    states, lanes = out.shape
    out[:] = 0
    at = 0
    for i in range(states):
        for j in range(i):
            row, one, two = half[at], adds[j], adds[i]
            for n in range(lanes):
                out[i, n] += row[n] * one
                out[j, n] += row[n] * two
            at += 1
        row, one = half[at], adds[i]
        for n in range(lanes):
            out[i, n] += row[n] * one
        at += 1


@exact
def _wane(half: NDArray, states: NDArray, kept: F) -> None:
    """Let the anomaly wane, the first of the states."""
    bands, lanes = states.shape[1:]
    for n in range(lanes):
        half[0, n] *= kept * kept
    at = 0
    for i in range(1, states.shape[0]):
        at += i
        for n in range(lanes):
            half[at, n] *= kept
    for b in range(bands):
        for n in range(lanes):
            states[0, b, n] *= kept


@exact
def _forward(
    looks: NDArray, clear: NDArray, noise: F, adds: NDArray, kept: F, anomaly: F, states: NDArray,
    half: NDArray, shared: NDArray, mean: NDArray, variance: NDArray, by: NDArray, inverse: NDArray,
) -> None:  # fmt: skip
    """Predict one look and take it in; `by` is the gain where it is clear, the covariance where not."""
    count, bands, lanes = states.shape
    _wane(half, states, kept)
    for n in range(lanes):
        half[0, n] += anomaly * (F(1) - kept * kept)
    _with(half, adds, shared)
    variance[:] = 0
    mean[:] = 0
    for i in range(count):
        for n in range(lanes):
            variance[n] += adds[i] * shared[i, n]
        for b in range(bands):
            for n in range(lanes):
                mean[b, n] += adds[i] * states[i, b, n]
    for n in range(lanes):
        inverse[n] = F(1) / (variance[n] + noise) if clear[n] else F(0)
    at = 0
    for i in range(count):
        for n in range(lanes):
            gain = shared[i, n] * inverse[n]
            by[i, n] = gain if clear[n] else shared[i, n]
        for j in range(i + 1):
            for n in range(lanes):
                half[at, n] -= (shared[i, n] * inverse[n]) * shared[j, n]
            at += 1
        for b in range(bands):
            for n in range(lanes):
                states[i, b, n] += (shared[i, n] * inverse[n]) * (looks[b, n] - mean[b, n])


@exact
def _backward(
    looks: NDArray, clear: NDArray, noise: F, adds: NDArray, by: NDArray, inverse: NDArray,
    states: NDArray, half: NDArray, toward: NDArray, pull: NDArray, known: NDArray, mean: NDArray,
    variance: NDArray,
) -> None:  # fmt: skip
    """Go back over one look; `mean` and `variance` become what all others say of it."""
    count, bands, lanes = states.shape
    _times(half, by, toward)
    known[:] = inverse
    for i in range(count):
        for n in range(lanes):
            known[n] += by[i, n] * toward[i, n]
    for b in range(bands):
        along = pull[b]
        along[:] = 0
        for i in range(count):
            for n in range(lanes):
                along[n] += by[i, n] * states[i, b, n]
        for n in range(lanes):
            off = (looks[b, n] - mean[b, n]) * inverse[n] - along[n]
            mean[b, n] = looks[b, n] - off / known[n] if clear[n] else mean[b, n] + along[n]
            along[n] = off if clear[n] else F(0)
    for n in range(lanes):
        less = F(1) / known[n] - noise if clear[n] else variance[n] - known[n]
        variance[n] = max(less, LEAST)
        known[n] = known[n] if clear[n] else F(0)
    at = 0
    for i in range(count):
        for n in range(lanes):
            toward[i, n] = toward[i, n] if clear[n] else F(0)
        for j in range(i + 1):
            for n in range(lanes):
                half[at, n] += (
                    adds[i] * adds[j] * known[n] - adds[i] * toward[j, n] - adds[j] * toward[i, n]
                )
            at += 1
        for b in range(bands):
            for n in range(lanes):
                states[i, b, n] += adds[i] * pull[b, n]


@exact
def _begin(prior: NDArray, states: NDArray, half: NDArray) -> None:
    """Set means and covariances to what is believed before any look."""
    states[:] = 0
    half[:] = 0
    at = 0
    for i in range(len(prior)):
        half[at + i] = prior[i]
        at += i + 1


@exact
def _tell(states: NDArray, adds: NDArray, since: F, share: F, out: NDArray) -> None:
    """Add to a target ``(band, pixel)`` what looks up to it say."""
    count, bands, _ = states.shape
    for i in range(count):
        add = adds[i] * (since if i == 0 else F(1)) * share
        for b in range(bands):
            for n in range(out.shape[1]):
                out[b, n] += add * states[i, b, n]


@exact
def _tell_back(
    half: NDArray, anomaly: F, adds: NDArray, since: F, ahead: F, shared: NDArray, variance: NDArray
) -> None:
    """Find a target's variance by the looks up to it, and its covariance with the next states."""
    moved = adds.copy()
    moved[0] *= since
    _with(half, moved, shared)
    unmoved = anomaly * (F(1) - since * since)
    variance[:] = 0
    for n in range(shared.shape[1]):
        shared[0, n] = since * shared[0, n] + unmoved
    for i in range(len(adds)):
        for n in range(shared.shape[1]):
            variance[n] += adds[i] * shared[i, n]
    for n in range(shared.shape[1]):
        shared[0, n] *= ahead


@exact
def _tell_later(states: NDArray, shared: NDArray, share: F, out: NDArray) -> None:
    """Add to a target what later looks say."""
    count, bands, _ = states.shape
    for i in range(count):
        for b in range(bands):
            for n in range(out.shape[1]):
                out[b, n] += share * shared[i, n] * states[i, b, n]


@exact
def _doubt(half: NDArray, shared: NDArray, toward: NDArray, variance: NDArray, out: NDArray) -> None:
    """Take from a target's variance what later looks say, and put it down."""
    _times(half, shared, toward)
    for i in range(shared.shape[0]):
        for n in range(shared.shape[1]):
            variance[n] -= shared[i, n] * toward[i, n]
    for n in range(len(out)):
        out[n] = max(variance[n], LEAST)


@exact
def _put(
    looks: NDArray, clear: NDArray, noise: F, share: F, mean: NDArray, variance: NDArray, k: int,
    start: int, stop: int, others: NDArray, alone: NDArray, own: NDArray, variances: NDArray,
) -> None:  # fmt: skip
    """Put down what others say of look `k`, and what is said with it."""
    bands, pixels = looks.shape[0], stop - start
    if variances.shape[0] > 0:
        variances[k, start:stop] = variance[:pixels]
    if alone.shape[0] > 0:
        alone[k, :, start:stop] = mean[:, :pixels]
    for b in range(bands):
        if others.shape[0] > 0:
            line = others[k, b, start:stop]
            for n in range(pixels):
                line[n] += share * mean[b, n]
        if own.shape[0] > 0:
            line = own[k, b, start:stop]
            for n in range(pixels):
                gain = variance[n] / (variance[n] + noise)
                said = mean[b, n] + gain * (looks[b, n] - mean[b, n])
                line[n] -= share * said if clear[n] else F(0)


@exact
def smooth(
    looks: NDArray, clear: NDArray, noise: NDArray, prior: NDArray, look_adds: NDArray, kept: NDArray,
    target_adds: NDArray, first: NDArray, since: NDArray, ahead: NDArray, look_shares: NDArray,
    target_shares: NDArray, causal: bool, runs: NDArray, lanes: int, others: NDArray, alone: NDArray,
    own: NDArray, targets: NDArray, target_variances: NDArray, variances: NDArray,
) -> None:  # fmt: skip
    """See :func:`s2cube.kernels.process.smooth`."""
    steps, bands = looks.shape[:2]
    count, doubtful = len(prior), target_variances.shape[0] > 0
    y, c = np.zeros((steps, bands, lanes), F), np.zeros((steps, lanes), np.bool_)
    means, spreads = np.empty((steps, bands, lanes), F), np.empty((steps, lanes), F)
    by, inverse = np.empty((steps, count, lanes), F), np.empty((steps, lanes), F)
    halves = np.empty((steps + 1, count * (count + 1) // 2, lanes), F)
    states, half = np.empty((count, bands, lanes), F), np.empty_like(halves[0])
    shared, toward = np.empty((count, lanes), F), np.empty((count, lanes), F)
    pull, known = np.empty((bands, lanes), F), np.empty(lanes, F)
    # Tiles: runs of pixels in pieces. Lanes beyond a piece keep what was there, and are not put down.
    for piece in range(len(runs)):
        for start in range(runs[piece, 0], runs[piece, 1], lanes):
            stop = min(start + lanes, runs[piece, 1])
            place = runs[piece, 2] + start - runs[piece, 0]
            end = place + stop - start
            asked = runs[piece, 2] >= 0 and targets.shape[0] > 0
            y[:, :, : stop - start] = looks[:, :, start:stop]
            c[:, : stop - start] = clear[:, start:stop]
            _begin(prior, states, half)
            for k in range(-1, steps):
                if k >= 0:
                    _forward(
                        y[k], c[k], noise[k], look_adds[k], kept[k], prior[0], states, half, shared,
                        means[k], spreads[k], by[k], inverse[k],
                    )  # fmt: skip
                if asked:
                    halves[k + 1] = half
                    for t in range(first[k] if k >= 0 else 0, first[k + 1]):
                        out = targets[t, :, place:end]
                        _tell(states, target_adds[t], since[t], target_shares[k + 1], out)
            states[:] = 0
            half[:] = 0
            for k in range(steps - 1, -2, -1):
                for t in range(first[k] if k >= 0 else 0, first[k + 1] if asked else 0):
                    if causal and not doubtful:
                        break
                    _tell_back(
                        halves[k + 1], prior[0], target_adds[t], since[t], ahead[t], shared, known
                    )  # fmt: skip
                    if not causal:
                        out = targets[t, :, place:end]
                        _tell_later(states, shared, target_shares[k + 1], out)
                    if doubtful:
                        _doubt(half, shared, toward, known, target_variances[t, place:end])
                if k < 0:
                    break
                if not causal:
                    if k + 1 < steps:
                        _wane(half, states, kept[k + 1])
                    _backward(
                        y[k], c[k], noise[k], look_adds[k], by[k], inverse[k], states, half, toward,
                        pull, known, means[k], spreads[k],
                    )  # fmt: skip
                _put(
                    y[k], c[k], noise[k], look_shares[k], means[k], spreads[k], k, start, stop, others,
                    alone, own, variances,
                )  # fmt: skip
