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
        "landsat-c2-l2", platform="landsat-8",
    )  # fmt: skip
    cube = s2cube.open_stac(item, resolution=5)
    # 18000 * 2.75e-5 - 0.2
    np.testing.assert_allclose(cube["red"].values[0, 5:, 5:], 0.295, atol=1e-6)
    assert cube["red"].dtype == np.float32
    assert np.isnan(cube["red"].values[0, 0, 0])
    assert set(np.unique(cube["qa_pixel"])) == {21824, 22280}, "flags are never interpolated"
    item.collection_id = "somewhere-else"
    assert s2cube.open_stac(item, resolution=5)["red"].equals(cube["red"]), "by platform"


def test_sentinel_3_needs_what_it_declares(tmp_path: Path) -> None:
    item = of(
        scene(tmp_path, "S3", "2020-06-06T09:50", {"Oa08": flat(5000), "Oa17": flat(9000)}),
        "s3", constellation="sentinel-3",
    )  # fmt: skip
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
    with pytest.raises(CatalogError, match="No band is in all 1 items"):
        s2cube.open_stac(item)
    cube = s2cube.open_stac(item, profile=mine, chunks=None)
    np.testing.assert_array_equal((cube["B04"].values[0] * 1e4).round(), ramp(start=1000))
    assert cube.coords["processing_level"].item() == "L1C"
    with pytest.raises(CubeError, match="known: earth-search, planetary-computer, cdse"):
        s2cube.open_stac(item, profile="earthsearch")
    with pytest.raises(CubeError, match="'rule' or 'declared'"):
        s2cube.Product(offset="guess")  # type: ignore[arg-type]


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
