"""A small archive behind a stand-in of the service, and cubes opened from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from service import KEY

import s2cube
from s2cube import schema
from s2cube.sources.clearsky import client


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.001)
    monkeypatch.delenv("CLEARSKY_API_KEY", raising=False)


@pytest.fixture(scope="session")
def source() -> xr.Dataset:
    """What the service has: seven dates, five bands, a corner without data."""
    cube = s2cube.testing.simulate_cube(shape=(60, 72), seed=3, end="2021-07-10")
    here = (cube["x"] > cube["x"][8]) | (cube["y"] > cube["y"][40])
    return cube.assign({band: cube[band].where(here) for band in schema.bands_of(cube)})


@pytest.fixture
def asked(source: xr.Dataset, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What is asked of a service, for opening and estimating alike."""

    def ask(service: Any, **changed: Any) -> dict[str, Any]:
        told = {
            "geobox": schema.geobox_of(source)[4:56, 3:67],
            "datetime": "2021-06-01/2021-07-10",
            "bands": ["blue", "red", "nir"],
            "api_key": KEY,
            "base_url": service.url,
            "cache": tmp_path / "cache",
        }
        return {**told, **changed}

    return ask
