"""Filling all bands of one window of a cube together.

Time says what it can of every day (:mod:`~s2cube.kernels.seasonal`), other sensors what they saw
meanwhile (:mod:`~s2cube.kernels.fusion`); on dates that are clear in part, their clear pixels say it
better (:mod:`~s2cube.kernels.similar`). What a look, or what was made of its date, is off from what time
says fades on the days around it, so that series do not jump. All that is estimated comes from the window
alone, so windows at fixed pixels give the same whatever the chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.fill import Days, provenance
from s2cube.kernels.fusion import Sensor, fuse
from s2cube.kernels.seasonal import NOISE, Around, Question, expect, take
from s2cube.kernels.similar import FEWEST, folds_of, known, same_date
from s2cube.schema import Provenance

__all__ = ["Filling", "Window", "fill_window", "one_a_day", "pass_clear", "peak_bytes"]

F = NDArray[np.float32]
Mask = NDArray[np.bool_]
f4 = np.float32

FADE: Final = 12.0
"""Days in which it fades to a third what a look is off from what time says."""
HAZY: Final = 10.0
"""Noise of a date, as a multiple of the usual, up to which what it says of hidden pixels is believed."""
LASTING: Final = 7 * FADE
"""Days after which nothing of it is left."""


@dataclass(frozen=True)
class Window:
    """A window that is filled."""

    bands: F
    """Reflectance, ``(targets, band, y, x)``; NaN where a pixel was never seen."""
    deviation: F
    """One standard deviation of it, to be calibrated; the same shape, no targets unless asked for."""
    source: NDArray[np.uint8]
    """:class:`~s2cube.schema.Provenance`, ``(targets, y, x)``."""


def fill_window(
    values: F,
    valid: Mask,
    *,
    days: Days,
    targets: Days,
    origin: tuple[int, int],
    same_date: bool,
    causal: bool,
    smooth: bool = False,
    inside: tuple[slice, slice] = (slice(None), slice(None)),
    uncertain: bool = True,
    sensors: Sequence[Sensor] = (),
) -> Window:
    """Fill a window.

    Parameters
    ----------
    values
        Reflectance, ``float32``, ``(time, band, y, x)``; not read where not valid.
    valid
        Where all bands are clear, ``(time, y, x)``.
    days
        Day of each look, ascending; of several clear looks on one day the last counts.
    targets
        Days asked for, ascending, each once.
    origin
        Absolute row and column of the window's first pixel, which decide what is held out together.
    same_date
        Whether a date's clear pixels tell of those beside them; else time alone does.
    causal
        Whether a value may lean only on looks up to its day.
    smooth
        Whether estimates replace clear looks too. What hazy dates say counts less then.
    inside
        Rows and columns that are returned; the others are leant on.
    uncertain
        Whether deviations are wanted.
    sensors
        What others saw of the window.

    Returns
    -------
    Window
        What is filled. A value does not depend on which other targets are asked for.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([0.1, 0.2], np.float32).reshape(2, 1, 1, 1)
    >>> window = fill_window(
    ...     values, np.ones((2, 1, 1), bool), days=np.array([0, 10], np.int32),
    ...     targets=np.array([0, 5], np.int32), origin=(0, 0), same_date=True, causal=False,
    ... )
    >>> window.bands.shape, float(window.bands[0, 0, 0, 0]) == float(values[0, 0, 0, 0])
    ((2, 1, 1, 1), True)
    """
    shape = values.shape[2], values.shape[3]
    looks, clear, unique = one_a_day(values, valid, days)
    pixels = np.arange(shape[0] * shape[1]).reshape(shape)[inside]
    if not len(unique):
        empty = np.full((len(targets), values.shape[1], *pixels.shape), np.nan, f4)
        never = np.full((len(targets), *pixels.shape), Provenance.NEVER_OBSERVED, np.uint8)
        return Window(empty, empty.copy() if uncertain else empty[:0], never)
    question = Question(unique, targets, pixels.ravel(), causal, same_date, uncertain)
    filled = Filling(looks, clear, question, smooth)
    if sensors:
        filled.moved = fuse(filled.said, sensors, shape)
    if same_date:
        filled.ask_dates(shape, folds_of(origin, shape))
    window = filled.finish(pixels.shape)
    if not smooth:
        pass_clear(window.bands, values, valid, days, targets, inside)
    return window


def pass_clear(
    bands: F, values: F, valid: Mask, days: Days, targets: Days, inside: tuple[slice, slice]
) -> None:
    """Put clear looks, bit for bit, into what was filled, ``(targets, band, y, x)``; the last counts."""
    for t, day in enumerate(targets.tolist()):
        for step in np.flatnonzero(days == day).tolist():
            np.copyto(bands[t], values[step][:, *inside], where=valid[step][inside])


def peak_bytes(
    *, looks: int, bands: int, pixels: int, targets: int, inside: int, deviations: bool
) -> int:
    """Return the most bytes that :func:`fill_window` takes beside its arguments, with its result."""
    series = 16 * looks * bands * pixels + 16 * looks * pixels
    result = (4 + 4 * deviations) * targets * bands * inside + 5 * targets * inside
    return series + result + (80 * bands + 1200) * pixels + 2**24


def one_a_day(values: F, valid: Mask, days: Days) -> tuple[F, Mask, Days]:
    """Return the looks of days with any, ``(time, band, pixel)``, 0 where not clear; the last counts."""
    bands, rows, columns = values.shape[1:]
    some = np.flatnonzero(valid.any(axis=(1, 2)))
    unique = np.unique(days[some])
    looks = np.zeros((len(unique), bands, rows * columns), f4)
    clear = np.zeros((len(unique), rows * columns), bool)
    for step in some.tolist():
        k = int(np.searchsorted(unique, days[step]))
        seen = valid[step].ravel()
        np.copyto(looks[k], values[step].reshape(bands, -1), where=seen)
        clear[k] |= seen
    return looks, clear, unique


class Filling:
    """A window on its way."""

    def __init__(self, looks: F, clear: Mask, asked: Question, smooth: bool) -> None:
        self.asked, self.smooth = asked, smooth
        self.low, self.high = _ranges(looks, clear, causal=asked.causal)
        self.said = expect(looks, clear, asked)
        self.nodes = clear.copy()
        """Where there is something on the date itself, clear or made: what it is off fades around it."""
        if smooth:
            self.said.off[:] = 0
        # A hazy date is believed on its day, and not beyond it.
        self.trust = np.minimum(1, (f4(NOISE) / self.said.lessons.noises[0]) ** 2)
        self.belief = np.minimum(1, f4(HAZY * NOISE) / self.said.lessons.noises[0])
        """How much of what a date says of its hidden pixels: a cloud that was missed is no ground."""
        self.made: dict[int, F] = {}
        """Deviation of what was made of a date, by number of the look and band."""
        self.moved: Mask | None = None
        """Where other sensors moved targets."""

    def ask_dates(self, shape: tuple[int, int], fold: NDArray[np.intp]) -> None:
        """Make dates whole that are clear in part, as far as targets lean on them."""
        said, pixels = self.said, self.asked.pixels
        able = [k for k, clear in enumerate(said.clear) if (clear & known(said, k)).sum() >= FEWEST]
        for k in self._leant_on(np.array(able, np.intp)):
            gaps = self._gaps(k)
            self.nodes[k] |= gaps
            if gaps[pixels].any():
                look, size = same_date(said, k, shape, fold)
                off, belief = look - said.others[k], self.belief[k]
                not_told = (1 - belief) * np.sqrt((off[:, gaps] ** 2).mean(axis=1))
                self.made[k] = np.hypot(size, not_told)
                np.copyto(said.off[k], off * belief, where=gaps)

    def _gaps(self, k: int) -> Mask:
        """Return where a date is not clear, but known."""
        gaps: Mask = ~self.said.clear[k] & known(self.said, k)
        return gaps

    def _leant_on(self, able: NDArray[np.intp]) -> list[int]:
        """Return which of some looks are that of a target, or beside one that has none."""
        days, found = self.asked.days, set()
        for count, rows in self.asked.between():
            place = int(np.searchsorted(able, count))
            past = [int(k) for k in able[:place][-1:]]
            later = [] if self.asked.causal else [int(k) for k in able[place:][:1]]
            for _, day in rows:
                beside = past if past and days[past[0]] == day else past + later
                found |= {k for k in beside if abs(int(days[k]) - day) <= LASTING}
        return sorted(found)

    def finish(self, shape: tuple[int, ...]) -> Window:
        """Return what is filled; clear looks do not pass yet."""
        said, asked = self.said, self.asked
        self._fade()
        source = self._source()
        bands, count = said.targets, len(asked.days)
        bands *= said.scale[:, None]
        bands += said.curves[count:, :, None]
        for looks, rows in asked.between():
            low, high = (end[max(looks - 1, 0), :, None] for end in (self.low, self.high))
            for t, _ in rows:
                np.clip(bands[t], low, high, out=bands[t])
        deviation = self._deviation(source) if asked.uncertain else bands[:0]
        never = source == Provenance.NEVER_OBSERVED
        for array in (bands, deviation):
            np.copyto(array, f4(np.nan), where=never[: len(array), None])
        return Window(
            bands.reshape(-1, bands.shape[1], *shape),
            deviation.reshape(-1, bands.shape[1], *shape),
            source.reshape(-1, *shape),
        )

    def _fade(self) -> None:
        """Add what dates are off to the days around them: a bridge from one to the next."""
        said, asked, pixels = self.said, self.asked, self.asked.pixels
        around = Around(self.nodes, asked.days)
        for count, rows in asked.between():
            sides = around.between(count, None if asked.causal else count)
            one, two = (side[pixels] for side in sides)
            before, after = (take(said.off, side, pixels) for side in (one, two))
            # Where there is no look, one that is so far away that nothing is left.
            start = np.where(one < 0, -(2**20), asked.days[one])
            end = np.where(two < 0, 2**20, asked.days[two])
            for t, day in rows:
                since, ahead = np.maximum(day - start, 0), np.maximum(end - day, 0)
                left = _bridge(ahead, since) * self._believed(one, since)
                right = _bridge(since, ahead) * self._believed(two, ahead)
                said.targets[t] += before * np.where(one < 0, f4(0), left)
                said.targets[t] += after * np.where(two < 0, f4(0), right)

    def _believed(self, side: NDArray[np.int16], apart: NDArray[Any]) -> F:
        trust: F = self.trust[side]
        return trust if self.smooth else np.where(apart == 0, f4(1), trust)

    def _source(self) -> NDArray[np.uint8]:
        asked, said = self.asked, self.said
        between = Provenance.EXTRAPOLATED if asked.causal else Provenance.INTERPOLATED
        source = provenance(
            said.clear[:, None, asked.pixels],
            days=asked.days,
            targets=asked.targets,
            reach="past" if asked.causal else "both",
            between=between,
            on_look=between if self.smooth else Provenance.OBSERVED,
        )[:, 0]
        if self.moved is not None:
            source[self.moved & (source != Provenance.NEVER_OBSERVED)] = Provenance.OTHER_SENSOR
        for t, k in self._on_made():
            source[t][self._gaps(k)[asked.pixels]] = Provenance.SAME_DATE
        return source

    def _on_made(self) -> list[tuple[int, int]]:
        """Return targets on a date that was made whole, and its number."""
        rows = [(t, count - 1, day) for count, rows in self.asked.between() for t, day in rows]
        return [(t, k) for t, k, day in rows if k in self.made and self.asked.days[k] == day]

    def _deviation(self, source: NDArray[np.uint8]) -> F:
        asked, said = self.asked, self.said
        made = dict(self._on_made())
        noise = said.lessons.noises[0]
        deviation = np.empty_like(said.targets)
        for count, rows in asked.between():
            unit = said.scale * said.lessons.units[count]
            for t, _ in rows:
                variance = said.variance[t] + f4(NOISE)
                variance[source[t] == Provenance.OBSERVED] = noise[count - 1] if count else 0
                np.multiply(np.sqrt(variance), unit[:, None], out=deviation[t])
                if t in made:
                    of_date = (self.made[made[t]] * said.scale)[:, None]
                    np.copyto(deviation[t], of_date, where=source[t] == Provenance.SAME_DATE)
        return deviation


def _ranges(looks: F, clear: Mask, *, causal: bool) -> tuple[F, F]:
    """Return the least and the largest look of the window by band, up to each date where causal.

    Nothing is filled with more or less than was ever seen: a regression may run out of its lessons.
    """
    seen = [look[:, here] for look, here in zip(looks, clear, strict=True)]
    low, high = (np.array([f(look, axis=1) for look in seen]) for f in (np.min, np.max))
    if causal:
        return np.minimum.accumulate(low), np.maximum.accumulate(high)
    return np.broadcast_to(low.min(axis=0), low.shape), np.broadcast_to(high.max(axis=0), high.shape)


def _bridge(apart: NDArray[Any], since: NDArray[Any]) -> F:
    """Return what is left of a look some days since, that is 0 at another look some days apart."""
    gap = np.maximum(apart + since, 1)
    left = np.exp(-since / FADE) * np.expm1(-2 * apart / FADE) / np.expm1(-2 * gap / FADE)
    bridge: F = left.astype(f4)
    return bridge
