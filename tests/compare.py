"""What several tests compare with."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Hold two cubes equal: every value (NaN too), type, coordinate and attribute."""
    one, other = one.compute(), other.compute()
    xr.testing.assert_identical(one, other)
    for name in one.variables:
        assert one[name].dtype == other[name].dtype, name


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two float arrays are equal to the last bit, NaN at the same places."""
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)


PIECES: dict[str, Any] = {"region_size": 300, "progress": False}
"""Several regions out of a few hundred pixels: a shard is 256 px."""


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def content(folder: Path) -> dict[str, bytes]:
    """Every array's bytes; what differs between runs (the ledger's version) left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "ledger" not in path.parts
    }
