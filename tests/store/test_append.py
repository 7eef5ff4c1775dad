"""Appending: published days stay, and new ones appear at once."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from appends import HOW, appended, days, sound, stored, values
from compare import assert_same, content

import s2cube
from s2cube.errors import CubeError, StoreError, StoreMismatchError
from s2cube.store.ledger import Ledger
from s2cube.store.target import LocalTarget, open_target


def test_day_by_day_is_as_all_at_once(causal: xr.Dataset, place: str) -> None:
    """To the byte: within a shard, up to its edge, over it, and over several."""
    store = f"{place}/a.zarr"
    days(causal, 0, 3).s2.write_daily(store, **HOW)
    steps = [3, 4, 8, 9, 18, 27]
    for begin, end in pairwise(steps):
        report = days(causal, begin, end).s2.append_daily(store, progress=False)
        assert (report.days, report.written, report.kept) == (end - begin, 2, 0)
        seen = int((days(causal, begin, end)["provenance"] == 0).sum())
        assert report.counts.get("observed", 0) == seen
        assert s2cube.open_daily(store).sizes["time"] == end
        assert sound(store)
    causal.s2.write_daily(f"{place}/w.zarr", **HOW)
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
    causal: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every put: old days only, bit for bit, or all of the new ones; readers from before too."""
    store = tmp_path / "d.zarr"
    days(causal, 0, 6).s2.write_daily(store, **HOW)
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
    # Else another thread replaces a shard between two reads of it, which is an error of its checksum.
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    appended(days(causal, 6, 11), store)
    assert set(seen) == {6, 11}
    assert seen == sorted(seen)


def test_a_revision_replaces_and_counts(causal: xr.Dataset, place: str) -> None:
    store = f"{place}/d.zarr"
    days(causal, 0, 12).s2.write_daily(store, **HOW)
    better = days(causal, 5, 14)
    mask = (better["time"] == better["time"][2]) & (better["x"] == better["x"][7])
    better = better.assign(B04=better["B04"].where(~mask, np.float32(0.5)).astype("f4"))
    better["B04"].attrs = causal["B04"].attrs
    report = appended(better, store, revise=True)
    assert (report.days, report.written, report.counts["changed"]) == (9, 2, 40)
    assert "40 values were replaced" in str(report)
    assert report.counts.get("observed", 0) == int((better["provenance"] == 0).sum())
    there = values(store)
    assert there.sizes["time"] == 14
    assert (there["B04"][7, :, 7] == np.float32(0.5)).all()
    expected = xr.concat([days(causal, 0, 5), better], "time", data_vars="minimal")
    expected.s2.write_daily(f"{place}/w.zarr", **HOW)
    assert stored(store) == stored(f"{place}/w.zarr")
    again = appended(better, store, revise=True)
    assert (again.days, again.kept) == (0, 2)
    # What is counted of the whole store: as if written at once.
    one, two = (Ledger(open_target(f"{place}/{name}.zarr")).marks() for name in "dw")
    for region, mark in two.items():
        for kind in ("observed", "extrapolated", "never_observed"):
            assert one[region].counts.get(kind, 0) == mark.counts.get(kind, 0)


def test_what_does_not_go_on_is_refused(causal: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    days(causal, 3, 8).s2.write_daily(store, **HOW)
    next_one = days(causal, 8, 9)
    before = content(store)
    other = next_one.assign_attrs(history=next_one.attrs["history"].replace("'last'", "'linear'"))
    gap = xr.concat([next_one, days(causal, 10, 11)], "time", data_vars="minimal")
    cases = [
        (days(causal, 9, 10), {}, r"ends with 2021-\d\d-\d\d, in steps of 1 days"),
        (gap, {}, "leaves out"),
        (days(causal, 1, 9), {}, r"and not .*: days are added after its last"),
        (days(causal, 4, 6), {"revise": True}, "this cube has not"),
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
    days(causal, 3, 8).s2.write_daily(tmp_path / "p.zarr", progress=False)
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
        days(causal, 3, 9).s2.write_daily(store, **HOW)


def test_steps_other_than_a_day(causal: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    fifth = causal.isel(time=slice(0, None, 5))
    days(fifth, 0, 3).s2.write_daily(store, **HOW)
    with pytest.raises(StoreMismatchError, match="in steps of 5 days"):
        appended(days(causal, 11, 12), store)
    assert appended(days(fifth, 3, 5), store).days == 2


@pytest.mark.parametrize("profile", ["series", "balanced"])
@pytest.mark.parametrize(
    ("every", "chunks"), [(30, (30, 15)), (365, (73, 5)), (384, (64, 16)), (1, (1, 1))]
)
def test_chunks_divide_the_shard(
    causal: xr.Dataset, profile: Any, every: int, chunks: tuple[int, int]
) -> None:
    from s2cube.store.layout import layout_of

    layout = layout_of(causal, profile, every)
    assert layout["shards"][0] == every
    assert layout["chunks"][0] == chunks[profile == "balanced"]
