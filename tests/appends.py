"""What the tests of appending share."""

from typing import Any

import pytest
import xarray as xr

import s2cube
from s2cube.store.run import region
from s2cube.store.target import open_target

HOW: dict[str, Any] = {"region_size": 256, "append_every": 8, "progress": False}


def days(cube: xr.Dataset, begin: int, end: int) -> xr.Dataset:
    return cube.isel(time=slice(begin, end))


def appended(cube: xr.Dataset, store: Any, **how: Any) -> s2cube.WriteReport:
    return s2cube.append_daily(cube, store, progress=False, **how)


def sound(store: Any) -> bool:
    return s2cube.verify(store, progress=False).ok


def values(store: Any) -> xr.Dataset:
    return s2cube.open_daily(store).drop_attrs(deep=False).compute()


def stored(address: str) -> dict[str, bytes]:
    """Every file of a store but its ledger and the root, which tells how it was made."""
    target = open_target(address)
    keys = [key for key in target.sizes() if key != "zarr.json" and not key.startswith("ledger/")]
    return {key: target.get(key) or b"" for key in keys}


def stop_after(patch: pytest.MonkeyPatch, regions: int) -> None:
    real, done = region.store_blocks, []

    def fake(*args: Any) -> Any:
        if len(done) >= regions:
            raise OSError("link down")
        done.append(1)
        return real(*args)

    patch.setattr(region, "store_blocks", fake)
