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
    with pytest.raises(CubeError, match="or 'declared'; got 'rule'"):
        s2cube.open_stac(odd, offset="rule")  # type: ignore[arg-type]


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
