"""as_cube: any Dataset with Sentinel-2 in it, and clear questions where it does not tell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from compare import assert_same

import s2cube
from s2cube import schema
from s2cube.errors import CubeError, HarmonizationError
from s2cube.schema import Status

KNOWN: dict[str, Any] = {"scale": 1e-4, "offset": 0, "nodata": 0, "crs": "EPSG:32633", "level": "L2A"}


def counts(**names: str) -> xr.Dataset:
    """Counts of two bands and a classification, under the given names."""
    rng = np.random.default_rng(3)
    shape = (4, 5, 6)
    dims = (names.get("t", "t"), names.get("y", "y"), names.get("x", "x"))
    red, nir = (rng.integers(1, 9000, shape).astype(np.uint16) for _ in range(2))
    red[0, 0, 0], nir[0, 0, 1], nir[0, 0, 2] = 0, 0, 65535
    return xr.Dataset(
        {
            names.get("red", "B4"): (dims, red),
            names.get("nir", "B8"): (dims, nir),
            names.get("scl", "SCL"): (dims, rng.integers(0, 12, shape).astype(np.uint8)),
        },
        {
            dims[0]: np.array(["2020-01-01", "2020-01-06", "2020-02-01", "2020-03-03"], "M8[ns]"),
            dims[1]: 5_000_000.0 - 10 * np.arange(5),
            dims[2]: 400_000.0 + 10 * np.arange(6),
        },
    )


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"t": "time", "red": "B04", "nir": "B08"},
        {"t": "date", "y": "northing", "x": "easting", "red": "red", "nir": "nir", "scl": "scl"},
        {"red": "S2-L2A-B04", "nir": "S2-L2A-B08", "scl": "S2-L2A-SCL"},
    ],
)
def test_names_in_use(names: dict[str, str]) -> None:
    cube = s2cube.as_cube(counts(**names), **KNOWN)
    assert list(cube.data_vars) == ["B04", "B08", "SCL", "status"]
    assert_same(cube, s2cube.as_cube(counts(), **KNOWN))
    assert cube["B04"].dtype == np.float32
    assert cube["SCL"].dtype == cube["status"].dtype == np.uint8
    raw = counts()["B4"].values
    expected = np.where(raw == 0, np.nan, raw / 10_000).astype(np.float32)
    np.testing.assert_array_equal(cube["B04"].values, expected)


def test_status_tells_what_is_no_measurement() -> None:
    status = s2cube.as_cube(counts(), **KNOWN)["status"].values
    assert status[0, 0, :3].tolist() == [Status.NO_DATA, Status.NO_DATA, Status.SATURATED]
    assert (np.delete(status.ravel(), [0, 1, 2]) == Status.CLEAR).all()


def test_names_of_your_own() -> None:
    odd = counts(t="when", red="refl_665", nir="refl_833")
    with pytest.raises(CubeError, match="No dimension is 'time'"):
        s2cube.as_cube(odd, **KNOWN)
    told = {"when": "time", "refl_665": "red", "refl_833": "B08"}
    assert_same(s2cube.as_cube(odd, names=told, **KNOWN), s2cube.as_cube(counts(), **KNOWN))
    with pytest.raises(CubeError, match=r"names speaks of \['refl'\]"):
        s2cube.as_cube(odd, names={"refl": "B04"}, **KNOWN)


def test_lazy_stays_lazy_and_equal() -> None:
    lazy = s2cube.as_cube(counts().chunk(t=1, y=2, x=4), **KNOWN)
    assert all(hasattr(array.data, "dask") for array in lazy.data_vars.values())
    assert_same(lazy, s2cube.as_cube(counts(), **KNOWN))


def test_a_file_is_not_read_on_opening(tmp_path: Path) -> None:
    """Opened without chunks, as most people do; touching such data would read all of it."""
    pytest.importorskip("netCDF4", reason="needs the extra 'demo'")
    counts().to_netcdf(tmp_path / "c.nc", encoding={"B4": {"_FillValue": 0}, "B8": {"_FillValue": 0}})
    with xr.open_dataset(tmp_path / "c.nc", mask_and_scale=False) as ds:
        cube = s2cube.as_cube(ds, **KNOWN)
        assert not ds["B4"].variable._in_memory
        assert_same(cube, s2cube.as_cube(counts(), **KNOWN))


def test_upside_down_and_shuffled_is_put_right() -> None:
    shuffled = counts().isel(t=[2, 0, 3, 1], y=slice(None, None, -1)).transpose("x", "t", "y")
    assert_same(s2cube.as_cube(shuffled, **KNOWN), s2cube.as_cube(counts(), **KNOWN))


def test_offset_by_date() -> None:
    cube = s2cube.as_cube(counts(), **{**KNOWN, "offset": [0, 0, -0.1, -0.1]})
    raw = counts()["B8"].values[:, 3, 3].astype(int) - [0, 0, 1000, 1000]
    np.testing.assert_array_equal(cube["B08"].values[:, 3, 3], (raw / 10_000).astype(np.float32))
    with pytest.raises(HarmonizationError, match=r"one a date \(4\)"):
        s2cube.as_cube(counts(), **{**KNOWN, "offset": [0, -0.1]})
    with pytest.raises(CubeError, match="sort the data by time"):
        s2cube.as_cube(counts().isel(t=[1, 0, 2, 3]), **{**KNOWN, "offset": [0, 0, 0, -0.1]})


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("scale", "pass scale=1e-4 and offset=0"),
        ("offset", "pass scale=1e-4 and offset=0"),
        ("crs", "pass crs="),
        ("nodata", "pass nodata=0"),
    ],
)
def test_what_it_cannot_know_it_asks_for(left_out: str, message: str) -> None:
    told = {key: value for key, value in KNOWN.items() if key != left_out}
    with pytest.raises(CubeError, match=message):
        s2cube.as_cube(counts(), **told)


def test_every_count_may_be_data() -> None:
    cube = s2cube.as_cube(counts(), **{**KNOWN, "nodata": "none"})
    assert cube["B04"].values[0, 0, 0] == 0
    assert cube["status"].values[0, 0, 0] == Status.CLEAR


def test_level_is_asked_for_without_a_classification() -> None:
    told = {key: value for key, value in KNOWN.items() if key != "level"}
    assert s2cube.as_cube(counts(), **told)["processing_level"] == "L2A"
    with pytest.raises(CubeError, match="level='L1C'"):
        s2cube.as_cube(counts().drop_vars("SCL"), **told)
    with pytest.raises(CubeError, match="got 'L3'"):
        s2cube.as_cube(counts(), **{**KNOWN, "level": "L3"})


def test_bad_input() -> None:
    with pytest.raises(CubeError, match="No Sentinel-2 band"):
        s2cube.as_cube(counts()[["SCL"]], **KNOWN)
    with pytest.raises(CubeError, match="would all be 'B04'"):
        s2cube.as_cube(counts().assign(red=counts()["B4"]), **KNOWN)
    with pytest.raises(HarmonizationError, match="above 0"):
        s2cube.as_cube(counts(), **{**KNOWN, "scale": 0.0})
    with pytest.raises(CubeError, match="has no coordinate"):
        s2cube.as_cube(counts().drop_vars("x"), **KNOWN)
    with pytest.raises(CubeError, match="names maps your names"):
        s2cube.as_cube(counts(), names=["B04"], **KNOWN)
    with pytest.raises(HarmonizationError, match="above 0"):
        s2cube.as_cube(counts(), **{**KNOWN, "scale": "1e-4"})
    with pytest.raises(CubeError, match="'B04' has dimensions"):
        s2cube.as_cube(counts().assign(B4=counts()["B4"].isel(t=0)), **KNOWN)
    filled = s2cube.as_cube(counts(), **KNOWN).s2.fill_gaps("linear")
    with pytest.raises(CubeError, match="a filled cube already"):
        s2cube.as_cube(filled, level="L2A")
    with pytest.raises(CubeError, match="got list"):
        s2cube.as_cube([1, 2], **KNOWN)  # type: ignore[arg-type]
    with pytest.raises(CubeError, match="no coordinate reference system"):
        s2cube.as_cube(counts(), **{**KNOWN, "crs": "EPSG:nowhere"})


def test_float_counts_are_not_taken_for_reflectance() -> None:
    """The usual accident: xarray has turned the counts into floats on opening."""
    floats = counts().astype("float32")
    told = {"crs": "EPSG:32633", "level": "L2A"}
    with pytest.raises(HarmonizationError, match="these are counts"):
        s2cube.as_cube(floats, **told)
    with pytest.raises(HarmonizationError, match=r"does not say what its values are worth"):
        s2cube.as_cube(floats.chunk(), **told)
    decoded = floats.copy()
    for array in decoded.data_vars.values():
        array.encoding = {"dtype": np.dtype("uint16"), "_FillValue": 0}
    with pytest.raises(HarmonizationError, match=r"\(uint16\) does not say"):
        s2cube.as_cube(decoded, **told)
    real = (floats / 10_000).assign(SCL=counts()["SCL"])
    fine = s2cube.as_cube(real, **told)
    assert float(fine["B04"].max()) < 1
    assert_same(s2cube.as_cube(real.chunk(), scale=1, offset=0, **told), fine)


def test_a_scale_of_one_says_nothing() -> None:
    """Some writers put it on every integer raster."""
    ds = counts()
    for array in ds.data_vars.values():
        array.attrs = {"scale_factor": 1.0, "add_offset": 0.0, "_FillValue": 0}
    opened = ds.astype("float32").chunk()
    for array in opened.data_vars.values():
        array.attrs, array.encoding = {}, {"dtype": np.dtype("u2"), "scale_factor": 1.0}
    for nothing_told in (ds, opened):
        with pytest.raises(HarmonizationError, match="does not say what its values are worth"):
            s2cube.as_cube(nothing_told, crs="EPSG:32633", level="L2A")


def test_classes_that_are_none_are_no_data() -> None:
    ds = counts()
    ds["SCL"] = ds["SCL"].astype(np.int16)
    ds["SCL"][0, 0, :4] = [260, -3, 12, 11]
    assert s2cube.as_cube(ds, **KNOWN)["SCL"].values[0, 0, :4].tolist() == [0, 0, 0, 11]


def test_counts_kept_as_signed() -> None:
    """netCDF's habit: uint16 as int16 with _Unsigned, and its fill value told as signed."""
    plain, wrapped = counts(), counts()
    plain["B4"][1, 1, 1] = wrapped["B4"][1, 1, 1] = 40_000
    for name in ("B4", "B8"):
        wrapped[name] = wrapped[name].astype(np.int16)
        wrapped[name].attrs = {"_Unsigned": "true", "_FillValue": np.int16(-1)}
    told = {key: value for key, value in KNOWN.items() if key != "nodata"}
    expected = s2cube.as_cube(plain, nodata=65535, **told)
    for ds in (wrapped, wrapped.chunk()):
        assert_same(s2cube.as_cube(ds, **told), expected)


def test_what_is_scaled_already_is_not_scaled_again() -> None:
    """int16 with a scale_factor, opened the usual way."""
    stored = counts().drop_vars("SCL")
    for array in stored.data_vars.values():
        array.attrs = {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": np.uint16(0)}
    told = {"crs": "EPSG:32633", "level": "L2A"}
    raw = s2cube.as_cube(stored, **told)
    decoded = xr.decode_cf(stored)
    with pytest.raises(HarmonizationError, match="has been scaled on opening"):
        s2cube.as_cube(decoded, scale=1e-4, offset=-0.1, **told)
    cube = s2cube.as_cube(decoded, **told)
    np.testing.assert_allclose(cube["B04"].values, raw["B04"].values, atol=1e-6)
    assert np.isnan(cube["B04"].values[0, 0, 0])


def test_array_with_a_dimension_of_bands() -> None:
    array = counts().drop_vars("SCL").to_dataarray("band")
    cube = s2cube.as_cube(array, **KNOWN)
    assert_same(cube, s2cube.as_cube(counts().drop_vars("SCL"), **KNOWN))


def test_a_named_array_is_a_band() -> None:
    array = counts()["B4"].rename("red")
    assert list(s2cube.as_cube(array, **KNOWN).data_vars) == ["B04", "status"]
    with pytest.raises(CubeError, match="nor a name that tells"):
        s2cube.as_cube(array.rename(None), **KNOWN)


def test_crs_that_the_data_carry() -> None:
    told = {key: value for key, value in KNOWN.items() if key != "crs"}
    for ds in (
        counts().assign_attrs(crs="EPSG:32633"),
        counts().assign_coords(crs=((), 0, {"spatial_ref": schema.parse_crs("EPSG:32633").wkt})),
    ):
        assert_same(s2cube.as_cube(ds, **told), s2cube.as_cube(counts(), **KNOWN))


def test_geographic_grid_needs_no_crs() -> None:
    ds = counts(y="lat", x="lon").assign_coords(
        lat=50 - 1e-4 * np.arange(5), lon=9 + 1e-4 * np.arange(6)
    )
    cube = s2cube.as_cube(ds, **{**KNOWN, "crs": None})
    assert cube["spatial_ref"].item() == 4326
    assert cube["y"].attrs["units"] == "degrees"


def test_both_readers_of_crs_answer(cube: xr.Dataset) -> None:
    import odc.geo.xr  # noqa: F401
    import rioxarray  # noqa: F401

    made = s2cube.as_cube(counts(), **KNOWN)
    for ds in (cube, made, made.s2.mask_clouds(), made.s2.mask_clouds().s2.fill_gaps("linear")):
        assert ds.rio.crs.to_epsg() == ds.odc.crs.epsg == 32633
        assert ds["B04"].rio.crs.to_epsg() == ds["B04"].odc.crs.epsg == 32633
        assert ds.rio.transform() == ds.odc.transform


@pytest.mark.parametrize("how", [{"mask_and_scale": False}, {"mask_and_scale": True}])
def test_real_romania(real_data: Callable[[str], Path], how: dict[str, bool]) -> None:
    """Both ways of opening give the same cube, at both resolutions."""
    for resolution, bands in ((10, ["B02", "B03", "B04", "B08"]), (20, ["B03", "B04", "B8A", "B11"])):
        path = real_data(f"nrt_romania/sentinel2_cube_subset_romania_{resolution}m.nc")
        with xr.open_dataset(path, decode_coords="all", mask_and_scale=False) as raw:
            truth = raw["B4"].load()
        with xr.open_dataset(path, decode_coords="all", chunks={}, **how) as ds:
            with pytest.raises(HarmonizationError, match="pass scale=1e-4"):
                s2cube.as_cube(ds)
            cube = s2cube.as_cube(ds, scale=1e-4, offset=0)
            assert sorted(set(cube.data_vars) - {"SCL", "status"}) == sorted(bands)
            expected = np.where(truth == 0, np.nan, truth / 10_000).astype(np.float32)
            np.testing.assert_array_equal(cube["B04"].values, expected)
            assert cube["spatial_ref"].item() == 3035
            assert set(np.unique(cube["SCL"])) <= set(range(12))
            assert cube.sizes["time"] == 140


def test_real_gfmap(real_data: Callable[[str], Path]) -> None:
    """Names like S2-L2A-B04, dimension t, counts wrapped into int16 by their producer."""
    path = real_data("s1s2_gfmap/cdse_sentinel2_l2a.nc")
    with xr.open_dataset(path, decode_coords="all", mask_and_scale=False) as ds:
        cube = s2cube.as_cube(ds, scale=1e-4, offset=0, nodata="none")
        truth = ds["S2-L2A-B04"].values.view("u2") / 10_000
        np.testing.assert_allclose(cube["B04"].values, truth, atol=1e-6)
        assert "B04" in cube
        assert "SCL" in cube
        assert cube["processing_level"] == "L2A"


def test_real_dekads(real_data: Callable[[str], Path]) -> None:
    path = real_data("s1s2_scaleag/inference_area_tevuren.nc")
    with xr.open_dataset(path, decode_coords="all", mask_and_scale=False) as ds:
        cube = s2cube.as_cube(ds, scale=1e-4, offset=0, level="L2A")
        assert cube.sizes["time"] == 36
        missing = float((cube["status"] == Status.NO_DATA).mean())
        assert 0.28 < missing < 0.30


def test_real_known_answer(real_data: Callable[[str], Path]) -> None:
    """N0209 is DN / 10000 exactly, N0400 (DN - 1000) / 10000."""
    import rasterio

    for name, offset in (
        ("S2B_MSIL1C_20200406T101559_N0209_R065_T32UPC_20200406T130159", 0.0),
        ("S2B_MSIL1C_20220615T101559_N0400_R065_T32UPC_20220615T122549", -0.1),
    ):
        path = real_data(f"harmonization_tiny/{name}.tif")
        with rasterio.open(path) as file:
            raw = file.read()
        with rasterio.open(path.with_name(f"{name}_toa.tif")) as file:
            truth = file.read()
        ds = xr.Dataset(
            {"B04": (("time", "y", "x"), raw[:1])},
            {
                "time": np.array(["2022-06-15"], "M8[ns]"),
                "y": -10.0 * np.arange(raw.shape[1]),
                "x": 10.0 * np.arange(raw.shape[2]),
            },
        )
        cube = s2cube.as_cube(ds, scale=1e-4, offset=offset, nodata=0, crs="EPSG:32632", level="L1C")
        got, seen = cube["B04"].values[0], raw[0] != 0
        np.testing.assert_allclose(got[seen], truth[0][seen], atol=5e-8, rtol=0)


def test_harmonizing_twice_changes_nothing(cube: xr.Dataset) -> None:
    again = s2cube.as_cube(cube)
    xr.testing.assert_identical(again, cube)
    lazily = s2cube.as_cube(cube.chunk({"time": 1}))
    assert lazily["B04"].chunks is not None
    with pytest.raises(HarmonizationError, match="already"):
        s2cube.as_cube(cube, scale=1e-4, offset=-0.1)


def test_a_cube_that_xarray_has_kept(cube: xr.Dataset, tmp_path: Path) -> None:
    """Its grid comes back as data; verbs say what to do, and it is a cube again."""
    cube.to_netcdf(tmp_path / "kept.nc")
    with xr.open_dataset(tmp_path / "kept.nc") as kept:
        with pytest.raises(CubeError, match=r"read as data: open it with decode_coords='all'"):
            kept.s2.mask_clouds("scl")
        again = s2cube.as_cube(kept).s2.mask_clouds("scl").s2.median()
        np.testing.assert_array_equal(again["B04"], cube.s2.mask_clouds("scl").s2.median()["B04"])
        assert schema.geobox_of(again) == schema.geobox_of(cube)
    with xr.open_dataset(tmp_path / "kept.nc", decode_coords="all") as kept:
        assert s2cube.as_cube(kept) is not None
