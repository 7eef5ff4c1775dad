"""Trying again: how often, and how long to wait between."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from s2cube.errors import CubeError

__all__ = ["Retry"]


@dataclass(frozen=True)
class Retry:
    """How often something is tried that may pass, and for how long.

    Examples
    --------
    >>> from s2cube.sources.retry import Retry
    >>> tries = 0
    >>> for pause in Retry(attempts=3, wait=0.001).pauses():
    ...     tries += 1
    ...     if not pause():
    ...         break
    >>> tries
    3
    """

    PASSING: ClassVar = frozenset({408, 425, 429, 500, 502, 503, 504})
    """HTTP statuses that pass."""

    attempts: int = 10
    """At most so many, the first included."""
    wait: float = 0.5
    """Seconds before the second attempt; doubled before each further one, up to `longest`. It is drawn
    from half to whole of that, so that many tasks do not come back at once."""
    longest: float = 20.0
    """Seconds between two attempts, at most."""
    give_up: float = 300.0
    """Seconds after which no new attempt is begun."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.wait, self.longest, self.give_up) < 0:
            raise CubeError(f"Retry takes attempts from 1 and seconds from 0 on, got {self!r}.")

    def pauses(self) -> Iterator[Callable[..., bool]]:
        """Yield once an attempt ``pause(least=0)``, which waits; False: that was the last attempt."""
        start = time.monotonic()
        for number in range(self.attempts):
            yield lambda least=0.0, number=number: self._pause(start, number, least)

    def _pause(self, start: float, number: int, least: float) -> bool:
        # Larger powers are no float.
        most = min(self.wait * 2 ** min(number, 1000), self.longest)
        drawn = random.uniform(most / 2, most)  # noqa: S311
        seconds = max(drawn, min(least, self.longest))
        if number + 1 >= self.attempts or time.monotonic() - start + seconds > self.give_up:
            return False
        time.sleep(seconds)
        return True
