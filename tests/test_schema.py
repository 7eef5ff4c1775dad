"""The cube contract: names, grids, days, and errors that teach."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import s2cube
from s2cube import schema
from s2cube.errors import CubeError


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("B04", "B04"), ("B4", "B04"), ("b4", "B04"), ("red", "B04"), ("Red", "B04"),
        ("S2-L2A-B04", "B04"), ("B04_10m", "B04"), ("T33UUU_20170216T102101_B8A", "B8A"),
        ("B8A", "B8A"), ("b8a", "B8A"), ("B8", "B08"), ("nir", "B08"), ("nir08", "B8A"),
        ("B12", "B12"), ("B1", "B01"), ("rededge1", "B05"), ("rededge071", "B05"),
        ("swir16", "B11"), ("coastal", "B01"), ("B10", "B10"),
    ],
)  # fmt: skip
def test_names_of_bands(name: str, band: str) -> None:
    assert schema.band_id(name) == band


@pytest.mark.parametrize("name", ["B13", "B0", "B99", "B4X", "rededge", "thumbnail", "", "SCL", "AB04"])
def test_what_is_no_band(name: str) -> None:
    assert schema.find_band(name) is None
    with pytest.raises(CubeError, match="no Sentinel-2 band"):
        schema.band_id(name)


def test_flags_are_exclusive_and_named() -> None:
    attrs = schema.status_attrs()
    assert len(attrs["flag_values"]) == len(attrs["flag_meanings"].split()) == 9
    assert set(schema.SCL_STATUS) == set(schema.SCL_CLASSES) == set(range(12))


def test_numbers_of_flags_are_for_ever() -> None:
    """They are in stores, and their order says which state wins."""
    assert {state.name: state.value for state in schema.Status} == {
        "CLEAR": 0, "CLEAR_WATER": 1, "SNOW": 2, "THIN_CLOUD": 3, "SHADOW": 4, "CLOUD": 5,
        "SATURATED": 6, "NO_DATA": 7, "READ_FAILED": 8,
    }  # fmt: skip
    assert {kind.name: kind.value for kind in schema.Provenance} == {
        "OBSERVED": 0, "INTERPOLATED": 1, "EXTRAPOLATED": 2, "SAME_DATE": 3, "NETWORK": 4,
        "OTHER_SENSOR": 5, "NEVER_OBSERVED": 255,
    }  # fmt: skip


def test_a_simulated_cube_is_valid(cube: xr.Dataset) -> None:
    s2cube.validate(cube, bands=["red", "nir"], level="L2A", scl=True)


def broken(cube: xr.Dataset) -> dict[str, tuple[xr.Dataset, str]]:
    attrs = {
        key: v for key, v in cube["spatial_ref"].attrs.items() if "ref" not in key and "wkt" not in key
    }
    return {
        "no time": (cube.isel(time=0), "no 'time' dimension"),
        "no band": (cube[["SCL"]], "No Sentinel-2 band"),
        "no crs": (cube.drop_vars("spatial_ref"), "no CRS"),
        "empty crs": (cube.assign_coords(spatial_ref=((), 0, attrs)), "carries no CRS"),
        "float64": (cube.assign(B04=cube.B04.astype("f8")), "float64"),
        "integers": (cube.assign(B04=(cube.B04 * 10_000).astype("uint16")), "uint16"),
        "transposed": (cube.transpose("y", "x", "time"), "dimensions"),
        "time twice": (xr.concat([cube, cube], "time"), "sorted and unique"),
        "a time twice": (cube.isel(time=[0, 0, 1]), "sorted and unique"),
        "unsorted": (cube.isel(time=slice(None, None, -1)), "sorted and unique"),
        "y ascending": (cube.isel(y=slice(None, None, -1)), "descend"),
        "uneven": (cube.isel(y=[0, 1, 5, 6]), "evenly spaced"),
        "nothing left": (cube.isel(x=slice(0, 0)), "empty along 'x'"),
        "x descending": (cube.isel(x=slice(None, None, -1)), "'x' must ascend"),
        "no date left": (cube.isel(time=slice(0, 0)), "has no date"),
        "no coordinate": (cube.drop_vars("time"), "'time' has no coordinate"),
        "nan": (cube.assign_coords(y=cube["y"].where(cube["y"] != cube["y"][3])), "evenly"),
        "no dates": (cube.assign_coords(time=np.arange(cube.sizes["time"])), "not datetime64"),
    }  # fmt: skip


@pytest.mark.parametrize("what", broken(s2cube.testing.simulate_cube(shape=(8, 8))))
def test_what_is_no_cube(what: str, cube: xr.Dataset) -> None:
    bad, message = broken(cube)[what]
    with pytest.raises(CubeError, match=message):
        s2cube.validate(bad)


def test_what_was_asked_for_is_missing(cube: xr.Dataset) -> None:
    with pytest.raises(CubeError, match=r"holds no B12; it holds B02, B03"):
        cube.s2.validate(bands=["B12"])
    with pytest.raises(CubeError, match="needs level L1C, the cube is L2A"):
        cube.s2.validate(level="L1C")
    with pytest.raises(CubeError, match="needs level L2A, the cube is of unknown level"):
        cube.drop_vars("processing_level").s2.validate(level="L2A")
    with pytest.raises(CubeError, match="no scene classification"):
        cube.drop_vars("SCL").s2.validate(scl=True)
    with pytest.raises(CubeError, match="Dataset, got DataArray"):
        s2cube.validate(cube["B04"])  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_time_is_cast_once(cube: xr.Dataset, unit: str) -> None:
    other = cube.assign_coords(time=cube["time"].values.astype(f"datetime64[{unit}]"))
    assert s2cube.validate(other)["time"].dtype == "datetime64[ns]"


def test_grid_of_one_pixel_is_known(cube: xr.Dataset) -> None:
    whole = schema.geobox_of(cube)
    one = schema.geobox_of(cube.isel(x=[7], y=[3]))
    assert one == whole[3:4, 7:8]


def test_pixels_lie_at_their_centres() -> None:
    from odc.geo.geobox import GeoBox

    grid = GeoBox.from_bbox((600_000, 5_199_940, 600_080, 5_200_000), "EPSG:32632", resolution=20)
    coords = schema.grid_coords(grid)
    assert coords["y"].values.tolist() == [5_199_990, 5_199_970, 5_199_950]
    assert coords["x"].values.tolist() == [600_010, 600_030, 600_050, 600_070]
    assert schema.geobox_of(xr.Dataset(coords=coords)) == grid


def test_one_pixel_without_a_size_and_a_grid_without_a_place(cube: xr.Dataset) -> None:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    attrs = {"crs_wkt": cube["spatial_ref"].attrs["crs_wkt"]}
    pixel = cube.isel(x=[0]).assign_coords(spatial_ref=((), 0, attrs))
    with pytest.raises(CubeError, match="One pixel along 'x'"):
        schema.geobox_of(pixel)
    with pytest.raises(CubeError, match="no CRS"):
        schema.grid_coords(GeoBox((2, 2), Affine.identity(), None))
    with pytest.raises(CubeError, match="No band asked for"):
        cube.s2.validate(bands=[])


def test_zero_datum_shift_is_no_other_crs() -> None:
    # As GDAL wrote it into the demo's files.
    wkt = (
        'PROJCS["ETRS89 / LAEA Europe",GEOGCS["ETRS89",DATUM["European_Terrestrial_Reference_System'
        '_1989",SPHEROID["GRS 1980",6378137,298.257222101,AUTHORITY["EPSG","7019"]],'
        'TOWGS84[0,0,0,0,0,0,0],AUTHORITY["EPSG","6258"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG",'
        '"8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AUTHORITY["EPSG",'
        '"4258"]],PROJECTION["Lambert_Azimuthal_Equal_Area"],PARAMETER["latitude_of_center",52],'
        'PARAMETER["longitude_of_center",10],PARAMETER["false_easting",4321000],PARAMETER['
        '"false_northing",3210000],UNIT["metre",1,AUTHORITY["EPSG","9001"]],AUTHORITY["EPSG","3035"]]'
    )
    assert schema.parse_crs(wkt) == "EPSG:3035"
    shifted = wkt.replace("TOWGS84[0,0,0", "TOWGS84[89,0,-120")
    assert schema.parse_crs(shifted) != "EPSG:3035", "a shift that is one moves every pixel"
    with pytest.raises(CubeError, match="no coordinate reference system"):
        schema.parse_crs("EPSG:nonsense")


@given(st.floats(-180, 180), st.integers(0, 23), st.integers(0, 59))
def test_solar_day_is_the_day_at_the_place(longitude: float, hour: int, minute: int) -> None:
    time = np.datetime64("2020-06-15T00:00:30") + np.timedelta64(hour, "h") + np.timedelta64(minute, "m")
    (day,) = schema.solar_day(np.array([time]), longitude)
    local = time + np.timedelta64(round(longitude / 15 * 3600), "s")
    assert np.datetime64(int(day), "D") == local.astype("datetime64[D]")


@pytest.mark.parametrize("longitude", [-179.9, -75.0, 0.0, 179.9])
def test_dates_stay_dates(longitude: float) -> None:
    (day,) = schema.solar_day(np.array(["2020-06-15"], "datetime64[ns]"), longitude)
    assert np.datetime64(int(day), "D") == np.datetime64("2020-06-15")


def test_sentinel_2_passes_at_half_past_ten_wherever_it_is() -> None:
    """At 179° E an image of the morning has yesterday's UTC date; the solar day is today's."""
    times = np.array(["2020-06-14T22:34:00"], "datetime64[ns]")
    (day,) = schema.solar_day(times, 179.0)
    assert np.datetime64(int(day), "D") == np.datetime64("2020-06-15")
