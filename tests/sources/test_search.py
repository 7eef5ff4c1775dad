"""Searching catalogues, and keeping what they answered."""

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import shapely.geometry
import xarray as xr
from archive import flat, pair, scene
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.errors import CatalogError, CubeError
from s2cube.sources import stac_api
from s2cube.sources.retry import Retry
from s2cube.testing import Faults, FileServer, StacApi

AREA = (14.9, 47.8, 15.1, 47.9)
"""Around all scenes of the archive."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac_api, "RETRY", Retry(attempts=40, wait=0.001, longest=0.01))


def year(folder: Path, count: int = 25) -> list[pystac.Item]:
    """A scene every ten days."""
    first = np.datetime64("2020-01-05T10:00")
    items = [
        scene(folder, f"S2_{n:02}", str(first + np.timedelta64(10 * n, "D")), {"B04": flat(1000 + n)})
        for n in range(count)
    ]
    for item in items:
        item.collection_id = "sentinel-2-l2a"
        item.properties["s2:processing_baseline"] = "03.01"
    return items


def api_of(url: str) -> s2cube.Profile:
    return s2cube.Profile("mine", url, {"sentinel-2-l2a": s2cube.Product(level="L2A")})


def test_a_catalogue_is_searched_page_by_page(tmp_path: Path) -> None:
    items = year(tmp_path)
    with StacApi(items, page=4) as api:
        found = s2cube.search(api_of(api.url), bbox=AREA, datetime="2020")
        assert [item.id for item in found] == [item.id for item in items], "in time, each once"
        cube = s2cube.open_stac(api_of(api.url), bbox=AREA, datetime="2020-03", bands=["red"])
        by_url = s2cube.open_stac(api.url, bbox=AREA, datetime="2020-03", collection="sentinel-2-l2a")
    expected = [1000 + n for n in range(25) if "2020-03" in str(items[n].datetime)]
    assert (cube["B04"].max(("y", "x")).values * 1e4).round().tolist() == expected
    np.testing.assert_array_equal(by_url["B04"].values, cube["B04"].values)


@pytest.mark.parametrize("kinds", [(429, 500, 503), ("reset", "cut"), ("truncate",), ("short",)])
def test_a_search_survives_faults_whole(tmp_path: Path, kinds: Any) -> None:
    items = year(tmp_path)
    with StacApi(items, page=4, faults=Faults(0.4, kinds, seed=3)) as api:
        found = s2cube.search(api_of(api.url), bbox=AREA, datetime="2020")
    assert [item.id for item in found] == [item.id for item in items]


def test_what_does_not_pass_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StacApi(year(tmp_path, 2), faults=Faults(1.0, (403,), only="/search")) as api:
        with pytest.raises(CatalogError, match="Searching mine failed"):
            s2cube.search(api_of(api.url), bbox=AREA)
        assert sum(request.path.startswith("/search") for request in api.requests) == 1
    monkeypatch.setattr(stac_api, "RETRY", Retry(attempts=3, wait=0.001))
    with StacApi(year(tmp_path, 2), faults=Faults(1.0, (503,), only="/search")) as api:
        with pytest.raises(CatalogError, match="Searching mine failed"):
            s2cube.search(api_of(api.url), bbox=AREA)
        assert sum(request.path.startswith("/search") for request in api.requests) == 3
    with pytest.raises(CatalogError, match=r"failed|Cannot read"):
        s2cube.open_stac(api_of(api.url), bbox=AREA)


class Forgetful(StacApi):
    """Loses its last page."""

    def answer(self, request: Any) -> Any:
        answer = super().answer(request)
        told = json.loads(answer.body)
        if request.path.startswith("/search"):
            told["links"] = [link for link in told["links"] if link["rel"] != "next"]
        return type(answer)(answer.status, json.dumps(told).encode(), answer.headers)


def test_an_answer_that_is_not_whole_is_no_answer(tmp_path: Path) -> None:
    with (
        Forgetful(year(tmp_path, 9), page=4) as api,
        pytest.raises(CatalogError, match="has 9 items and gave 4: the rest would be gaps"),
    ):
        s2cube.search(api_of(api.url), bbox=AREA)


class Odd(StacApi):
    """Says in its own way how many items there are."""

    says: dict[str, Any]

    def answer(self, request: Any) -> Any:
        answer = super().answer(request)
        told = json.loads(answer.body)
        if request.path.startswith("/search"):
            told = {
                key: told[key] for key in told if key not in ("numberMatched", "context")
            } | self.says
        return type(answer)(answer.status, json.dumps(told).encode(), answer.headers)


@pytest.mark.parametrize(
    "says",
    [{}, {"context": None}, {"numberMatched": None}, {"numberMatched": "3"},
     {"context": {"matched": None}}, {"context": {"matched": 3}, "numberMatched": None}],
)  # fmt: skip
def test_ways_to_say_how_many_there_are(tmp_path: Path, says: dict[str, Any]) -> None:
    with Odd(year(tmp_path, 3), page=2) as api:
        api.says = says
        assert len(s2cube.search(api_of(api.url), bbox=AREA)) == 3
        api.says = {"numberMatched": "4"}
        with pytest.raises(CatalogError, match="has 4 items and gave 3"):
            s2cube.search(api_of(api.url), bbox=AREA)


def test_a_grid_across_the_antimeridian_is_searched_on_both_sides(tmp_path: Path) -> None:
    boxes = {"W": [179.9, 45, 180, 45.2], "E": [-180, 45, -179.9, 45.2], "far": [15, 45, 15.2, 45.2],
             "both": [-180, 45, 180, 45.2]}  # fmt: skip
    items = year(tmp_path, 4)
    for item, (name, box) in zip(items, boxes.items(), strict=True):
        item.id, item.bbox = name, box
        item.geometry = shapely.geometry.mapping(shapely.box(*box))
    grid = GeoBox.from_bbox((730_000, 4_995_000, 745_000, 5_002_000), "EPSG:32660", resolution=100)
    with StacApi(items) as api:
        found = s2cube.search(api_of(api.url), geobox=grid)
        asked = [json.loads(request.body)["bbox"] for request in api.requests if request.body]
    assert {item.id for item in found} == {"W", "E", "both"}
    assert len(found) == 3
    assert [box[0] > box[2] for box in asked] == [False, False]
    with (
        StacApi(items) as api,
        pytest.raises(CubeError, match="crosses the antimeridian"),
    ):
        s2cube.search(
            api_of(api.url), geometry={"type": "MultiPoint", "coordinates": [[-180, 45], [180, 46]]}
        )


@pytest.mark.parametrize("kinds", [(429, 500, 503), ("reset", "cut", "truncate", "short")])
def test_catalogues_are_read_as_patiently(tmp_path: Path, kinds: Any) -> None:
    """Whether a URL is an API, and all files of a static catalogue."""
    items = year(tmp_path, 3)
    with StacApi(items, faults=Faults(0.7, kinds, seed=5)) as api:
        cube = s2cube.open_stac(api.url, bbox=AREA, collection="sentinel-2-l2a")
        assert cube.sizes["time"] == 3
    catalog = pystac.Catalog("c", "c")
    for item in items:
        catalog.add_item(item.clone())
    catalog.normalize_and_save(str(tmp_path / "cat"), pystac.CatalogType.SELF_CONTAINED)
    with FileServer(tmp_path / "cat", faults=Faults(0.7, kinds, seed=5)) as server:
        cube = s2cube.open_stac(server.href("catalog.json"))
        assert len(server.requests) > len(["catalog.json", *items]), "some were asked for again"
    assert cube.sizes["time"] == 3


def test_links_are_told_without_their_signatures(tmp_path: Path) -> None:
    key = "sesame" * 2  # not as it stands in this line, which the traceback shows
    with FileServer(tmp_path, faults=Faults(1.0, (403,))) as server:
        for path in ("catalog.json", "stac"):
            with pytest.raises(CatalogError, match=rf"Cannot read .*/{path}: .*403") as error:
                s2cube.open_stac(f"{server.url}/{path}?sig={key}")
            assert key not in "".join(traceback.format_exception(error.value))
        assert len(server.requests) == 2, "what does not pass ends at once"


def test_searches_are_told_without_the_keys_of_their_address(tmp_path: Path) -> None:
    key = "sesame" * 2
    with StacApi(year(tmp_path, 1)) as api:
        address = f"{api.url}?key={key}"
        for asked in ({}, {"collection": "sentinel-2-l2a", "datetime": "1999"}):
            with pytest.raises((CatalogError, CubeError)) as error:
                s2cube.search(address, bbox=AREA, **asked)
            assert key not in "".join(traceback.format_exception(error.value))


def test_the_users_way_of_reading_catalogues_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(pystac.stac_io.DefaultStacIO):
        def read_text(self, source: Any, *_: Any, **__: Any) -> str:
            return super().read_text(str(source).replace("mine://", f"{tmp_path}/"))

    s2cube.save_items(pair(tmp_path), tmp_path / "items.json")
    monkeypatch.setattr(pystac.StacIO, "_default_io", Own)
    assert s2cube.open_stac("mine://items.json").sizes["time"] == 2


def test_what_a_search_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StacApi(year(tmp_path, 2)) as api:
        with pytest.raises(CubeError, match="give bbox=, geometry= or geobox="):
            s2cube.open_stac(api_of(api.url), datetime="2020")
        with pytest.raises(CubeError, match="say which one with collection="):
            s2cube.open_stac(api.url, bbox=AREA)
        with pytest.raises(CatalogError, match=r"no item of 'sentinel-2-l2a' in .* '2019'"):
            s2cube.open_stac(api_of(api.url), bbox=AREA, datetime="2019")
        monkeypatch.setitem(sys.modules, "pystac_client", None)
        with pytest.raises(ImportError, match=r"s2cube-ard\[search\]"):
            s2cube.search(api_of(api.url), bbox=AREA)
    with pytest.raises(CubeError, match="earth-search, planetary-computer, cdse"):
        s2cube.search("earth-serch", bbox=AREA)
    with pytest.raises(CubeError, match="the source here is items"):
        s2cube.open_stac(year(tmp_path, 1), collection="sentinel-2-l2a")


def test_progress_is_told_where_somebody_looks_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with StacApi(year(tmp_path, 9), page=4) as api:
        s2cube.search(api_of(api.url), bbox=AREA)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        s2cube.search(api_of(api.url), bbox=AREA)
        assert capsys.readouterr().err.split("\r")[-1].strip() == "mine: 9 of 9 items"
        s2cube.search(api_of(api.url), bbox=AREA, progress=False)
        assert capsys.readouterr().err == ""


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


def test_parquet_has_one_type_for_a_property(tmp_path: Path) -> None:
    items = pair(tmp_path)
    for item, told in zip(items, ("05.09", 5.1), strict=True):
        item.properties["processing:version"] = told
    with pytest.raises(CubeError, match=r"cannot be kept as \.parquet, .* use \.json"):
        s2cube.save_items(items, tmp_path / "items.parquet")
    assert not list(tmp_path.glob("*items.parquet*"))
    assert s2cube.open_stac(s2cube.save_items(items, tmp_path / "items.json")).sizes["time"] == 2


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


def test_an_error_of_a_search_shows_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> Any:
        raise RuntimeError("Bad answer of https://stac.example.org/v1/search?sig=secret")

    monkeypatch.setattr(stac_api, "_client", broken)
    with pytest.raises(CatalogError, match=r"Searching .* failed: Bad answer") as caught:
        s2cube.search(
            "https://stac.example.org/v1?key=secret", collection="x", bbox=AREA, datetime="2020"
        )
    assert "secret" not in str(caught.value)
