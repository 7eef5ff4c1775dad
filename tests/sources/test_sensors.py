"""Radar, Landsat and Sentinel-3 on the grid of a Sentinel-2 cube; profiles that users write."""

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from archive import flat, pair, ramp, scene
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.errors import CatalogError, CubeError, HarmonizationError
from s2cube.schema import Status, geobox_of
from s2cube.sources.profiles import access_of, profile_of
from s2cube.sources.signing import PlanetaryComputer


def of(item: pystac.Item, collection: str, **properties: Any) -> pystac.Item:
    item.collection_id = collection
    del item.properties["processing:level"]
    item.properties.update(properties)
    for asset in item.assets.values():
        asset.extra_fields.pop("raster:bands")
    return item


def radar(folder: Path, power: np.ndarray, **properties: Any) -> pystac.Item:
    item = scene(folder, "S1A_rtc", "2020-06-05T05:12", {"vv": power, "vh": power / 4}, nodata=-32768)
    told = {"platform": "SENTINEL-1A", "sat:orbit_state": "descending", "sat:relative_orbit": 51}
    return of(item, "sentinel-1-rtc", **told, **properties)


def test_radar_is_averaged_in_linear_power(tmp_path: Path) -> None:
    power = np.where(np.indices((20, 24)).sum(0) % 2, 0.1, 0.001).astype("float32")
    power[:2, :2] = -32768
    cube = s2cube.open_stac(radar(tmp_path, power), resolution=20)
    assert list(cube.data_vars) == ["VH", "VV", "status"]
    assert cube["VV"].dtype == np.float32
    vv = cube["VV"].values[0]
    assert np.isnan(vv[0, 0])
    # -20 dB, not the -25 dB that averaging decibels gives.
    np.testing.assert_allclose(vv.ravel()[1:], 0.0505, rtol=1e-6)
    assert cube["status"].values[0, 0, 0] == Status.NO_DATA
    assert cube.coords["sensor"].item() == "sentinel-1"
    assert cube.coords["relative_orbit"].item() == 51
    assert "linear power" in cube["VV"].attrs["long_name"]
    asked = s2cube.open_stac(radar(tmp_path, power), bands=["VV"])
    assert list(asked.data_vars) == ["VV", "status"]


def test_radar_lies_on_the_grid_of_the_optical_cube(tmp_path: Path) -> None:
    optical = s2cube.open_stac(pair(tmp_path / "s2"), bands=["B04"])
    power = np.full((20, 24), 0.05, "float32")
    cube = s2cube.open_stac(radar(tmp_path, power), geobox=geobox_of(optical))
    assert geobox_of(cube) == geobox_of(optical)
    np.testing.assert_array_equal(cube["x"], optical["x"])
    np.testing.assert_array_equal(cube["y"], optical["y"])


def test_radar_without_data_is_known_by_its_collection(tmp_path: Path) -> None:
    """Where neither file nor item says which value that is; and no power at all is a measurement."""
    power = np.full((20, 24), 0.05, "float32")
    power[:2, :2], power[5, 5] = -32768, 0
    item = scene(tmp_path, "S1A_rtc", "2020-06-05T05:12", {"vv": power}, nodata=None)
    vv = s2cube.open_stac(of(item, "sentinel-1-rtc", platform="SENTINEL-1A"))["VV"].values[0]
    assert np.isnan(vv).sum() == 4
    assert vv[5, 5] == 0


def test_decibels_and_unknown_radar_are_refused(tmp_path: Path) -> None:
    item = radar(tmp_path, np.full((20, 24), -12.0, "float32"))
    item.assets["vv"].extra_fields["raster:bands"] = [{"unit": "dB", "data_type": "float32"}]
    with pytest.raises(CatalogError, match="in decibels"):
        s2cube.open_stac(item)
    item.collection_id = "sentinel-1-grd"
    with pytest.raises(CatalogError, match=r"only terrain-corrected .* profile=s2cube\.Profile"):
        s2cube.open_stac(item)


def test_landsat_surface_reflectance(tmp_path: Path) -> None:
    counts = flat(18000)
    counts[0, 0] = 0
    flags = flat(21824)
    flags[:, 12:] = 22280
    item = of(
        scene(tmp_path, "LC08", "2020-06-06T09:50", {"red": counts, "nir08": counts, "qa_pixel": flags}),
        "landsat-c2-l2", platform="landsat-8", **{"landsat:correction": "L2SP"},
    )  # fmt: skip
    cube = s2cube.open_stac(item, resolution=5)
    # 18000 * 2.75e-5 - 0.2
    np.testing.assert_allclose(cube["red"].values[0, 5:, 5:], 0.295, atol=1e-6)
    assert cube["red"].dtype == np.float32
    assert np.isnan(cube["red"].values[0, 0, 0])
    assert set(np.unique(cube["qa_pixel"])) == {21824, 22280}, "flags are never interpolated"
    item.collection_id = "somewhere-else"
    assert s2cube.open_stac(item, resolution=5)["red"].equals(cube["red"]), "by what it tells itself"
    del item.properties["landsat:correction"]
    for collection in ("landsat-c2l1", "HLSL30_2.0"):
        item.collection_id = collection
        with pytest.raises(CatalogError, match=r"of landsat-8, .* Collection 2, level 2 \(landsat:corr"):
            s2cube.open_stac(item)
    item.collection_id = "landsat-c2l2-sr"
    assert s2cube.open_stac(item, resolution=5)["red"].equals(cube["red"]), "by its collection's name"
    # GDAL's defaults, as rio-stac writes them, say nothing of counts.
    item.assets["red"].extra_fields["raster:bands"] = [
        {"data_type": "uint16", "scale": 1.0, "offset": 0.0, "nodata": 0}
    ]
    assert s2cube.open_stac(item, resolution=5)["red"].equals(cube["red"])
    # What an item does say goes before what is known of its collection.
    item.assets["red"].extra_fields["raster:bands"] = [
        {"data_type": "uint16", "scale": 2.75e-5, "offset": -0.1, "nodata": 0}
    ]
    other = s2cube.open_stac(item, resolution=5)
    np.testing.assert_allclose(other["red"].values[0, 5:, 5:], 0.395, atol=1e-6)


def test_a_sensor_that_nothing_describes_is_not_taken_for_sentinel_2(tmp_path: Path) -> None:
    """Their red is called red, too."""
    item = of(scene(tmp_path, "x", "2020-06-06T09:50", {"red": flat(150)}), "somewhere")
    for told, words in (
        ({"platform": "naip"}, "is of naip"),
        ({"platform": "terra", "constellation": "modis"}, "is of modis"),
        ({}, "tells neither constellation nor platform"),
    ):
        item.properties.pop("platform", None)
        item.properties.update(told)
        with pytest.raises(CatalogError, match=rf"Item x {words}.* profile=.*'somewhere': s2cube\.Prod"):
            s2cube.open_stac(item, offset=0)
        item.properties = {key: value for key, value in item.properties.items() if key not in told}
    product = s2cube.Product(sensor="aerial", bands={"red": "red"}, classes=(), scale=0.01, offset=0)
    mine = s2cube.Profile("mine", collections={"somewhere": product})
    cube = s2cube.open_stac(item, profile=mine)
    assert (cube["red"] == 1.5).all()
    assert cube.coords["sensor"].item() == "aerial"


@pytest.mark.parametrize(
    "told",
    [{"platform": "Sentinel-2B"}, {"platform": "S2A"}, {"constellation": "Sentinel 2"},
     {"s2:mgrs_tile": "33UUU"}, {"earthsearch:boa_offset_applied": True}],
)  # fmt: skip
def test_sentinel_2_is_known_by_what_items_tell(tmp_path: Path, told: dict[str, Any]) -> None:
    item = scene(tmp_path, "x", "2020-06-06T09:50", {"red": flat(150)}, properties=told)
    assert s2cube.open_stac(item).coords["sensor"].item() == "sentinel-2"


def test_the_word_on_the_offset_is_of_sentinel_2_only(tmp_path: Path) -> None:
    power = radar(tmp_path, np.full((20, 24), 0.1, "float32"))
    with pytest.raises(CubeError, match=r"offset= is of the reflectance of Sentinel-2; .* sentinel-1"):
        s2cube.open_stac(power, offset=-0.1)


def test_resampling_by_the_names_of_the_sensor(tmp_path: Path) -> None:
    """Landsat's nir08 is not Sentinel-2's B8A."""
    item = of(
        scene(tmp_path, "LC08", "2020-06-06T09:50", {"red": ramp(), "nir08": ramp()}),
        "landsat-c2-l2",
    )  # fmt: skip
    cube = s2cube.open_stac(item, resolution=5, resampling={"nir08": "nearest"})
    near, smooth = (cube[band].values[0] for band in ("nir08", "red"))
    np.testing.assert_array_equal(near[::2, ::2], near[1::2, 1::2])
    assert not np.array_equal(smooth[::2, ::2], smooth[1::2, 1::2])
    power = radar(tmp_path, np.full((20, 24), 0.1, "float32"))
    assert s2cube.open_stac(power, resampling={"VV": "nearest"})["VV"].notnull().all()
    with pytest.raises(CubeError, match="resampling speaks of vv, opened are VH, VV"):
        s2cube.open_stac(power, resampling={"vv": "nearest"})


def test_items_of_two_catalogues_are_each_read_their_way(tmp_path: Path) -> None:
    """By their files, whoever lists them: Planetary Computer's are signed, others left alone."""
    one, two = pair(tmp_path)
    there = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/"
    listed = two.clone()
    listed.add_link(pystac.Link("self", "https://planetarycomputer.microsoft.com/api/stac/v1/items/b"))
    one.add_link(pystac.Link("self", "https://earth-search.aws.element84.com/v1/items/a"))
    for asset in two.assets.values():
        asset.href = there + asset.href.rpartition("/")[2]
    assert profile_of(one).name == "earth-search"
    assert profile_of(two).name == profile_of(listed).name == "planetary-computer"
    assert profile_of(pair(tmp_path / "own")[0]).name == ""
    for profiles in ([profile_of(one), profile_of(two)], [profile_of(two), profile_of(one)]):
        sign, gdal = access_of(profiles)
        assert (sign, gdal) == (PlanetaryComputer(), {})
    unsigned = s2cube.open_stac([one, pair(tmp_path / "own")[1]])
    signed = s2cube.open_stac([one, two])
    assert "sign=None" in drivers(unsigned)
    assert "sign=PlanetaryComputer(" in drivers(signed)
    three = pair(tmp_path / "cdse")[1]
    three.assets["B04"].href = "s3://eodata/Sentinel-2/B04.tif"
    assert profile_of(three).name == "cdse"
    with pytest.raises(
        CatalogError, match=r"several catalogues \(earth-search, cdse\).* open each apart"
    ):
        s2cube.open_stac([one, three])
    assert s2cube.open_stac([one, three], profile="cdse").sizes["time"] == 2


def drivers(cube: Any) -> str:
    """What the tasks of a cube know of reading."""
    return " ".join(repr(task) for task in cube["B04"].data.dask.to_dict().values())


def test_nothing_is_opened_as_landsat_0(tmp_path: Path) -> None:
    """No-data is the product's."""
    counts = flat(18000)
    counts[:2] = 0
    item = of(scene(tmp_path, "L", "2020-06-06T09:50", {"red": counts}, nodata=None), "landsat-c2-l2")
    cube = s2cube.open_stac(item)
    assert np.isnan(cube["red"].values[0, :2]).all()
    assert (cube["status"].values[0, :2] == Status.NO_DATA).all()
    counts[:2] = 1
    item = of(scene(tmp_path, "M", "2020-06-06T09:50", {"red": counts}, nodata=None), "landsat-c2-l2")
    assert np.isfinite(s2cube.open_stac(item)["red"].values).all()


def test_sentinel_3_needs_what_it_declares(tmp_path: Path) -> None:
    item = of(
        scene(tmp_path, "S3", "2020-06-06T09:50", {"Oa08": flat(5000), "Oa17": flat(9000)}),
        "s3", constellation="sentinel-3",
    )  # fmt: skip
    with pytest.raises(HarmonizationError, match="Oa08 of item S3 does not declare its scale"):
        s2cube.open_stac(item)
    for asset in item.assets.values():
        asset.extra_fields["raster:bands"] = [{"scale": 1e-4, "data_type": "uint16", "nodata": 0}]
    with pytest.raises(HarmonizationError, match="Oa08 of item S3 declares no offset"):
        s2cube.open_stac(item)
    for asset in item.assets.values():
        asset.extra_fields["raster:bands"] = [
            {"scale": 1e-4, "offset": 0.01, "data_type": "uint16", "nodata": 0}
        ]
    cube = s2cube.open_stac(item, bands=["Oa17"])
    np.testing.assert_allclose(cube["Oa17"].values, 0.91, atol=1e-6)
    assert cube.coords["sensor"].item() == "sentinel-3"


def test_sensors_are_not_mixed(tmp_path: Path) -> None:
    items = [*pair(tmp_path / "s2"), radar(tmp_path, np.full((20, 24), 0.1, "float32"))]
    with pytest.raises(CatalogError, match=r"several sensors \(sentinel-1, sentinel-2\)"):
        s2cube.open_stac(items)


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    item = of(
        scene(tmp_path, "mine", "2020-06-06T09:50", {"refl_665": ramp(start=2000), "classes": flat(4)}),
        "toa",
    )
    product = s2cube.Product(level="L1C", bands={"refl_665": "B04"}, offset=-0.1)
    mine = s2cube.Profile("mine", collections={"toa": product})
    with pytest.raises(CatalogError, match="tells neither constellation nor platform"):
        s2cube.open_stac(item)
    item.properties["platform"] = "sentinel-2a"
    with pytest.raises(CatalogError, match="No band is in all 1 items"):
        s2cube.open_stac(item)
    cube = s2cube.open_stac(item, profile=mine, chunks=None)
    np.testing.assert_array_equal((cube["B04"].values[0] * 1e4).round(), ramp(start=1000))
    assert cube.coords["processing_level"].item() == "L1C"
    with pytest.raises(CubeError, match="known: earth-search, planetary-computer, cdse"):
        s2cube.open_stac(item, profile="earthsearch")
    for wrong in ("guess", True, float("nan")):
        with pytest.raises(CubeError, match="'rule' or 'declared'"):
            s2cube.Product(offset=wrong)  # type: ignore[arg-type]


def test_two_utm_zones_on_one_grid(tmp_path: Path) -> None:
    """Each zone alone, and both: where they overlap every pixel has the value of one of them."""
    west = scene(
        tmp_path, "W", "2020-06-05T10:00", {"B04": flat(1000, (200, 200))}, crs="EPSG:32633",
        origin=(765_000.0, 5_303_000.0),
    )  # fmt: skip
    east = scene(
        tmp_path, "E", "2020-06-05T10:00", {"B04": flat(3000, (200, 200))}, crs="EPSG:32634",
        origin=(317_000.0, 5_300_040.0),
    )  # fmt: skip
    with pytest.raises(CubeError, match="several CRSs"):
        s2cube.open_stac([west, east])
    grid = GeoBox.from_bbox((764_000, 5_300_000, 769_000, 5_304_000), crs="EPSG:32633", resolution=10)
    both = s2cube.open_stac([west, east], geobox=grid)["B04"].values[0]
    alone = [s2cube.open_stac(item, geobox=grid)["B04"].values[0] for item in (west, east)]
    assert geobox_of(s2cube.open_stac([west, east], geobox=grid)) == grid
    assert np.isfinite(both).any()
    either = np.where(np.isfinite(alone[0]), alone[0], alone[1])
    other = np.where(np.isfinite(alone[1]), alone[1], alone[0])
    same = (both == either) | (both == other) | (np.isnan(both) & np.isnan(either))
    assert same.all(), "no pixel is a mixture of two zones"
    seen = [np.isfinite(part).sum() for part in alone]
    assert all(count > 35_000 for count in seen), f"each zone lies on the grid, {seen}"


def test_at_the_pole(tmp_path: Path) -> None:
    """A box in degrees around the South Pole, in a polar projection: the pole is inside."""
    item = scene(tmp_path, "P", "2020-12-05T10:00", {"B04": flat(9000, (40, 40))}, crs="EPSG:3031",
                 origin=(-200_000.0, 200_000.0), resolution=10_000.0)  # fmt: skip
    item.bbox = [-180.0, -90.0, 180.0, -87.0]
    cube = s2cube.open_stac(item, bbox=(-180, -90, 180, -88.5))
    assert cube["x"].values[0] < 0 < cube["x"].values[-1]
    assert cube["y"].values[-1] < 0 < cube["y"].values[0]
    assert (abs(cube["B04"] - 0.9) < 1e-6).all()
