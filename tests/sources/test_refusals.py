"""What open_stac refuses or marks, and what it says."""

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio.errors
from affine import Affine
from archive import CRS, ORIGIN, flat, pair, ramp, scene
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.errors import CatalogError, CubeError, HarmonizationError, ReadError
from s2cube.schema import Status


def test_what_nobody_declares_is_not_guessed(tmp_path: Path) -> None:
    silent = scene(tmp_path, "silent", "2022-02-01T10:00", {"B04": flat(3000)}, raster=False)
    with pytest.raises(HarmonizationError, match=r"Nothing tells the offset of B04 of item silent"):
        s2cube.open_stac(silent)
    # The way out is in the message.
    assert np.allclose(s2cube.open_stac(silent, offset=-0.1)["B04"], 0.2)
    assert np.allclose(s2cube.open_stac(silent, offset=0)["B04"], 0.3)


def test_an_offset_that_esa_does_not_have_needs_the_users_word(tmp_path: Path) -> None:
    odd = scene(tmp_path, "odd", "2022-02-01T10:00", {"B04": flat(9000)}, offset=-0.7)
    with pytest.raises(HarmonizationError, match=r"offset of -0\.7; ESA's is 0 or -0\.1"):
        s2cube.open_stac(odd)
    for word in (-0.7, "declared"):
        cube = s2cube.open_stac(odd, offset=word)
        assert np.allclose(cube["B04"], 0.2)
        assert s2cube.items(cube)["offset_B04"].tolist() == [-0.7]
        assert f"offset={word!r}" in cube.attrs["history"]
    twice = scene(
        tmp_path, "S2A_MSIL2A_20200714T115221_N0500_R123_T28QCH_20230404T191310", "2022-02-01T10:00",
        {"B04": flat(3000)}, properties={"s2:processing_baseline": "02.14"},
    )  # fmt: skip
    with pytest.raises(HarmonizationError, match=r"several processing baselines .* with offset="):
        s2cube.open_stac(twice)
    assert np.allclose(s2cube.open_stac(twice, offset=-0.1)["B04"], 0.2), "as the error says"
    with pytest.raises(CubeError, match="or 'declared'; got 'rule'"):
        s2cube.open_stac(odd, offset="rule")  # type: ignore[arg-type]


@pytest.mark.parametrize("word", [-1000, 1000.0, float("nan"), True, np.bool_(True), "-0.1", [0]])
def test_a_word_that_can_be_no_offset(tmp_path: Path, word: Any) -> None:
    item = scene(tmp_path, "x", "2022-02-01T10:00", {"B04": flat(3000)})
    for said in (word, {"x": word}):
        with pytest.raises(CubeError, match="offset is reflectance to add"):
            s2cube.open_stac(item, offset=said)
    for number in (np.float32(-0.1), np.float64(-0.1), np.int64(0)):
        cube = s2cube.open_stac(item, offset=number)
        assert np.allclose(cube["B04"], 0.3 + float(number))
        assert f"offset={round(float(number), 7)}" in cube.attrs["history"]


@pytest.mark.parametrize("word", [None, "declared"])
def test_a_declared_offset_in_counts(tmp_path: Path, word: Any) -> None:
    """-1000 is what GDAL would write; as reflectance it would be -1000."""
    item = scene(tmp_path, "x", "2022-02-01T10:00", {"B04": flat(3000)}, offset=-1000)
    with pytest.raises(HarmonizationError, match=r"B04 of item x .* in counts .* offset=-0\.1 "):
        s2cube.open_stac(item, offset=word)
    assert np.allclose(s2cube.open_stac(item, offset=-0.1)["B04"], 0.2)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"offset": ""}, "The offset of B04 of item x is ''"),
        ({"offset": True}, "The offset of B04 of item x is True"),
        ({"scale": "ten"}, "The scale of B04 of item x is 'ten'"),
        ({"scale": 0}, "B04 of item x declares a scale of 0"),
        ({"scale": 10_000}, "B04 of item x declares a scale of 10000"),
        ({"data_type": "other"}, "B04 of item x declares the data type 'other'"),
        ({"data_type": "cint16"}, "B04 of item x declares the data type 'cint16'"),
        ({"data_type": "float32", "scale": None}, "B04 of item x holds float32 and declares no scale"),
        ({"data_type": "float32", "scale": 1, "offset": None}, "B04 of item x holds float32 and decl"),
        ({"nodata": "inf"}, "B04 of item x declares the no-data value 'inf', which uint16"),
        ({"nodata": -9999}, "B04 of item x declares the no-data value -9999, which uint16"),
        ({"nodata": "inf", "data_type": "float32", "scale": 1}, "'inf', which float32 cannot hold"),
        ({"nodata": "none"}, "The no-data value of B04 of item x is 'none'"),
    ],
)
def test_odd_declarations_are_named(tmp_path: Path, told: dict[str, Any], message: str) -> None:
    item = scene(
        tmp_path, "x", "2022-02-01T10:00", {"B04": flat(3000)},
        properties={"s2:processing_baseline": "03.01"},
    )  # fmt: skip
    item.assets["B04"].extra_fields["raster:bands"][0].update(told)
    with pytest.raises(HarmonizationError, match=message):
        s2cube.open_stac(item)


def test_metadata_that_is_no_stac(tmp_path: Path) -> None:
    """The item is named, whatever is wrong with it."""

    def odd(where: str, **fields: Any) -> pystac.Item:
        item = scene(tmp_path, "x", "2020-06-05T10:00", {"B04": flat(3000)})
        place = item.properties if where == "item" else item.assets["B04"].extra_fields
        place.update(fields)
        return item

    for item, message in (
        (odd("B04", **{"raster:bands": {"scale": 1e-4}}), "raster:bands of item x is a list of objects"),
        (odd("B04", **{"raster:bands": [17]}), "raster:bands of item x is a list of objects"),
        (odd("B04", **{"proj:transform": [None] * 6}), "Item x does not say where .* B04.tif are"),
        (odd("B04", **{"proj:shape": [20]}), "Item x does not say where .* B04.tif are"),
        (odd("item", **{"proj:code": "EPSG:nowhere"}), "Item x does not say where"),
        (odd("item", **{"sat:relative_orbit": "many"}), "Item x cannot be understood: .*many"),
    ):
        with pytest.raises(CatalogError, match=message):
            s2cube.open_stac(item)
    for told in ([None], None, []):
        silent = odd("B04", **{"raster:bands": told})
        silent.properties["s2:processing_baseline"] = "05.09"
        assert np.allclose(s2cube.open_stac(silent)["B04"], 0.2), "nulls say nothing"
    kind = {"data_type": "UInt16", "scale": "0.0001", "offset": "0", "nodata": "0"}
    assert np.allclose(s2cube.open_stac(odd("B04", **{"raster:bands": [kind]}))["B04"], 0.3)


def test_slips_of_a_first_day(tmp_path: Path) -> None:
    item = scene(tmp_path, "x", "2020-06-05T10:00", {"B04": flat(3000)})
    west, south, east, north = item.bbox or ()
    for asked, message in (
        ({"chunks": {"x": 0}}, "chunks: x is a size of 1 or more, or -1 for all; got 0"),
        ({"chunks": {"y": 2.5}}, "chunks: y is a size of 1 or more"),
        ({"crs": "EPSG:4326", "resolution": 10}, "resolution=10 is in degrees"),
        (
            {"bbox": (west, south, east + 25, north + 25), "resolution": 1},
            "blocks to read.*Is the bbox",
        ),
    ):
        with pytest.raises(CubeError, match=message):
            s2cube.open_stac(item, **asked)
    with pytest.raises(CatalogError, match="Longitude comes first: they look swapped"):
        s2cube.open_stac(item, bbox=(south, west, north, east))
    with pytest.raises(CatalogError, match=r"nor is it a catalogue's name .earth-search"):
        s2cube.open_stac("earthsearch")
    with pytest.raises(CatalogError, match=r"it is a folder: name the catalog\.json"):
        s2cube.open_stac(tmp_path)


def test_clouds_that_were_not_masked_are_not_filled_in_silence(tmp_path: Path) -> None:
    looks = s2cube.open_stac(pair(tmp_path))
    with pytest.raises(UserWarning, match=r"clouds were not masked: .* Call mask_clouds\(\) first"):
        looks.s2.fill_gaps("linear")
    looks.s2.mask_clouds(looks["B04"] > 1).s2.fill_gaps("linear")


def test_relative_links_of_items_in_memory(tmp_path: Path) -> None:
    item = scene(tmp_path, "x", "2020-06-05T10:00", {"B04": flat(3000)})
    item.assets["B04"].href = "./B04.tif"
    read = pystac.Item.from_dict(item.to_dict())
    with pytest.raises(CatalogError, match=r"Item x has the relative link .*set_self_href"):
        s2cube.open_stac(read)
    read.set_self_href(str(tmp_path / "x" / "item.json"))
    assert np.allclose(s2cube.open_stac(read)["B04"], 0.3)


def test_unknown_types_of_data_are_not_guessed(tmp_path: Path) -> None:
    item = scene(tmp_path, "f", "2020-06-05T10:00", {"B04": np.full((20, 24), 0.25, "f4")})
    item.assets["B04"].extra_fields["raster:bands"] = [{"scale": 1.0, "offset": 0.0}]
    with pytest.raises(HarmonizationError, match="add data_type"):
        s2cube.open_stac(item)
    item.assets["B04"].extra_fields["raster:bands"] = [
        {"scale": 1.0, "offset": 0.0, "data_type": "float32"}
    ]
    assert (s2cube.open_stac(item)["B04"] == 0.25).all()


def broken_pair(folder: Path) -> list[pystac.Item]:
    items = pair(folder)
    (folder / "S2_10" / "B04.tif").write_bytes(b"II*\0 not much of a TIFF")
    return items


def test_an_unreadable_file_raises_and_names_it(tmp_path: Path) -> None:
    cube = s2cube.open_stac(broken_pair(tmp_path))
    with pytest.raises(ReadError, match=r"S2_10/B04\.tif"):
        cube["B04"].compute()
    # The other date is none the worse.
    assert np.isfinite(cube["B04"].isel(time=0).values).all()


@pytest.mark.parametrize("fault", ["garbage", "missing", "truncated", "SCL"])
def test_an_unreadable_file_may_be_marked(tmp_path: Path, fault: str) -> None:
    items = pair(tmp_path)
    path = tmp_path / "S2_10" / ("SCL.tif" if fault == "SCL" else "B04.tif")
    if fault == "missing":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - 300] if fault == "truncated" else b"garbage")
    cube = s2cube.open_stac(items, on_read_error="mark")
    clear = cube.s2.mask_clouds("scl")
    failed = clear["status"].values == Status.READ_FAILED
    assert not failed[0].any()
    assert failed[1].any()
    assert np.isnan(clear["B04"].values[failed]).all()
    assert np.isnan(clear["B11"].values[failed]).all(), "a pixel is observed when all bands are"
    good = ~failed[1]
    np.testing.assert_array_equal(
        clear["B04"].values[1][good], (ramp(start=7).astype("f4") / np.float32(1e4))[good]
    )


GRID = GeoBox((4, 4), Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), CRS)


def bare(item: pystac.Item, prefix: str = "-", assets: bool = False) -> pystac.Item:
    """Return a copy without some fields, or without assets."""
    item = item.clone()
    for fields in (item.properties, *(asset.extra_fields for asset in item.assets.values())):
        for key in [key for key in fields if key.startswith(prefix)]:
            del fields[key]
    if assets:
        item.assets = {}
    return item


def timeless(item: pystac.Item) -> pystac.Item:
    item = item.clone()
    item.datetime = None
    return item


def test_items_that_do_not_say_where_their_pixels_are(tmp_path: Path) -> None:
    """With a grid given it does not matter: the files know."""
    cube = s2cube.open_stac(bare(pair(tmp_path)[0], "proj:"), geobox=GRID, bands="red")
    np.testing.assert_array_equal(cube["B04"].values[0], (ramp()[:4, :4] / np.float32(1e4)))


def test_scales_that_differ_are_not_mixed(tmp_path: Path) -> None:
    one, two = pair(tmp_path)
    two.assets["B04"].extra_fields["raster:bands"][0]["scale"] = 2.75e-5
    with pytest.raises(HarmonizationError, match="differ in scale, no-data or data type of B04"):
        s2cube.open_stac([one, two])
    assert s2cube.open_stac([one, two], bands=["B11"]).sizes["time"] == 2


def test_bad_input(tmp_path: Path) -> None:
    items = pair(tmp_path)
    empty = pystac.Catalog("e", "e")
    empty.normalize_and_save(str(tmp_path / "empty"), pystac.CatalogType.SELF_CONTAINED)
    (tmp_path / "bad.json").write_text("{")
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (tmp_path / "empty" / "catalog.json", {}, CatalogError, "holds no item"),
        ([], {}, CatalogError, "holds no item"),
        (tmp_path / "nowhere.json", {}, CatalogError, "Cannot read"),
        (tmp_path / "bad.json", {}, CatalogError, "Cannot read"),
        (42, {}, CatalogError, "got int"),
        ([1], {}, CatalogError, "Expected pystac Items, got int"),
        (items, {"bands": ["B12"]}, CatalogError, "S2_05 has no B12; its assets: B04, B11, SCL"),
        (items, {"bands": ["ultraviolet"]}, CubeError, "no Sentinel-2 band"),
        (items, {"bands": []}, CubeError, "No band"),
        (items, {"bands": ["SCL"]}, CatalogError, "at least one reflectance"),
        (items, {"datetime": "2031"}, CatalogError, "from 2020-06-05T10:00:00 to 2020-06-10"),
        (items, {"datetime": "2020-07/2020-06"}, CubeError, "ends before it starts"),
        (items, {"datetime": "soon"}, CubeError, "no date or period"),
        (items, {"bbox": (0, 0, 1, 1)}, CatalogError, "No item meets the area"),
        (items, {"bbox": (16, 48, 15, 49)}, CubeError, "antimeridian"),
        (items, {"bbox": (15, 49, 16, 48)}, CubeError, "south below north"),
        (items, {"bbox": (500_000, 5_200_000, 510_000, 5_300_000)}, CubeError, "in degrees"),
        (items, {"bbox": (15, 48, 16)}, CubeError, "west, south, east, north"),
        (items, {"bbox": (15, 48, 16, 49), "geometry": {}}, CubeError, "Give one of"),
        (items, {"resolution": -1}, CubeError, "above 0"),
        (items, {"geobox": GeoBox((4, 4), Affine.identity(), None)}, CubeError, "with a CRS"),
        (items, {"geobox": "here"}, CubeError, "with a CRS"),
        (items, {"bbox": "15,48,16,49"}, CubeError, "in degrees"),
        (items, {"bbox": (15, None, 16, 49)}, CubeError, "in degrees"),
        (items, {"geometry": "area.geojson"}, CubeError, "GeoJSON"),
        (items, {"bands": 4}, CubeError, "by name"),
        (items, {"resolution": "10"}, CubeError, "one number"),
        (items, {"resolution": (10, 10)}, CubeError, "one number"),
        (items, {"chunks": "auto"}, CubeError, "maps time, y and x"),
        (items, {"chunks": {"latitude": 9}}, CubeError, "maps time, y and x"),
        (items, {"resampling": "cubicc"}, CubeError, "Unknown resampling"),
        (items, {"resampling": 3}, CubeError, "resampling is"),
        (items, {"resampling": {"B12": "cubic"}}, CubeError, "speaks of B12, opened are B04, B11, SCL"),
        (items, {"resampling": {"infrared": "cubic"}}, CubeError, "no Sentinel-2 band"),
        (items, {"datetime": 2020}, CubeError, "no date or period"),
        (items, {"datetime": "10:05"}, CubeError, "begin with a year"),
        (items, {"geobox": GRID, "crs": CRS}, CubeError, "leave resolution= and crs= out"),
        (bare(items[0], "proj:"), {}, CatalogError, "no proj:"),
        (bare(items[0], assets=True), {}, CatalogError, "No band is in all 1 items"),
        (timeless(items[0]), {}, CatalogError, "no datetime"),
        (timeless(items[0]), {"datetime": "2020"}, CatalogError, "no datetime"),
        (items, {"datetime": ("2020", "2021", "2022")}, CubeError, "one date or a period"),
        (items, {"crs": "EPSG:4326"}, CubeError, "pass resolution="),
        (items, {"on_read_error": "ignore"}, ValueError, "'raise' or 'mark'"),
    ]  # fmt: skip
    for source, how, error, message in cases:
        with pytest.raises(error, match=message):
            s2cube.open_stac(source, **how)


def test_level_is_known_or_refused(tmp_path: Path) -> None:
    bare = {"processing:level": None}
    unknown = scene(tmp_path, "u", "2020-06-05T10:00", {"B04": flat(1)}, properties=bare)
    with pytest.raises(CatalogError, match="add processing:level"):
        s2cube.open_stac(unknown)
    name = "S2B_MSIL1C_20200406T101559_N0209_R065_T32UPC_20200406T130159"
    item = scene(tmp_path, name, "2020-04-06T10:15:59", {"B04": flat(1)}, properties=bare)
    cube = s2cube.open_stac(item)
    assert cube["processing_level"] == "L1C"
    assert cube["relative_orbit"].item() == 65
    assert cube["processing_baseline"].item() == "02.09"
    assert cube["platform"].item() == "sentinel-2b"


def test_rasterio_is_quiet(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    s2cube.open_stac(pair(tmp_path)).compute()
    assert not [w for w in recwarn if w.category is rasterio.errors.NotGeoreferencedWarning]
