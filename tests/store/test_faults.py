"""Faults: whatever happens to a run, the store is whole or closed, and a rerun finishes it."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soak
import xarray as xr
import zarr
from compare import PIECES, content

import s2cube
from s2cube.errors import StoreError, StoreMismatchError, UnfinishedStoreError
from s2cube.store.layout import shards_in
from s2cube.store.run import region
from s2cube.store.target import LocalTarget


def stop_after(monkeypatch: pytest.MonkeyPatch, regions: int, error: BaseException) -> None:
    """Let some regions through, then fail as the disk or the machine would."""
    real, done = region.store_blocks, []

    def fake(*args: Any) -> Any:
        if len(done) >= regions:
            raise error
        done.append(1)
        return real(*args)

    monkeypatch.setattr(region, "store_blocks", fake)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError("no more")]
)
def test_a_failed_region_closes_the_store_and_a_rerun_finishes(
    daily: xr.Dataset, tmp_path: Path, error: BaseException
) -> None:
    store = tmp_path / "d.zarr"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1, error)
        with pytest.raises(
            StoreError, match=r"1 of 2 regions .* 1 are safe on disk.*(No space|no more)"
        ):
            daily.s2.write_daily(store, **PIECES)
    with pytest.raises(UnfinishedStoreError, match=r"1 of 2 regions are there, 1 failed"):
        s2cube.open_daily(store)
    with pytest.raises(Exception, match="group"):
        zarr.open_group(store, mode="r")
    report = daily.s2.write_daily(store, **PIECES)
    assert (report.written, report.kept) == (1, 1)
    daily.s2.write_daily(tmp_path / "whole.zarr", **PIECES)
    assert content(store) == content(tmp_path / "whole.zarr")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_is_really_full(daily: xr.Dataset, tmp_path: Path) -> None:
    """A quota of the process's own: the kernel refuses the bytes."""
    store = tmp_path / "d.zarr"
    script = textwrap.dedent(
        f"""
        import resource, signal, sys
        import s2cube
        from s2cube.errors import StoreError
        cube = s2cube.testing.simulate_cube(shape=(300, 300), seed=2, bands=["red"])
        daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear", freq="3D")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            daily.s2.write_daily({str(store)!r}, progress=False)
        except StoreError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(daily.s2.write_daily({str(store)!r}, progress=False).written)
        """
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "could not be written" in out.stdout
    assert "File too large" in out.stdout
    assert out.stdout.strip().endswith("1")
    assert s2cube.open_daily(store).sizes["x"] == 300


@pytest.mark.parametrize("harm", ["lost", "torn"])
def test_a_lost_or_torn_shard_is_redone(daily: xr.Dataset, tmp_path: Path, harm: str) -> None:
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    whole = content(store)
    shard = store / "B04" / "c" / "0" / "0" / "1"
    rest = shard.read_bytes()[:-9]
    shard.unlink()
    if harm == "torn":
        shard.write_bytes(rest)
    report = daily.s2.write_daily(store, **PIECES)
    assert (report.written, report.kept) == (1, 1)
    assert content(store) == whole


def test_a_store_that_is_replaced_is_kept_until_its_successor_is_finished(
    daily: xr.Dataset, tmp_path: Path
) -> None:
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    old = content(store)
    later = daily.isel(time=slice(1, None))
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, 1, OSError("source gone"))
            with pytest.raises(StoreError, match=r"is kept in .*/d\.zarr\.s2cube/replaced"):
                later.s2.write_daily(store, overwrite=True, **PIECES)
        assert content(tmp_path / "d.zarr.s2cube" / "replaced") == old
    assert later.s2.write_daily(store, **PIECES).kept == 1
    assert s2cube.open_daily(store).sizes["time"] == 19
    assert not (tmp_path / "d.zarr.s2cube").exists()


def test_what_a_mark_promises_is_on_the_disk_before_it(
    small: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power may fail at any moment: files, then their folders, then the mark; the root last of all.

    No test can cut the power. This one listens to what is asked of the operating system.
    """
    heard: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def listened(handle: int) -> None:
        fsync(handle)
        heard.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))

    def renamed(old: Any, new: Any) -> None:
        assert ("sync", str(old)) in heard, "a file gets its name when its bytes are on the disk"
        replace(old, new)
        heard.append(("put", str(new)))

    monkeypatch.setattr(os, "fsync", listened)
    monkeypatch.setattr(os, "replace", renamed)
    store = tmp_path / "d.zarr"
    small.s2.write_daily(store, **PIECES)

    def last(kind: str, path: Path) -> int:
        return max(k for k, one in enumerate(heard) if one == (kind, str(path)))

    marks = [k for k, (kind, path) in enumerate(heard) if kind == "put" and "/marks/" in path]
    shards = [Path(path) for kind, path in heard if kind == "put" and "/B04/c/" in path]
    assert marks
    assert shards
    for shard in shards:
        named = last("put", shard)
        mark = min(k for k in marks if k > named)
        for folder in (shard.parent, *shard.parents[1:5]):
            assert any(one == ("sync", str(folder)) for one in heard[named:mark]), folder
    for mark in marks:
        folder = str(Path(heard[mark][1]).parent)
        assert ("sync", folder) in heard[mark:], "a mark is settled too"
    (root,) = [k for k, one in enumerate(heard) if one == ("put", str(store / "zarr.json"))]
    assert root > max(k for k, (kind, path) in enumerate(heard) if kind == "put" and "/ledger/" in path)
    assert root > max(marks)
    assert ("sync", str(store)) in heard[root:]


def test_a_shard_that_vanishes_is_not_taken_for_an_empty_one(
    daily: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = region.store_blocks

    def and_lose(piece: xr.Dataset, job: Any) -> Any:
        done = real(piece, job)
        job.ledger.store.delete(shards_in(job.layout, "B08", job.region)[:1])
        return done

    monkeypatch.setattr(region, "store_blocks", and_lose)
    with pytest.raises(StoreError, match="was written and is gone"):
        daily.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    monkeypatch.undo()
    assert daily.s2.write_daily(tmp_path / "d.zarr", **PIECES).written == 2


def test_a_finished_store_is_closed_while_it_is_mended(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    whole = content(store)
    (store / "provenance" / "c" / "0" / "0" / "0").unlink()
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 0, OSError("source gone"))
        with pytest.raises(StoreError, match="could not be written"):
            daily.s2.write_daily(store, **PIECES)
    with pytest.raises(UnfinishedStoreError):
        s2cube.open_daily(store)
    assert daily.s2.write_daily(store, **PIECES).written == 1
    assert content(store) == whole


def interrupted(daily: xr.Dataset, store: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1, OSError("power"))
        with pytest.raises(StoreError):
            daily.s2.write_daily(store, **PIECES)


def test_someone_elses_data_in_the_place_of_ours(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    interrupted(daily, store)
    shutil.rmtree(store)
    (store / "B04").mkdir(parents=True)
    (store / "B04" / "zarr.json").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(StoreMismatchError, match="not made by s2cube"):
            daily.s2.write_daily(store, overwrite=overwrite, **PIECES)
    assert (store / "B04" / "zarr.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (".s2cube/root.json", "{"), (".s2cube/root.json", None), (".s2cube/marks", None), ("", None),
        ("/B04/zarr.json", None), ("/zarr.json", "{}"), ("/ledger/zarr.json", None),
        *(
            (".s2cube/marks/y0-300_x0-512.json", text)
            for text in ("", "{", "[]", "{}", '{"region": 1}', "7")
        ),
    ],
)  # fmt: skip
def test_damage_is_mended_or_told(
    daily: xr.Dataset, tmp_path: Path, where: str, what: str | None
) -> None:
    """Whatever is lost or garbled of an interrupted store: a rerun gives the whole, or says why not."""
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(tmp_path / "whole.zarr", **PIECES)
    interrupted(daily, store)
    path = Path(f"{store}{where}")
    if what is not None:
        path.write_text(what)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(StoreError):
        s2cube.open_daily(store)
    if where == "/ledger/zarr.json":  # nothing tells any more that this was ours
        with pytest.raises(StoreMismatchError, match="not made by s2cube"):
            daily.s2.write_daily(store, **PIECES)
    else:
        daily.s2.write_daily(store, **PIECES)
        assert content(store) == content(tmp_path / "whole.zarr")


def test_a_source_that_cannot_be_read_is_reported(daily: xr.Dataset, tmp_path: Path) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise OSError("link down")

    bad = daily.assign(B04=daily["B04"].copy(data=daily["B04"].data.map_blocks(fail, dtype="f4")))
    with pytest.raises(StoreError, match=r"2 of 2 regions.*OSError: link down"):
        bad.s2.write_daily(tmp_path / "d.zarr", **PIECES)


def test_temporary_files_of_a_killed_run_are_cleared_away(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(tmp_path / "whole.zarr", **PIECES)
    interrupted(daily, store)
    for name in (
        "B04/c/0/0/2.7847a1837ede440680ff.partial",
        ".zarr.json.77.partial",
        "B08/.zarr.json.7.partial",
    ):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(b"half a shard")
    daily.s2.write_daily(store, **PIECES)
    assert content(store) == content(tmp_path / "whole.zarr")


@pytest.mark.slow
@pytest.mark.parametrize("number", [6, pytest.param(24, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("job", ["write", "append"])
def test_killed_at_any_instant_it_resumes_to_the_same_store(
    tmp_path: Path, job: soak.Job, number: int
) -> None:
    """kill -9: never open half made, no mark lies, and reruns finish the very same store."""
    place = soak.Place(str(tmp_path), "series")
    tally = soak.kills(place, job, number, np.random.default_rng(0), kills_each=2)
    assert tally.clean, tally.told
    assert tally.at_work >= 2, "the machine was too quick: nothing was tested"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("nth", [1, 2, 7, 12, 18, 24])
def test_whichever_write_fails_it_is_told_and_a_rerun_finishes(
    small: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, number: int
) -> None:
    """Disk full, read-only, no permission, at the nth file: metadata, shards, marks, ledger, root."""
    store = tmp_path / "d.zarr"
    real, done = LocalTarget.put, []

    def put(self: LocalTarget, key: str, content: Any, **how: Any) -> None:
        done.append(key)
        if len(done) >= nth:
            raise OSError(number, os.strerror(number), key)
        real(self, key, content, **how)

    monkeypatch.setattr(LocalTarget, "put", put)
    with pytest.raises(StoreError, match=rf"could not be written.*{os.strerror(number)}"):
        small.s2.write_daily(store, **PIECES)
    monkeypatch.undo()
    with pytest.raises(StoreError):
        s2cube.open_daily(store)
    assert small.s2.write_daily(store, **PIECES).days == small.sizes["time"]
    assert s2cube.verify(store, progress=False).ok
    assert not (tmp_path / "d.zarr.s2cube").exists()
