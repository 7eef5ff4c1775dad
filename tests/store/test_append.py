"""Appending: published days stay, new ones appear at once, and whatever happens on the way is mended."""

import shutil
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from compare import assert_same, content

import s2cube
from s2cube.errors import CubeError, StoreError, StoreMismatchError, UnfinishedStoreError
from s2cube.store import append_publish, run
from s2cube.store import claims as clock
from s2cube.store.ledger import Ledger
from s2cube.store.target import LocalTarget, open_target

HOW: dict[str, Any] = {"region_size": 256, "append_every": 8, "progress": False}


@pytest.fixture(scope="module")
def daily() -> xr.Dataset:
    """Twenty-seven days of two regions, as a causal job makes them day by day."""
    cube = s2cube.testing.simulate_cube(
        shape=(40, 300), seed=5, bands=["red"], start="2021-06-01", end="2021-07-10"
    )
    filled = cube.s2.mask_clouds("scl").s2.fill_gaps("last", causal=True)
    return filled.isel(time=slice(0, 27)).compute()


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


@pytest.fixture(params=["folder", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else str(request.getfixturevalue("s3"))


def test_day_by_day_is_as_all_at_once(daily: xr.Dataset, place: str) -> None:
    """To the byte: within a shard, up to its edge, over it, and over several."""
    store = f"{place}/a.zarr"
    days(daily, 0, 3).s2.write_daily(store, **HOW)
    steps = [3, 4, 8, 9, 18, 27]
    for begin, end in pairwise(steps):
        report = days(daily, begin, end).s2.append_daily(store, progress=False)
        assert (report.days, report.written, report.kept) == (end - begin, 2, 0)
        seen = int((days(daily, begin, end)["provenance"] == 0).sum())
        assert report.counts.get("observed", 0) == seen
        assert s2cube.open_daily(store).sizes["time"] == end
        assert sound(store)
    daily.s2.write_daily(f"{place}/w.zarr", **HOW)
    assert stored(store) == stored(f"{place}/w.zarr")
    assert_same(values(store), values(f"{place}/w.zarr"))
    assert not open_target(f"{store}.s2cube").sizes(), "nothing is left of the work"
    assert len(open_target(store).sizes("ledger/")) == 3, "nor marks of before"


def test_the_lines_of_a_daily_job(tmp_path: Path) -> None:
    """Masked looks up to today, causally filled at today's date, appended; what is there is kept."""
    store = tmp_path / "d.zarr"
    clear = s2cube.testing.simulate_cube(
        shape=(20, 20), seed=3, bands=["red"], start="2021-06-01", end="2021-07-10"
    ).s2.mask_clouds("scl")
    past = clear.sel(time=slice(None, "2021-06-20T23"))
    past.s2.fill_gaps("last", causal=True, dates=["2021-06-20"]).s2.write_daily(store, **HOW)
    for today in ("2021-06-21", "2021-06-22", "2021-06-22"):
        seen = clear.sel(time=slice(None, f"{today}T23"))
        seen.s2.fill_gaps("last", causal=True, dates=[today]).s2.append_daily(store, progress=False)
    whole = clear.s2.fill_gaps("last", causal=True)
    there = s2cube.open_daily(store)
    expected = whole.sel(time=there["time"])
    assert there.sizes["time"] == 3
    np.testing.assert_array_equal(there["provenance"], expected["provenance"])
    np.testing.assert_allclose(there["B04"], expected["B04"], atol=5.1e-5)
    history = there.attrs["history"].splitlines()
    assert history[-2] == "append_daily(first='2021-06-21', last='2021-06-22')"
    item = Path(f"{store}.item.json").read_text()
    assert '"end_datetime": "2021-06-22T23:59:59Z"' in item


def test_what_readers_see_meanwhile(
    daily: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every put: old days only, bit for bit, or all of the new ones; readers from before too."""
    store = tmp_path / "d.zarr"
    days(daily, 0, 6).s2.write_daily(store, **HOW)
    before = s2cube.open_daily(store)
    old = before.compute()
    plain = xr.open_zarr(store, consolidated=True)
    scaled = plain["B04"].values
    direct = zarr.open_array(store / "B04", mode="r")
    counts = direct[:]
    seen: list[int] = []
    real = LocalTarget.put

    def looked(self: LocalTarget, key: str, content: Any, **how: Any) -> None:
        real(self, key, content, **how)
        if "runs/" in key:
            return
        now = s2cube.open_daily(store)
        seen.append(now.sizes["time"])
        assert_same(days(now, 0, 6).drop_attrs(deep=False), old.drop_attrs(deep=False))
        assert_same(before, old)
        assert xr.open_zarr(store, consolidated=True).sizes["time"] == seen[-1]
        np.testing.assert_array_equal(plain["B04"].values, scaled)
        np.testing.assert_array_equal(direct[:], counts)
        grown = zarr.open_array(store / "B04", mode="r")[:]
        np.testing.assert_array_equal(grown[:6], counts)
        assert sound(store), key

    monkeypatch.setattr(LocalTarget, "put", looked)
    appended(days(daily, 6, 11), store)
    assert set(seen) == {6, 11}
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("revise", "first", "step"),
    [
        (False, 2, 9),
        (True, 6, 9),
        *(
            pytest.param(revise, first, 3, marks=pytest.mark.slow)
            for revise in (False, True)
            for first in range(3)
        ),
    ],
)
def test_stopped_at_any_put_or_delete_a_rerun_finishes(
    daily: xr.Dataset, tmp_path: Path, revise: bool, first: int, step: int
) -> None:
    """The store is as before meanwhile (closed, if it is revised), and at the end as if nothing was."""
    old = days(daily, 0, 6)
    new = days(daily, 3 if revise else 6, 11)
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


def stop_after(patch: pytest.MonkeyPatch, regions: int) -> None:
    real, done = run.store_blocks, []

    def fake(*args: Any) -> Any:
        if len(done) >= regions:
            raise OSError("link down")
        done.append(1)
        return real(*args)

    patch.setattr(run, "store_blocks", fake)


def test_marks_that_are_replaced_while_they_are_read(
    daily: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who verifies when a day is published sees the store of before or of after, and no damage."""
    store, real, once = tmp_path / "d.zarr", LocalTarget.get, []
    days(daily, 0, 6).s2.write_daily(store, **HOW)

    def get(self: LocalTarget, key: str) -> bytes | None:
        if key.startswith("ledger/marks-") and not once:
            once.append(key)
            appended(days(daily, 6, 7), store)
        return real(self, key)

    monkeypatch.setattr(LocalTarget, "get", get)
    report = s2cube.verify(store, progress=False)
    assert report.ok, str(report)
    assert once
    assert s2cube.open_daily(store).sizes["time"] == 7


def test_a_mark_that_another_append_puts_late_does_not_count(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    days(daily, 0, 6).s2.write_daily(store, **HOW)
    marks = Path(f"{store}.s2cube") / "append" / "marks"
    late: dict[str, bytes] = {}
    for end, regions in ((20, 1), (7, 0)):
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, regions)
            with pytest.raises(StoreError, match="link down"):
                appended(days(daily, 6, end), store)
        late = late or {path.name: path.read_bytes() for path in marks.iterdir()}
    for name, mark in late.items():
        (marks / name).write_bytes(mark)
    assert appended(days(daily, 6, 7), store).written == 2
    assert sound(store)


def test_what_is_marked_and_gone_is_done_again(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    for name in ("d.zarr", "w.zarr"):
        days(daily, 0, 6).s2.write_daily(tmp_path / name, **HOW)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="link down"):
            appended(days(daily, 6, 20), store)
    (store / "B04" / "c" / "1" / "0" / "0").unlink()
    assert appended(days(daily, 6, 20), store).written == 2
    appended(days(daily, 6, 20), tmp_path / "w.zarr")
    assert stored(str(store)) == stored(str(tmp_path / "w.zarr"))
    assert sound(store)


@pytest.mark.parametrize("place", ["folder", "object store"], indirect=True)
def test_an_append_that_was_given_up_leaves_nothing(daily: xr.Dataset, place: str) -> None:
    """Days beyond a shard's edge were written, then others are appended: as if those alone had been."""
    store = f"{place}/d.zarr"
    for name in ("d.zarr", "w.zarr"):
        days(daily, 0, 6).s2.write_daily(f"{place}/{name}", **HOW)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match=r"1 of 2 regions .* is as it was before.*link down"):
            appended(days(daily, 6, 20), store)
    assert sound(store)
    assert s2cube.open_daily(store).sizes["time"] == 6
    other = days(daily, 6, 7)
    other = other.assign(B04=other["B04"] * np.float32(0.5))
    for name in ("d.zarr", "w.zarr"):
        appended(other, f"{place}/{name}")
    assert stored(store) == stored(f"{place}/w.zarr")
    assert sound(store)


def test_while_an_append_is_unfinished(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    begun = days(daily, 0, 6)
    begun.s2.write_daily(store, **HOW)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="link down"):
            appended(days(daily, 6, 20), store)
    with pytest.raises(StoreError, match=r"append to .* was interrupted"):
        begun.s2.write_daily(store, **HOW)
    assert begun.s2.write_daily(store, overwrite=True, **HOW).written == 2
    assert sound(store)
    assert not Path(f"{store}.s2cube").exists()


def test_a_revision_replaces_and_counts(daily: xr.Dataset, place: str) -> None:
    store = f"{place}/d.zarr"
    days(daily, 0, 12).s2.write_daily(store, **HOW)
    better = days(daily, 5, 14)
    mask = (better["time"] == better["time"][2]) & (better["x"] == better["x"][7])
    better = better.assign(B04=better["B04"].where(~mask, np.float32(0.5)).astype("f4"))
    better["B04"].attrs = daily["B04"].attrs
    report = appended(better, store, revise=True)
    assert (report.days, report.written, report.counts["changed"]) == (9, 2, 40)
    assert "40 values were replaced" in str(report)
    assert report.counts.get("observed", 0) == int((better["provenance"] == 0).sum())
    there = values(store)
    assert there.sizes["time"] == 14
    assert (there["B04"][7, :, 7] == np.float32(0.5)).all()
    expected = xr.concat([days(daily, 0, 5), better], "time", data_vars="minimal")
    expected.s2.write_daily(f"{place}/w.zarr", **HOW)
    assert stored(store) == stored(f"{place}/w.zarr")
    again = appended(better, store, revise=True)
    assert (again.days, again.kept) == (0, 2)
    # What is counted of the whole store: as if written at once.
    one, two = (Ledger(open_target(f"{place}/{name}.zarr")).marks() for name in "dw")
    for region, mark in two.items():
        for kind in ("observed", "extrapolated", "never_observed"):
            assert one[region].counts.get(kind, 0) == mark.counts.get(kind, 0)


def test_a_revision_that_was_interrupted_is_finished(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    days(daily, 0, 12).s2.write_daily(store, **HOW)
    better = days(daily, 5, 14)
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="stays closed, as it is being revised"):
            appended(better, store, revise=True)
    with pytest.raises(UnfinishedStoreError, match="is being revised"):
        s2cube.open_daily(store)
    assert s2cube.open_daily(store, partial=True).sizes["time"] == 12
    with pytest.raises(StoreError, match="again with revise=True"):
        appended(days(daily, 12, 14), store)
    with pytest.raises(StoreError, match="begins there or before"):
        appended(days(daily, 7, 14), store, revise=True)
    assert appended(days(daily, 4, 14), store, revise=True).days == 10
    days(daily, 0, 14).s2.write_daily(tmp_path / "w.zarr", **HOW)
    assert stored(str(store)) == stored(str(tmp_path / "w.zarr"))
    assert sound(store)


def test_damage_is_told_and_a_revision_of_all_days_mends_it(daily: xr.Dataset, tmp_path: Path) -> None:
    """A shard whose days are needed is compared with the ledger: nothing is filled in silence."""
    store = tmp_path / "d.zarr"
    days(daily, 0, 5).s2.write_daily(store, **HOW)
    appended(days(daily, 5, 6), store)
    shard = store / "B04" / "c" / "0" / "0" / "0"
    whole = shard.read_bytes()
    flipped = bytearray(whole)
    flipped[50] ^= 1
    for damaged in (None, whole[:-9], bytes(flipped)):
        shard.unlink() if damaged is None else shard.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"B04/c/0/0/0 of .* is damaged.*revise=True"):
            appended(days(daily, 6, 7), store)
        assert not sound(store)
    report = s2cube.verify(store, repair=True, progress=False)
    assert "append_daily(revise=True)" in str(report)
    with pytest.warns(UserWarning, match="1 of 2 regions"):
        s2cube.open_daily(store)
    with pytest.raises(UnfinishedStoreError, match=r"1 regions of .* are missing"):
        appended(days(daily, 6, 7), store)
    assert appended(days(daily, 0, 7), store, revise=True).days == 7
    days(daily, 0, 7).s2.write_daily(tmp_path / "w.zarr", **HOW)
    assert stored(str(store)) == stored(str(tmp_path / "w.zarr"))
    assert sound(store)


def test_the_same_append_twice_at_once(
    daily: xr.Dataset, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share the regions; both report the whole, and the store is the same."""
    monkeypatch.setattr(clock, "POLL", 0.05)
    store = f"{place}/d.zarr"
    for name in ("d.zarr", "w.zarr"):
        days(daily, 0, 6).s2.write_daily(f"{place}/{name}", **HOW)
    appended(days(daily, 6, 11), f"{place}/w.zarr")
    done: list[str] = []
    both = threading.Barrier(2, timeout=60)
    real = run.store_blocks

    def counted(piece: xr.Dataset, job: Any) -> Any:
        done.append(job.region.id)
        both.wait()
        return real(piece, job)

    monkeypatch.setattr(run, "store_blocks", counted)
    reports: list[s2cube.WriteReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(appended(days(daily, 6, 11), store)))
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
    daily: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "d.zarr"
    days(daily, 0, 6).s2.write_daily(store, **HOW)
    real, told = run.store_blocks, []

    def meanwhile(piece: xr.Dataset, job: Any) -> Any:
        if not told:
            told.append(1)
            for other in (days(daily, 6, 7), days(daily, 6, 20)):
                with pytest.raises(StoreError, match="Another run is writing this store"):
                    appended(other, store)
        return real(piece, job)

    monkeypatch.setattr(run, "store_blocks", meanwhile)
    assert appended(days(daily, 6, 11), store).days == 5
    assert told
    assert sound(store)


def test_who_wakes_up_late_undoes_nothing(
    daily: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was suspended while another did its work and the next day's must not write."""
    store = tmp_path / "d.zarr"
    days(daily, 0, 5).s2.write_daily(store, **HOW)
    real, late = run.store_blocks, []

    def keep(piece: xr.Dataset, job: Any) -> Any:
        late.append((piece, job))
        return real(piece, job)

    monkeypatch.setattr(run, "store_blocks", keep)
    appended(days(daily, 5, 6), store)
    monkeypatch.undo()
    appended(days(daily, 6, 7), store)
    before = content(store)
    for piece, job in late:
        with pytest.raises(StoreError, match="by another run meanwhile"):
            real(piece, job)
    assert content(store) == before


def test_what_does_not_go_on_is_refused(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    days(daily, 3, 8).s2.write_daily(store, **HOW)
    next_one = days(daily, 8, 9)
    before = content(store)
    other = next_one.assign_attrs(history=next_one.attrs["history"].replace("'last'", "'linear'"))
    gap = xr.concat([next_one, days(daily, 10, 11)], "time", data_vars="minimal")
    cases = [
        (days(daily, 9, 10), {}, r"ends with 2021-\d\d-\d\d, in steps of 1 days"),
        (gap, {}, "leaves out"),
        (days(daily, 1, 9), {}, r"and not .*: days are added after its last"),
        (days(daily, 4, 6), {"revise": True}, "this cube has not"),
        (next_one.isel(x=slice(5, None)), {}, "holds something else .*transform"),
        (next_one.drop_vars("clear_age"), {}, "variables"),
        (next_one.assign_coords(processing_level="L1C"), {}, "processing_level 'L2A', now 'L1C'"),
        (other, {}, r"other verbs or arguments \(.*'last'[^$]*now[^$]*'linear'"),
        (s2cube.schema.record(next_one, "brighten", by=2), {}, "verbs, now"),
    ]
    for cube, how, message in cases:
        with pytest.raises(StoreMismatchError, match=message):
            appended(cube, store, **how)
    assert content(store) == before
    assert not Path(f"{store}.s2cube").exists()
    days(daily, 3, 8).s2.write_daily(tmp_path / "p.zarr", progress=False)
    with pytest.raises(StoreMismatchError, match=r"append_every=30"):
        appended(next_one, tmp_path / "p.zarr")
    with pytest.raises(CubeError, match="was opened from"):
        appended(s2cube.open_daily(store), store)
    with pytest.raises(StoreError, match="no store at"):
        appended(next_one, tmp_path / "none.zarr")
    with pytest.raises(CubeError, match="is not filled"):
        appended(next_one.drop_vars("provenance"), store)
    with pytest.raises(CubeError, match="append_every is a whole number"):
        next_one.s2.write_daily(tmp_path / "q.zarr", append_every=0)
    appended(next_one, store)
    with pytest.raises(StoreMismatchError, match="has had days appended"):
        days(daily, 3, 9).s2.write_daily(store, **HOW)


def test_an_unfinished_store_is_not_appended_to(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StoreError, match="link down"):
            days(daily, 0, 5).s2.write_daily(store, **HOW)
    with pytest.raises(UnfinishedStoreError, match="run the write_daily"):
        appended(days(daily, 5, 6), store)
    assert days(daily, 0, 5).s2.write_daily(store, **HOW).kept == 1
    assert appended(days(daily, 5, 6), store).days == 1


def test_steps_other_than_a_day(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    fifth = daily.isel(time=slice(0, None, 5))
    days(fifth, 0, 3).s2.write_daily(store, **HOW)
    with pytest.raises(StoreMismatchError, match="in steps of 5 days"):
        appended(days(daily, 11, 12), store)
    assert appended(days(fifth, 3, 5), store).days == 2


def test_a_plan_that_is_lost_in_the_middle_of_publication(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    days(daily, 0, 5).s2.write_daily(store, **HOW)
    published = values(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_publish, "_show", lambda *_: (_ for _ in ()).throw(OSError("power")))
        with pytest.raises(StoreError, match="power"):
            appended(days(daily, 5, 6), store)
    assert sound(store)
    shutil.rmtree(f"{store}.s2cube")
    assert_same(values(store), published)
    with pytest.raises(StoreError, match="no more be added"):
        appended(days(daily, 5, 6), store)


@pytest.mark.parametrize("profile", ["series", "balanced"])
@pytest.mark.parametrize(
    ("every", "chunks"), [(30, (30, 15)), (365, (73, 5)), (384, (64, 16)), (1, (1, 1))]
)
def test_chunks_divide_the_shard(
    daily: xr.Dataset, profile: Any, every: int, chunks: tuple[int, int]
) -> None:
    from s2cube.store.layout import layout_of

    layout = layout_of(daily, profile, every)
    assert layout["shards"][0] == every
    assert layout["chunks"][0] == chunks[profile == "balanced"]
