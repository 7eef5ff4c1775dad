"""A Gaussian process in time, of many pixels at once: what looks say of any day.

A series is an offset, annual harmonics, and an anomaly that wanes (an Ornstein-Uhlenbeck process),
each with a normal prior. Looks add noise, with a variance of their date. As a state-space model this
is solved from look to look: a Kalman filter forwards, and backwards the disturbance smoother (de Jong
1989; Durbin and Koopman 2012), which also gives each look's prediction from all *other* looks, exactly
as the dense formula of Gaussian process regression would. Gains depend on what is clear and when, so
bands share them.

Shapes: looks ``(time, band, pixel)``, what is clear ``(time, pixel)``; pixels are the lanes.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.engine import compiled, weighed

__all__ = ["HARMONICS", "STATES", "Filter", "Process", "Shares", "Smoothed", "Times", "basis", "smooth"]

F = NDArray[np.float32]
Mask = NDArray[np.bool_]

HARMONICS: Final = 2
STATES: Final = 2 + 2 * HARMONICS
"""The anomaly, the offset, and cosine and sine of each harmonic."""
YEAR: Final = 365.25
LANES: Final = 2048
"""Pixels worked on at once."""
FAST_LANES: Final = 64
"""The same of compiled loops."""
LEAST: Final = np.float32(1e-6)
"""Variances are not taken for less."""


@dataclass(frozen=True)
class Process:
    """What is believed of a series before any look, in units of the usual deviation."""

    days: float
    """In which an anomaly wanes to a third."""
    anomaly: float
    """Variance of the anomaly."""
    offset: float
    """Variance of the offset."""
    harmonics: tuple[float, float]
    """Variance of cosine and sine of each."""

    def prior(self) -> F:
        """Return the variances of the states."""
        return np.array([self.anomaly, self.offset, *np.repeat(self.harmonics, 2)], dtype=np.float32)


def basis(days: NDArray[Any]) -> F:
    """Return what each state adds on each day, shape ``(days, STATES)``."""
    angle = 2 * np.pi * np.asarray(days, np.float64) / YEAR
    waves = [wave(k * angle) for k in range(1, HARMONICS + 1) for wave in (np.cos, np.sin)]
    return np.stack([np.ones(len(days)), np.ones(len(days)), *waves], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Times:
    """Days of looks and of what is asked for, and how a process moves from one to the next."""

    looks: F
    """:func:`basis` of the looks."""
    kept: F
    """What is left of an anomaly since the look before; 1 for the first."""
    targets: F
    """:func:`basis` of the targets."""
    first: NDArray[np.intp]
    """First target at or after each look, and the number of targets; those before all looks are
    ahead of ``first[0]``."""
    since: F
    """What is left at a target of an anomaly at the last look up to it; 1 where there is none."""
    ahead: F
    """The same at the next look, of an anomaly at the target; 0 where there is none."""

    @classmethod
    def of(cls, days: NDArray[Any], targets: NDArray[Any], process: Process) -> "Times":
        """Return the times of looks on `days` (ascending, each once) and of `targets` (ascending)."""

        def left(gaps: NDArray[Any]) -> F:
            return np.exp(-gaps / process.days).astype(np.float32)

        step = np.searchsorted(days, targets, side="right") - 1
        behind = days[np.maximum(step, 0)]
        to_come = days[np.minimum(step + 1, len(days) - 1)]
        return cls(
            looks=basis(days),
            kept=left(np.diff(days, prepend=days[:1])),
            targets=basis(targets),
            first=np.append(np.searchsorted(targets, days), len(targets)),
            since=np.where(step < 0, np.float32(1), left(np.maximum(targets - behind, 0))),
            ahead=np.where(step + 1 < len(days), left(np.maximum(to_come - targets, 0)), np.float32(0)),
        )


@dataclass(frozen=True)
class Smoothed:
    """Where :func:`smooth` adds (times the share) or puts what it finds; None for unwanted."""

    others: F | None = None
    """What all other looks say of a look (causal: those before), ``(time, band, pixel)``."""
    alone: F | None = None
    """The same, put and not times the share."""
    own: F | None = None
    """What all looks say, itself among them, taken away; clear looks only. ``(time, band, pixel)``."""
    targets: F | None = None
    """What looks say of the targets, ``(targets, band, pixel)``."""
    target_variance: F | None = None
    """Variance of `targets`, ``(targets, pixel)``."""
    variance: F | None = None
    """Variance of `others`, ``(time, pixel)``."""


Shares = tuple[F, F]
"""What a process counts at each look, and from each look (and from before the first) on."""


class Filter:
    """Kalman filter of many pixels at once."""

    def __init__(self, process: Process, bands: int, pixels: int) -> None:
        self.process = process
        self.states = np.zeros((STATES, bands, pixels), np.float32)
        self.covariance = np.zeros((STATES, STATES, pixels), np.float32)
        self.covariance[range(STATES), range(STATES)] = process.prior()[:, None]

    def predict(self, kept: np.float32, adds: F) -> tuple[F, F, F]:
        """Move on to a look.

        Parameters
        ----------
        kept
            What is left of the anomaly.
        adds
            What each state adds to the look.

        Returns
        -------
        tuple
            Mean ``(band, pixel)`` and variance ``(pixel)`` of the look, covariance with the states.
        """
        p = self.covariance
        p[0] *= kept
        p[:, 0] *= kept
        p[0, 0] += np.float32(self.process.anomaly) * (1 - kept * kept)
        self.states[0] *= kept
        shared = weighed(adds, p)
        return weighed(adds, self.states), weighed(adds, shared), shared

    def update(self, look: F, clear: Mask, told: tuple[F, F, F], noise: float) -> tuple[F, F]:
        """Take in a look; return the gain ``(state, pixel)`` and 1 / variance, 0 where not clear."""
        mean, variance, shared = told
        inverse = clear / (variance + np.float32(noise))
        gain = shared * inverse
        self.states += gain[:, None] * ((look - mean) * clear)
        self.covariance -= gain[:, None] * shared
        return gain, inverse


def smooth(
    looks: F,
    clear: Mask,
    noise: F,
    process: Process,
    times: Times,
    shares: Shares,
    into: Smoothed,
    *,
    causal: bool = False,
    runs: NDArray[np.intp] | None = None,
) -> None:
    """Find what looks say of each other and of the targets, and add it to arrays.

    Parameters
    ----------
    looks
        ``float32``, ``(time, band, pixel)``, 0 where not clear.
    clear
        ``(time, pixel)``.
    noise
        Variance of the noise of each date.
    process, times
        The process, and its :class:`Times`.
    shares
        What it counts.
    into
        Where it goes.
    causal
        Whether to lean on the looks up to a target, and before a look, only.
    runs
        Runs of pixels that are worked on: start, stop, and where they start among the pixels of what is
        found of targets, -1 for nowhere. None is all, in their order.
    """
    _, bands, pixels = looks.shape
    runs = np.array([[0, pixels, 0]]) if runs is None else runs
    full, flat = np.empty((0, bands, pixels), np.float32), np.empty((0, pixels), np.float32)
    at_looks = [full if a is None else a for a in (into.others, into.alone, into.own)]
    at_targets = [full if into.targets is None else into.targets]
    at_targets.append(flat if into.target_variance is None else into.target_variance)
    variance = flat if into.variance is None else into.variance
    if fast := compiled("process_loops"):
        fast.smooth(
            looks, clear, noise, process.prior(), times.looks, times.kept, times.targets, times.first,
            times.since, times.ahead, *shares, causal, runs, FAST_LANES, *at_looks, *at_targets,
            variance,
        )  # fmt: skip
        return
    for first, stop, place in runs.tolist():
        for start in range(first, stop, LANES):
            lanes = slice(start, min(start + LANES, stop))
            put = slice(place + start - first, place + lanes.stop - first) if place >= 0 else slice(0)
            part = _Lanes(
                process, times, shares, noise, looks[..., lanes], clear[..., lanes],
                *(array[..., lanes] for array in at_looks),
                *(array[: None if place >= 0 else 0, ..., put] for array in at_targets),
                variance[..., lanes],
            )  # fmt: skip
            part.run(causal=causal)


class _Lanes:
    """:func:`smooth` of some lanes, by numpy."""

    def __init__(
        self, process: Process, times: Times, shares: Shares, noise: F, looks: F, clear: Mask, *wanted: F
    ) -> None:
        self.process, self.times, self.shares, self.noise = process, times, shares, noise
        self.looks, self.clear = looks, clear
        self.others, self.alone, self.own, self.targets, self.target_variance, self.variance = wanted

    def run(self, *, causal: bool) -> None:
        steps, bands, pixels = self.looks.shape
        times, kept = self.times, []
        forward = Filter(self.process, bands, pixels)
        covariances = [forward.covariance.copy()]
        self._ask_filter(-1, forward)
        for k in range(steps):
            told = forward.predict(times.kept[k], times.looks[k])
            gain, inverse = forward.update(self.looks[k], self.clear[k], told, self.noise[k])
            kept.append((told[0], told[1], np.where(self.clear[k], gain, told[2]), inverse))
            covariances.append(forward.covariance.copy() if len(self.targets) else forward.covariance)
            self._ask_filter(k, forward)
        states, spread = np.zeros_like(forward.states), np.zeros_like(forward.covariance)
        for k in range(steps - 1, -2, -1):
            self._ask_smoother(k, covariances[k + 1], states, spread)
            if k < 0:
                break
            mean, variance, by, inverse = kept[k]
            if not causal:
                mean, variance = self._look(k, mean, variance, by, inverse, states, spread)
            self._write(k, mean, variance)

    def _write(self, k: int, mean: F, variance: F) -> None:
        """Put down what others say of look `k`, and what is said with it."""
        if len(self.others):
            self.others[k] += self.shares[0][k] * mean
        if len(self.alone):
            self.alone[k] = mean
        if len(self.variance):
            self.variance[k] = variance
        if len(self.own):
            gain = variance / (variance + self.noise[k])
            said = mean + gain * (self.looks[k] - mean)
            self.own[k] -= np.where(self.clear[k], self.shares[0][k] * said, np.float32(0))

    def _ask(self, k: int) -> range:
        """Return the targets from look `k` on to the next."""
        if not len(self.targets):
            return range(0)
        first = self.times.first
        return range(int(first[k]) if k >= 0 else 0, int(first[k + 1]))

    def _ask_filter(self, k: int, forward: Filter) -> None:
        for t in self._ask(k):
            adds = self.times.targets[t].copy()
            adds[0] *= self.times.since[t]
            self.targets[t] += self.shares[1][k + 1] * weighed(adds, forward.states)

    def _ask_smoother(self, k: int, covariance: F, states: F, spread: F) -> None:
        """Add to the targets after look `k` what later looks say; they say nothing where causal."""
        for t in self._ask(k):
            adds, since = self.times.targets[t].copy(), self.times.since[t]
            unmoved = adds[0] * np.float32(self.process.anomaly) * (1 - since * since)
            adds[0] *= since
            shared = weighed(adds, covariance)
            shared[0] = since * shared[0] + unmoved
            variance = weighed(self.times.targets[t], shared)
            shared[0] *= self.times.ahead[t]
            self.targets[t] += self.shares[1][k + 1] * (shared[:, None] * states).sum(axis=0)
            if len(self.target_variance):
                variance -= (shared * (spread * shared).sum(axis=1)).sum(axis=0)
                self.target_variance[t] = np.maximum(variance, LEAST)

    def _look(
        self, k: int, mean: F, variance: F, by: F, inverse: F, states: F, spread: F
    ) -> tuple[F, F]:
        """Go back over look `k`; return what all others say of it, and the variance of that.

        `states` and `spread` sum up what later looks say of the states, as of the next look. `by` is the
        gain where the look is clear, the covariance where not: one product serves both.
        """
        if k + 1 < len(self.looks):
            kept = self.times.kept[k + 1]
            states[0] *= kept
            spread[0] *= kept
            spread[:, 0] *= kept
        seen, noise = self.clear[k], self.noise[k]
        toward = (spread * by).sum(axis=1)
        along = (by[:, None] * states).sum(axis=0)
        known = inverse + (by * toward).sum(axis=0)
        pull = (self.looks[k] - mean) * inverse - along
        safe = np.where(seen, known, np.float32(1))
        mean = np.where(seen, self.looks[k] - pull / safe, mean + along)
        variance = np.where(seen, 1 / safe - noise, variance - known)
        pull, known, toward = pull * seen, known * seen, toward * seen
        adds = self.times.looks[k]
        states += adds[:, None, None] * pull
        spread += (adds[:, None] * adds)[:, :, None] * known
        spread -= adds[:, None, None] * toward
        spread -= toward[:, None] * adds[:, None]
        return mean, np.maximum(variance, LEAST)
