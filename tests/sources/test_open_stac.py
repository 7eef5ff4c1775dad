"""open_stac: the right pixels, at the right place, of the right scene."""

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio.errors
from affine import Affine
from archive import CRS, ORIGIN, flat, ramp, scene, write_tif
from compare import assert_same
from odc.geo.geobox import GeoBox

import s2cube
from s2cube import schema
from s2cube.errors import CatalogError, CubeError, HarmonizationError, ReadError
from s2cube.schema import Status


def pair(folder: Path) -> list[pystac.Item]:
    """Two dates, 10 m and 20 m bands and SCL."""
    res = {"B04": 10.0, "B11": 20.0, "SCL": 20.0}
    return [
        scene(
            folder, f"S2_{day}", f"2020-06-{day}T10:00:00",
            {"B04": ramp(start=n), "B11": ramp((10, 12), n), "SCL": flat(4, (10, 12), "uint8")},
            resolution=res,
        )
        for n, day in ((1, "05"), (7, "10"))
    ]  # fmt: skip


def test_native_pixels_are_not_moved(tmp_path: Path) -> None:
    cube = s2cube.open_stac(pair(tmp_path))
    np.testing.assert_array_equal(
        cube["B04"].values, np.stack([ramp(start=1), ramp(start=7)]).astype("f4") / np.float32(1e4)
    )
    assert schema.geobox_of(cube).transform[:6] == (10, 0, ORIGIN[0], 0, -10, ORIGIN[1])
    assert cube["x"].values[0] == ORIGIN[0] + 5
    assert cube["y"].values[0] == ORIGIN[1] - 5
    assert (cube["SCL"] == 4).all()
    assert (cube["status"] == Status.CLEAR).all()
    # What the items do not tell is not invented.
    assert not {"platform", "relative_orbit", "processing_baseline", "datatake"} & set(cube.coords)


def test_coarser_bands_are_interpolated_between_centres(tmp_path: Path) -> None:
    """20 m to 10 m: a plane stays a plane, with no shift of half a pixel."""
    y, x = np.mgrid[:10, :12]
    plane = (1000 + 100 * x + 200 * y).astype(np.uint16)
    item = scene(
        tmp_path, "one", "2020-06-05T10:00", {"B04": flat(5), "B11": plane},
        resolution={"B04": 10.0, "B11": 20.0},
    )  # fmt: skip
    got = s2cube.open_stac(item)["B11"].values[0] * 1e4
    y, x = np.mgrid[:20, :24]
    expected = 1000 + 100 * (x - 0.5) / 2 + 200 * (y - 0.5) / 2
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(got[inner], expected[inner], atol=0.51)


def test_finer_bands_are_averaged_and_classes_are_not(tmp_path: Path) -> None:
    classes = np.tile(np.array([[4, 9], [4, 4]], np.uint8), (10, 12))
    item = scene(tmp_path, "one", "2020-06-05T10:00", {"B04": ramp(), "SCL": classes})
    cube = s2cube.open_stac(item, resolution=20)
    blocks = ramp().reshape(10, 2, 12, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(cube["B04"].values[0] * 1e4, blocks, atol=0.51)
    assert set(np.unique(cube["SCL"])) <= {4, 9}
    nearest = s2cube.open_stac(item, resolution=20, resampling={"red": "nearest"})
    assert set(np.unique((nearest["B04"].values * 1e4).round())) <= set(np.unique(ramp()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_area_is_cut_on_the_pixels_of_the_source(tmp_path: Path) -> None:
    items = pair(tmp_path)
    whole = s2cube.open_stac(items)
    window = schema.geobox_of(whole)[4:11, 6:15]
    box = window.extent.to_crs("epsg:4326").boundingbox.bbox
    cube = s2cube.open_stac(items, bbox=box)
    got = schema.geobox_of(cube)
    assert (got.transform.c - ORIGIN[0]) % 10 == 0
    assert (ORIGIN[1] - got.transform.f) % 10 == 0
    # A box in degrees is not a box in metres: at most a pixel more on each side.
    assert 7 <= got.shape.y <= 9
    assert 9 <= got.shape.x <= 11
    inside = cube.sel(x=whole["x"][6:15], y=whole["y"][4:11])
    np.testing.assert_array_equal(inside["B04"].values, whole["B04"].values[:, 4:11, 6:15])
    exact = s2cube.open_stac(items, geobox=window)
    np.testing.assert_array_equal(exact["B04"].values, whole["B04"].values[:, 4:11, 6:15])
    assert schema.geobox_of(exact) == window
    shape = {"type": "Polygon", "coordinates": [[*window.extent.to_crs("epsg:4326").boundingbox.points]]}
    ring = shape["coordinates"][0]
    assert len(ring) == 4
    shape["coordinates"] = [[ring[0], ring[1], ring[3], ring[2], ring[0]]]
    assert s2cube.open_stac(items, geometry=shape).sizes == cube.sizes


def test_lazy_eager_threads_and_chunks_agree(tmp_path: Path) -> None:
    items = pair(tmp_path)
    lazy = s2cube.open_stac(items)
    assert all(hasattr(array.data, "dask") for array in lazy.data_vars.values())
    assert_same(lazy, s2cube.open_stac(items, chunks=None))
    assert_same(lazy, s2cube.open_stac(items, chunks={"time": 2, "y": 7, "x": 5}))


def test_one_key_for_one_cube(tmp_path: Path) -> None:
    """The same call has the same keys, another way to fail has others."""
    from dask.base import tokenize

    items = pair(tmp_path)
    tokens = [
        tokenize(s2cube.open_stac(items, on_read_error=how)["B04"].data)
        for how in ("raise", "raise", "mark")
    ]
    assert tokens[0] == tokens[1] != tokens[2]


def test_declared_offsets_are_applied_per_date_and_asset(tmp_path: Path) -> None:
    old = scene(tmp_path, "old", "2021-12-01T10:00", {"B04": flat(2000)})
    new = scene(tmp_path, "new", "2022-02-01T10:00", {"B04": flat(3000)}, offset=-0.1)
    dark = scene(tmp_path, "dark", "2022-02-11T10:00", {"B04": flat(900)}, offset=-0.1)
    cube = s2cube.open_stac([new, old, dark])
    np.testing.assert_array_equal(cube["B04"].values[:, 0, 0], np.float32([0.2, 0.2, -0.01]))


@pytest.mark.parametrize("place", ["asset", "bands"])
def test_offsets_of_stac_1_1(tmp_path: Path, place: str) -> None:
    item = scene(tmp_path, "a", "2022-02-01T10:00", {"B04": flat(3000)}, raster=False)
    told = {"raster:scale": 1e-4, "raster:offset": -0.1, "nodata": 0, "data_type": "uint16"}
    fields = told if place == "asset" else {"bands": [{"name": "B04", **told}]}
    item.assets["B04"].extra_fields.update(fields)
    assert s2cube.open_stac(item)["B04"].values[0, 0, 0] == np.float32(0.2)


def test_what_nobody_declares_is_not_guessed(tmp_path: Path) -> None:
    silent = scene(tmp_path, "silent", "2022-02-01T10:00", {"B04": flat(3000)}, raster=False)
    with pytest.raises(HarmonizationError, match="silent does not declare what the counts of B04"):
        s2cube.open_stac(silent)
    flagged = scene(
        tmp_path, "flagged", "2022-02-01T10:00", {"B04": flat(3000)}, offset=-0.1,
        properties={"earthsearch:boa_offset_applied": True},
    )  # fmt: skip
    with pytest.raises(HarmonizationError, match="earthsearch:boa_offset_applied"):
        s2cube.open_stac(flagged)


FACTS: dict[str, Any] = {
    "platform": "sentinel-2a",
    "sat:relative_orbit": 79,
    "s2:datatake_id": "GS2A_20200605T100031_025870_N02.14",
    "s2:mgrs_tile": "33UUU",
    "s2:processing_baseline": "02.14",
}


def test_older_versions_of_a_tile_are_dropped_by_number(tmp_path: Path) -> None:
    """05.10 is later than 05.09 and 02.14, whatever their ids or dates of creation."""
    versions = [
        scene(
            tmp_path, name, "2020-06-05T10:00:31", {"B04": flat(value)},
            properties={**FACTS, "s2:processing_baseline": baseline},
        )
        for name, baseline, value in (("c", "02.14", 1), ("a", "05.10", 2), ("b", "05.09", 3))
    ]  # fmt: skip
    cube = s2cube.open_stac(versions)
    assert cube.sizes["time"] == 1
    assert (cube["B04"].values == np.float32(2e-4)).all()
    assert cube["processing_baseline"].values.tolist() == ["05.10"]
    assert cube["platform"].values.tolist() == ["sentinel-2a"]
    assert cube["relative_orbit"].values.tolist() == [79]
    assert cube["datatake"].values.tolist() == ["GS2A_20200605T100031_025870"]


def test_parts_of_a_split_tile_stay_both(tmp_path: Path) -> None:
    north, south = flat(5), flat(6)
    north[10:], south[:10] = 0, 0
    parts = [
        scene(
            tmp_path, name, f"2020-06-05T10:00:{second}", {"B04": counts},
            properties={**FACTS, "s2:datastrip_id": f"S2A_DS_VGS1_S20200605T1000{second}_N02.14"},
        )
        for name, counts, second in (("n", north, "31"), ("s", south, "45"))
    ]  # fmt: skip
    cube = s2cube.open_stac(parts)
    assert cube.sizes["time"] == 1
    np.testing.assert_array_equal(cube["B04"].values[0, :, 0], np.float32([5e-4] * 10 + [6e-4] * 10))


def neighbours(folder: Path, **second: Any) -> list[pystac.Item]:
    """Two tiles of one datatake that overlap by 8 columns; the first lacks B08 in two of them."""
    left = {"B04": flat(100), "B08": flat(200), "SCL": flat(4, dtype="uint8")}
    left["B08"][:, 18:20] = 0
    right = {"B04": flat(300), "B08": flat(400), "SCL": flat(5, dtype="uint8")}
    return [
        scene(folder, "L", "2020-06-05T10:00:31", left, properties={**FACTS, "s2:mgrs_tile": "33UUU"}),
        scene(
            folder, "R", "2020-06-05T10:00:45", right, origin=(ORIGIN[0] + 160, ORIGIN[1]),
            properties={**FACTS, "s2:mgrs_tile": "33UVU", **second},
        ),
    ]  # fmt: skip


def test_one_scene_gives_a_pixel_all_its_bands(tmp_path: Path) -> None:
    cube = s2cube.open_stac(neighbours(tmp_path)).isel(time=0, y=3)
    assert cube.sizes["x"] == 40
    rows = np.stack([cube[b].values * 1e4 for b in ("B04", "B08")] + [cube["SCL"].values]).round()
    left, right = [100, 200, 4], [300, 400, 5]
    expected = [left] * 18 + [right] * 2 + [left] * 4 + [right] * 16
    np.testing.assert_array_equal(rows.T, expected)
    assert (cube["status"] == Status.CLEAR).all()


def test_offsets_are_applied_before_tiles_merge(tmp_path: Path) -> None:
    """One datatake, two baselines: the seam must not show."""
    items = neighbours(tmp_path, **{"s2:processing_baseline": "05.00"})
    for asset in items[1].assets.values():
        asset.extra_fields["raster:bands"][0]["offset"] = -0.02
    items[1].assets["SCL"].extra_fields["raster:bands"][0].pop("offset")
    cube = s2cube.open_stac(items).isel(time=0, y=3)
    # 100 counts on the left, 300 - 200 on the right: no seam.
    np.testing.assert_allclose(cube["B04"].values, 0.01, atol=1e-7)


def test_steps_by_datatake_or_solar_day(tmp_path: Path) -> None:
    morning = scene(tmp_path, "a", "2020-06-05T09:50", {"B04": flat(1)}, properties={"platform": "s2a"})
    later = scene(tmp_path, "b", "2020-06-05T10:00", {"B04": flat(2)}, properties={"platform": "s2b"})
    assert s2cube.open_stac([later, morning]).sizes["time"] == 2
    day = s2cube.open_stac([later, morning], groupby="solar_day")
    assert day.sizes["time"] == 1
    assert "platform" not in day.coords, "two platforms in a step: neither is true of it"
    with pytest.raises(CubeError, match="groupby is"):
        s2cube.open_stac([later], groupby="month")  # type: ignore[arg-type]


def test_datatakes_without_an_id_are_told_by_platform_orbit_and_time(tmp_path: Path) -> None:
    def at(name: str, time: str, x: float) -> pystac.Item:
        return scene(
            tmp_path, name, time, {"B04": flat(3)}, origin=(ORIGIN[0] + x, ORIGIN[1]),
            properties={"platform": "sentinel-2a"},
        )  # fmt: skip

    items = [
        at("a", "2020-06-05T10:00:10", 0),
        at("b", "2020-06-05T10:00:25", 240),
        at("c", "2020-06-05T11:40", 0),
    ]
    cube = s2cube.open_stac(items)
    assert cube.sizes["time"] == 2
    assert np.isfinite(cube["B04"].values[0]).all()


def test_same_time_of_two_datatakes_is_said(tmp_path: Path) -> None:
    two = [
        scene(tmp_path, name, "2020-06-05", {"B04": flat(1)}, properties={"platform": name})
        for name in ("s2a", "s2b")
    ]
    with pytest.raises(CubeError, match="solar_day"):
        s2cube.open_stac(two)


@pytest.mark.parametrize(
    ("datetime", "days"),
    [
        ("2020-06-05", [5]), ("2020-06", [5, 10]), ("2020", [5, 10]), ("2020-06-06/2020-06-30", [10]),
        ("2020-06-05/2020-06-10", [5, 10]), ("../2020-06-07", [5]), (("2020-06-07", None), [10]),
        (np.datetime64("2020-06-05T10:00:00"), [5]), ("2020-06-05T00:00:00Z/2020-06-06T00:00:00Z", [5]),
    ],
)  # fmt: skip
def test_periods(tmp_path: Path, datetime: Any, days: list[int]) -> None:
    cube = s2cube.open_stac(pair(tmp_path), datetime=datetime)
    assert cube.indexes["time"].day.tolist() == days


@pytest.mark.parametrize(
    "end", [date(2020, 6, 10), np.datetime64("2020-06-10"), pd.Timestamp("2020-06-10T12:00+02:00")]
)
def test_days_are_whole_and_times_have_zones(tmp_path: Path, end: Any) -> None:
    cube = s2cube.open_stac(pair(tmp_path), datetime=(date(2020, 6, 5), end))
    assert cube.indexes["time"].day.tolist() == [5, 10]


def test_times_of_items_have_zones_too(tmp_path: Path) -> None:
    item = pair(tmp_path)[0]
    item.datetime = datetime(2020, 6, 5, 12, 5, tzinfo=timezone(timedelta(hours=2)))
    assert str(s2cube.open_stac(item)["time"].values[0])[:16] == "2020-06-05T10:05"


def test_items_with_the_same_id(tmp_path: Path) -> None:
    one, two = pair(tmp_path)
    two.id = one.id
    cube = s2cube.open_stac([one, two])
    np.testing.assert_array_equal(cube["B04"].values[:, 0, 0], np.float32([1e-4, 7e-4]))


def test_items_across_the_antimeridian_and_without_bbox(tmp_path: Path) -> None:
    east = {"origin": (690_000.0, 1_000_000.0), "crs": "EPSG:32660"}
    items = [
        scene(tmp_path, str(day), f"2020-06-{day:02}T10:00", {"B04": flat(day)}, **east)
        for day in (1, 2)
    ]
    west, south, _, north = items[0].bbox
    items[0].bbox = [west - 0.01, south, -179.0, north]
    items[1].bbox = None
    cube = s2cube.open_stac(items, bbox=(west, south, west + 0.002, north))
    assert cube.sizes["time"] == 2


def test_versions_of_one_datatake(tmp_path: Path) -> None:
    """The id of a datatake ends in the baseline, so a reprocessed scene has another."""
    versions = [
        scene(
            tmp_path, f"v{baseline}", f"2020-06-05T10:00:3{n}", {"B04": flat(n)},
            properties={**FACTS, "s2:processing_baseline": baseline,
                        "s2:datatake_id": f"GS2A_20200605T100031_025870_N{baseline}"},
        )
        for n, baseline in ((1, "02.14"), (2, "05.00"))
    ]  # fmt: skip
    cube = s2cube.open_stac(versions)
    assert cube.sizes["time"] == 1
    assert (cube["B04"] == np.float32(2e-4)).all()


def test_scales_within_a_step(tmp_path: Path) -> None:
    """Neighbours whose counts mean different things: each by its own."""
    left, right = neighbours(tmp_path)
    for key in ("B04", "B08"):
        right.assets[key].extra_fields["raster:bands"][0]["scale"] = 2e-4
    cube = s2cube.open_stac([left, right]).isel(time=0, y=3)
    np.testing.assert_allclose(cube["B04"].values[[0, -1]], [0.01, 0.06], atol=1e-7)


def test_pixels_need_not_be_square(tmp_path: Path) -> None:
    item = scene(tmp_path, "a", "2020-06-05T10:00", {"B04": ramp()})
    tall = Affine(10, 0, ORIGIN[0], 0, -20, ORIGIN[1])
    write_tif(tmp_path / "a" / "B04.tif", ramp(), tall, CRS, 0)
    item.assets["B04"].extra_fields["proj:transform"] = list(tall[:6])
    cube = s2cube.open_stac(item)
    np.testing.assert_array_equal(cube["B04"].values[0], ramp() / np.float32(1e4))


def test_unknown_types_of_data_are_not_guessed(tmp_path: Path) -> None:
    item = scene(tmp_path, "f", "2020-06-05T10:00", {"B04": np.full((20, 24), 0.25, "f4")})
    item.assets["B04"].extra_fields["raster:bands"] = [{"scale": 1.0, "offset": 0.0}]
    with pytest.raises(HarmonizationError, match="add data_type"):
        s2cube.open_stac(item)
    item.assets["B04"].extra_fields["raster:bands"] = [
        {"scale": 1.0, "offset": 0.0, "data_type": "float32"}
    ]
    assert (s2cube.open_stac(item)["B04"] == 0.25).all()


def test_coarse_grids_in_degrees_are_averaged_too(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1000, 3000, (400, 400)).astype(np.uint16)
    item = scene(tmp_path, "n", "2020-06-05T10:00", {"B04": noise})
    coarse = s2cube.open_stac(item, crs="EPSG:4326", resolution=0.002)["B04"].values
    nearest = s2cube.open_stac(item, crs="EPSG:4326", resolution=0.002, resampling="nearest")[
        "B04"
    ].values
    inner = np.isfinite(coarse)
    assert coarse[inner].std() < 0.3 * np.nanstd(nearest)
    fine = s2cube.open_stac(item, crs="EPSG:4326", resolution=0.00005)["B04"]
    assert float(fine.max()) > 0.25, "finer than the source: interpolated, not averaged"


def test_bands_by_any_name(tmp_path: Path) -> None:
    items = pair(tmp_path)
    assert list(s2cube.open_stac(items, bands=["swir16"]).data_vars) == ["B11", "SCL", "status"]
    assert list(s2cube.open_stac(items, bands="red").data_vars) == ["B04", "SCL", "status"]
    common = scene(
        tmp_path,
        "es",
        "2020-06-20T10:00",
        {"red": flat(7), "nir08": flat(8), "scl": flat(4, dtype="uint8")},
    )
    assert list(s2cube.open_stac(common).data_vars) == ["B04", "B8A", "SCL", "status"]


def test_the_finest_of_several_assets_is_read(tmp_path: Path) -> None:
    item = scene(
        tmp_path, "cdse", "2020-06-20T10:00",
        {"B04_20m": flat(2, (10, 12)), "B04_10m": flat(1), "B04_60m": flat(6, (4, 4))},
        resolution={"B04_10m": 10.0, "B04_20m": 20.0, "B04_60m": 60.0},
    )  # fmt: skip
    cube = s2cube.open_stac(item)
    assert cube["B04"].shape == (1, 20, 24)
    assert (cube["B04"] == np.float32(1e-4)).all()


def test_sources_of_every_kind(tmp_path: Path) -> None:
    items = pair(tmp_path / "files")
    cube = s2cube.open_stac(items)
    catalog = pystac.Catalog("c", "c")
    for item in items:
        catalog.add_item(item.clone())
    catalog.normalize_and_save(str(tmp_path / "cat"), pystac.CatalogType.ABSOLUTE_PUBLISHED)
    collection = pystac.ItemCollection(items)
    collection.save_object(str(tmp_path / "items.json"))
    sources = [
        catalog, tmp_path / "cat" / "catalog.json", str(tmp_path / "cat" / "catalog.json"),
        collection, tmp_path / "items.json", iter(items),
    ]  # fmt: skip
    for source in sources:
        assert_same(s2cube.open_stac(source), cube)
    one = s2cube.open_stac(next(iter(catalog.get_items())).get_self_href())
    assert one.sizes["time"] == 1


def test_several_crs(tmp_path: Path) -> None:
    here = scene(tmp_path, "a", "2020-06-05T10:00", {"B04": flat(1000, (60, 60))})
    there = scene(
        tmp_path, "b", "2020-06-10T10:00", {"B04": flat(2000, (60, 60))}, crs="EPSG:32634",
        origin=(58_000.0, 5_315_000.0),
    )  # fmt: skip
    with pytest.raises(CubeError, match="choose one with crs="):
        s2cube.open_stac([here, there])
    cube = s2cube.open_stac([here, there], crs=CRS)
    assert cube.sizes["time"] == 2
    seen = np.isfinite(cube["B04"].values)
    assert seen[0].any()
    assert seen[1].any()
    grid = GeoBox.from_bbox((500_000, 5_299_000, 501_000, 5_300_000), CRS, resolution=100)
    assert s2cube.open_stac([here], geobox=grid)["B04"].shape == (1, 10, 10)


def test_no_data_in_files_that_do_not_declare_it(tmp_path: Path) -> None:
    """Zeros beyond a swath's edge must not leak into the last pixels when resampled."""
    counts = flat(4000, (10, 12))
    counts[:, :6] = 0
    item = scene(
        tmp_path, "edge", "2020-06-05T10:00", {"B04": flat(5), "B11": counts}, nodata=None,
        resolution={"B04": 10.0, "B11": 20.0},
    )  # fmt: skip
    got = s2cube.open_stac(item)["B11"].values[0]
    assert set(np.unique(got[np.isfinite(got)]).tolist()) == {np.float32(0.4)}
    assert np.isnan(got[:, :10]).all()


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


def test_a_failed_read_loses_to_a_good_one(tmp_path: Path) -> None:
    items = neighbours(tmp_path)
    (tmp_path / "L" / "B04.tif").unlink()
    cube = s2cube.open_stac(items, on_read_error="mark").isel(time=0, y=3)
    assert (cube["status"].values == [Status.READ_FAILED] * 16 + [Status.CLEAR] * 24).all()
    np.testing.assert_array_equal(cube["B04"].values[16:], np.float32([0.03] * 24))


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


def test_assets_named_by_what_they_declare(tmp_path: Path) -> None:
    item = scene(tmp_path, "x", "2020-06-05T10:00", {"band_3": flat(7), "visual": flat(8)})
    item.assets["band_3"].extra_fields["eo:bands"] = [{"name": "B04", "common_name": "red"}]
    item.assets["visual"].extra_fields["eo:bands"] = [{"name": "B04"}, {"name": "B03"}, {"name": "B02"}]
    assert list(s2cube.open_stac(item).data_vars) == ["B04", "status"]


def test_items_with_epsg_codes_of_older_stac(tmp_path: Path) -> None:
    item = scene(tmp_path, "x", "2020-06-05T10:00", {"B04": ramp()})
    del item.properties["proj:code"]
    item.properties["proj:epsg"] = 32633
    assert schema.geobox_of(s2cube.open_stac(item)).crs.epsg == 32633


def test_scales_that_differ_are_not_mixed(tmp_path: Path) -> None:
    one, two = pair(tmp_path)
    two.assets["B04"].extra_fields["raster:bands"][0]["scale"] = 2.75e-5
    with pytest.raises(HarmonizationError, match="differ in scale, no-data or data type of B04"):
        s2cube.open_stac([one, two])
    assert s2cube.open_stac([one, two], bands=["B11"]).sizes["time"] == 2


def test_resampling_by_band(tmp_path: Path) -> None:
    items = pair(tmp_path)
    near = s2cube.open_stac(items, resampling={"swir16": "nearest", "SCL": "bilinear"})
    values = near["B11"].values[0]
    np.testing.assert_array_equal(values[::2, ::2], values[1::2, 1::2])
    assert (near["SCL"] == 4).all()
    assert not np.array_equal(s2cube.open_stac(items)["B11"].values[0], values)
    everywhere = s2cube.open_stac(items, resampling="nearest")
    np.testing.assert_array_equal(everywhere["B11"].values[0], values)


def test_bad_input(tmp_path: Path) -> None:
    items = pair(tmp_path)
    empty = pystac.Catalog("e", "e")
    empty.normalize_and_save(str(tmp_path / "empty"), pystac.CatalogType.SELF_CONTAINED)
    api = tmp_path / "api.json"
    api.write_text('{"type": "Catalog", "conformsTo": ["core"], "links": []}')
    (tmp_path / "bad.json").write_text("{")
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (tmp_path / "empty" / "catalog.json", {}, CatalogError, "holds no item"),
        ([], {}, CatalogError, "holds no item"),
        (tmp_path / "nowhere.json", {}, CatalogError, "Cannot read"),
        (tmp_path / "bad.json", {}, CatalogError, "Cannot read"),
        (api, {}, CatalogError, r"pystac_client\.Client\.open"),
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
