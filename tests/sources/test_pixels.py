"""Where pixels land, with rasterio and rioxarray as oracles."""

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rioxarray
from archive import ORIGIN, flat, scene
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

import s2cube

SIDES = {10.0: (120, 144), 20.0: (60, 72), 60.0: (20, 24)}
"""The same place at the three native resolutions."""


def landscape(size: float) -> np.ndarray:
    """Edges and slopes, no two pixels alike, so that half a pixel shows."""
    rows, columns = SIDES[size]
    y, x = np.mgrid[:rows, :columns] * size / 10
    steps = 2000 * (((x // 24) + (y // 18)) % 2)
    return (1000 + steps + 7 * x + 3 * y).astype(np.uint16)


def tile(folder: Path) -> pystac.Item:
    bands = {"B04": landscape(10.0), "B11": landscape(20.0), "B09": landscape(60.0)}
    return scene(
        folder, "tile", "2020-06-05T10:00", bands, resolution={"B04": 10.0, "B11": 20.0, "B09": 60.0}
    )


GRIDS = {
    "own 10 m": GeoBox((120, 144), rasterio.Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), "EPSG:32633"),
    "own 20 m": GeoBox((60, 72), rasterio.Affine(20, 0, ORIGIN[0], 0, -20, ORIGIN[1]), "EPSG:32633"),
    "own 60 m": GeoBox((20, 24), rasterio.Affine(60, 0, ORIGIN[0], 0, -60, ORIGIN[1]), "EPSG:32633"),
    "a third of a pixel off": GeoBox(
        (80, 90), rasterio.Affine(10, 0, ORIGIN[0] + 203, 0, -10, ORIGIN[1] - 197), "EPSG:32633"
    ),
    "next zone": GeoBox.from_bbox((51_500, 5_316_400, 52_300, 5_317_200), "EPSG:32634", resolution=10),
    "Europe": GeoBox.from_bbox((4_695_400, 2_760_600, 4_696_200, 2_761_400), "EPSG:3035", resolution=10),
    "degrees": GeoBox.from_bbox((15.004, 47.844, 15.014, 47.850), "EPSG:4326", resolution=0.0001),
}


def by_rasterio(path: str, grid: GeoBox, method: str) -> np.ndarray:
    with rasterio.open(path) as file, WarpedVRT(
        file, crs=str(grid.crs), transform=grid.transform, height=grid.shape.y, width=grid.shape.x,
        resampling=Resampling[method], src_nodata=0, nodata=0, dtype="uint16",
    ) as vrt:  # fmt: skip
        return vrt.read(1)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
def test_pixels_are_those_of_gdal(tmp_path: Path, name: str, method: str) -> None:
    item, grid = tile(tmp_path), GRIDS[name]
    cube = s2cube.open_stac(item, geobox=grid, resampling=method)
    for band in ("B04", "B11", "B09"):
        expected = by_rasterio(item.assets[band].href, grid, method)
        got = np.nan_to_num(cube[band].values[0] * 1e4).round()
        assert (expected > 0).mean() > 0.3, "the grid lies on the tile"
        difference = np.abs(got - expected)
        # GDAL approximates coordinates, differently for a VRT: a tenth of a pixel at an edge of 2000
        # counts; half a pixel would be 1000. The nearest pixel may then be the other one.
        if method == "nearest":
            assert (difference > 1).mean() < 0.01, band
        else:
            assert difference.max() < 200, band
        assert np.median(difference) <= 1


@pytest.mark.parametrize("band", ["B04", "B11", "B09"])
def test_a_band_alone_keeps_its_own_pixels(tmp_path: Path, band: str) -> None:
    """Each at its native resolution, cut by a box: value and place of every pixel as in the file."""
    item = tile(tmp_path)
    box = GRIDS["a third of a pixel off"].extent.to_crs("epsg:4326").boundingbox.bbox
    cube = s2cube.open_stac(item, bands=[band], bbox=box)[band].isel(time=0)
    file: Any = rioxarray.open_rasterio(item.assets[band].href).isel(band=0)
    same = file.sel(x=cube["x"].values, y=cube["y"].values)
    np.testing.assert_array_equal((cube.values * 1e4).round(), same.values)
    assert cube.rio.resolution() == file.rio.resolution()
    assert cube.rio.transform() == same.rio.transform(recalc=True)


def test_each_band_may_have_its_own_resampling(tmp_path: Path) -> None:
    item, grid = tile(tmp_path), GRIDS["own 20 m"]
    how = {"red": "max", "*": "nearest"}
    cube = s2cube.open_stac(item, geobox=grid, resampling=how)
    for band, method in {"B04": "max", "B11": "nearest", "B09": "nearest"}.items():
        expected = by_rasterio(item.assets[band].href, grid, method)
        np.testing.assert_array_equal((cube[band].values[0] * 1e4).round(), expected)


def test_solar_days_and_orbits_at_179_east(tmp_path: Path) -> None:
    """The pass at 22:15 UTC is of tomorrow's solar day; two orbits of one day are two looks."""

    def at(name: str, time: str, orbit: int, platform: str) -> pystac.Item:
        return scene(
            tmp_path, name, time, {"B04": flat(1000 + orbit)}, crs="EPSG:32660", origin=(690_000.0, 5e6),
            properties={"sat:relative_orbit": orbit, "platform": platform},
        )  # fmt: skip

    items = [
        at("a", "2021-06-04T22:15", 29, "sentinel-2a"),
        at("b", "2021-06-05T01:10", 72, "sentinel-2b"),
        at("c", "2021-06-05T22:15", 29, "sentinel-2c"),
    ]
    takes = s2cube.open_stac(items)
    assert takes["relative_orbit"].values.tolist() == [29, 72, 29]
    assert takes["platform"].values.tolist() == ["sentinel-2a", "sentinel-2b", "sentinel-2c"]
    days = s2cube.open_stac(items, groupby="solar_day")
    assert [str(time)[:13] for time in days["time"].values] == ["2021-06-04T22", "2021-06-05T22"]
    assert "relative_orbit" not in days.isel(time=[0]).coords or days["relative_orbit"].values[0] == -1
    from s2cube.schema import solar_days

    assert solar_days(takes).tolist() == [18783, 18783, 18784]  # 2021-06-05, -05, -06
