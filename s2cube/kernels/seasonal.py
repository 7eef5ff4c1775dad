"""What time alone says of a window: Gaussian processes and a straight line, weighed by what they miss.

All pixels of a window share a curve (robust harmonics of its mean), a scale by band, the noise of each
date (a hazy date counts less), and the weights of the experts, found on dates that are hidden from
them. Causal, all of it comes from the past alone: the noise of a date from how far it is from what was
foreseen (its innovations), the weights from past errors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.process import Filter, Process, Smoothed, Times, basis, smooth

__all__ = ["NOISE", "Around", "Expected", "Question", "expect"]

F = NDArray[np.float32]
Mask = NDArray[np.bool_]
Index = NDArray[np.int16]
f4 = np.float32

PROCESSES: Final = (
    Process(60, 1, 2, (0.7, 0.2)),
    Process(1000, 20, 2, (0.01, 0.01)),  # a random walk, nearly
    Process(150, 1, 2, (0.5, 0.2)),
)
"""The experts; the fourth is the straight line between clear looks (causal: the last one held)."""
PAST_PROCESSES: Final = tuple(replace(process, offset=50) for process in PROCESSES)
"""Causal, no curve is known beforehand."""
QUICK: Final = 1
"""The expert that regression on a date is told beside their mean."""
NOISE: Final = 0.3
"""Variance of the noise of a usual date."""
CLEAREST, HAZIEST, HAZIEST_PAST = 0.5, 100.0, 30.0
"""Multiples of it that a date is kept between."""
UNTOLD: Final = 10.0
"""The same of a date with too few pixels to tell."""
SAMPLE: Final = 2000
"""Pixels of which the noise of dates is estimated; all that is causal."""
TRIED: Final = 600
"""Pixels on which the experts are tried."""
FOLDS: Final = 10
THIN: Final = 0.3
"""What others than the straight line must be better by, over the number of dates they were tried on."""
COMBINED: Final = np.array([c for c in product(range(5), repeat=4) if sum(c) == 4], f4) / f4(4)
"""Weights of experts that are tried."""
BEFOREHAND: Final = np.array([0.4, 0.2, 0.0, 0.4], f4)
"""Weights where too few dates can be hidden."""
FEWEST: Final = 5
UNIT: Final = 0.03
"""Deviation of reflectance while nothing is known of it, causal."""
MEMORY: Final = 0.97
"""How much of past errors is left after each date, causal."""


@dataclass(frozen=True)
class Question:
    """What is asked of a window."""

    days: NDArray[np.int32]
    """Of the looks, ascending, each once."""
    targets: NDArray[np.int32]
    """Asked for, ascending."""
    pixels: NDArray[np.intp]
    """Numbers of those that are asked for, ascending; the others are leant on."""
    causal: bool
    leaning: bool
    """Whether looks are to be told of each other too, which regression on a date needs."""
    uncertain: bool
    """Whether variances are wanted."""

    def between(self) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Yield the number of looks up to some targets, and number and day of each of these targets."""
        counts = np.searchsorted(self.days, self.targets, side="right").tolist()
        rows = enumerate(self.targets.tolist())
        for count, some in groupby(zip(counts, rows, strict=True), key=lambda pair: pair[0]):
            yield count, [row for _, row in some]


@dataclass(frozen=True)
class Lessons:
    """What is learnt of a window before it is filled."""

    noises: Sequence[F]
    """Variance of each date's noise for each process."""
    shares: F
    """What each expert counts from before the first look, from the first on, ...: ``(time + 1, 4)``."""
    units: F
    """Deviation that the processes take for 1, as `shares`: ``(time + 1, band)``."""


class Around:
    """The looks that are clear before and after each step."""

    def __init__(self, clear: Mask, days: NDArray[Any]) -> None:
        self.days = days
        steps, pixels = clear.shape
        self.before: Index = np.full((steps + 1, pixels), -1, np.int16)
        """Number of the last clear look before each step, and before the end; -1 for none."""
        self.after: Index = np.full((steps + 1, pixels), -1, np.int16)
        """Number of the first clear look from each step on, and from the end on."""
        for k in range(steps):
            self.before[k + 1] = np.where(clear[k], np.int16(k), self.before[k])
        for k in range(steps - 1, -1, -1):
            self.after[k] = np.where(clear[k], np.int16(k), self.after[k + 1])

    def between(self, k: int, after: int | None) -> tuple[Index, Index]:
        """Return the last clear look before step `k`, and the first from `after` on; -1 for none."""
        one = self.before[k]
        return one, np.full_like(one, -1) if after is None else self.after[after]

    def line(
        self, looks: F, curve: F, sides: tuple[Index, Index], pixels: NDArray[np.intp],
        wanted: Sequence[tuple[int, F]],
    ) -> Iterator[F]:  # fmt: skip
        """Yield, for some pixels, the straight line between two looks on some days.

        It is straight with the curve, ``(time, band)``, which is taken away again: `wanted` are days and
        the curve on them. Held where one look lacks, 0 where both do.
        """
        one, two = (side[pixels] for side in sides)
        left, right = (take(looks, side, pixels) + curve[side].T for side in (one, two))
        alone = (one < 0) | (two < 0)
        left = np.where(one < 0, np.where(two < 0, f4(0), right), left)
        gap = np.maximum(self.days[two] - self.days[one], 1).astype(f4)
        steep = np.where(alone, f4(0), (right - left) / gap)
        since = self.days[one].astype(f4)
        never = (one < 0) & (two < 0)
        for day, taken in wanted:
            line = left + steep * (f4(day) - since) - taken[:, None]
            line[:, never] = 0
            yield line


def take(array: F, numbers: Index, pixels: NDArray[np.intp]) -> F:
    """Return ``(band, pixel)`` of an array ``(time, band, pixel)``: one step for each of some pixels."""
    found: F = array[numbers, np.arange(array.shape[1])[:, None], pixels]
    return found


@dataclass
class Expected:
    """What time says of a window, in multiples of its scale, around its curve."""

    looks: F
    """``(time, band, pixel)``, 0 where not clear."""
    clear: Mask
    question: Question
    around: Around
    lessons: Lessons
    curves: F
    """To be added, on the days of looks and targets, ``(time + targets, band)``."""
    scale: F
    """By band."""
    others: F = field(init=False)
    """What others say of each look (causal: those before), ``(time, band, pixel)``, if leaning."""
    quick: F = field(init=False)
    """The same by one expert that forgets quickly."""
    off: F = field(init=False)
    """How far clear looks are from what is said with them, ``(time, band, pixel)``; else 0."""
    targets: F = field(init=False)
    """What is said of the targets, ``(targets, band, pixel inside)``."""
    variance: F = field(init=False)
    """Of the targets, by the first expert, ``(targets, pixel inside)``, if uncertain."""

    def __post_init__(self) -> None:
        asked, shape = self.question, self.looks.shape
        shares = self.lessons.shares
        self.others, self.quick = (np.zeros(shape if asked.leaning else 0, f4) for _ in range(2))
        self.targets = np.zeros((len(asked.targets), shape[1], len(asked.pixels)), f4)
        self.variance = np.zeros((len(asked.targets) * asked.uncertain, len(asked.pixels)), f4)
        self.off = self.looks * (1 - shares[1:, 3, None, None])
        runs = runs_of(asked.pixels, shape[2])
        processes = PAST_PROCESSES if asked.causal else PROCESSES
        for i, process in enumerate(processes):
            into = Smoothed(
                others=self.others if asked.leaning else None,
                alone=self.quick if asked.leaning and i == QUICK else None,
                own=self.off,
                targets=self.targets,
                target_variance=self.variance if asked.uncertain and i == 0 else None,
            )
            share = np.ascontiguousarray(shares[:, i])
            if share.any() or into.alone is not None or into.target_variance is not None:
                smooth(
                    self.looks, self.clear, self.lessons.noises[i], process,
                    Times.of(asked.days, asked.targets, process), (share[1:], share), into,
                    causal=asked.causal, runs=runs,
                )  # fmt: skip
        self._add_line()

    def _add_line(self) -> None:
        """Add the straight line to what is said of looks and targets."""
        asked, shares = self.question, self.lessons.shares[:, 3]
        if not shares.any():
            return
        curve, count = self.curves / self.scale, len(asked.days)
        every = np.arange(self.looks.shape[2])
        for k, day in enumerate(asked.days.tolist() if asked.leaning else ()):
            sides = self.around.between(k, None if asked.causal else k + 1)
            (line,) = self.around.line(self.looks, curve, sides, every, [(day, curve[k])])
            self.others[k] += shares[k + 1] * line
        for k, rows in asked.between():
            sides = self.around.between(k, None if asked.causal else k)
            wanted = [(day, curve[count + t]) for t, day in rows]
            lines = self.around.line(self.looks, curve, sides, asked.pixels, wanted)
            for (t, _), line in zip(rows, lines, strict=True):
                self.targets[t] += shares[k] * line


def runs_of(pixels: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return runs of all pixels: start, stop, and place among `pixels` (ascending), -1 for no place.

    Examples
    --------
    >>> runs_of(np.array([1, 2, 5]), 7).tolist()
    [[0, 1, -1], [1, 3, 0], [3, 5, -1], [5, 6, 2], [6, 7, -1]]
    """
    place = np.full(count, -1)
    place[pixels] = np.arange(len(pixels))
    goes_on = np.where(place[:-1] < 0, place[1:] < 0, np.diff(place) == 1)
    edges = np.concatenate([[0], np.flatnonzero(~goes_on) + 1, [count]])
    return np.stack([edges[:-1], edges[1:], place[edges[:-1]]], axis=1)


def expect(looks: F, clear: Mask, question: Question) -> Expected:
    """Return what time says.

    Parameters
    ----------
    looks
        ``float32``, ``(time, band, pixel)``, 0 where not clear; changed in place.
    clear
        ``(time, pixel)``; each look has some clear pixel.
    question
        What is asked.
    """
    days, bands = question.days, looks.shape[1]
    all_days = np.concatenate([days, question.targets])
    if question.causal:
        curves, scale = np.zeros((len(all_days), bands), f4), np.ones(bands, f4)
        lessons = foresee(looks, clear, days)
    else:
        curves, scale = settle(looks, clear, days, all_days)
        looks -= curves[: len(days), :, None]
        looks /= scale[:, None]
        looks *= clear[:, None]
        lessons = learn(looks, clear, days, curves[: len(days)] / scale)
    return Expected(looks, clear, question, Around(clear, days), lessons, curves, scale)


def settle(looks: F, clear: Mask, days: NDArray[Any], wanted: NDArray[Any]) -> tuple[F, F]:
    """Return the window's harmonic curve (robust) on the days wanted, and bands' deviations from it."""
    bands, pixels = looks.shape[1:]
    count = clear.sum(axis=1)
    mean = looks.sum(axis=2, dtype=np.float64) / count[:, None]
    design = basis(days)[:, 1:].astype(np.float64)
    base = np.minimum(count / pixels, 0.5)
    ridge = np.diag([1e-3] + [0.05 * base.sum()] * (design.shape[1] - 1))
    enough = count > 0.05 * pixels
    found = []
    for b in range(bands):
        weight = base
        for _ in range(6):
            by = (design * weight[:, None]).T
            coefficients = np.linalg.solve(by @ design + ridge, by @ mean[:, b])
            off = np.abs(mean[:, b] - design @ coefficients)
            usual = 1.5 * np.median(off[enough]) + 1e-4 if enough.any() else 1e9
            weight = base / np.maximum(1, off / usual)
        found.append(coefficients)
    curves = (basis(wanted)[:, 1:].astype(np.float64) @ np.array(found).T).astype(f4)
    scale = np.empty(bands, f4)
    pick = _some(clear, SAMPLE)
    seen = clear[:, pick]
    for b in range(bands):
        around = (looks[:, b, pick] - curves[: len(days), b, None])[seen]
        scale[b] = 1.48 * np.median(np.abs(around - np.median(around))) + 1e-4
    return curves, scale


def _some(clear: Mask, count: int) -> NDArray[np.intp]:
    """Return some of the pixels that are ever clear."""
    ever = np.flatnonzero(clear.any(axis=0))
    return np.random.default_rng(0).choice(ever, min(len(ever), count), replace=False)


def learn(y: F, clear: Mask, days: NDArray[Any], curve: F) -> Lessons:
    """Return the noise of dates and the weights of experts."""
    pick = _some(clear, TRIED)
    weights, unit = _weigh(np.ascontiguousarray(y[:, :, pick]), clear[:, pick], days, curve)
    pick = _some(clear, SAMPLE)
    sample = np.ascontiguousarray(y[:, :, pick]), np.ascontiguousarray(clear[:, pick])
    noises = [date_noise(*sample, days, process) for process in PROCESSES]
    steps = len(days) + 1
    shares = np.repeat(weights[None], steps, axis=0)
    return Lessons(noises, shares, np.repeat(unit[None], steps, axis=0))


def _others(y: F, clear: Mask, days: NDArray[Any], noise: F, process: Process) -> tuple[F, F]:
    """Return what the other looks say of each, and its variance."""
    mean, variance = np.empty_like(y), np.empty(clear.shape, f4)
    none = np.ones(len(days) + 1, f4)
    times = Times.of(days, days[:0], process)
    smooth(y, clear, noise, process, times, (none[1:], none), Smoothed(alone=mean, variance=variance))
    return mean, variance


def date_noise(y: F, clear: Mask, days: NDArray[Any], process: Process, rounds: int = 2) -> F:
    """Return the noise of each date: how far its looks are from what others say, less what that errs."""
    noise = np.full(len(y), NOISE, f4)
    count = clear.sum(axis=1)
    for _ in range(rounds):
        mean, variance = _others(y, clear, days, noise, process)
        for t in range(len(y)):
            seen = clear[t]
            z = UNTOLD * NOISE
            if count[t] >= 4:
                z = ((y[t] - mean[t])[:, seen] ** 2).mean() - variance[t][seen].mean()
            noise[t] = np.clip(z, CLEAREST * NOISE, HAZIEST * NOISE)
    return noise


def _weigh(y: F, clear: Mask, days: NDArray[Any], curve: F) -> tuple[F, F]:
    """Return the experts' weights, and by band how much they err beside what the first one expects.

    Dates are hidden by folds, and noise estimated without them: with the noise that the hidden dates
    took part in, the experts seem better than they are.
    """
    count = clear.sum(axis=1)
    usable = np.flatnonzero(count > 0.1 * clear.shape[1])[1:-1]
    if len(usable) < FEWEST:
        return BEFOREHAND, np.ones(y.shape[1], f4)
    order = np.random.default_rng(0).permutation(usable)
    errors, expected, every = [], [], np.arange(y.shape[2])
    for f in range(min(FOLDS, len(order))):
        hidden = order[f::FOLDS]
        left = clear.copy()
        left[hidden] = False
        rest = y * left[:, None]
        told = [_others(rest, left, days, date_noise(rest, left, days, p), p) for p in PROCESSES]
        said = [mean[hidden] for mean, _ in told]
        around = Around(left, days)
        lines = (
            around.line(rest, curve, around.between(t, t + 1), every, [(days[t], curve[t])])
            for t in hidden.tolist()
        )
        said.append(np.stack([next(line) for line in lines]))
        for i, t in enumerate(hidden.tolist()):
            seen = clear[t]
            each = np.stack([expert[i][:, seen] for expert in said])
            errors.append(_miss(y[t][:, seen], each))
            expected.append(np.sqrt(told[0][1][t][seen] + f4(NOISE)).mean())
    found = np.array(errors)
    error = found.mean(axis=2)
    line = error[:, np.flatnonzero(COMBINED[:, 3] == 1)]
    score = (error / (line + np.median(line))).mean(axis=0)
    weights, best = _best(score + THIN / len(error) * (1 - COMBINED[:, 3]))
    beside = found[:, best] / np.array(expected)[:, None]
    # The mean absolute error of a normal distribution is 0.8 of its deviation.
    return weights, np.exp(np.log(beside / f4(0.8) + f4(1e-6)).mean(axis=0))


def _miss(truth: F, each: F) -> F:
    """Return the mean absolute error of each combination of experts, ``(combination, band)``."""
    found: F = np.abs(truth - np.einsum("ce,e...->c...", COMBINED, each)).mean(axis=2)
    return found


def _best(score: NDArray[Any], top: int = 8, heat: float = 0.005) -> tuple[F, int]:
    """Average the best combinations of experts, the better the more; return the best's number too."""
    best = np.argsort(score, kind="stable")[:top]
    weight = np.exp(-(score[best] - score[best[0]]) / heat)
    mixed: F = ((COMBINED[best] * weight[:, None]).sum(axis=0) / weight.sum()).astype(f4)
    return mixed, int(best[0])


def foresee(looks: F, clear: Mask, days: NDArray[Any]) -> Lessons:
    """Return what the past teaches: filters go over some pixels, and learn from what they miss.

    Their gains have no unit, so that reflectance needs no scale but that of their innovations.
    """
    steps, bands, pixels = looks.shape
    pick = np.random.default_rng(0).choice(pixels, min(pixels, SAMPLE), replace=False)
    sample, seen = looks[:, :, pick], clear[:, pick]
    filters = [Filter(process, bands, len(pick)) for process in PAST_PROCESSES]
    times = [Times.of(days, days[:0], process) for process in PAST_PROCESSES]
    noises = [np.full(steps, UNTOLD * NOISE, f4) for _ in filters]
    last = np.full((bands, len(pick)), np.nan, f4)
    sizes: list[list[NDArray[Any]]] = [[] for _ in filters]
    units, shares = np.full((steps + 1, bands), UNIT, f4), np.empty((steps + 1, 4), f4)
    score, scored = -2.0 * (COMBINED * np.array([0.06, 0, 0, 0.06], f4)).sum(axis=1), 2.0
    shares[0], _ = _best(score / scored)
    for t in range(steps):
        told = [
            filter_.predict(of.kept[t], of.looks[t]) for filter_, of in zip(filters, times, strict=True)
        ]
        known = seen[t] & np.isfinite(last[0])
        if known.sum() >= 20:
            each = np.stack([*(mean[:, known] for mean, _, _ in told), last[:, known]])[:, :, :TRIED]
            error = _miss(sample[t][:, known][:, :TRIED], each)
            # Relative, so that no date rules.
            error = (error / (error.mean(axis=0) + 1e-4)).mean(axis=1) * 0.5
            score, scored = score * MEMORY + error, scored * MEMORY + 1
        shares[t + 1], _ = _best(score / scored)
        for i, (mean, variance, _) in enumerate(told):
            if known.sum() >= 20:
                spread = variance[known].mean()
                size = ((sample[t] - mean)[:, known] ** 2).mean(axis=1) + 1e-8
                sizes[i].append(size)
                typical = np.median(np.array(sizes[i]), axis=0)
                z = (size / typical).mean() * (spread + NOISE) - spread
                if i == 0:
                    units[t + 1 :] = np.sqrt(typical / (spread + NOISE))
                noises[i][t] = np.clip(z, CLEAREST * NOISE, HAZIEST_PAST * NOISE)
            elif seen[t].sum() >= 20:
                noises[i][t] = NOISE
            filters[i].update(sample[t], seen[t], told[i], noises[i][t])
        last = np.where(seen[t], sample[t], last)
    return Lessons(noises, shares, units)
