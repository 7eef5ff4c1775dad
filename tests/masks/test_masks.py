"""Masks: what is dropped, what stays, and the same for any chunks."""

import numpy as np
import pytest
import xarray as xr
from compare import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st

import s2cube
from s2cube import schema
from s2cube.errors import CubeError
from s2cube.schema import SCL_CLASSES, SCL_STATUS, Status


def test_scl_to_status(cube: xr.Dataset) -> None:
    classes = np.resize(np.arange(12, dtype=np.uint8), cube["SCL"].shape)
    mask = s2cube.cloud_mask(cube.assign(SCL=(cube["SCL"].dims, classes)), "scl")["status"]
    assert mask.dtype == np.uint8
    got = {SCL_CLASSES[k]: Status(int(mask.values[classes == k].max())).name for k in range(12)}
    assert got == {
        "no_data": "NO_DATA", "saturated_or_defective": "SATURATED", "dark_area": "CLEAR",
        "cloud_shadow": "SHADOW", "vegetation": "CLEAR", "not_vegetated": "CLEAR",
        "water": "CLEAR_WATER", "unclassified": "CLEAR", "cloud_medium_probability": "CLOUD",
        "cloud_high_probability": "CLOUD", "thin_cirrus": "THIN_CLOUD", "snow_or_ice": "SNOW",
    }  # fmt: skip


def test_a_class_that_sen2cor_does_not_have_is_no_measurement(cube: xr.Dataset) -> None:
    """Never clear; and what could not be read is told apart from what was not there."""
    classes = np.resize(np.arange(12, 256, dtype=np.uint8), cube["SCL"].shape)
    status = s2cube.cloud_mask(cube.assign(SCL=(cube["SCL"].dims, classes)))["status"].values
    expected = np.where(classes == 254, Status.READ_FAILED, Status.NO_DATA)
    np.testing.assert_array_equal(status, expected)


def test_default_drops_0_1_3_8_9_10_and_keeps_the_rest(cube: xr.Dataset) -> None:
    classes = np.resize(np.arange(12, dtype=np.uint8), cube["SCL"].shape)
    clear = cube.assign(SCL=(cube["SCL"].dims, classes)).s2.mask_clouds()
    for band in ("B02", "B08"):
        dropped = np.isnan(clear[band].values)
        np.testing.assert_array_equal(dropped, np.isin(classes, [0, 1, 3, 8, 9, 10]))
        kept = ~dropped
        np.testing.assert_array_equal(clear[band].values[kept], cube[band].values[kept])
        assert clear[band].dtype == np.float32
    # Masking touches reflectance only.
    np.testing.assert_array_equal(clear["SCL"].values, classes)
    assert clear["SCL"].dtype == clear["status"].dtype == np.uint8


def test_other_classes(cube: xr.Dataset) -> None:
    clear = cube.s2.mask_clouds("scl", classes=["clear_water"])
    dropped = np.isnan(clear["B04"].values)
    np.testing.assert_array_equal(dropped, cube["SCL"].values == 6)


def test_buffer_is_in_metres(cube: xr.Dataset) -> None:
    """One cloudy pixel, 10 m pixels: 25 m reach 2 pixels sideways and 1 diagonally."""
    classes = np.full(cube["SCL"].shape, 4, np.uint8)
    classes[:, 20, 20] = 9
    one = cube.assign(SCL=(cube["SCL"].dims, classes))
    status = s2cube.cloud_mask(one, buffer=25)["status"].values[0]
    y, x = np.argwhere(status == Status.CLOUD).T - 20
    assert set(zip(y.tolist(), x.tolist(), strict=True)) == {
        (v, u) for v in range(-2, 3) for u in range(-2, 3) if v * v + u * u <= 6.25
    }
    coarse = one.isel(y=slice(None, None, 2), x=slice(None, None, 2))
    assert (s2cube.cloud_mask(coarse, buffer=25)["status"].values[0] == Status.CLOUD).sum() == 5


def test_only_clouds_and_shadows_grow(cube: xr.Dataset) -> None:
    """Snow, water and what was not measured have no soft edge."""
    for value, status in SCL_STATUS.items():
        classes = np.full(cube["SCL"].shape, 4, np.uint8)
        classes[:, 20, 20] = value
        one = cube.drop_vars("status").assign(SCL=(cube["SCL"].dims, classes)).isel(time=[0])
        found = s2cube.cloud_mask(one, buffer=10)["status"].values
        grows = status in (Status.THIN_CLOUD, Status.SHADOW, Status.CLOUD)
        assert (found == status).sum() == (5 if grows else 1 if status else found.size), value


def test_specks_are_opened_away_before_they_can_grow(cube: xr.Dataset) -> None:
    classes = np.full(cube["SCL"].shape, 4, np.uint8)
    classes[:, 20, 20] = 9
    one = cube.drop_vars("status").assign(SCL=(cube["SCL"].dims, classes))
    assert (s2cube.cloud_mask(one, opening=15, buffer=60)["status"] == Status.CLEAR).all()
    # Nor does closing join what opening takes away.
    assert (s2cube.cloud_mask(one, opening=15, closing=60)["status"] == Status.CLEAR).all()


def test_buffer_in_degrees(cube: xr.Dataset) -> None:
    lat, lon = 60 - 1e-4 * np.arange(40), 10 + 1e-4 * np.arange(48)
    ds = xr.Dataset(
        {
            "red": (("time", "lat", "lon"), np.full((1, 40, 48), 0.1, "f4")),
            "scl": (("time", "lat", "lon"), np.full((1, 40, 48), 4, "u1")),
        },
        {"time": np.array(["2020-06-01"], "M8[ns]"), "lat": lat, "lon": lon},
    )
    ds["scl"][0, 20, 24] = 9
    status = s2cube.cloud_mask(s2cube.as_cube(ds), buffer=40)["status"].values[0]
    y, x = np.argwhere(status == Status.CLOUD).T
    # A pixel is 11.1 m north to south and, at 60°, half of that east to west.
    assert (np.ptp(y), np.ptp(x)) == (2 * 3, 2 * 7)


@pytest.mark.parametrize("buffer", [None, 0.0, 20.0, 75.0, 600.0])
@settings(max_examples=8)
@given(chunks=st.fixed_dictionaries({d: st.integers(9, 60) for d in ("time", "y", "x")}))
def test_any_chunks_give_the_same(buffer: float | None, chunks: dict[str, int]) -> None:
    cube = s2cube.testing.simulate_cube(shape=(40, 48), seed=1).isel(time=slice(0, 12))
    lazy = cube.chunk(chunks).s2.mask_clouds("scl", buffer=buffer)
    assert_same(lazy, cube.s2.mask_clouds("scl", buffer=buffer))


def test_masking_twice_combines(cube: xr.Dataset) -> None:
    once = cube.s2.mask_clouds("scl", buffer=30)
    again = once.s2.mask_clouds("scl", buffer=30)
    assert_same(again.drop_attrs(), once.drop_attrs())
    left = np.zeros(cube["SCL"].shape, bool)
    left[:, :, :5] = True
    both = once.s2.mask_clouds(xr.DataArray(left, dims=("time", "y", "x")))
    measured = once["status"].values[:, :, :5] < Status.SATURATED
    assert (both["status"].values[:, :, :5][measured] == Status.CLOUD).all()
    assert np.isnan(both["B04"].values[:, :, :5]).all()
    np.testing.assert_array_equal(both["B04"].values[:, :, 5:], once["B04"].values[:, :, 5:])
    assert (both["status"].values >= once["status"].values).all()


def test_a_ready_mask_is_the_same_as_its_method(cube: xr.Dataset) -> None:
    mask = s2cube.cloud_mask(cube, buffer=40)
    for ready in (mask, mask["status"], mask["status"].transpose("x", "y", "time")):
        assert_same(
            cube.s2.mask_clouds(ready).drop_attrs(deep=False),
            cube.s2.mask_clouds("scl", buffer=40).drop_attrs(deep=False),
        )


def test_what_was_never_measured_stays_so(cube: xr.Dataset) -> None:
    status = np.full(cube["status"].shape, Status.READ_FAILED, np.uint8)
    clear = cube.assign(status=(cube["status"].dims, status)).s2.mask_clouds("scl", buffer=60)
    assert (clear["status"] == Status.READ_FAILED).all()
    assert np.isnan(clear["B04"].values).all()


def test_bad_input(cube: xr.Dataset) -> None:
    with pytest.raises(CubeError, match="Unknown mask method 'fmask'; known: scl"):
        cube.s2.cloud_mask("fmask")
    with pytest.raises(CubeError, match="metres, 0 or more"):
        cube.s2.mask_clouds(buffer=-5)
    with pytest.raises(CubeError, match="metres, 0 or more"):
        cube.s2.mask_clouds(buffer=float("nan"))
    for slip in ("60", [60], True, 1e9):
        with pytest.raises(CubeError, match="metres, 0 or more"):
            cube.s2.mask_clouds(buffer=slip)
    with pytest.raises(CubeError, match="names of states"):
        cube.s2.mask_clouds(classes=None)
    with pytest.raises(CubeError, match="Unknown mask method"):
        cube.s2.cloud_mask(["scl"])
    for name in ("clouds", "clear", "saturated"):
        with pytest.raises(CubeError, match=rf"Unknown classes \['{name}'\]"):
            cube.s2.mask_clouds(classes=[name])
    with pytest.raises(CubeError, match="needs level L2A, the cube is L1C"):
        cube.assign_coords(processing_level="L1C").s2.mask_clouds()
    with pytest.raises(CubeError, match="no scene classification"):
        cube.drop_vars("SCL").s2.mask_clouds()
    with pytest.raises(CubeError, match="differs along 'time'"):
        cube.s2.mask_clouds(s2cube.cloud_mask(cube.isel(time=slice(0, 5))))
    with pytest.raises(CubeError, match=r"differs along 'x' \(other coordinates\)"):
        cube.s2.mask_clouds(s2cube.cloud_mask(cube).assign_coords(x=cube["x"] + 10))
    with pytest.raises(CubeError, match="has no 'status'"):
        cube.s2.mask_clouds(cube[["B04"]])
    for no_mask in (cube["B04"], cube["SCL"], (cube["SCL"] > 7).astype("uint8")):
        with pytest.raises(CubeError, match="a mask is boolean"):
            cube.s2.mask_clouds(no_mask)
    with pytest.raises(CubeError, match="is a ndarray: a mask is a method's name"):
        cube.s2.mask_clouds(np.zeros(3))
    bare = xr.DataArray(np.zeros((2, 3, 4), bool), dims=("time", "y", "x"))
    with pytest.raises(CubeError, match="differs along 'time'"):
        cube.s2.mask_clouds(bare)
    feet = cube.drop_vars("spatial_ref").assign_coords(
        schema.grid_coords(
            schema.geobox_of(cube).__class__((40, 48), schema.geobox_of(cube).transform, "EPSG:2263")
        )
    )
    with pytest.raises(CubeError, match="US survey foot"):
        feet.s2.mask_clouds(buffer=10)
    with pytest.raises(CubeError, match="buffer goes with a method"):
        cube.s2.mask_clouds(s2cube.cloud_mask(cube), buffer=10)
    with pytest.raises(CubeError, match="dimensions"):
        cube.s2.mask_clouds(cube["SCL"].isel(time=0))


def test_snow_and_water_on_request(cube: xr.Dataset) -> None:
    classes = np.resize(np.arange(12, dtype=np.uint8), cube["SCL"].shape)
    looks = cube.assign(SCL=(cube["SCL"].dims, classes))
    for how, also in (
        ({}, []),
        ({"snow": True}, [11]),
        ({"water": True}, [6]),
        ({"snow": True, "water": True}, [6, 11]),
    ):
        dropped = np.isnan(looks.s2.mask_clouds("scl", **how)["B04"].values)
        np.testing.assert_array_equal(dropped, np.isin(classes, [0, 1, 3, 8, 9, 10, *also]))
    only = np.isnan(looks.s2.mask_clouds("scl", classes=(), water=True)["B04"].values)
    np.testing.assert_array_equal(only, np.isin(classes, [0, 1, 6]))
    # A method that does not tell them would leave them in, and nobody would know.
    for method in ("csmask", "s2cloudless"):
        with pytest.raises(CubeError, match=rf"'{method}' does not tell water apart; scl, spectral"):
            looks.s2.mask_clouds(method, water=True)


def test_options_of_a_method(cube: xr.Dataset) -> None:
    strict = cube.s2.mask_clouds("spectral", threshold=0.05, opening=20)
    loose = cube.s2.mask_clouds("spectral", threshold=0.95)
    assert strict["B04"].isnull().sum() > loose["B04"].isnull().sum()
    # What decided is written down, once.
    first, second = strict.attrs["history"].splitlines()[-2:]
    assert first.startswith("cloud_mask(method='spectral', threshold=0.05")
    assert second == "mask_clouds(method='spectral', classes=['cloud', 'shadow', 'thin_cloud'])"
    with pytest.raises(CubeError, match="threshold goes with a method"):
        cube.s2.mask_clouds(cube["B02"] > 0.2, threshold=0.5)
    with pytest.raises(CubeError, match="'scl' has no option threshold"):
        cube.s2.mask_clouds("scl", threshold=0.5)
