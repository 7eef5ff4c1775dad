"""The ready-made builder: items searched once, each region of its own; the store of the whole cube."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
from archive import flat, ramp, scene
from builders import Simulated
from compare import assert_same
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.errors import CatalogError, CubeError
from s2cube.sources import ItemFile, keep_items
from s2cube.store import explain

AREA = GeoBox.from_bbox((500_000, 5_297_000, 505_200, 5_300_040), "EPSG:32633", resolution=10)
DAYS = pd.date_range("2020-06-01", "2020-06-12")
PIECES: dict[str, Any] = {"region_size": 256, "progress": False}


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    """Four dates of two tiles side by side; the third region of 256 px has none."""
    folder = tmp_path_factory.mktemp("tiles")
    size = (300, 250)
    return [
        scene(
            folder, f"S2_{day:02}_{tile}", f"2020-06-{day:02}T10:00",
            {"red": ramp(size, start=day * 9), "scl": flat(9 if day == 6 else 4, size, "uint8")},
            origin=(500_000.0 + 2500 * tile, 5_300_040.0),
        )
        for day in (1, 6, 9, 11) for tile in (0, 1)
    ]  # fmt: skip


@pytest.fixture
def catalog(items: list[pystac.Item], tmp_path: Path) -> str:
    return str(s2cube.save_items(items, tmp_path / "items.json"))


def builder_of(catalog: str, **more: Any) -> s2cube.DailyBuilder:
    told: dict[str, Any] = {"mask": {"buffer": 30}, "fill": {"method": "linear"}, **more}
    return s2cube.DailyBuilder(catalog, ["red"], **told)


def test_by_regions_as_of_the_whole(catalog: str, tmp_path: Path) -> None:
    builder = builder_of(catalog)
    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, **PIECES}
    report = s2cube.write_daily_regions(builder, tmp_path / "regions.zarr", **how)
    assert report.written == 6
    cube = s2cube.open_stac(catalog, geobox=AREA, bands=["red"])
    whole = cube.s2.mask_clouds("scl", buffer=30).s2.fill_gaps("linear", dates=DAYS)
    whole.s2.write_daily(tmp_path / "whole.zarr", **PIECES)
    one, two = (
        s2cube.open_daily(tmp_path / f"{name}.zarr").compute().drop_attrs(deep=False)
        for name in ("regions", "whole")
    )
    assert_same(one, two)
    assert s2cube.write_daily_regions(builder, tmp_path / "regions.zarr", **how).kept == 6


def test_the_catalogue_is_asked_once(catalog: str, tmp_path: Path) -> None:
    """What it answered is kept beside the store: the same items later, unless it is begun anew."""
    store = tmp_path / "d.zarr"
    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, **PIECES}
    assert s2cube.write_daily_regions(builder_of(catalog), store, **how).written == 6
    (kept,) = tmp_path.glob("d.zarr.items-*")
    assert kept.suffix == ".parquet"
    Path(catalog).unlink()
    assert s2cube.write_daily_regions(builder_of(catalog), store, **how).kept == 6
    with pytest.raises(CatalogError, match="Cannot read"):
        s2cube.write_daily_regions(builder_of(catalog), store, overwrite=True, **how)
    # Another period is another question.
    with pytest.raises(CatalogError, match="Cannot read"):
        s2cube.write_daily_regions(
            builder_of(catalog), tmp_path / "d.zarr", **{**how, "dates": DAYS[:3]}
        )


@pytest.mark.parametrize("ending", [".parquet", ".json"])
def test_items_of_a_box(items: list[pystac.Item], tmp_path: Path, ending: str) -> None:
    path = keep_items(items, tmp_path / "kept")
    if ending == ".json":
        path = s2cube.save_items(items, tmp_path / "kept.json")
    kept = ItemFile(path)
    left = AREA[:, :200]
    assert kept.ids(left) == [f"S2_{day:02}_0" for day in (1, 6, 9, 11)]
    assert sorted(item.id for item in kept.items(left)) == kept.ids(left)
    assert kept.ids(AREA) == sorted(item.id for item in items)
    far = GeoBox.from_bbox((600_000, 5_000_000, 600_640, 5_000_640), "EPSG:32633", resolution=10)
    assert (kept.ids(far), kept.items(far)) == ([], [])


def test_items_are_read_by_groups(items: list[pystac.Item], tmp_path: Path) -> None:
    """Of many rows the right ones, whatever the group that they are in."""
    from s2cube.sources.stac_api import items_in

    many = [item.clone() for item in items for _ in range(40)]
    for number, item in enumerate(many):
        item.id = f"{number:03}"
    path = s2cube.save_items(many, tmp_path / "many.parquet")
    rows = np.array([0, 99, 100, 101, 250, 319])
    assert [item.id for item in items_in(path, rows)] == [f"{row:03}" for row in rows]


def test_outside_of_a_geometry_there_is_nothing(catalog: str, tmp_path: Path) -> None:
    west, south, east, north = AREA[:250, :250].extent.to_crs("epsg:4326").boundingbox.bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    builder = builder_of(catalog, geometry={"type": "Polygon", "coordinates": [ring]})
    store = tmp_path / "d.zarr"
    report = s2cube.write_daily_regions(builder, store, geobox=AREA, dates=DAYS, **PIECES)
    assert report.written == 6
    assert not (store / "B04" / "c" / "0" / "0" / "2").exists()
    assert (store / "B04" / "c" / "0" / "0" / "0").exists()


def test_it_travels_and_is_recognized(catalog: str) -> None:
    from dask.base import tokenize

    builder = builder_of(catalog)
    assert pickle.loads(pickle.dumps(builder)) == builder
    assert tokenize(builder) == tokenize(builder_of(catalog))
    assert tokenize(builder) != tokenize(builder_of(catalog, margin=5))
    # It can be tried on a box.
    assert builder(AREA[:64, :64], DAYS)["B04"].notnull().any()


def test_refusals(catalog: str) -> None:
    with pytest.raises(CubeError, match="bands names at least one"):
        s2cube.DailyBuilder(catalog, [])
    with pytest.raises(CubeError, match="margin is a number of days"):
        builder_of(catalog, margin=-1)


def test_explained_before_it_is_done(catalog: str, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, "region_size": 256}
    plan = s2cube.explain_regions(builder_of(catalog), store, threads=2, memory=2**20, **how)
    assert not store.exists()
    assert (plan.regions, plan.days, plan.threads) == (6, 12, 2)
    assert None not in (plan.read_bytes, plan.requests, plan.worker_bytes)
    assert "needs more memory" in str(plan)
    s2cube.write_daily_regions(builder_of(catalog), store, progress=False, **how)
    files = [path for path in store.rglob("*") if path.is_file() and "/ledger/" not in str(path)]
    written = sum(path.stat().st_size for path in files)
    # Regions without an item have no files, and the plan is of what all would take.
    assert len(files) <= plan.objects
    assert plan.objects - len(files) < 30
    assert plan.written_bytes > written


def test_what_a_plan_samples() -> None:
    regions = explain.regions_in({"shape": [1, 1000, 1000], "region": [256, 256]})
    found = explain._samples(list(regions.values()))
    assert len(found) == 3
    assert {region.shape for region in found} == {(256, 256)}


def test_plan_of_any_builder(tmp_path: Path) -> None:
    builder = Simulated((300, 560))
    plan = s2cube.explain_regions(
        builder, tmp_path / "d", geobox=builder.geobox(), dates=builder.dates(), region_size=256
    )
    assert (plan.regions, plan.read_bytes) == (6, None)
    assert "unknown" in str(plan)
    assert "<table>" in plan._repr_html_()
