"""Where pixels land, with rasterio and rioxarray as oracles."""

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rioxarray
from archive import ORIGIN, flat, scene
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

import s2cube
from s2cube.schema import Status
from s2cube.sources import pixels

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


METHODS = ["nearest", "bilinear", "cubic", "lanczos", "average", "med"]


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


def half_missing(folder: Path, missing: int, tag: int | None, told: Any, dtype: str) -> pystac.Item:
    """Upper half missing, lower half 0.2."""
    counts = flat(2000, (120, 144), dtype)
    counts[:60] = missing
    item = scene(folder, "half", "2020-06-05T10:00", {"B04": counts}, nodata=tag)
    fields = item.assets["B04"].extra_fields["raster:bands"][0]
    fields.pop("nodata")
    if told is not None:
        fields["nodata"] = told
    return item


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("missing", "tag", "told", "dtype"),
    [
        (-9999, -9999, None, "int16"),
        (-9999, -9999, 0, "int16"),
        (-9999, None, -9999, "int16"),
        (-9999, 0, -9999, "int16"),
        (0, 0, -9999, "int16"),
        (0, -9999, 0, "int16"),
        (65535, 65535, None, "uint16"),
        (0, None, None, "uint16"),
        (0, 65535, 0, "uint16"),
        (-9999, -9999, None, "float32"),
        (0, -9999, None, "float32"),
    ],
)
def test_missing_is_what_the_file_or_the_item_says(
    tmp_path: Path, missing: int, tag: int | None, told: Any, dtype: str, method: str
) -> None:
    """Neither is mixed into its neighbours, on no grid."""
    item = half_missing(tmp_path, missing, tag, told, dtype)
    for name in ("own 10 m", "a third of a pixel off", "Europe"):
        cube = s2cube.open_stac(item, geobox=GRIDS[name], resampling=method)
        values, status = cube["B04"].values, cube["status"].values
        seen = ~np.isnan(values)
        np.testing.assert_allclose(values[seen], 0.2, atol=1e-4)
        assert 0.2 < seen.mean() < 0.7, name
        np.testing.assert_array_equal(status, np.where(seen, Status.CLEAR, Status.NO_DATA))


def test_beyond_a_file_is_no_data_where_no_count_is(tmp_path: Path) -> None:
    """0 is a count there: of reflectance -0.1, not of nothing."""
    counts = landscape(10.0)
    counts[:4] = 0
    item = scene(tmp_path, "all", "2020-06-05T10:00", {"B04": counts}, nodata=None)
    item.collection_id = "mine"
    del item.assets["B04"].extra_fields["raster:bands"]
    product = s2cube.Product(level="L2A", nodata=None, offset=-0.1)
    mine = s2cube.Profile("mine", collections={"mine": product})
    west = GeoBox((20, 24), rasterio.Affine(10, 0, ORIGIN[0] - 120, 0, -10, ORIGIN[1]), "EPSG:32633")
    for mode in ("raise", "mark"):
        cube = s2cube.open_stac(item, geobox=west, profile=mine, on_read_error=mode)
        assert np.isnan(cube["B04"].values[0, :, :12]).all()
        np.testing.assert_array_equal(cube["B04"].values[0, :4, 12:], np.float32(-0.1))
        beyond = cube["status"].values[0] == Status.NO_DATA
        np.testing.assert_array_equal(beyond, np.broadcast_to(np.arange(24) < 12, (20, 24)))


def saturated(folder: Path, where: Any, size: float, **how: Any) -> tuple[pystac.Item, pystac.Item]:
    """A scene, and the same with saturated pixels; some are missing."""
    counts = landscape(size)
    counts[:, -3:] = 0
    bright = counts.copy()
    bright[where] = 65535
    return (
        scene(folder, "plain", "2020-06-05T10:00", {"B04": counts}, resolution=size, **how),
        scene(folder, "bright", "2020-06-05T10:00", {"B04": bright}, resolution=size, **how),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["own 10 m", "own 20 m", "a third of a pixel off", "Europe"])
@pytest.mark.parametrize("size", [10.0, 20.0])
def test_saturated_pixels_are_not_mixed_into_others(
    tmp_path: Path, method: str, name: str, size: float
) -> None:
    """What they contribute to is saturated; all else is as if they were not there."""
    rows, columns = SIDES[size]
    where = (np.array([rows // 2, rows // 3, rows // 3]), np.array([columns // 2, 30, 31]))
    plain, bright = saturated(tmp_path, where, size)
    grid = GRIDS[name]
    one, other = (
        s2cube.open_stac(item, geobox=grid, resampling=method).isel(time=0) for item in (plain, bright)
    )
    lost = other["status"].values == Status.SATURATED
    # The nearest of coarser pixels may all be others.
    assert lost.any() or method == "nearest"
    assert lost.sum() < 0.2 * lost.size
    assert np.isnan(other["B04"].values[lost]).all()
    # Of lanczos the weights are zero but for noise: a half may be rounded the other way.
    noise = 1.01e-4 if method == "lanczos" else 0
    np.testing.assert_allclose(other["B04"].values[~lost], one["B04"].values[~lost], atol=noise, rtol=0)
    np.testing.assert_array_equal(other["status"].values[~lost], one["status"].values[~lost])
    # Nothing far from them is lost: four pixels of the coarser of both, as lanczos sees.
    reach = {"nearest": 1, "cubic": 2.5, "cubic_spline": 2.5, "lanczos": 3.5}.get(method, 1.5)
    transform = plain.assets["B04"].extra_fields["proj:transform"]
    x, y = np.meshgrid(one["x"], one["y"])
    x, y = CRS(str(grid.crs)).transformer_to_crs(CRS("EPSG:32633"))(x, y)
    far = np.min(
        [
            np.maximum(
                abs(x - (transform[2] + (c + 0.5) * size)), abs(y - (transform[5] - (r + 0.5) * size))
            )
            for r, c in zip(*where, strict=True)
        ],
        axis=0,
    )
    turned = 1.0 if name != "Europe" else 1.3
    assert far[lost].max(initial=0) <= turned * reach * max(size, abs(grid.transform.a))
    # Nor is any left whose middle lies in a saturated pixel.
    assert lost[(far < 0.3 * size) & (one["status"].values == Status.CLEAR)].all()


def test_one_saturated_pixel_by_the_usual_ways(tmp_path: Path) -> None:
    """10 to 20 m by average, and 20 to 10 m by bilinear."""
    counts = flat(2000, (120, 144))
    counts[61, 70] = 65535
    item = scene(tmp_path, "fine", "2020-06-05T10:00", {"B04": counts})
    cube = s2cube.open_stac(item, geobox=GRIDS["own 20 m"])
    assert np.argwhere(cube["status"].values[0] == Status.SATURATED).tolist() == [[30, 35]]
    item = scene(tmp_path, "coarse", "2020-06-05T10:00", {"B11": counts[:60, :72]}, resolution=20.0)
    counts[30, 40] = 65535
    cube = s2cube.open_stac(item, geobox=GRIDS["own 10 m"])
    assert set(np.unique(cube["B11"].values[~np.isnan(cube["B11"].values)])) == {np.float32(0.2)}
    item = scene(tmp_path, "bright", "2020-06-05T10:00", {"B11": counts[:60, :72]}, resolution=20.0)
    cube = s2cube.open_stac(item, geobox=GRIDS["own 10 m"])
    lost = np.argwhere(cube["status"].values[0] == Status.SATURATED)
    assert (lost.min(0).tolist(), lost.max(0).tolist(), len(lost)) == ([59, 79], [62, 82], 16)
    seen = cube["B11"].values[cube["status"].values == Status.CLEAR]
    assert set(np.unique(seen)) == {np.float32(0.2)}


def test_what_is_missing_is_not_called_saturated(tmp_path: Path) -> None:
    """The nearest pixel decides what is missing, also where a saturated one lies beside it."""
    counts = flat(2000, (60, 72))
    counts[30, 40], counts[30, 41] = 0, 65535
    item = scene(tmp_path, "a", "2020-06-05T10:00", {"B11": counts}, resolution=20.0)
    cube = s2cube.open_stac(item, geobox=GRIDS["own 10 m"], resampling="bilinear")
    status = cube["status"].values[0, 60:62]
    assert (status[:, 80:82] == Status.NO_DATA).all()
    assert (status[:, 82:84] == Status.SATURATED).all()


def test_classes_are_not_taken_from_overviews(tmp_path: Path) -> None:
    """A mean of classes is another class: 4 (vegetation) and 8 (cloud) make 6 (water)."""
    classes = np.where(np.indices((240, 288)).sum(0) % 2, 4, 8).astype("uint8")
    shape = (240, 288)
    item = scene(tmp_path, "t", "2020-06-05T10:00", {"B04": flat(2000, shape), "SCL": classes})
    with rasterio.open(item.assets["SCL"].href, "r+") as file:
        file.build_overviews([2, 4, 8], Resampling.average)
        assert len(file.overviews(1)) == 3
    for size in (20, 30, 60, 80):
        cube = s2cube.open_stac(item, resolution=size)
        assert set(np.unique(cube["SCL"])) <= {4, 8}


def test_overviews_save_reading_and_not_detail(tmp_path: Path) -> None:
    """At 40 m the overview of 40 m is read, at 60 m that of 40 m: never a coarser one than asked."""
    counts = landscape(10.0)
    item = scene(tmp_path, "t", "2020-06-05T10:00", {"B04": counts})
    means = s2cube.open_stac(item, resolution=40, resampling="average")["B04"].values[0]
    with rasterio.open(item.assets["B04"].href, "r+") as file:
        file.build_overviews([2, 4, 8], Resampling.average)
    for size, plain in ((40, means), (60, None)):
        seen = s2cube.open_stac(item, resolution=size, resampling="average")["B04"].values[0]
        step = size // 10
        rows, columns = (count // step for count in counts.shape)
        whole = counts[: rows * step, : columns * step].reshape(rows, step, columns, step).mean((1, 3))
        # Overviews are whole counts; at 60 m pixels of 40 m are shared among two.
        near = 2e-4 if size == 40 else 0.06
        np.testing.assert_allclose(seen[:rows, :columns], whole / 10_000, atol=near)
        if plain is not None:
            np.testing.assert_allclose(seen, plain, atol=2e-4)


@pytest.mark.parametrize("name", ["own 20 m", "a third of a pixel off", "Europe"])
@pytest.mark.parametrize("method", ["bilinear", "average", "lanczos"])
def test_a_large_source_is_resampled_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, method: str
) -> None:
    item, grid = tile(tmp_path), GRIDS[name]
    whole = s2cube.open_stac(item, bands=["B04"], geobox=grid, resampling=method).compute()
    monkeypatch.setattr(pixels, "_LARGE", 2000)
    parts = s2cube.open_stac(item, bands=["B04"], geobox=grid, resampling=method).compute()
    # GDAL approximates coordinates, anew for each part.
    exact = name != "Europe"
    np.testing.assert_allclose(parts["B04"], whole["B04"], atol=1e-7 if exact else 0.02)
