"""The page of promises names tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "concepts" / "promises.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the page is not there")
def test_each_promise_is_watched() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests" / "store").glob("test_*.py"))
    named = re.findall(r"\btest_\w+\b(?!\.py)", PAGE.read_text())
    assert len(set(named)) > 10
    missing = [name for name in named if f"def {name}(" not in tests]
    assert not missing
    files = re.findall(r"\btest_\w+\.py", PAGE.read_text())
    assert not [name for name in files if not (ROOT / "tests" / "store" / name).exists()]
