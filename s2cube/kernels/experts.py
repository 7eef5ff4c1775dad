"""What the experts say of a window, side by side, as a network is told it.

The experts are those that :func:`~s2cube.kernels.window.fill_window` is made of: all of it, the
process of time alone, the straight line, the look before, the look after. What they differ in is told
in deviations of the window, so that fields and forests, dark bands and bright ones look alike.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.fill import Days
from s2cube.kernels.seasonal import Expected, Index, Question
from s2cube.kernels.similar import folds_of, known
from s2cube.kernels.window import Filling, one_a_day
from s2cube.schema import Provenance

__all__ = ["OWN", "SHARED", "SIGNED", "Experts", "ask"]

F = NDArray[np.float32]
Mask = NDArray[np.bool_]
f4 = np.float32

OWN: Final = ("process", "line", "before", "after", "deviation", "date")
"""What is told of each band: what the process, the line and the looks beside differ from ``similar``;
the deviation of that; on a date with clear pixels, what it differs from what time says."""
SHARED: Final = (
    "there", "clear", "made", "has_before", "has_after", "since", "until", "trust_before",
    "trust_after", "trust", "date", "date_size", "line", "process",
)  # fmt: skip
"""What is told once for all bands: whether there is a pixel; whether the date is clear there, or told
by its clear pixels; which looks are beside, how far, and how clear of haze; means over the bands."""
SIGNED: Final = np.array(
    [name != "deviation" for name in OWN] + [name in ("date", "line", "process") for name in SHARED]
)
"""Which channels are differences: with all of them negative, what is off is negative too."""
DAYS: Final = f4(0.25)
"""Of the logarithm of days."""
LARGEST: Final = f4(1000)
"""Deviations at which all is cut: half precision goes on to 65,504."""


@dataclass
class Experts:
    """A window on which the experts have spoken; of some of its pixels, ``n`` in all."""

    bands: F
    """What ``similar`` says, reflectance, ``(targets, band, n)``; NaN where never seen."""
    deviation: F
    """One standard deviation of it, the same shape."""
    source: NDArray[np.uint8]
    """:class:`~s2cube.schema.Provenance` of ``similar``, ``(targets, n)``."""
    filling: Filling
    process: F
    """What the process says, ``(targets, band, n)``, in multiples of the scale around the curve."""

    @property
    def said(self) -> Expected:
        """What time says."""
        return self.filling.said

    def unit(self, target: int) -> F:
        """Return the deviation by band that all is told in: of the window, when causal of its past."""
        unit: F = self.said.scale * self.said.lessons.units[self._count(target)]
        return unit

    def tell(self, target: int) -> tuple[F, F]:
        """Return what is told of a target.

        Parameters
        ----------
        target
            Its number.

        Returns
        -------
        own, shared : numpy.ndarray
            ``(band, OWN, n)`` and ``(SHARED, n)``, float32; 0 where there is nothing to tell.
        """
        said, asked = self.said, self.filling.asked
        count, day = self._count(target), int(asked.targets[target])
        look = count - 1 if count and int(asked.days[count - 1]) == day else None
        pixels, place = asked.pixels, len(asked.days) + target
        before, after = said.around.between(count, None if asked.causal else count)
        units = said.lessons.units[count][:, None]
        similar = (self.bands[target] - said.curves[place][:, None]) / said.scale[:, None]
        (line,) = said.around.line(
            said.looks, said.curves / said.scale, (before, after), pixels,
            [(day, said.curves[place] / said.scale)],
        )  # fmt: skip
        sides = [self._look(side, place) for side in (before[pixels], after[pixels])]
        own = np.stack(
            [
                self.process[target] - similar,
                line - similar,
                *(np.where(side < 0, f4(0), value - similar) for side, value in sides),
                self.deviation[target] / said.scale[:, None],
                self._date(look),
            ],
            axis=1,
        )
        own /= units[:, None]
        there = np.isfinite(self.bands[target, 0])
        own = np.where(there, np.clip(own, -LARGEST, LARGEST), f4(0))
        return own, np.where(there, self._shared(own, look, day, sides[0][0], sides[1][0]), f4(0))

    def gaps(self, target: int) -> Mask:
        """Return where a target has no clear look of its own, but another."""
        count, asked = self._count(target), self.filling.asked
        gaps: Mask = self.source[target] != Provenance.NEVER_OBSERVED
        if count and asked.days[count - 1] == asked.targets[target]:
            gaps = gaps & ~self.said.clear[count - 1][asked.pixels]
        return gaps

    def _count(self, target: int) -> int:
        asked = self.filling.asked
        return int(np.searchsorted(asked.days, asked.targets[target], side="right"))

    def _look(self, side: Index, place: int) -> tuple[Index, F]:
        """Return the numbers of looks, and the looks around the curve of a target's day."""
        said, pixels = self.said, self.filling.asked.pixels
        found = said.looks[side, :, pixels].T
        shift = (said.curves[side] - said.curves[place]).T / said.scale[:, None]
        return side, found + shift

    def _date(self, look: int | None) -> F:
        """Return what a look differs from what others say of it, where it is clear or was made."""
        said, pixels = self.said, self.filling.asked.pixels
        if look is None:
            return np.zeros((said.looks.shape[1], len(pixels)), f4)
        clear, told = said.clear[look][pixels], known(said, look)[pixels]
        off = (said.looks[look] - said.others[look])[:, pixels]
        made = said.off[look][:, pixels] if look in self.filling.made else np.zeros_like(off)
        return np.where(told, np.where(clear, off, made), f4(0))

    def _shared(self, own: F, look: int | None, day: int, before: Index, after: Index) -> F:
        said, asked = self.said, self.filling.asked
        trust = np.log(self.filling.trust)
        told = np.zeros((len(SHARED), len(before)), f4)
        told[0] = 1
        if look is not None:
            told[1] = said.clear[look][asked.pixels]
            told[2] = (1 - told[1]) * (look in self.filling.made) * known(said, look)[asked.pixels]
            told[9] = trust[look]
        for k, side in enumerate((before, after)):
            there = side >= 0
            apart = np.abs(day - asked.days[side])
            told[3 + k] = there
            told[5 + k] = np.where(there, DAYS * np.log1p(apart), 0)
            told[7 + k] = np.where(there, trust[side], 0)
        told[10], told[11] = own[:, 5].mean(axis=0), np.abs(own[:, 5]).mean(axis=0)
        told[12], told[13] = own[:, 1].mean(axis=0), own[:, 0].mean(axis=0)
        return told


def ask(
    values: F,
    valid: Mask,
    *,
    days: Days,
    targets: Days,
    origin: tuple[int, int],
    causal: bool,
    smooth: bool,
    inside: tuple[slice, slice],
) -> Experts | None:
    """Ask the experts.

    Parameters
    ----------
    values, valid, days, targets, origin, causal, smooth, inside
        As for :func:`~s2cube.kernels.window.fill_window`.

    Returns
    -------
    Experts or None
        What they say of the pixels inside, row by row; None where there is no clear look at all.
    """
    shape = values.shape[2], values.shape[3]
    looks, clear, unique = one_a_day(values, valid, days)
    if not len(unique):
        return None
    pixels = np.arange(shape[0] * shape[1]).reshape(shape)[inside]
    question = Question(unique, targets, pixels.ravel(), causal, leaning=True, uncertain=True)
    filling = Filling(looks, clear, question, smooth)
    filling.ask_dates(shape, folds_of(origin, shape))
    process = filling.said.targets.copy()
    window = filling.finish((pixels.size,))
    return Experts(window.bands, window.deviation, window.source, filling, process)
