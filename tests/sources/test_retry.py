"""Trying again: so often, so long, and not all at once."""

import time

import pytest

from s2cube.errors import CubeError
from s2cube.sources.retry import Retry


def test_attempts_are_counted() -> None:
    for attempts in (1, 2, 5):
        paused = [pause() for pause in Retry(attempts=attempts, wait=0.0).pauses()]
        assert paused == [True] * (attempts - 1) + [False]


def test_no_attempt_is_begun_after_the_end() -> None:
    attempts = 0
    for pause in Retry(attempts=99, wait=0.01, longest=0.01, give_up=0.1).pauses():
        attempts += 1
        if not pause():
            break
    assert 1 < attempts < 30


def test_waits_grow_up_to_the_longest_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    retry = Retry(attempts=10, wait=1.0, longest=8.0)
    for pause in retry.pauses():
        pause()
    for number, wait in enumerate(waits):
        assert min(2**number, 16) / 2 <= wait <= min(2**number, 8)
    assert len(set(waits)) > 3
    # What a service asks for (Retry-After) is kept, up to the longest.
    waits.clear()
    for pause in Retry(attempts=2, wait=0.0, longest=8.0).pauses():
        pause(5.0)
    assert waits == [5.0]


def test_nonsense_is_refused() -> None:
    for wrong in ({"attempts": 0}, {"wait": -1.0}, {"give_up": -1.0}):
        with pytest.raises(CubeError, match="attempts from 1"):
            Retry(**wrong)  # type: ignore[arg-type]
