"""The offset of every provider: known cases, from real items."""

import datetime
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pystac
import pytest
from offset_cases import CASES, V1, Case, counts

import s2cube
from s2cube.errors import CatalogError, HarmonizationError
from s2cube.sources.facts import baseline_of
from s2cube.sources.profiles import Product


def item_of(case: Case) -> pystac.Item:
    when = datetime.datetime(2021, 6, 1, tzinfo=datetime.UTC)
    item = pystac.Item(case.item or "S2A_1", None, None, when, dict(case.properties))
    item.add_asset(case.asset, pystac.Asset(case.href, extra_fields=dict(case.fields)))
    return item


def items_in(path: Path) -> list[dict[str, Any]]:
    """All items of a file, whatever it is: an item, a collection of them, a list, an answer."""
    content = json.loads(path.read_text())
    if isinstance(content, dict):
        content = content.get("features", [content])
    return [one for one in content if isinstance(one, dict) and one.get("type") == "Feature"]


def ask(item: pystac.Item, case: Case) -> None:
    if case.expected is None:
        with pytest.raises(HarmonizationError, match=case.why) as error:
            s2cube.reflectance_offset(item, case.asset)
        assert item.id in str(error.value)
    else:
        assert s2cube.reflectance_offset(item, case.asset) == case.expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_offset_of_known_cases(case: Case) -> None:
    ask(item_of(case), case)


@pytest.mark.parametrize("case", [case for case in CASES if case.file], ids=lambda case: case.id)
def test_offset_of_the_real_items(case: Case, real_data: Callable[[str], Path]) -> None:
    content = items_in(real_data(case.file))
    (found,) = [one for one in content if case.item in ("", one["id"])][:1]
    found = {**found, "stac_version": found.get("stac_version") or "1.0.0"}
    found.setdefault("links", [])
    found.setdefault("stac_extensions", [])
    item = pystac.Item.from_dict(found)
    if case.asset not in item.assets:
        # CDSE-like answers of eodag list no assets.
        item.add_asset(case.asset, pystac.Asset(case.href))
    ask(item, case)


def test_every_real_item_gets_the_offset_of_its_baseline(real_data: Callable[[str], Path]) -> None:
    """Of all items of the shared data that tell a baseline, by a rule written without our code."""
    seen = 0
    for path in sorted(real_data("stac").rglob("*.json")):
        if "stactools" not in str(path) and "odc-stac" not in str(path):
            continue
        for content in items_in(path):
            if "S2" not in content["id"]:
                continue
            item = pystac.Item.from_dict(content)
            baseline = float(item.properties.get("s2:processing_baseline", "nan"))
            if not baseline < 99:
                continue
            asset = next((key for key in ("B04", "red", "B04_10m") if key in item.assets), None)
            if asset is None or "T34LBQ_20220401" in item.id:  # claims -0.7: below
                continue
            assert s2cube.reflectance_offset(item, asset) == (-0.1 if baseline >= 4 else 0.0), path
            seen += 1
    assert seen >= 10


def test_the_self_made_item_that_claims_minus_0_7_is_refused(real_data: Callable[[str], Path]) -> None:
    name = "S2A_OPER_MSI_L2A_TL_VGS1_20220401T110010_A035382_T34LBQ"
    path = real_data(f"stac/stactools-sentinel2/tests/data-files/{name}/expected_output.json")
    item = pystac.Item.from_dict(json.loads(path.read_text()))
    bands = [key for key in item.assets if re.fullmatch(r"B\d[\dA](_\d0m)?|red|green|blue|nir", key)]
    assert bands
    for key in bands:
        with pytest.raises(HarmonizationError, match=r"offset of -0\.7"):
            s2cube.reflectance_offset(item, key)


@pytest.mark.parametrize(
    "asset",
    ["scl", "SCL_20m", "aot", "AOT_10m", "wvp-jp2", "WVP_20m", "visual", "TCI_10m", "thumbnail",
     "granule_metadata", "cloud", "snow", "overview", "product-metadata"],
)  # fmt: skip
def test_what_is_no_reflectance_takes_no_offset(asset: str) -> None:
    case = Case("", "", "", asset, {"s2:processing_baseline": "05.10"}, expected=0.0)
    ask(item_of(case), case)


def test_what_cdse_means_by_a_version_is_its_own() -> None:
    """Other catalogues have a collection of the same name."""
    case = Case("", "", "", "B04", {"processing:version": 5.0}, expected=None, why="Nothing tells")
    item = item_of(case)
    item.collection_id = "sentinel-2-l2a"
    ask(item, case)
    item.add_link(pystac.Link("self", "https://stac.dataspace.copernicus.eu/v1/items/S2A_1"))
    assert s2cube.reflectance_offset(item, "B04") == -0.1


def test_a_jp2_is_known_by_its_type_too() -> None:
    """CDSE's links to single files end in $value."""
    case = Case("", "", "", "B04", {"s2:processing_baseline": "05.09", V1: True}, counts(-0.1))
    item = item_of(case)
    assert s2cube.reflectance_offset(item, "B04") == 0.0
    item.assets["B04"].media_type = "image/jp2"
    assert s2cube.reflectance_offset(item, "B04") == -0.1


def test_an_unknown_asset_is_no_guess() -> None:
    item = item_of(Case("", "", "", "refl_665", {"s2:processing_baseline": "05.10"}))
    with pytest.raises(CatalogError, match="cannot be known whether asset 'refl_665'"):
        s2cube.reflectance_offset(item, "refl_665")
    with pytest.raises(CatalogError, match="has no asset 'B05'; it has refl_665"):
        s2cube.reflectance_offset(item, "B05")


def test_the_date_never_decides() -> None:
    for year in (2016, 2030):
        for baseline, expected in (("03.01", 0.0), ("04.00", -0.1)):
            item = item_of(Case("", "", "", "B04", {"s2:processing_baseline": baseline}))
            item.datetime = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
            assert s2cube.reflectance_offset(item, "B04") == expected


def test_of_several_baselines_the_property_has_the_word() -> None:
    """Where they do not differ in whether there is an offset: it says which version is newer."""
    item = item_of(Case("", "", "", "B04", {"s2:processing_baseline": "05.11"}))
    item.id = "S2B_MSIL2A_20190629T212529_N0500_R043_T06VVN_20201006T080531"
    assert baseline_of(item, Product()) == (5, 11)
