"""An unfinished store, and one with gaps: never shown as if it were whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from compare import PIECES, assert_same, content

import s2cube
from s2cube.errors import CubeError, StoreError, UnfinishedStoreError
from s2cube.schema import Provenance
from s2cube.store.ledger import BlockStatus
from s2cube.store.read import opened_from
from s2cube.store.run import region

SECOND = "y0-300_x512-520"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The second region is written, and then fails: half of it may be there."""
    real = region.store_blocks

    def fake(piece: xr.Dataset, job: Any) -> Any:
        done = real(piece, job)
        if job.region.id == SECOND:
            raise OSError("the link https://example.com/B04.tif?sig=s3cr3t is down")
        return done

    monkeypatch.setattr(region, "store_blocks", fake)
    return monkeypatch


@pytest.mark.usefixtures("failing")
def test_a_part_is_shown_as_one(small: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    with pytest.raises(StoreError, match="1 of 2 regions"):
        small.s2.write_daily(store, **PIECES)
    with pytest.raises(UnfinishedStoreError, match=r"1 of 2 regions are there, 1 failed.*partial=True"):
        s2cube.open_daily(store)
    before = content(store)
    part = s2cube.open_daily(store, partial=True)
    assert (store / "B04" / "c" / "0" / "0" / "2").exists(), "half of a region is on disk"
    status = part["block_status"]
    assert status.dims == ("y", "x")
    assert status.attrs["flag_meanings"] == "written no_data failed missing"
    assert (status[:, :512] == BlockStatus.WRITTEN).all()
    assert (status[:, 512:] == BlockStatus.FAILED).all()
    memory = small.compute()
    np.testing.assert_array_equal(part["provenance"][..., :512], memory["provenance"][..., :512])
    assert part["B04"][..., 512:].isnull().all()
    assert (part["provenance"][..., 512:] == Provenance.NEVER_OBSERVED).all()
    assert content(store) == before


def test_a_part_is_another_work_than_the_whole(small: xr.Dataset, tmp_path: Path) -> None:
    """What is computed of a part must not be taken for what is computed of the whole."""
    from dask.base import tokenize

    small.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    whole = s2cube.open_daily(tmp_path / "d.zarr")
    assert tokenize(whole["B04"].data) == tokenize(s2cube.open_daily(tmp_path / "d.zarr")["B04"].data)
    part = s2cube.open_daily(tmp_path / "d.zarr", partial=True)
    assert tokenize(whole["B04"].data) != tokenize(part["B04"].data)
    assert part.attrs["history"].endswith(", partial=True)")
    assert (part["block_status"] == BlockStatus.WRITTEN).all()
    assert_same(part.drop_vars("block_status").drop_attrs(deep=False), whole.drop_attrs(deep=False))
    with pytest.raises(CubeError, match="opened from"):
        part.s2.write_daily(tmp_path / "d.zarr")


def test_a_share_may_fail(small: xr.Dataset, tmp_path: Path, failing: pytest.MonkeyPatch) -> None:
    store = tmp_path / "d.zarr"
    with pytest.raises(StoreError, match="could not be written"):
        small.s2.write_daily(store, max_failed_fraction=0.4, **PIECES)
    half = store / "B04" / "c" / "0" / "0" / "2"  # as a worker leaves it that dies in the middle
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_bytes(b"half a shard")
    report = small.s2.write_daily(store, max_failed_fraction=0.5, **PIECES)
    assert (report.written, report.kept) == (0, 1)
    assert list(report.failed) == [SECOND]
    told = report.failed[SECOND]
    assert "link https://example.com/B04.tif?... is down" in told, "no signature is kept"
    assert "1 failed" in str(report)
    assert "the same call tries them again" in report._repr_html_()
    assert not half.exists(), "no half of a region is published"
    with pytest.warns(UserWarning, match=rf"1 of 2 regions .* read as missing: {SECOND}"):
        cube = s2cube.open_daily(store)
    assert cube["B04"][..., 512:].isnull().all()
    with pytest.raises(UnfinishedStoreError, match=SECOND):
        s2cube.open_daily(store, on_gaps="raise")
    found = s2cube.verify(store, progress=False)
    assert not found.ok
    assert found.not_there == (SECOND,)
    failing.undo()
    again = small.s2.write_daily(store, **PIECES)
    assert (again.written, again.kept, dict(again.failed)) == (1, 1, {})
    small.s2.write_daily(tmp_path / "whole.zarr", **PIECES)
    assert content(store) == content(tmp_path / "whole.zarr")
    s2cube.open_daily(store, on_gaps="raise")


def test_regions_without_data_are_told_apart(tmp_path: Path) -> None:
    cube = s2cube.testing.simulate_cube(shape=(300, 520), seed=2, bands=["red"], end="2021-07-01")
    cube["B04"][..., 512:] = np.nan
    filled = cube.s2.mask_clouds("scl").s2.fill_gaps(freq="5D")
    filled.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    status = s2cube.open_daily(tmp_path / "d.zarr", partial=True)["block_status"]
    assert (status[:, :512] == BlockStatus.WRITTEN).all()
    assert (status[:, 512:] == BlockStatus.NO_DATA).all()
    s2cube.open_daily(tmp_path / "d.zarr", on_gaps="raise")


def test_half_widths_come_back(tmp_path: Path) -> None:
    cube = s2cube.testing.simulate_cube(shape=(40, 50), seed=2, bands=["red"], end="2021-08-01")
    filled = cube.s2.mask_clouds("scl").s2.fill_gaps("seasonal", uncertainty=(68, 95), freq="3D")
    filled["B04_uncertainty95"][0, 0, :3] = [7.0, 4.25, 0.0]
    report = filled.s2.write_daily(tmp_path / "d.zarr", progress=False)
    assert report.counts["clamped"] == 1
    back = s2cube.open_daily(tmp_path / "d.zarr")
    memory = filled.compute()
    for name in ("B04_uncertainty", "B04_uncertainty95"):
        expected = memory[name].values.clip(max=6.5534)
        np.testing.assert_allclose(back[name].values, expected, atol=0.51e-4, equal_nan=True)
        assert back[name].dtype == np.float32
        assert back[name].attrs["long_name"] == filled[name].attrs["long_name"]
    assert back["B04_uncertainty95"].values[0, 0, 1] == np.float32(4.25)
    plain = xr.open_zarr(tmp_path / "d.zarr")
    np.testing.assert_allclose(plain["B04_uncertainty95"].values, back["B04_uncertainty95"].values)


def test_any_history_will_do(small: xr.Dataset, tmp_path: Path) -> None:
    odd = "open_daily(store=\nopen_daily(store='a' + 'b')\nopen_daily(1)\nopen_daily(store='it\\'s')"
    assert opened_from(small.assign_attrs(history=odd)) == ["it's"]


def test_bad_words(tmp_path: Path) -> None:
    with pytest.raises(CubeError, match="on_gaps is 'warn' or 'raise'"):
        s2cube.open_daily(tmp_path, on_gaps="ignore")  # type: ignore[arg-type]
