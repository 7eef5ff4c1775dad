"""Several runs at once: each region is done by one, and by another if that one dies."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from compare import PIECES, content

import s2cube
from s2cube.errors import StoreError
from s2cube.store.ledger import claims as clock
from s2cube.store.ledger.claims import Claims
from s2cube.store.run import region
from s2cube.store.target import LocalTarget, Target, open_target


@pytest.fixture(params=["folder", "object store"])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    if request.param == "folder":
        return open_target(tmp_path / "d.zarr.s2cube")
    return open_target(f"{request.getfixturevalue('s3')}/d.zarr.s2cube")


def test_a_region_has_one_owner(work: Target) -> None:
    with Claims(work) as one, Claims(work) as other:
        assert one.take("a")
        assert one.take("a"), "it is ours already"
        assert not other.take("a")
        assert other.take("b")
        one.drop("a")
        assert other.take("a")
        assert not one.take("b")
        assert len(one.others()) == 1
        assert "process" in one.others()[0]
        with pytest.raises(StoreError, match=r"Another run is writing this store \(process \d+ on"):
            one.refuse_others("overwrite=True")
    assert not work.sizes(), "who leaves lets go of everything"


def test_who_shows_no_life_loses_its_claims(work: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a power cut on another machine: nothing but time can tell."""
    monkeypatch.setattr(clock, "EXPIRY", 3.0)
    monkeypatch.setattr(clock, "POLL", 0.05)
    work.put("runs/deadbeef.json", json.dumps({"owner": "deadbeef"}).encode())
    work.put("claims/a.json", json.dumps({"owner": "deadbeef"}).encode())
    with Claims(work) as one, Claims(work) as other:
        assert not one.take("a"), "it may live"
        began = time.monotonic()
        while not one.take("a"):
            time.sleep(0.1)
            assert time.monotonic() - began < 30
        assert not other.take("a"), "one lives on by its signs of life"
        while [key for key in work.sizes() if "deadbeef" in key]:
            other.clear_dead()
            assert time.monotonic() - began < 30


def test_says_whom_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clock, "POLL", 0.02)
    work = LocalTarget(tmp_path)
    with Claims(work) as one, Claims(work, progress=True) as other:
        assert one.take("a")
        for _ in range(3):
            other.wait("3 regions")
        one.wait("nothing")
    told = capsys.readouterr().err
    assert told.count("waiting for 3 regions, claimed by process ") == 1
    assert "nothing" not in told


@pytest.mark.parametrize("mess", [b"", b"{", b"[]", b'{"owner": 7}', b'{"owner": "../../x"}'])
def test_a_garbled_claim_is_nobodys(work: Target, mess: bytes) -> None:
    work.put("claims/a.json", mess)
    work.put("runs/x.json", mess)
    with Claims(work) as one:
        assert one.others() == []
        assert one.take("a")


def test_on_one_machine_a_dead_process_is_known_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from s2cube.store.ledger.claims import Claims; from s2cube.store.target import LocalTarget\n"
        "claims = Claims(LocalTarget(Path(sys.argv[1]))).__enter__()\n"
        "assert claims.take('a'); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert (tmp_path / "claims" / "a.json").exists()
    with Claims(LocalTarget(tmp_path)) as claims:
        assert claims.take("a")


def test_the_whole_store_is_one_runs_at_a_time(work: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "POLL", 0.02)
    inside: list[int] = []

    def enter() -> None:
        with Claims(work) as claims, claims.whole():
            inside.append(1)
            assert len(inside) == 1
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not inside


@pytest.fixture(params=["folder", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else str(request.getfixturevalue("s3"))


def stored(address: str) -> dict[str, bytes]:
    target = open_target(address)
    return {key: target.get(key) or b"" for key in target.sizes() if not key.startswith("ledger/")}


def test_two_writers_share_the_work(
    small: xr.Dataset, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each region is computed once, both report the whole, and the store is the same."""
    monkeypatch.setattr(clock, "POLL", 0.05)
    how = {"region_size": 256, "progress": False}
    store = f"{place}/d.zarr"
    done: list[str] = []
    both = threading.Barrier(2, timeout=60)
    real = region.store_blocks

    def counted(piece: xr.Dataset, job: Any) -> Any:
        done.append(job.region.id)
        if len(done) <= 2:
            both.wait()  # neither is through before the other has begun
        return real(piece, job)

    monkeypatch.setattr(region, "store_blocks", counted)
    reports: list[s2cube.WriteReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(small.s2.write_daily(store, **how)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.setattr(region, "store_blocks", real)
    assert len(done) == len(set(done)) == 6
    assert sum(report.written for report in reports) == 6
    assert all(report.written and report.written + report.kept == 6 for report in reports)
    assert reports[0].counts == reports[1].counts
    small.s2.write_daily(f"{place}/whole.zarr", **how)
    assert stored(store) == stored(f"{place}/whole.zarr")
    assert not open_target(f"{store}.s2cube").sizes()


def test_what_a_dead_run_had_claimed_is_done(small: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(region, "store_blocks", lambda *_: (_ for _ in ()).throw(OSError("no more")))
        with pytest.raises(StoreError):
            small.s2.write_daily(store, **PIECES)
    work = LocalTarget(Path(f"{store}.s2cube"))
    for name in ("store", "y0-300_x0-512"):
        work.put(f"claims/{name}.json", b'{"owner": "dead"}')
    assert small.s2.write_daily(store, **PIECES).written == 2
    small.s2.write_daily(tmp_path / "whole.zarr", **PIECES)
    assert content(store) == content(tmp_path / "whole.zarr")
    assert not work.root.exists()


def test_a_store_is_not_replaced_under_a_run_that_writes_it(small: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    small.s2.write_daily(store, **PIECES)
    before = content(store)
    later = small.isel(time=slice(1, None))
    with Claims(open_target(f"{store}.s2cube")):
        with pytest.raises(StoreError, match=r"Another run .*overwrite=True would take away"):
            later.s2.write_daily(store, overwrite=True, **PIECES)
        (store / "B04" / "zarr.json").write_text("{}")
        with pytest.raises(StoreError, match=r"Another run .*repair=True"):
            s2cube.verify(store, repair=True, progress=False)
    (store / "B04" / "zarr.json").write_bytes(before["B04/zarr.json"])
    assert content(store) == before
    assert later.s2.write_daily(store, overwrite=True, **PIECES).days == small.sizes["time"] - 1
