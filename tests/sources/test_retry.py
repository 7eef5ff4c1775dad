"""Trying again: so often, so long, and not all at once."""

import time

import pytest

from s2cube.errors import CubeError
from s2cube.sources.retry import Retry


class Clock:
    """A time that passes by waiting only."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


def tried(retry: Retry, least: float = 0.0) -> int:
    """How often something is tried that never succeeds."""
    for number, pause in enumerate(retry.pauses(), 1):
        if not pause(least):
            return number
    raise AssertionError("the last pause did not say that it was the last")


def test_attempts_are_counted(clock: Clock) -> None:
    for attempts in (1, 2, 5):
        paused = [pause() for pause in Retry(attempts=attempts, wait=0.0).pauses()]
        assert paused == [True] * (attempts - 1) + [False]
        assert len(clock.waits) == attempts - 1
        clock.waits.clear()


def test_no_attempt_is_begun_after_the_end(clock: Clock) -> None:
    """Nor is there a wait for one that would be begun too late."""
    start = clock.now
    assert 5 <= tried(Retry(attempts=99, wait=2.0, longest=2.0, give_up=9.0)) <= 10
    assert 7.0 < clock.now - start <= 9.0
    # What the attempts themselves take counts too.
    clock.waits.clear()
    begun = 0
    for pause in Retry(wait=0.0, give_up=100.0).pauses():
        begun += 1
        clock.now += 40
        if not pause():
            break
    assert begun == 3
    # Each work has its own time.
    assert tried(Retry(attempts=4, wait=1.0, give_up=100.0)) == 4


def test_waits_double_up_to_the_longest_and_differ_there_too(clock: Clock) -> None:
    retry = Retry(attempts=10, wait=1.0, longest=8.0, give_up=1e6)
    drawn = []
    for _ in range(50):
        clock.waits.clear()
        tried(retry)
        drawn.append(tuple(clock.waits))
    for number, waits in enumerate(zip(*drawn, strict=True)):
        most = min(2.0**number, 8.0)
        assert most / 2 <= min(waits)
        assert max(waits) <= most
        # Tasks that failed together do not come back together.
        assert len(set(waits)) == len(waits)
        assert max(waits) - min(waits) > most / 4


def test_what_a_service_asks_for_is_waited_for_up_to_the_longest(clock: Clock) -> None:
    for asked, waited in ((5.0, 5.0), (60.0, 8.0)):
        clock.waits.clear()
        assert tried(Retry(attempts=2, wait=0.0, longest=8.0), asked) == 2
        assert clock.waits == [waited]
    # Less than we would wait anyway changes nothing.
    clock.waits.clear()
    tried(Retry(attempts=2, wait=4.0), 1.0)
    assert 2.0 <= clock.waits[0] <= 4.0


def test_any_number_of_attempts(clock: Clock) -> None:
    retry = Retry(attempts=3000, wait=1e-3, longest=1e-3, give_up=1e6)
    assert tried(retry) == 3000


def test_the_statuses_that_pass() -> None:
    assert {429, 500, 502, 503, 504} <= Retry.PASSING
    assert not Retry.PASSING & {400, 401, 403, 404, 410, 501}


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"wait": -1.0}, {"longest": -1.0}, {"give_up": -1.0}]
)
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(CubeError, match="attempts from 1"):
        Retry(**wrong)  # type: ignore[arg-type]


def test_the_least_that_makes_sense(clock: Clock) -> None:
    assert tried(Retry(attempts=1, wait=0.0, longest=0.0, give_up=0.0)) == 1
    assert tried(Retry(give_up=0.0)) == 1
    assert clock.waits == []
