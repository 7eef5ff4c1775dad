"""Appending that is interrupted, or done twice at once: what is there stays, and a rerun finishes it."""

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from appends import HOW, appended, days, sound, stop_after, stored, values
from compare import assert_same, content

import s2cube
from s2cube.errors import StoreError, UnfinishedStoreError
from s2cube.store import append
from s2cube.store.appending import publish as append_publish
from s2cube.store.ledger import Ledger
from s2cube.store.ledger import claims as clock
from s2cube.store.run import region
from s2cube.store.target import LocalTarget, open_target


@pytest.mark.parametrize(
    ("revise", "first", "step"),
    [
        (False, 2, 9),
        (True, 6, 9),
        *(
            pytest.param(
                revise, first, 3, marks=pytest.mark.thorough if revise or first else pytest.mark.slow
            )
            for revise in (False, True)
            for first in range(3)
        ),
    ],
)
def test_stopped_at_any_put_or_delete_a_rerun_finishes(
    causal: xr.Dataset, tmp_path: Path, revise: bool, first: int, step: int
) -> None:
    """The store is as before meanwhile (closed, if it is revised), and at the end as if nothing was."""
    old = days(causal, 0, 6)
    new = days(causal, 3 if revise else 6, 11)
    if revise:
        new = new.assign(B04=new["B04"] + np.float32(0.01))
    old.s2.write_daily(tmp_path / "old.zarr", **HOW)
    published = values(tmp_path / "old.zarr")
    shutil.copytree(tmp_path / "old.zarr", tmp_path / "whole.zarr")
    whole = appended(new, tmp_path / "whole.zarr", revise=revise)
    store, real, real_delete = tmp_path / "d.zarr", LocalTarget.put, LocalTarget.delete
    for nth in range(first, 100, step):
        shutil.rmtree(store, ignore_errors=True)
        shutil.rmtree(f"{store}.s2cube", ignore_errors=True)
        shutil.copytree(tmp_path / "old.zarr", store)
        done: list[str] = []

        def put(self: LocalTarget, key: str, content: Any, done: list[str] = done, **how: Any) -> None:
            if "runs/" not in key:
                done.append(key)
            if len(done) > nth:  # noqa: B023
                raise OSError("no more")
            real(self, key, content, **how)

        def delete(self: LocalTarget, keys: Any, done: list[str] = done) -> None:
            keys = list(keys)
            done += [key for key in keys if key.startswith("append/")][:1]
            if len(done) > nth and "runs/" not in str(keys):  # noqa: B023
                raise OSError("no more")
            real_delete(self, keys)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LocalTarget, "put", put)
            patch.setattr(LocalTarget, "delete", delete)
            told = ""
            try:
                appended(new, store, revise=revise)
            except StoreError as error:
                told = str(error)
            if not told:
                break
            assert "no more" in told
        if revise and not Ledger(open_target(store)).published:
            with pytest.raises(UnfinishedStoreError, match="is being revised"):
                s2cube.open_daily(store)
        else:
            there = values(store)
            assert there.sizes["time"] in (6, 11)
            if not revise or there.sizes["time"] == 6:
                assert_same(days(there, 0, 6), published)
            assert sound(store)
        report = appended(new, store, revise=revise)
        assert content(store) == content(tmp_path / "whole.zarr")
        assert sound(store)
        assert not Path(f"{store}.s2cube").exists()
        if report.days:
            assert report.counts == whole.counts
    assert len(done) > 10


@pytest.mark.parametrize("just_before", ["ledger/marks-", "B04/c/"])
def test_marks_that_are_replaced_while_they_are_read(
    causal: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, just_before: str
) -> None:
    """Who verifies when a day is published sees the store of before or of after, and no damage."""
    store, real, once = tmp_path / "d.zarr", LocalTarget.get, []
    days(causal, 0, 6).s2.write_daily(store, **HOW)

    def get(self: LocalTarget, key: str) -> bytes | None:
        if key.startswith(just_before) and not once:
            once.append(key)
            appended(days(causal, 6, 7), store)
        return real(self, key)

    monkeypatch.setattr(LocalTarget, "get", get)
    report = s2cube.verify(store, progress=False)
    assert report.ok, str(report)
    assert once
    assert s2cube.open_daily(store).sizes["time"] == 7


def test_a_mark_that_another_append_puts_late_does_not_count(causal: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    days(causal, 0, 6).s2.write_daily(store, **HOW)
    marks = Path(f"{store}.s2cube") / "append" / "marks"
    late: dict[str, bytes] = {}
    for end, regions in ((20, 1), (7, 0)):
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, regions)
            with pytest.raises(StoreError, match="link down"):
                appended(days(causal, 6, end), store)
        late = late or {path.name: path.read_bytes() for path in marks.iterdir()}
    for name, mark in late.items():
        (marks / name).write_bytes(mark)
    assert appended(days(causal, 6, 7), store).written == 2
    assert sound(store)


def test_what_is_marked_and_gone_is_done_again(causal: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    for name in ("d.zarr", "w.zarr"):
        days(causal, 0, 6).s2.write_daily(tmp_path / name, **HOW)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="link down"):
            appended(days(causal, 6, 20), store)
    (store / "B04" / "c" / "1" / "0" / "0").unlink()
    assert appended(days(causal, 6, 20), store).written == 2
    appended(days(causal, 6, 20), tmp_path / "w.zarr")
    assert stored(str(store)) == stored(str(tmp_path / "w.zarr"))
    assert sound(store)


@pytest.mark.parametrize("place", ["folder", "object store"], indirect=True)
def test_an_append_that_was_given_up_leaves_nothing(causal: xr.Dataset, place: str) -> None:
    """Days beyond a shard's edge were written, then others are appended: as if those alone had been."""
    store = f"{place}/d.zarr"
    for name in ("d.zarr", "w.zarr"):
        days(causal, 0, 6).s2.write_daily(f"{place}/{name}", **HOW)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match=r"1 of 2 regions .* is as it was before.*link down"):
            appended(days(causal, 6, 20), store)
    assert sound(store)
    assert s2cube.open_daily(store).sizes["time"] == 6
    other = days(causal, 6, 7)
    other = other.assign(B04=other["B04"] * np.float32(0.5))
    for name in ("d.zarr", "w.zarr"):
        appended(other, f"{place}/{name}")
    assert stored(store) == stored(f"{place}/w.zarr")
    assert sound(store)


def test_what_two_attempts_left_is_not_damage(causal: xr.Dataset, tmp_path: Path) -> None:
    """A shard may be what either was about to put: its published days are the same in both."""
    store = tmp_path / "d.zarr"
    days(causal, 0, 6).s2.write_daily(store, **HOW)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="link down"):
            appended(days(causal, 6, 7), store)
    real = LocalTarget.put

    def put(self: LocalTarget, key: str, content: Any, **how: Any) -> None:
        if key.startswith("B04/c/"):
            raise OSError("no more")
        real(self, key, content, **how)

    other = days(causal, 6, 7)
    other = other.assign(B04=other["B04"] * np.float32(0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalTarget, "put", put)
        with pytest.raises(StoreError, match="no more"):
            appended(other, store)
    assert sound(store)
    assert appended(other, store).written == 2
    assert sound(store)


def test_while_an_append_is_unfinished(causal: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    begun = days(causal, 0, 6)
    begun.s2.write_daily(store, **HOW)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="link down"):
            appended(days(causal, 6, 20), store)
    with pytest.raises(StoreError, match=r"append to .* was interrupted"):
        begun.s2.write_daily(store, **HOW)
    assert begun.s2.write_daily(store, overwrite=True, **HOW).written == 2
    assert sound(store)
    assert not Path(f"{store}.s2cube").exists()


def test_a_revision_that_was_interrupted_is_finished(causal: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    days(causal, 0, 12).s2.write_daily(store, **HOW)
    better = days(causal, 5, 14)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="stays closed, as it is being revised"):
            appended(better, store, revise=True)
    with pytest.raises(UnfinishedStoreError, match="is being revised"):
        s2cube.open_daily(store)
    assert s2cube.open_daily(store, partial=True).sizes["time"] == 12
    with pytest.raises(StoreError, match="again with revise=True"):
        appended(days(causal, 12, 14), store)
    with pytest.raises(StoreError, match="begins there or before"):
        appended(days(causal, 7, 14), store, revise=True)
    assert appended(days(causal, 4, 14), store, revise=True).days == 10
    days(causal, 0, 14).s2.write_daily(tmp_path / "w.zarr", **HOW)
    assert stored(str(store)) == stored(str(tmp_path / "w.zarr"))
    assert sound(store)


def test_damage_is_told_and_a_revision_of_all_days_mends_it(causal: xr.Dataset, tmp_path: Path) -> None:
    """A shard whose days are needed is compared with the ledger: nothing is filled in silence."""
    store = tmp_path / "d.zarr"
    days(causal, 0, 5).s2.write_daily(store, **HOW)
    appended(days(causal, 5, 6), store)
    shard = store / "B04" / "c" / "0" / "0" / "0"
    whole = shard.read_bytes()
    flipped = bytearray(whole)
    flipped[50] ^= 1
    for damaged in (None, whole[:-9], bytes(flipped)):
        shard.unlink() if damaged is None else shard.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"B04/c/0/0/0 of .* is damaged.*revise=True"):
            appended(days(causal, 6, 7), store)
        assert not sound(store)
    report = s2cube.verify(store, repair=True, progress=False)
    assert "append_daily(revise=True)" in str(report)
    with pytest.warns(UserWarning, match="1 of 2 regions"):
        s2cube.open_daily(store)
    with pytest.raises(UnfinishedStoreError, match=r"1 regions of .* are missing"):
        appended(days(causal, 6, 7), store)
    assert appended(days(causal, 0, 7), store, revise=True).days == 7
    days(causal, 0, 7).s2.write_daily(tmp_path / "w.zarr", **HOW)
    assert stored(str(store)) == stored(str(tmp_path / "w.zarr"))
    assert sound(store)


def test_days_that_another_program_has_changed_are_not_built_upon(
    causal: xr.Dataset, tmp_path: Path
) -> None:
    store = tmp_path / "d.zarr"
    days(causal, 0, 6).s2.write_daily(store, **HOW)
    times = zarr.open_array(store / "time", mode="r+")
    times[:] = np.asarray(times[:]) + 1
    before = stored(str(store))
    with pytest.raises(StoreError, match=r"days of .*d\.zarr are not those that it was written with"):
        appended(days(causal, 6, 7), store)
    assert stored(str(store)) == before


def test_the_same_append_twice_at_once(
    causal: xr.Dataset, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share the regions; both report the whole, and the store is the same."""
    monkeypatch.setattr(clock, "POLL", 0.05)
    store = f"{place}/d.zarr"
    for name in ("d.zarr", "w.zarr"):
        days(causal, 0, 6).s2.write_daily(f"{place}/{name}", **HOW)
    appended(days(causal, 6, 11), f"{place}/w.zarr")
    done: list[str] = []
    both = threading.Barrier(2, timeout=60)
    real = region.store_blocks

    def counted(piece: xr.Dataset, job: Any) -> Any:
        done.append(job.region.id)
        both.wait()
        return real(piece, job)

    monkeypatch.setattr(region, "store_blocks", counted)
    reports: list[s2cube.WriteReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(appended(days(causal, 6, 11), store)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == len(set(done)) == 2
    assert [(report.written, report.kept) for report in reports] == [(1, 1), (1, 1)]
    assert reports[0].counts == reports[1].counts
    assert stored(store) == stored(f"{place}/w.zarr")
    assert sound(store)
    assert not open_target(f"{store}.s2cube").sizes()


def test_other_days_at_once_are_refused(
    causal: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "d.zarr"
    days(causal, 0, 6).s2.write_daily(store, **HOW)
    real, told = region.store_blocks, []

    def meanwhile(piece: xr.Dataset, job: Any) -> Any:
        if not told:
            told.append(1)
            for other in (days(causal, 6, 7), days(causal, 6, 20)):
                with pytest.raises(StoreError, match="Another run is writing this store"):
                    appended(other, store)
        return real(piece, job)

    monkeypatch.setattr(region, "store_blocks", meanwhile)
    assert appended(days(causal, 6, 11), store).days == 5
    assert told
    assert sound(store)


def test_who_wakes_up_late_undoes_nothing(
    causal: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was suspended while another did its work and the next day's must not write."""
    store = tmp_path / "d.zarr"
    days(causal, 0, 5).s2.write_daily(store, **HOW)
    real, late = region.store_blocks, []

    def keep(piece: xr.Dataset, job: Any) -> Any:
        late.append((piece, job))
        return real(piece, job)

    monkeypatch.setattr(region, "store_blocks", keep)
    appended(days(causal, 5, 6), store)
    monkeypatch.undo()
    appended(days(causal, 6, 7), store)
    before = content(store)
    for piece, job in late:
        with pytest.raises(StoreError, match="by another run meanwhile"):
            real(piece, job)
    assert content(store) == before


def test_who_wakes_up_before_publishing_undoes_nothing(
    causal: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its regions are done; others, who took it for dead, have published them and a day more."""
    store = tmp_path / "d.zarr"
    days(causal, 0, 5).s2.write_daily(store, **HOW)
    real = append.work_through

    def suspended(*args: Any, **how: Any) -> Any:
        monkeypatch.setattr(append, "work_through", real)
        done = real(*args, **how)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clock.Claims, "refuse_others", lambda *_: None)
            appended(days(causal, 5, 6), store)
            appended(days(causal, 6, 7), store)
        before.update(content(store))
        return done

    before: dict[str, bytes] = {}
    monkeypatch.setattr(append, "work_through", suspended)
    with pytest.raises(StoreError, match="was suspended, and another one has gone on"):
        appended(days(causal, 5, 6), store)
    assert content(store) == before
    assert sound(store)


def test_who_wakes_up_before_a_shard_undoes_nothing(causal: xr.Dataset, tmp_path: Path) -> None:
    """Others, who took it for dead, have done its regions, and put a day more into the same shard."""
    store = tmp_path / "d.zarr"
    days(causal, 0, 8).s2.write_daily(store, **HOW)
    real = region.store_blocks
    before: dict[str, bytes] = {}

    def suspended(*args: Any) -> Any:
        patch.setattr(region, "store_blocks", real)
        with pytest.MonkeyPatch.context() as meanwhile:
            meanwhile.setattr(clock.Claims, "_lives", lambda *_: False)
            meanwhile.setattr(clock.Claims, "refuse_others", lambda *_: None)
            appended(days(causal, 8, 9), store)
            appended(days(causal, 9, 10), store)
        before.update(content(store))
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(region, "store_blocks", suspended)
        with pytest.raises(StoreError, match="finished or given up by another run"):
            appended(days(causal, 8, 9), store)
    assert content(store) == before
    assert sound(store)
    assert s2cube.open_daily(store).sizes["time"] == 10


def test_an_unfinished_store_is_not_appended_to(causal: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="link down"):
            days(causal, 0, 5).s2.write_daily(store, **HOW)
    with pytest.raises(UnfinishedStoreError, match="run the write_daily"):
        appended(days(causal, 5, 6), store)
    with pytest.MonkeyPatch.context() as patch:  # all regions are there, and the root is not
        patch.setattr(Ledger, "publish", lambda *_: (_ for _ in ()).throw(OSError("power")))
        with pytest.raises(StoreError, match="power"):
            days(causal, 0, 5).s2.write_daily(store, **HOW)
    for revise in (False, True):
        with pytest.raises(UnfinishedStoreError, match="is unfinished: run the write_daily"):
            appended(days(causal, 0, 6), store, revise=revise)
    assert days(causal, 0, 5).s2.write_daily(store, **HOW).kept == 2
    assert appended(days(causal, 5, 6), store).days == 1


def test_a_plan_that_is_lost_in_the_middle_of_publication(causal: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    days(causal, 0, 5).s2.write_daily(store, **HOW)
    published = values(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_publish, "_show", lambda *_: (_ for _ in ()).throw(OSError("power")))
        with pytest.raises(StoreError, match="power"):
            appended(days(causal, 5, 6), store)
    assert sound(store)
    shutil.rmtree(f"{store}.s2cube")
    assert_same(values(store), published)
    with pytest.raises(StoreError, match="no more be added"):
        appended(days(causal, 5, 6), store)
