"""open_stac: the right pixels, at the right place."""

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
from affine import Affine
from archive import CRS, ORIGIN, flat, pair, ramp, scene, write_tif
from compare import assert_same
from odc.geo.geobox import GeoBox

import s2cube
from s2cube import schema
from s2cube.errors import CatalogError, CubeError
from s2cube.schema import Status
from s2cube.sources.grid import lonlat_box


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


def test_pixels_need_not_be_square(tmp_path: Path) -> None:
    item = scene(tmp_path, "a", "2020-06-05T10:00", {"B04": ramp()})
    tall = Affine(10, 0, ORIGIN[0], 0, -20, ORIGIN[1])
    write_tif(tmp_path / "a" / "B04.tif", ramp(), tall, CRS, 0)
    item.assets["B04"].extra_fields["proj:transform"] = list(tall[:6])
    cube = s2cube.open_stac(item)
    np.testing.assert_array_equal(cube["B04"].values[0], ramp() / np.float32(1e4))


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


def test_items_without_geometry_lie_in_their_box(tmp_path: Path) -> None:
    item = scene(tmp_path, "x", "2020-06-05T10:00", {"B04": ramp()})
    item.geometry = None
    assert np.isfinite(s2cube.open_stac(item)["B04"].values).all()


def test_a_word_on_the_offset_by_item(tmp_path: Path) -> None:
    """One call, one history; the rules for those that it does not name."""
    items = [
        scene(tmp_path, f"S2_{n}", f"2022-06-{n:02}T10:00", {"B04": flat(3000)}, offset=-0.1)
        for n in range(1, 5)
    ]
    word = {"S2_4": 0, "S2_2": np.float32(-0.1), "S2_3": "declared"}
    cube = s2cube.open_stac(items, offset=word)
    np.testing.assert_allclose(cube["B04"].values[:, 0, 0], [0.2, 0.2, 0.2, 0.3], atol=1e-7)
    assert s2cube.items(cube)["offset_B04"].tolist() == [-0.1, -0.1, -0.1, 0.0]
    assert "offset={'S2_2': -0.1, 'S2_3': 'declared', 'S2_4': 0.0}" in cube.attrs["history"]
    assert cube.attrs["history"].count("open_stac(") == 1
    again = s2cube.open_stac(items, offset=dict(reversed(word.items())))
    assert again.attrs["history"] == cube.attrs["history"], "in whatever order it is said"
    # Those outside the period may be named; those that are nowhere may not.
    assert s2cube.open_stac(items, offset=word, datetime="2022-06-01").sizes["time"] == 1
    with pytest.raises(CatalogError, match=r"items that are not there: S2_9; there is S2_1, among 4"):
        s2cube.open_stac(items, offset={**word, "S2_9": 0})
    assert "offset" not in s2cube.open_stac(items, offset={}).attrs["history"]


def antimeridian(folder: Path) -> tuple[list[pystac.Item], GeoBox]:
    """A tile on each side of 180°, one far away, and a grid across."""
    places = {"W": (735_000.0, "EPSG:32660"), "E": (265_000.0, "EPSG:32601"), "far": (5e5, CRS)}
    items = [
        scene(
            folder, name, "2020-06-05T10:00", {"B04": flat(value, (200, 200))}, crs=crs,
            origin=(x, 5_001_000.0), properties={"s2:mgrs_tile": name},
        )
        for value, (name, (x, crs)) in enumerate(places.items(), start=1)
    ]  # fmt: skip
    for item, box in zip(
        items, ([179.96, 45.1, 180.0, 45.13], [-180.0, 45.1, -179.96, 45.13]), strict=False
    ):
        item.bbox = box
    return items, GeoBox.from_bbox(
        (730_000, 4_995_000, 745_000, 5_002_000), "EPSG:32660", resolution=100
    )


def test_a_grid_across_the_antimeridian(tmp_path: Path) -> None:
    items, grid = antimeridian(tmp_path)
    cube = s2cube.open_stac(items, geobox=grid)
    assert s2cube.items(cube)["id"].sort_values().tolist() == ["E", "W"]
    assert set(np.unique(cube["B04"]).tolist()) >= {np.float32(1e-4), np.float32(2e-4)}
    with pytest.raises(CatalogError, match="No item meets the area"):
        s2cube.open_stac(items[2], geobox=grid)
    west, _, east, _ = lonlat_box(None, None, grid)  # type: ignore[misc]
    assert 179 < west < 180
    assert -180 < east < -179
    pole = GeoBox.from_bbox((-1e5, -1e5, 1e5, 1e5), "EPSG:3031", resolution=10_000)
    assert lonlat_box(None, None, pole)[::2] == (-180, 180)  # type: ignore[index]


def strip(west: float, east: float) -> list[list[list[float]]]:
    return [[[west, 45.0], [east, 45.0], [east, 46.0], [west, 46.0], [west, 45.0]]]


@pytest.mark.parametrize(
    "coordinates",
    [[strip(179.8, 180), strip(-180, -179.8)], [strip(170, 175), strip(-175, -170)],
     [strip(179.8, -179.8)]],
)  # fmt: skip
def test_a_geometry_across_the_antimeridian_is_no_strip_around_the_globe(
    tmp_path: Path, coordinates: Any
) -> None:
    items, _ = antimeridian(tmp_path)
    shape = {"type": "MultiPolygon", "coordinates": coordinates}
    with pytest.raises(CubeError, match=r"crosses the antimeridian.* Open the two sides apart"):
        s2cube.open_stac(items, geometry=shape)
    with pytest.raises(CubeError, match="in degrees, east from -180 to 180"):
        s2cube.open_stac(items, geometry={"type": "Polygon", "coordinates": strip(179.8, 180.2)})


def test_resampling_by_band(tmp_path: Path) -> None:
    items = pair(tmp_path)
    near = s2cube.open_stac(items, resampling={"swir16": "nearest", "SCL": "bilinear"})
    values = near["B11"].values[0]
    np.testing.assert_array_equal(values[::2, ::2], values[1::2, 1::2])
    assert (near["SCL"] == 4).all()
    assert not np.array_equal(s2cube.open_stac(items)["B11"].values[0], values)
    everywhere = s2cube.open_stac(items, resampling="nearest")
    np.testing.assert_array_equal(everywhere["B11"].values[0], values)
