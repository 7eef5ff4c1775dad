"""Stores on an object store: the same store, to the last byte, and the same guarantees."""

import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soak
import xarray as xr
import zarr
from compare import PIECES, assert_same, content
from dask.base import tokenize
from wire import wire_to

import s2cube
from s2cube.errors import StoreError, StoreMismatchError, UnfinishedStoreError
from s2cube.store.kept import Kept
from s2cube.store.ledger import claims as clock
from s2cube.store.run import region
from s2cube.store.target import open_target
from s2cube.store.target import s3 as s3_file


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


def test_files_kept_beside_a_store_are_found_by_other_processes(tmp_path: Path, s3: str) -> None:
    """As the items of a job are: a worker gets a copy of its own."""
    (tmp_path / "found.json").write_text('{"items": []}')
    beside = Kept(open_target(f"{s3}/d.zarr"))
    assert beside.named("items") is None
    kept = beside.put(tmp_path / "found.json", "items")
    assert kept == beside.named("items") == pickle.loads(pickle.dumps(kept))
    assert kept.here().read_text() == '{"items": []}'
    open_target(s3).delete(["d.zarr.items.json"])
    with pytest.raises(FileNotFoundError, match=r"d\.zarr\.items\.json is gone: pass overwrite=True"):
        kept.here()


def test_resumes_after_a_failure(small: xr.Dataset, s3: str) -> None:
    store = f"{s3}/d.zarr"
    real, done = region.store_blocks, []

    def fail_second(*args: Any) -> Any:
        done.append(1)
        if len(done) > 1:
            raise OSError("no more")
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(region, "store_blocks", fail_second)
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


def test_replaces_a_store_only_when_its_successor_is_finished(small: xr.Dataset, s3: str) -> None:
    store = f"{s3}/d.zarr"
    small.s2.write_daily(store, **PIECES)
    old = objects(store)
    later = small.isel(time=slice(1, None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(region, "store_blocks", lambda *_: (_ for _ in ()).throw(OSError("source gone")))
        with pytest.raises(StoreError, match=r"is kept in s3://.*/d\.zarr\.s2cube/replaced"):
            later.s2.write_daily(store, overwrite=True, **PIECES)
    assert objects(f"{store}.s2cube/replaced") == old
    assert later.s2.write_daily(store, **PIECES).written == 2
    assert s2cube.open_daily(store).sizes["time"] == small.sizes["time"] - 1
    assert not open_target(f"{store}.s2cube").sizes()


def test_what_is_not_ours_is_never_touched(small: xr.Dataset, s3: str) -> None:
    open_target(f"{s3}/thesis").put("chapter1.tex", b"years of work")
    open_target(s3).put("file", b"too")
    for name in ("thesis", "file"):
        for overwrite in (False, True):
            with pytest.raises(StoreMismatchError, match="not made by s2cube"):
                small.s2.write_daily(f"{s3}/{name}", overwrite=overwrite, **PIECES)
    assert set(open_target(s3).sizes()) == {"thesis/chapter1.tex", "file"}
    with pytest.raises(StoreError, match="no store at"):
        s2cube.open_daily(f"{s3}/thesis")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_the_network_goes_and_comes_back(
    small: xr.Dataset, s3: str, moto: str, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Cut in the middle of a request, early and late: said plainly, and the same call goes on."""
    monkeypatch.setattr(s3_file, "RETRY", {"max_retries": 0})
    store = f"{s3}/d.zarr"
    with wire_to(int(moto.rpartition(":")[2])) as wire:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wire.port}")
        wire.left = 1e9
        small.s2.write_daily(f"{s3}/whole.zarr", **PIECES)
        sent = 1e9 - wire.left
        wire.left = share * sent
        with pytest.raises(StoreError, match=r"could not be (reached|written)") as caught:
            small.s2.write_daily(store, **PIECES)
        assert "the same call" in str(caught.value)
        assert "wJalrXUtnFEMIsecret" not in str(caught.value)
        wire.left = float("inf")
        monkeypatch.setattr(clock, "EXPIRY", 1.0)  # the run before could not let go
        report = small.s2.write_daily(store, **PIECES)
        assert report.written + report.kept == 2
        assert objects(store) == objects(f"{s3}/whole.zarr")
        cube = s2cube.open_daily(store)
        wire.left = 0
        with pytest.raises(StoreError, match=r"d\.zarr could not be read: .*again may help") as caught:
            cube["B04"].compute()
        assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
        with pytest.raises(StoreError, match="could not be reached"):
            s2cube.verify(store, progress=False)


def test_secrets_stay_secret(
    small: xr.Dataset, s3: str, moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in what is written, nor in what is shown, nor in what names work."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    words = {"access_key_id": "AKIDOTHER", "secret_access_key": "0therS3cret", "session_token": "t0ken"}
    options = {**words, "region": "eu-central-1", "endpoint": moto}
    store = f"{s3}/d.zarr"
    report = small.s2.write_daily(store, storage_options=options, **PIECES)
    cube = s2cube.open_daily(store, storage_options=options)
    target = open_target(s3, options)
    shown = [repr(target), str(report), report._repr_html_(), repr(cube), str(cube.attrs)]
    shown += [str(name) for name in cube["B04"].data.__dask_graph__()]
    shown += [repr(found) for key in target.sizes() if (found := target.get(key))]
    with pytest.raises(StoreError) as caught:
        small.s2.write_daily(store, storage_options={**options, "endpoint": f"{moto}/t0ken/"}, **PIECES)
    shown.append(str(caught.value))
    for text in shown:
        assert not [word for word in words.values() if word in text]
    # Other credentials, the same work.
    again = s2cube.open_daily(store, storage_options={**options, "session_token": "next"})
    assert tokenize(again["B04"].data) == tokenize(cube["B04"].data)


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("s3://bucket", {}, "name a prefix in a bucket"),
        ("s3:///d.zarr", {}, "name a prefix in a bucket"),
        ("s3://bucket/a/../d.zarr", {}, "name a prefix in a bucket"),
        ("s3://key:pass@bucket/d.zarr", {}, "without user, password or query"),
        ("s3://bucket/d.zarr?versionId=1", {}, "without user, password or query"),
        ("s3://bucket/d.zarr", {"key": "x"}, "storage_options are not right: .*'key' is not valid"),
        ("s3://bucket/d.zarr", {"anon": True}, "storage_options are not right"),
        ("s3://other/d.zarr", {}, "no bucket 'other': make it"),
    ],
)
@pytest.mark.usefixtures("s3")
def test_what_is_no_address_is_told(
    small: xr.Dataset, address: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        small.s2.write_daily(address, storage_options=options, **PIECES)
    assert "pass" not in str(caught.value).replace("password", "")


def test_a_service_without_conditions(small: xr.Dataset, s3: str) -> None:
    """Claims are then put as they come; one writer loses nothing by it."""
    how = {**PIECES, "storage_options": {"conditional_put": "disabled"}}
    assert small.s2.write_daily(f"{s3}/d.zarr", **how).written == 2
    target = open_target(s3, how["storage_options"])
    assert target.create("claim", b"1")
    assert not target.create("claim", b"2")
    assert target.swap("claim", b"1", b"2")
    assert target.get("claim") == b"2"


class _Refuses(BaseHTTPRequestHandler):
    """A service that grants nothing."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.usefixtures("s3")
def test_a_service_that_refuses_is_told_from_one_that_is_gone(small: xr.Dataset) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"endpoint": f"http://127.0.0.1:{server.server_port}"}
        for action in (
            lambda: small.s2.write_daily("s3://bucket/d.zarr", storage_options=options, **PIECES),
            lambda: s2cube.open_daily("s3://bucket/d.zarr", storage_options=options),
            lambda: open_target("s3://bucket/d.zarr", options).sizes(),
        ):
            with pytest.raises(StoreError, match=r"access was refused\. Check AWS_ACCESS_KEY_ID"):
                action()
        server.shutdown()
    # A number in an address is no status.
    gone = OSError("Error performing PUT http://127.0.0.1:40133/bucket: error sending request")
    failure = s3_file.S3Target("bucket", "d.zarr")._failure(gone)
    assert "could not be reached" in str(failure)


@pytest.mark.thorough
@pytest.mark.parametrize("job", ["write", "append"])
def test_killed_at_any_instant_it_resumes_to_the_same_store(s3: str, job: soak.Job) -> None:
    tally = soak.kills(soak.Place(s3, "series"), job, 4, np.random.default_rng(0), kills_each=2)
    assert tally.clean, tally.told
    assert tally.at_work >= 2, "the machine was too quick: nothing was tested"
