"""Images on disk: any reader gets the same values back, at the same place, with their time."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pystac
import pytest
import rasterio
import rioxarray
import xarray as xr
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

import s2cube
from s2cube import schema
from s2cube.errors import CatalogError, CubeError

GEOBOX = GeoBox.from_bbox((600_000, 5_190_000, 612_000, 5_201_000), "EPSG:32632", resolution=10)
"""Large enough for overviews."""


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    return s2cube.testing.simulate_cube(shape=(24, 20), seed=1, bands=["red", "nir"]).s2.mask_clouds()


def picture(geobox: GeoBox = GEOBOX, **bands: Any) -> xr.Dataset:
    """One image of 2022-06-01."""
    arrays = {name: (("y", "x"), values) for name, values in bands.items()}
    return xr.Dataset(
        arrays, {**schema.grid_coords(geobox), "time": np.datetime64("2022-06-01T10:00", "ns")}
    )


def small(values: np.ndarray) -> xr.Dataset:
    """The red band of a few pixels."""
    rows = np.asarray(values, np.float32).reshape(1, -1) if np.ndim(values) == 1 else values
    height, width = rows.shape
    return picture(
        GeoBox.from_bbox((0, 0, 10 * width, 10 * height), "EPSG:32632", resolution=10),
        B04=rows.astype(np.float32),
    )


def read(path: Path) -> xr.DataArray:
    with rioxarray.open_rasterio(path, mask_and_scale=True) as opened:
        return opened.load().squeeze("band")


def raster(item: Path, key: str) -> dict[str, Any]:
    (told,) = pystac.Item.from_file(item).assets[key].extra_fields["raster:bands"]
    return told


# What is in the files


def test_files_are_valid_and_lie_at_their_place(clear: xr.Dataset, tmp_path: Path) -> None:
    image = clear.s2.geomedian(period="QS-DEC")
    items = s2cube.write_cogs(image, tmp_path / "a")
    assert len(items) == image.sizes["time"]
    files = sorted((tmp_path / "a").glob("*.tif"))
    assert len(files) == len(items) * len(image.data_vars)
    for file in files:
        valid, errors, _ = cog_validate(file)
        assert valid, errors
        with rasterio.open(file) as opened:
            assert opened.crs.to_epsg() == 32633
            assert opened.transform == schema.geobox_of(clear).transform
            assert opened.shape == (24, 20)


def test_large_files_are_valid_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = picture(B04=rng.uniform(0, 0.5, GEOBOX.shape.yx).astype(np.float32))
    for name, options in {"counts": {}, "bytes": {"byte_range": (0, 0.3)}}.items():
        s2cube.write_cogs(image, tmp_path / name, **options)
        valid, errors, warnings = cog_validate(tmp_path / name / "B04.tif", strict=True)
        assert valid, (errors, warnings)


def test_pixels_come_back(clear: xr.Dataset, tmp_path: Path) -> None:
    image = clear.s2.geomedian(period="QS-DEC")
    image["B04"][0, :5] = np.nan
    image["B08"][0, 6] = -0.0123
    items = s2cube.write_cogs(image, tmp_path / "a")
    for number, path in enumerate(items):
        assets = pystac.Item.from_file(path).assets
        assert set(assets) == set(image.data_vars)
        for key, asset in assets.items():
            wanted = image[key].isel(time=number)
            found = read(Path(path.parent, asset.href))
            if key in schema.BANDS:
                # int16 of 1e-4, as in stores.
                np.testing.assert_allclose(found, wanted, atol=5.1e-5)
            else:
                assert np.array_equal(found, wanted, equal_nan=True)
            np.testing.assert_array_equal(found["x"], wanted["x"])
            np.testing.assert_array_equal(found["y"], wanted["y"])


def test_types_of_other_variables(tmp_path: Path) -> None:
    """A mask becomes 0 and 1; numbers stay what they are."""
    geobox = GeoBox.from_bbox((0, 0, 50, 40), "EPSG:32632", resolution=10)
    numbers = np.arange(20).reshape(4, 5)
    kinds = {"mask": "bool", "small": "uint8", "wide": "int64", "exact": "float64"}
    image = picture(geobox, **{name: (numbers % 7).astype(kind) for name, kind in kinds.items()})
    (item,) = s2cube.write_cogs(image, tmp_path / "a")
    for name, kind in (kinds | {"mask": "uint8"}).items():
        with rasterio.open(tmp_path / "a" / f"{name}.tif") as opened:
            assert opened.dtypes == (kind,)
            assert np.array_equal(opened.read(1), image[name])
        assert raster(item, name)["data_type"] == kind


def test_what_was_passed_is_not_changed(clear: xr.Dataset, tmp_path: Path) -> None:
    image = clear.s2.median()
    kept = image.copy(deep=True)
    s2cube.write_cogs(image, tmp_path / "a", byte_range=(0, 0.3))
    xr.testing.assert_identical(image, kept)
    assert image["B04"].encoding == kept["B04"].encoding


def test_counts_on_disk_are_those_of_stores(tmp_path: Path) -> None:
    image = small(np.array([0.1234, -0.05, np.nan, 9.0, -9.0]))
    s2cube.write_cogs(image, tmp_path / "a")
    with rasterio.open(tmp_path / "a" / "B04.tif") as opened:
        assert opened.read(1).tolist() == [[1234, -500, -32768, 32767, -32767]]
        assert (opened.nodata, opened.scales, opened.offsets) == (-32768, (1e-4,), (0.0,))


@pytest.mark.parametrize("low_high", [(0, 0.3), (-0.05, 0.4), (0.1, 1.25)])
def test_bytes_are_within_half_a_step(low_high: tuple[float, float], tmp_path: Path) -> None:
    low, high = low_high
    step = (high - low) / 254
    rng = np.random.default_rng(0)
    values = rng.uniform(low - 0.1, high + 0.1, (40, 50)).astype(np.float32)
    values[0, :3] = [low, high, np.nan]
    (item,) = s2cube.write_cogs(small(values), tmp_path / "a", byte_range=low_high)
    with rasterio.open(tmp_path / "a" / "B04.tif") as opened:
        levels = opened.read(1)
        assert opened.dtypes == ("uint8",)
        assert opened.nodata == 0
        told = {
            "scale": opened.scales[0],
            "offset": opened.offsets[0],
            "nodata": 0,
            "data_type": "uint8",
        }
    assert raster(item, "B04") == told
    assert levels[0, :3].tolist() == [1, 255, 0]
    assert np.array_equal(levels == 0, np.isnan(values))
    found = read(tmp_path / "a" / "B04.tif").values
    error = np.abs(found - np.clip(values, low, high))
    assert np.nanmax(error) <= step / 2 + 1e-6
    assert (levels[values < low] == 1).all()
    assert (levels[values > high] == 255).all()


def test_a_range_of_bytes_leaves_other_variables_alone(clear: xr.Dataset, tmp_path: Path) -> None:
    image = clear.s2.geomedian()
    (item,) = s2cube.write_cogs(image, tmp_path / "a", byte_range=(0, 0.3))
    kinds = {key: raster(item, key)["data_type"] for key in image.data_vars}
    assert kinds == {
        "B04": "uint8", "B08": "uint8", "count": "int16",
        "emad": "float32", "smad": "float32", "bcmad": "float32",
    }  # fmt: skip
    assert np.array_equal(read(tmp_path / "a" / "emad.tif"), image["emad"])


def test_overviews_of_reflectance_are_means(tmp_path: Path) -> None:
    y, x = np.indices(GEOBOX.shape.yx)
    values = np.where((y + x) % 2, 0.1, 0.3).astype(np.float32)
    values[:, :2] = np.where(x[:, :2] == 0, np.nan, 0.2)
    s2cube.write_cogs(picture(B04=values), tmp_path / "a")
    with rasterio.open(tmp_path / "a" / "B04.tif") as opened:
        assert opened.overviews(1)
    with rasterio.open(tmp_path / "a" / "B04.tif", overview_level=0) as opened:
        coarse = opened.read(1)
    assert coarse.shape == (550, 600)
    # Missing pixels take no part.
    assert (coarse == 2000).all()


def test_overviews_of_classes_and_counts_invent_none(tmp_path: Path) -> None:
    """Between water (6) and snow (11) lies no cloud (8)."""
    rng = np.random.default_rng(0)
    image = picture(
        SCL=rng.choice(np.array([4, 6, 11], np.uint8), GEOBOX.shape.yx),
        count=rng.choice(np.array([0, 20], np.int16), GEOBOX.shape.yx),
    )
    s2cube.write_cogs(image, tmp_path / "a")
    for name, wanted in {"SCL": {4, 6, 11}, "count": {0, 20}}.items():
        with rasterio.open(tmp_path / "a" / f"{name}.tif") as opened:
            levels = len(opened.overviews(1))
            assert np.array_equal(opened.read(1), image[name])
        assert levels >= 1
        for level in range(levels):
            with rasterio.open(tmp_path / "a" / f"{name}.tif", overview_level=level) as opened:
                assert set(np.unique(opened.read(1)).tolist()) == wanted


# What is said of them


def test_items_say_when_where_and_what(clear: xr.Dataset, tmp_path: Path) -> None:
    image = clear.s2.percentile((25, 50), period="QS-DEC")
    items = s2cube.write_cogs(image, tmp_path / "summer")
    assert [path.name for path in items][:2] == ["summer_2021-06-01.json", "summer_2021-09-01.json"]
    assert {path.parent for path in items} == {tmp_path / "summer"}
    geobox = schema.geobox_of(clear)
    for path in items:
        told = json.loads(path.read_text())
        assert told["type"] == "Feature"
        assert told["id"] == path.stem
        properties = told["properties"]
        # STAC allows no datetime only where there are both ends.
        assert properties["datetime"] is None
        assert properties["proj:code"] == "EPSG:32633"
        assert properties["s2cube:history"][-1].startswith("percentile(q=[25.0, 50.0]")
        west, south, east, north = told["bbox"]
        lon, lat = np.array(told["geometry"]["coordinates"][0]).T
        assert (lon.min(), lat.min(), lon.max(), lat.max()) == (west, south, east, north)
        assert 14.9 < west < east < 15.1
        assert 47 < south < north < 48.5
        assert set(told["assets"]) == {"B04_p25", "B04_p50", "B08_p25", "B08_p50", "count"}
        for key, asset in told["assets"].items():
            file = path.parent / asset["href"]
            assert not Path(asset["href"]).is_absolute()
            assert "cloud-optimized" in asset["type"]
            with rasterio.open(file) as opened:
                assert asset["proj:shape"] == list(opened.shape)
                assert (
                    asset["proj:transform"] == list(opened.transform)[:6] == list(geobox.transform)[:6]
                )
                (words,) = asset["raster:bands"]
                assert words["data_type"] == opened.dtypes[0]
                assert words.get("nodata") == opened.nodata
                assert words.get("scale", 1) == opened.scales[0]
            if key != "count":
                assert asset["eo:bands"][0]["name"] == key[:3]
    first = json.loads(items[0].read_text())["properties"]
    assert first["start_datetime"] == "2021-06-01T00:00:00Z"
    assert first["end_datetime"] == "2021-08-31T23:59:59Z"


def test_times_of_images_of_all_dates_and_of_steps(clear: xr.Dataset, tmp_path: Path) -> None:
    (whole,) = s2cube.write_cogs(clear.s2.median(), tmp_path / "a", name="all")
    assert whole.name == "all.json"
    properties = json.loads(whole.read_text())["properties"]
    days = schema.solar_days(clear).astype("M8[D]")
    assert properties["start_datetime"] == f"{days.min()}T00:00:00Z"
    assert properties["end_datetime"] == f"{days.max()}T23:59:59Z"
    (step,) = s2cube.write_cogs(clear[["B04", "SCL"]].isel(time=3), tmp_path / "b")
    item = pystac.Item.from_file(step)
    assert item.datetime.replace(tzinfo=None) == clear["time"].values[3].astype("M8[us]").item()
    assert "start_datetime" not in item.properties
    timeless = clear.s2.median()
    timeless.attrs = {}
    with pytest.raises(CubeError, match="does not tell its time: give it a coordinate 'time'"):
        s2cube.write_cogs(timeless, tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_seasons_are_named_and_no_two_images_share_a_name(clear: xr.Dataset, tmp_path: Path) -> None:
    seasons = s2cube.write_cogs(clear.s2.median(bands="red", period="pan-european"), tmp_path / "a")
    assert seasons[0].name == "a_2021-spring.json"
    odd = {"../dry: 1/2": ("2021-06-01", "2021-06-30"), "wet?": ("2021-07-01", "2021-07-31")}
    items = s2cube.write_cogs(clear.s2.median(bands="red", period=odd), tmp_path / "b")
    assert {path.parent for path in items} == {tmp_path / "b"}
    assert all(path.exists() for path in items)
    alike = {"dry 1": ("2021-06-01", "2021-06-30"), "dry/1": ("2021-07-01", "2021-07-31")}
    with pytest.raises(CubeError, match="Several images would be named c_dry-1"):
        s2cube.write_cogs(clear.s2.median(period=alike), tmp_path / "c")
    # Two looks of one day, such as of two orbits far north.
    steps = clear[["B04"]].isel(time=[0, 1])
    near = steps["time"].values[0] + np.array([0, 3600 * 10**9], "m8[ns]")
    steps = steps.assign_coords(time=("time", near))
    items = s2cube.write_cogs(steps, tmp_path / "d")
    assert len(set(items)) == 2
    for number, path in enumerate(items):
        found = read(path.with_name(f"{path.stem}_B04.tif"))
        np.testing.assert_allclose(found, steps["B04"][number], atol=5.1e-5)


def test_the_bands_asked_for(clear: xr.Dataset, tmp_path: Path) -> None:
    image = clear.s2.geomedian()
    for name, bands in {"a": "nir", "b": ["B04", "count"], "c": ["red", "emad"]}.items():
        (item,) = s2cube.write_cogs(image, tmp_path / name, bands=bands)
        wanted = {"a": {"B08"}, "b": {"B04", "count"}, "c": {"B04", "emad"}}[name]
        assert set(pystac.Item.from_file(item).assets) == wanted
        assert {path.stem for path in item.parent.glob("*.tif")} == wanted


def test_other_readers_and_our_own(clear: xr.Dataset, tmp_path: Path) -> None:
    """An item does not claim to be ESA's level 2A; who adds the level opens it like any other."""
    image = clear.s2.median(period="QS-DEC")
    counts = [pystac.Item.from_file(path) for path in s2cube.write_cogs(image, tmp_path / "a")]
    with pytest.raises(CatalogError, match="add processing:level"):
        s2cube.open_stac(counts, bands=["red", "nir"])
    levels = s2cube.write_cogs(image, tmp_path / "b", byte_range=(0, 0.5))
    levels = [pystac.Item.from_file(path) for path in levels]
    for item in (*counts, *levels):
        item.properties["processing:level"] = "L2A"
    opened = s2cube.open_stac(counts, bands=["red", "nir"])
    for band in ("B04", "B08"):
        np.testing.assert_allclose(opened[band], image[band], atol=5.1e-5)
    np.testing.assert_array_equal(opened["x"], image["x"])
    np.testing.assert_array_equal(opened["y"], image["y"])
    with pytest.raises(ValueError, match="declares an offset"):
        s2cube.open_stac(levels, bands=["red"])
    opened = s2cube.open_stac(levels, bands=["red"], offset="declared")
    assert np.nanmax(np.abs(opened["B04"] - image["B04"].clip(0, 0.5))) < 0.5 / 254 / 2 + 1e-6


# How they come to be


def test_what_is_there_stays(clear: xr.Dataset, tmp_path: Path) -> None:
    image = clear.s2.median()
    folder = tmp_path / "own"
    folder.mkdir()
    s2cube.write_cogs(image, folder)  # an empty one is filled
    before = sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())
    with pytest.raises(FileExistsError, match="choose another folder, or remove it yourself"):
        s2cube.write_cogs(image, folder)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir()) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        s2cube.write_cogs(image, tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "own"]


def test_others_may_read_it_as_any_folder(clear: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    s2cube.write_cogs(clear.s2.median(), tmp_path / "deep" / "er" / "a")
    modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("plain", "deep/er/a")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_interrupted_it_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def fail(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info[0]["array-location"][0][0] == 1:
            raise error("interrupted")
        return block

    values = da.map_blocks(fail, da.zeros((2, 8, 8), np.float32, chunks=(1, 8, 8)), dtype=np.float32)
    geobox = GeoBox.from_bbox((0, 0, 80, 80), "EPSG:32632", resolution=10)
    times = np.array(["2022-01-01", "2022-02-01"], "M8[ns]")
    image = xr.Dataset(
        {"B04": (("time", "y", "x"), values)}, {**schema.grid_coords(geobox), "time": times}
    )
    with pytest.raises(error):
        s2cube.write_cogs(image, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_period_is_computed_once_when_those_before_are_on_disk(tmp_path: Path) -> None:
    """All its images together: they come from the same looks, which must not be read for each."""
    seen: list[int] = []

    def plane(block: np.ndarray) -> np.ndarray:
        seen.append(len(list(tmp_path.glob("*unfinished*/*.tif"))))
        return np.full((1, 2, 64, 64), 0.1, np.float32)

    empty = da.zeros((3, 2, 64, 64), np.float32, chunks=(1, 2, 64, 64))
    stack = da.map_blocks(plane, empty, dtype=np.float32, meta=np.empty((0, 0, 0, 0), np.float32))
    geobox = GeoBox.from_bbox((0, 0, 640, 640), "EPSG:32632", resolution=10)
    image = xr.Dataset(
        dict.fromkeys(("B04", "B08"), (("time", "percentile", "y", "x"), stack)),
        {
            **schema.grid_coords(geobox),
            "time": np.array(["2022-01-01", "2022-02-01", "2022-03-01"], "M8[ns]"),
            "percentile": [25, 75],
        },
    )
    s2cube.write_cogs(image, tmp_path / "a")
    assert seen == [0, 4, 8]


def test_refusals(clear: xr.Dataset, tmp_path: Path) -> None:
    image = clear.s2.median()
    with pytest.raises(CubeError, match="There is no B11; there are B04, B08, count"):
        s2cube.write_cogs(image, tmp_path / "a", bands="swir16")
    for wrong in ((0.3, 0), (0.1, 0.1), (0.1,), (0, float("nan")), (0, float("inf"))):
        with pytest.raises(CubeError, match=r"byte_range is \(darkest, brightest\) reflectance"):
            s2cube.write_cogs(image, tmp_path / "a", byte_range=wrong)
    more = image.expand_dims(scene=2)
    with pytest.raises(CubeError, match="has the dimension 'scene': select one image"):
        s2cube.write_cogs(more, tmp_path / "a")
    with pytest.raises(CubeError, match="no CRS"):
        s2cube.write_cogs(image.drop_vars("spatial_ref"), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
