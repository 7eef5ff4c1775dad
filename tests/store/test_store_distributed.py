"""Stores written by a cluster: on an object store, with credentials that only the caller has."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from clusters import ON_A_CLUSTER
from compare import PIECES

import s2cube
from s2cube.errors import StoreError
from s2cube.store.target import open_target

pytestmark = ON_A_CLUSTER


def test_workers_write_to_an_object_store(
    client: Any, small: xr.Dataset, s3: str, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    options = {
        "access_key_id": "AKIDOTHER",
        "secret_access_key": "0therS3cret",
        "region": "eu-central-1",
        "endpoint": moto,
    }
    store = f"{s3}/d.zarr"
    report = small.s2.write_daily(store, storage_options=options, **PIECES)
    assert (report.written, report.failed) == (2, {})
    cube = s2cube.open_daily(store, storage_options=options)
    expected = small["provenance"].compute(scheduler="threads")
    assert (cube["provenance"].compute() == expected).all(), "workers read it too"
    assert s2cube.verify(store, storage_options=options, progress=False).ok
    open_target(store, options).delete(["B04/c/0/0/0"])
    again = small.s2.write_daily(store, storage_options=options, **PIECES)
    assert (again.written, again.kept) == (1, 1)


def test_a_task_that_dies_shows_no_credentials(
    client: Any, small: xr.Dataset, s3: str, moto: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Dask tells the arguments of a task that fails: they must not hold the piece's bytes."""
    from s2cube.store.run.workers import _Piece

    assert "secret" not in repr(_Piece(b"secret"))
    with caplog.at_level(logging.WARNING):
        error = client.submit(_fail, _Piece(b"secret")).exception()
    assert isinstance(error, StoreError)
    logs = client.run(lambda dask_worker: str(list(dask_worker._deque_handler.deque)))
    assert not [log for log in [caplog.text, *logs.values()] if "secret" in log]


def _fail(piece: Any) -> None:
    raise StoreError("no")


def test_a_failed_share_is_reported_from_workers(client: Any, small: xr.Dataset, tmp_path: Path) -> None:
    def fail(block: Any, block_info: Any = None) -> Any:
        if block_info and block_info[0]["array-location"][2][0] >= 260:
            raise OSError("link down")
        return block

    bad = small.assign(B04=small["B04"].copy(data=small["B04"].data.map_blocks(fail, dtype="f4")))
    # A region that reads two blocks of which one fails, and one that reads a bad one: both fail.
    with pytest.raises(StoreError, match=r"2 of 2 regions.*link down"):
        bad.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    part = s2cube.open_daily(tmp_path / "d.zarr", partial=True)
    assert (part["block_status"].compute() == 2).all()
