"""Stores on an object store: the same store, to the last byte, and the same guarantees."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
import zarr
from compare import PIECES, assert_same, content

import s2cube
from s2cube.errors import StoreError, StoreMismatchError, UnfinishedStoreError
from s2cube.store import run
from s2cube.store.ledger import Ledger
from s2cube.store.target import open_target


def objects(address: str) -> dict[str, bytes]:
    """Every object of a store, by path within; the ledger left out, as :func:`compare.content` does."""
    target = open_target(address)
    return {
        key: found
        for key in target.sizes()
        if not key.startswith("ledger/") and (found := target.get(key)) is not None
    }


def test_holds_the_same_bytes_as_a_folder(small: xr.Dataset, tmp_path: Path, s3: str) -> None:
    report = small.s2.write_daily(f"{s3}/d.zarr", **PIECES)
    assert (report.written, report.kept, report.store) == (2, 0, f"{s3}/d.zarr")
    small.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    assert objects(f"{s3}/d.zarr") == content(tmp_path / "d.zarr")
    there, here = s2cube.open_daily(f"{s3}/d.zarr"), s2cube.open_daily(tmp_path / "d.zarr")
    assert_same(there.drop_attrs(deep=False), here.drop_attrs(deep=False))
    assert s2cube.verify(f"{s3}/d.zarr", progress=False).ok
    assert not open_target(f"{s3}/d.zarr.s2cube").sizes(), "nothing is left of the work"
    again = small.s2.write_daily(f"{s3}/d.zarr", **PIECES)
    assert (again.written, again.kept) == (0, 2)


def test_resumes_after_a_failure(small: xr.Dataset, s3: str) -> None:
    store = f"{s3}/d.zarr"
    real, done = run.store_blocks, []

    def fail_second(*args: Any) -> Any:
        done.append(1)
        if len(done) > 1:
            raise OSError("no more")
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "store_blocks", fail_second)
        with pytest.raises(StoreError, match="1 of 2 regions of s3://bucket"):
            small.s2.write_daily(store, **PIECES)
    with pytest.raises(UnfinishedStoreError, match="1 of 2 regions are there, 1 failed"):
        s2cube.open_daily(store)
    with pytest.raises(Exception, match="group"):
        zarr.open_group(open_target(store).array_store(read_only=True), mode="r")
    report = small.s2.write_daily(store, **PIECES)
    assert (report.written, report.kept) == (1, 1)
    small.s2.write_daily(f"{s3}/whole.zarr", **PIECES)
    assert objects(store) == objects(f"{s3}/whole.zarr")
