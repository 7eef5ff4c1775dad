"""What another sensor tells of a window while it is hidden: radar through clouds, other cameras.

What the sensor sees on a day is held against what its own looks, on the days of the clear optical looks,
would have said of it: the same processes with the same gaps. The difference is what time does not know,
and in a gap the optical value is moved by a multiple of it, the more the longer ago the clear look. The
multiples are learnt in the window, on looks that are hidden by blocks of 30, 60 and 90 days: a ridge
regression, whose errors are measured on other times than it was fitted to. A band is moved only if that
lowered its error by more than chance does. Were optical and other values one Gaussian process with one
coupling, this would be its regression; as it is, it has to prove itself.

Where the sensor saw nothing within :data:`REACH` days of a day nothing is changed. Causal, all of it
comes from the past: what is seen, the multiples, and the proof.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.engine import matmul
from s2cube.kernels.fill import Days
from s2cube.kernels.multiples import Batch, learn, sum_of
from s2cube.kernels.seasonal import Around, Expected, Index, Question, settle

__all__ = ["REACH", "Sensor", "fuse", "sensor_bytes"]

F = NDArray[np.float32]
Mask = NDArray[np.bool_]
Pixels = NDArray[np.intp]
f4 = np.float32

SCALES: Final = (1.0, 4.0)
"""Deviations of the Gaussians that values are blurred with, px: radar speckles."""
NEAR: Final = 5.0
"""Deviation of the Gaussian by which looks around a day are averaged, days."""
REACH: Final = 15
"""Days beyond which a look says nothing of a day."""
ENOUGH: Final = f4(0.1)
"""Sum of its weights at which a sensor is believed in full: its nearest look is 10 days off."""
GROWTH: Final = (5.0, 40.0)
"""Days since the clear look in which a multiple grows to two thirds; 0 on its day."""
GAPS: Final = (30, 60, 90)
"""Days of the blocks that looks are hidden by, to learn."""
EVERY: Final = 3
"""Of the blocks, one in so many is hidden at once."""
HELD: Final = 45
"""Days that are held out together, since what is near in time is alike."""
SAMPLE: Final = 600
"""Pixels to learn from."""
SOME: Final = 20
"""Of them that a date must have."""
MOVED: Final = 0.005
"""Reflectance; a value that is moved by more in some band is called another sensor's."""
LANES: Final = 4096
"""Pixels worked on at once."""


@dataclass(frozen=True)
class Sensor:
    """What another sensor saw of a window."""

    values: F
    """``(time, variable, y, x)``, NaN where it saw nothing; any units."""
    days: Days
    """Of its looks, ascending; some may be equal."""


def sensor_bytes(variables: int, looks: int, days: int) -> tuple[int, int]:
    """Return what :func:`fuse` takes for a sensor: bytes by pixel of the window, and beside them.

    Parameters
    ----------
    variables
        Of the sensor.
    looks
        Of the sensor and of the cube, together.
    days
        That are asked for.
    """
    features = variables * len(SCALES)
    return looks * (4 * features + 4 * variables + 2) + 2 * days, LANES * 24 * features * (looks + days)


def fuse(said: Expected, sensors: Sequence[Sensor], shape: tuple[int, int]) -> Mask:
    """Add to what time says of a window what other sensors tell, each beyond those before it.

    Parameters
    ----------
    said
        What time says; its `targets`, and its `others` where it is leaning, are changed in place.
    sensors
        What others saw.
    shape
        Rows and columns of the window.

    Returns
    -------
    numpy.ndarray
        Where targets were moved by :data:`MOVED` and more, ``(targets, pixel)``.
    """
    moved = np.zeros((len(said.targets), said.targets.shape[2]), bool)
    practice: _Practice | None = None
    for sensor in sensors:
        view = _View.of(sensor, shape, said.question)
        if view is None:
            continue
        practice = practice or _Practice(said)
        multiples = practice.learn(view)
        if multiples.any():
            _move(said, view, multiples, moved)
    return moved


@dataclass(frozen=True)
class _View:
    """A sensor's looks, ready to be asked of any day."""

    seen: F
    """``(time, feature, pixel)``, 0 where it saw nothing: variables by scale."""
    known: Mask
    """``(time, pixel)``."""
    days: Days
    causal: bool
    curves: F
    """Season of the features on the days of optical looks and of targets, ``(time, feature)``."""
    scale: F
    """Deviations from it."""

    @classmethod
    def of(cls, sensor: Sensor, shape: tuple[int, int], asked: Question) -> "_View | None":
        """Return the view of a sensor; None if it saw nothing."""
        known: Mask = np.logical_and.reduce(np.isfinite(sensor.values), axis=1)
        some = np.flatnonzero(known.any(axis=(1, 2)))
        if not len(some):
            return None
        known, days = known[some], sensor.days[some]
        # Causal, the first look alone gives a middle and a unit; a process needs no more.
        first = sensor.values[some[:1] if asked.causal else some]
        first = np.moveaxis(first, 1, 0)[:, known[: len(first)]]
        middle, unit = first.mean(axis=1)[:, None, None], first.std(axis=1)[:, None, None]
        unit[unit == 0] = 1
        blurs = [[_gaussian(size, sigma) for size in shape] for sigma in SCALES]
        seen = np.empty((len(some), len(SCALES) * len(middle), known[0].size), f4)
        for m, k in enumerate(some.tolist()):
            here = known[m]
            values = np.where(here, (sensor.values[k] - middle) / unit, f4(0))
            parts = [
                np.where(
                    here,
                    matmul(rows, values, columns) / np.where(here, matmul(rows, here, columns), f4(1)),
                    0,
                )
                for rows, columns in blurs
            ]
            seen[m] = np.concatenate(parts).reshape(seen.shape[1:])
        known = known.reshape(len(some), -1)
        wanted = np.concatenate([days, asked.days, asked.targets])
        if asked.causal:
            curves, scale = np.zeros((len(wanted), seen.shape[1]), f4), np.ones(seen.shape[1], f4)
        else:
            curves, scale = settle(seen, known, days, wanted)
        return cls(seen, known, days, asked.causal, curves[len(days) :], scale)

    def at(self, day: int, curve: F, pixels: Pixels) -> tuple[F, F]:
        """Return what is seen around a day by some pixels, around the season, and how far to believe."""
        apart = day - self.days
        near = (np.abs(apart) <= REACH) & ((apart >= 0) | (not self.causal))
        total = np.zeros((self.seen.shape[1], len(pixels)), f4)
        weight = np.zeros(len(pixels), f4)
        for m in np.flatnonzero(near).tolist():
            by = f4(np.exp(-0.5 * (apart[m] / NEAR) ** 2))
            total += by * self.seen[m][:, pixels]
            weight += by * self.known[m, pixels]
        total /= np.where(weight > 0, weight, f4(1))
        return (total - curve[:, None]) / self.scale[:, None], np.minimum(1, weight / ENOUGH)

    def at_looks(self, days: Days, pixels: Pixels) -> tuple[F, F]:
        """Return the same on the days of optical looks, ``(time, feature, pixel)`` and by pixel."""
        both = [self.at(int(day), self.curves[k], pixels) for k, day in enumerate(days)]
        return np.stack([seen for seen, _ in both]), np.stack([believed for _, believed in both])

    def expected(
        self, said: Expected, looks: F, believed: F, clear: Mask, targets: Days, inside: Pixels,
        *, leaning: bool = True,
    ) -> Expected:  # fmt: skip
        """Return what time would say of the sensor, had it looked when it was clear, and only then."""
        seen = clear & (believed > 0)
        asked, count = said.question, len(said.question.days)
        question = Question(asked.days, targets, inside, asked.causal, leaning, False)
        around = Around(seen, asked.days)
        curves = self.curves[: count + len(targets)]
        return Expected(looks * seen[:, None], seen, question, around, said.lessons, curves, self.scale)


@dataclass(frozen=True)
class _Hidden:
    """Looks of some pixels hidden by blocks of days, and what is said of them."""

    days: int
    """Of a block."""
    hidden: Mask
    """By look."""
    clear: Mask
    """What is left, ``(time, pixel)``."""
    others: F
    """What it says of all looks, ``(time, band, pixel)``."""
    around: Around


@dataclass
class _Lesson(Batch):
    """A batch, and where it is from."""

    pixels: Pixels
    of: _Hidden


class _Practice:
    """Gaps made where the truth is known."""

    def __init__(self, said: Expected) -> None:
        self.said, asked = said, said.question
        count = said.looks.shape[2]
        # By chance alone: what is clear later is not known yet.
        pick = np.random.default_rng(0).choice(count, min(count, SAMPLE), replace=False)
        self.pixels: Pixels = np.sort(pick)
        self.looks = np.ascontiguousarray(said.looks[:, :, self.pixels])
        self.clear = np.ascontiguousarray(said.clear[:, self.pixels])
        self.every: Pixels = np.arange(len(self.pixels))
        self.gaps = [self._hide(days, part) for days in GAPS for part in range(EVERY)]
        self.left = [self.looks - gap.others for gap in self.gaps]
        """What time misses, and then what sensors do, by gap."""
        self.question = asked

    def _hide(self, length: int, part: int) -> _Hidden:
        said, asked = self.said, self.said.question
        hidden = (asked.days // length) % EVERY == part
        clear = self.clear & ~hidden[:, None]
        question = Question(asked.days, asked.days[:0], self.every, asked.causal, True, False)
        around = Around(clear, asked.days)
        curves = said.curves[: len(asked.days)]
        rest = self.looks * clear[:, None]
        told = Expected(rest, clear, question, around, said.lessons, curves, said.scale)
        return _Hidden(length, hidden, clear, told.others, around)

    def learn(self, view: _View) -> F:
        """Return what each feature counts, by looks up to a day, ``(time + 1, band, feature)``.

        What is then left of the hidden looks is what further sensors learn from.
        """
        batches = sorted(self._batches(view), key=lambda batch: batch.number)
        steps, bands = self.looks.shape[:2]
        found = np.zeros((steps + 1, bands, len(GROWTH) * view.seen.shape[1]), f4)
        if batches:
            learn(batches, self.question.days if view.causal else None, found)
        for batch in batches:
            for left, gap in zip(self.left, self.gaps, strict=True):
                if gap is batch.of:
                    left[batch.number][:, batch.pixels] -= sum_of(found[batch.number], batch.features)
        return found

    def _batches(self, view: _View) -> Iterator[_Lesson]:
        days = self.question.days
        seen, believed = view.at_looks(days, self.pixels)
        for gap, left in zip(self.gaps, self.left, strict=True):
            told = view.expected(self.said, seen, believed, gap.clear, days[:0], self.every)
            for k in np.flatnonzero(gap.hidden).tolist():
                day = int(days[k])
                age = _age(gap.around, k, k + 1, day, view.causal)
                new = (seen[k] - told.others[k]) * _lean(told.around, believed[k], k, k + 1, view.causal)
                use = np.flatnonzero(self.clear[k] & (age < FAR) & new.any(axis=0))
                if len(use) < SOME:
                    continue
                features = _grown(new[:, use], age[use])
                target = left[k][:, use]
                yield _Lesson(k, day - day % gap.days, day // HELD, features, target, use, gap)


FAR: Final = 2.0**15
"""Days to a look that is not there."""


def _age(around: Around, k: int, after: int, day: int, causal: bool) -> F:
    """Return the days from one day to the nearest clear look before `k`, or from `after` on."""
    days = around.days
    one, two = around.between(k, None if causal else after)
    since = np.where(one < 0, FAR, day - days[one])
    ahead = np.where(two < 0, FAR, days[two] - day)
    age: F = np.minimum(since, ahead).astype(f4)
    return age


def _lean(around: Around, believed: F, k: int, after: int, causal: bool) -> F:
    """Return how far to believe what is new, 0 where the sensor has no look to be held against."""
    sides: tuple[Index, Index] = around.between(k, None if causal else after)
    lean: F = believed * ((sides[0] >= 0) | (sides[1] >= 0))
    return lean


def _grown(new: F, age: F) -> F:
    """Return the features: what is new, growing with the days since the clear look."""
    return np.concatenate([new * (1 - np.exp(-age / f4(days))) for days in GROWTH])


def _move(said: Expected, view: _View, multiples: F, moved: Mask) -> None:
    """Add what is new to what is said of targets and, if they are leant on, of looks."""
    asked = said.question
    every = np.arange(said.looks.shape[2]) if asked.leaning else asked.pixels
    for start in range(0, len(every), LANES):
        pixels = every[start : start + LANES]
        _, inside, place = np.intersect1d(pixels, asked.pixels, assume_unique=True, return_indices=True)
        clear = np.ascontiguousarray(said.clear[:, pixels])
        looks, believed = view.at_looks(asked.days, pixels)
        told = view.expected(said, looks, believed, clear, asked.targets, inside, leaning=asked.leaning)
        around = Around(clear, asked.days)
        if asked.leaning:
            for k, day in enumerate(asked.days.tolist()):
                lean = _lean(told.around, believed[k], k, k + 1, asked.causal)
                if lean.any() and multiples[k].any():
                    age = _age(around, k, k + 1, day, asked.causal)
                    new = _grown((looks[k] - told.others[k]) * lean, age)
                    said.others[k][:, pixels] += sum_of(multiples[k], new)
        for count, rows in asked.between() if len(inside) else ():
            size = np.abs(said.scale)[:, None]
            for t, day in rows if multiples[count].any() else ():
                seen, believed_now = view.at(day, view.curves[len(asked.days) + t], pixels[inside])
                if not believed_now.any():
                    continue
                lean = _lean_at(told.around, believed_now, count, asked.causal, inside)
                age = _age(around, count, count, day, asked.causal)[inside]
                by = sum_of(multiples[count], _grown((seen - told.targets[t]) * lean, age))
                said.targets[t][:, place] += by
                moved[t, place] |= (np.abs(by) * size >= MOVED).any(axis=0)


def _lean_at(around: Around, believed: F, count: int, causal: bool, inside: Pixels) -> F:
    """Return :func:`_lean` of some pixels, with all looks."""
    one, two = around.between(count, None if causal else count)
    lean: F = believed * ((one[inside] >= 0) | (two[inside] >= 0))
    return lean


def _gaussian(size: int, sigma: float) -> F:
    """Return the matrix that sums up a line by a Gaussian; its tails are cut."""
    apart = np.arange(size)
    bell = np.exp(-0.5 * ((apart[:, None] - apart) / sigma) ** 2)
    return np.where(bell > 0.01, bell, 0).astype(f4)
