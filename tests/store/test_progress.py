"""How far a run is: drawn in place where somebody looks on, lines now and then for a log."""

import io
import itertools
import sys

import pytest

from s2cube.store.ledger import Mark
from s2cube.store.run.progress import WIDTH, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def mark(number: int) -> Mark:
    return Mark(f"y0-256_x{number}-256", "recipe", {}, {"failed_looks": number})


def run(total: int = 5, kept: int = 1) -> None:
    with Progress(total, 365, kept=kept, wanted=True) as shown:
        for number in range(total - kept):
            shown.done(mark(number))


def test_in_a_terminal_one_line_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", out := Terminal())
    run()
    first, *drawn = out.getvalue().split("\r")[1:]
    assert first.startswith(f"[{'#' * 4:<{WIDTH}}] 1 of 5 regions of 365 days")
    assert len(drawn) == 4
    assert drawn[-1].startswith(f"[{'#' * WIDTH}] 5 of 5 regions of 365 days, 6 looks unread, ")
    assert drawn[-1].endswith("\n")
    assert drawn[-1].rstrip().endswith("in all")
    for line, later in itertools.pairwise(drawn):
        assert len(later) >= len(line.rstrip()), "nothing is left of a longer one"


def test_a_log_gets_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    run(total=50, kept=0)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2, "the first, and the last; those between come within seconds"
    assert lines[-1].startswith("50 of 50 regions of 365 days")
    assert "\r" not in out.getvalue()


def test_what_is_not_wanted_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", out := Terminal())
    with Progress(5, 365, kept=0, wanted=False) as shown:
        shown.done(mark(0))
    run(total=2, kept=1)  # one region has a bar of its own
    assert not out.getvalue()
