"""Searching catalogues, and keeping what they answered."""

import json
from collections.abc import Callable
from pathlib import Path

import pystac
import pytest
import xarray as xr
from archive import pair

import s2cube
from s2cube.errors import CatalogError, CubeError


@pytest.mark.parametrize("name", ["items.parquet", "items.json", "items.geojson"])
def test_kept_items_give_the_same_cube(tmp_path: Path, name: str) -> None:
    items = pair(tmp_path)
    path = s2cube.save_items(items, tmp_path / name)
    kept, fresh = s2cube.open_stac(path), s2cube.open_stac(items)
    xr.testing.assert_identical(kept.drop_attrs(deep=False), fresh.drop_attrs(deep=False))
    assert kept["B04"].data.name == fresh["B04"].data.name, "the writer knows it as the same cube"
    assert [part.name for part in tmp_path.iterdir() if part.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["items.parquet", "items.json"])
def test_real_items_keep_what_decides_their_offset(
    tmp_path: Path, real_data: Callable[[str], Path], name: str
) -> None:
    folder = real_data("stac")
    files = [
        "odc-tools/apps/dc_tools/tests/data/S2B_31QGB_20200831_0_L2A.json",
        "openeo-processes-dask/tests/data/stac/s2_l2a_test_item.json",
        "odc-tools/apps/dc_tools/tests/data/S2B_T37MGP_20240710T073012_L2A_C1.json",
    ]
    items = [pystac.Item.from_dict(json.loads((folder / file).read_text())) for file in files]
    path = s2cube.save_items(items, tmp_path / name)
    from s2cube.sources.items import read_items

    kept = {item.id: item for item in read_items(path)}
    for item in items:
        for asset in ("red", "red-jp2", "scl"):
            if asset in item.assets:
                again = s2cube.reflectance_offset(kept[item.id], asset)
                assert again == s2cube.reflectance_offset(item, asset)
        assert {key: a.href for key, a in kept[item.id].assets.items()} == {
            key: a.href for key, a in item.assets.items()
        }


def test_saving_replaces_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = s2cube.save_items(pair(tmp_path), tmp_path / "items.json")
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        s2cube.save_items(pair(tmp_path)[:1], path)
    assert path.read_bytes() == before
    with pytest.raises(CubeError, match="no item to save"):
        s2cube.save_items([], path)
    with pytest.raises(CubeError, match=r"\.parquet, \.json or \.geojson, got 'items\.csv'"):
        s2cube.save_items(pair(tmp_path), tmp_path / "items.csv")


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "items.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(CatalogError, match=r"Cannot read .*items\.parquet"):
        s2cube.open_stac(tmp_path / "items.parquet")
