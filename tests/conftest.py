"""Fixtures and settings that all tests share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import xarray as xr

import s2cube

# `HYPOTHESIS_PROFILE=thorough make test` looks ten times as hard.
hypothesis.settings.register_profile("default", deadline=None, max_examples=60)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default")
)

# numbagg is here as an oracle. Most users do not have it, and it compiles every reduction anew.
xr.set_options(use_numbagg=False)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _no_windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw into memory, and close what was drawn."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    yield
    import sys

    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close("all")


@pytest.fixture(scope="session")
def cube() -> xr.Dataset:
    """A small simulated cube, in memory."""
    return s2cube.testing.simulate_cube(shape=(40, 48), seed=1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two worker processes on loopback, for all tests: starting them takes longer than most tests do."""
    from clusters import two_workers

    with two_workers() as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    """The ambient client: a plain ``.compute()`` goes to the cluster."""
    import distributed

    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Paths of real data beside the repository; the test is skipped where they are not."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"needs {name} of the real data beside the repository")
        return path

    return find
