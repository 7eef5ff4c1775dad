"""How far a run is: one line that is drawn anew where somebody looks on, else lines for a log."""

import sys
import time
from types import TracebackType
from typing import Final, TextIO

from s2cube.schema import FAILED_LOOKS
from s2cube.store.ledger import Mark

__all__ = ["Progress"]

WIDTH: Final = 20
"""Signs of the bar."""
EVERY: Final = 10.0
"""Seconds between two lines of a log."""


class Progress:
    """Regions done, how many a minute, and the time that is left. To be entered.

    Parameters
    ----------
    total
        Regions of the store.
    days
        Of the series.
    kept
        Regions that were there before.
    wanted
        Whether to show it.
    """

    def __init__(self, total: int, days: int, *, kept: int, wanted: bool) -> None:
        self._total, self._days, self._kept = total, days, kept
        self._done = self._failed = self._unread = 0
        self.single = wanted and total - kept == 1
        """Whether there is one region only, which has a bar of its own, that of its blocks."""
        self._wanted = wanted and total - kept > 1
        self._started = time.monotonic()
        self._told = -EVERY
        self._length = 0

    @property
    def _out(self) -> TextIO:
        return sys.stderr

    def __enter__(self) -> "Progress":
        self._tell()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._length:
            self._out.write("\n")

    def done(self, mark: Mark) -> None:
        """Take note of one more region: written, by whomever, or failed."""
        self._done += 1
        self._failed += not mark.there
        self._unread += mark.counts.get(FAILED_LOOKS, 0)
        self._tell(last=self._kept + self._done >= self._total)

    def _tell(self, *, last: bool = False) -> None:
        if not self._wanted:
            return
        if not (self._out.isatty() or "ipykernel" in sys.modules):
            if last or (self._done and time.monotonic() - self._told >= EVERY):
                self._told = time.monotonic()
                self._out.write(f"{self.line()}\n")
                self._out.flush()
            return
        done = self._kept + self._done
        bar = "#" * (WIDTH * done // self._total)
        line = f"[{bar:<{WIDTH}}] {self.line()}"
        self._out.write("\r" + line.ljust(self._length))
        self._out.flush()
        self._length = len(line)

    def line(self) -> str:
        """Return how far it is, in words."""
        words = [f"{self._kept + self._done} of {self._total} regions of {self._days} days"]
        if self._failed:
            words.append(f"{self._failed} failed")
        if self._unread:
            words.append(f"{self._unread} looks unread")
        if self._done:
            each = (time.monotonic() - self._started) / self._done
            left = each * (self._total - self._kept - self._done)
            words.append(f"{60 / max(each, 1e-9):.3g} a minute")
            words.append(f"{_clock(left)} left" if left else f"{_clock(each * self._done)} in all")
        return ", ".join(words)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
