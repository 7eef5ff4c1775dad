"""Which asset is which band, and what it says of its pixels."""

from pathlib import Path

import numpy as np
import pyproj
import pytest
from affine import Affine
from archive import CRS, ORIGIN, flat, pair, ramp, scene
from odc.geo.geobox import GeoBox

import s2cube
from s2cube import schema
from s2cube.schema import Status


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


def test_assets_named_by_what_they_declare(tmp_path: Path) -> None:
    item = scene(
        tmp_path, "x", "2020-06-05T10:00", {"band_3": flat(7), "visual": flat(8)},
        properties={"platform": "sentinel-2a"},
    )  # fmt: skip
    item.assets["visual"].extra_fields["eo:bands"] = [{"name": "B04"}, {"name": "B03"}, {"name": "B02"}]
    for field, told in (
        ("eo:bands", [{"name": "B04", "common_name": "red"}]),
        ("eo:bands", [{"common_name": "red"}]),
        ("eo:bands", [{"name": "Band 4 - Red", "common_name": "red"}]),
        ("eo:bands", ["B04"]),
        ("bands", [{"eo:common_name": "red"}]),
        ("bands", [{"name": "B04"}]),
    ):
        item.assets["band_3"].extra_fields[field] = told
        assert list(s2cube.open_stac(item).data_vars) == ["B04", "status"], told
        del item.assets["band_3"].extra_fields[field]


@pytest.mark.parametrize(
    "key",
    ["MSK_QUALIT_B04", "DETFOO_B04", "MSK_DETFOO_B04", "view_azimuth_B04", "sun_zenith_b04", "QA_B04",
     "snr-B04", "B04_mask"],
)  # fmt: skip
def test_what_speaks_of_a_band_is_none(tmp_path: Path, key: str) -> None:
    """Masks and angles have the band in their names, and come before it."""
    other = key.replace("04", "05")
    item = scene(tmp_path, "x", "2020-06-05T10:00", {key: flat(9), other: flat(9), "B04": flat(7)})
    item.assets[other].extra_fields["eo:bands"] = [{"name": "B05"}]
    cube = s2cube.open_stac(item)
    assert list(cube.data_vars) == ["B04", "status"]
    assert (cube["B04"] == np.float32(7e-4)).all()


@pytest.mark.parametrize("role", ["thumbnail", "overview", "metadata", "visual", "data-mask", "azimuth"])
def test_roles_tell_what_is_no_band(tmp_path: Path, role: str) -> None:
    item = scene(tmp_path, "x", "2020-06-05T10:00", {"blue": flat(9), "extra": flat(9), "B04": flat(7)})
    item.assets["extra"].extra_fields["eo:bands"] = [{"name": "B03"}]
    assert set(s2cube.open_stac(item).data_vars) == {"B02", "B03", "B04", "status"}
    for name in ("blue", "extra"):
        item.assets[name].roles = [role]
    assert list(s2cube.open_stac(item).data_vars) == ["B04", "status"]


@pytest.mark.parametrize(
    "key", ["B4", "b04", "red", "S2-L2A-B04", "T33UUU_20170216T102101_B04_10m", "B04.jp2", "red-jp2"]
)
def test_names_of_bands_in_use(tmp_path: Path, key: str) -> None:
    item = scene(
        tmp_path, "x", "2020-06-05T10:00", {key: flat(7)}, properties={"platform": "sentinel-2a"}
    )
    assert list(s2cube.open_stac(item, offset=0).data_vars) == ["B04", "status"]


def test_the_geotiff_is_read_where_there_is_a_jp2(tmp_path: Path) -> None:
    """Whichever comes first, it reads many times faster."""
    item = scene(
        tmp_path, "x", "2020-06-05T10:00", {"red-jp2": flat(9), "red": flat(7)},
        properties={"platform": "sentinel-2a"},
    )  # fmt: skip
    assert (s2cube.open_stac(item)["B04"] == np.float32(7e-4)).all()
    other = item.clone()
    other.assets = dict(reversed(item.assets.items()))
    assert (s2cube.open_stac(other)["B04"] == np.float32(7e-4)).all()


def test_the_name_tells_the_pixel_size_where_nothing_else_does(tmp_path: Path) -> None:
    item = scene(
        tmp_path, "x", "2020-06-05T10:00", {"B02_60m": flat(6, (4, 4)), "B02_10m": flat(1, (24, 24))},
        resolution={"B02_60m": 60.0, "B02_10m": 10.0},
    )  # fmt: skip
    for asset in item.assets.values():
        asset.extra_fields |= {"proj:transform": None, "proj:shape": None, "gsd": None}
    grid = GeoBox((24, 24), Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), CRS)
    assert (s2cube.open_stac(item, geobox=grid)["B02"] == np.float32(1e-4)).all()


@pytest.mark.parametrize("kind", ["B04", "vv"])
def test_nan_as_no_data(tmp_path: Path, kind: str) -> None:
    """The usual one of float data: it is equal to itself, though NaN is not."""
    values = np.full((20, 24), 0.25, "f4")
    values[0], values[1] = np.nan, 0
    told = {"data_type": "float32", "scale": 1.0, "offset": 0.0}
    items = []
    for day, nodata in (("05", "nan"), ("10", float("nan"))):
        item = scene(tmp_path, f"S_{day}", f"2020-06-{day}T10:00", {kind: values}, nodata=None)
        item.assets[kind].extra_fields["raster:bands"] = [{**told, "nodata": nodata}]
        item.collection_id = "sentinel-1-rtc" if kind == "vv" else None
        items.append(item)
    cube = s2cube.open_stac(items)
    band = cube["VV" if kind == "vv" else "B04"].values
    assert np.isnan(band[:, 0]).all()
    assert (band[:, 1] == 0).all(), "which is data, where NaN is what is missing"
    assert (band[:, 2:] == 0.25).all()
    assert (cube["status"].values[:, 0] == Status.NO_DATA).all()


def test_defaults_of_gdal_say_nothing_of_counts(tmp_path: Path) -> None:
    """As rio-stac writes them: scale 1, offset 0. The product's scale, and the rules, hold."""
    for told, baseline, expected in (
        ({"scale": 1.0, "offset": 0.0}, "05.09", 0.2),
        ({"scale": 1}, "05.09", 0.2),
        ({"scale": 1.0, "offset": 0.0}, "03.01", 0.3),
        ({"scale": 1e-4, "offset": 0.0}, "05.09", 0.3),
    ):
        item = scene(
            tmp_path, "x", "2020-06-05T10:00", {"B04": flat(3000)},
            properties={"s2:processing_baseline": baseline},
        )  # fmt: skip
        item.assets["B04"].extra_fields["raster:bands"] = [{"data_type": "uint16", "nodata": 0, **told}]
        assert (s2cube.open_stac(item)["B04"] == np.float32(expected)).all(), told


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["projjson", "asset null", "asset's own", "null grid"])
def test_ways_to_tell_the_crs(tmp_path: Path, how: str) -> None:
    item = scene(tmp_path, "x", "2020-06-05T10:00", {"B04": ramp()})
    fields = item.assets["B04"].extra_fields
    if how == "null grid":
        item.properties |= {key: fields[key] for key in ("proj:transform", "proj:shape")}
        fields |= {"proj:transform": None, "proj:shape": None}
    elif how == "projjson":
        del item.properties["proj:code"]
        item.properties["proj:projjson"] = pyproj.CRS(CRS).to_json_dict()
    elif how == "asset null":
        fields["proj:code"] = None
    else:
        item.properties["proj:code"], fields["proj:epsg"] = "EPSG:3857", 32633
    assert schema.geobox_of(s2cube.open_stac(item)).crs.epsg == 32633


def test_items_with_epsg_codes_of_older_stac(tmp_path: Path) -> None:
    item = scene(tmp_path, "x", "2020-06-05T10:00", {"B04": ramp()})
    del item.properties["proj:code"]
    item.properties["proj:epsg"] = 32633
    assert schema.geobox_of(s2cube.open_stac(item)).crs.epsg == 32633
