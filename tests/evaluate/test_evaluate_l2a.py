"""``evaluate_l2a``: numbers that can be counted by hand."""

import numpy as np
import pytest
import xarray as xr

import s2cube
from s2cube.errors import CubeError


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    cube = s2cube.testing.simulate_cube(shape=(20, 20), seed=2, end="2021-06-20", bands=["red", "nir"])
    cube = cube.assign({band: cube[band].clip(0.001) for band in ("B04", "B08")})
    scl = np.full(cube["SCL"].shape, 4, np.uint8)
    scl[:, :2], scl[:, 2:4], scl[:, 4:6] = 9, 3, 6
    return cube.assign(SCL=cube["SCL"].copy(data=scl))


def test_errors_are_counted_by_class(truth: xr.Dataset) -> None:
    off = truth.copy(deep=True)
    off["B04"] += np.float32(0.0012)
    off["B04"][:, 4:6] -= np.float32(0.0032)
    table = s2cube.evaluate_l2a(off, truth).set_index(["class", "band"])
    assert table.loc[("vegetation", "B04"), "mae"] == pytest.approx(12, abs=0.01)
    assert table.loc[("vegetation", "B04"), "percent"] == pytest.approx(0.1, abs=1e-3)
    assert table.loc[("water", "B04"), "bias"] == pytest.approx(-20, abs=0.01)
    assert table.loc[("clear", "B08"), "mae"] == 0
    steps = truth.sizes["time"]
    # Neither clouds nor shadows are clear.
    assert table.loc[("clear", "B08"), "n"] == steps * 20 * 16
    mixed = (2 * -20 + 14 * 12) / 16
    assert table.loc[("clear", "B04"), "bias"] == pytest.approx(mixed, abs=0.01)
    assert np.isnan(table.loc[("clear", "NDVI"), "percent"])
    assert table.loc[("clear", "NDVI"), "mae"] > 0


def test_what_was_cut_off_is_told_apart(truth: xr.Dataset) -> None:
    cut = truth.copy(deep=True)
    cut["B04"][:, 10:12] = np.float32(1e-4)
    table = s2cube.evaluate_l2a(truth, cut).set_index(["class", "band"])
    assert table.loc[("clear", "B04"), "mae"] == table.loc[("clear", "NDVI"), "mae"] == 0
    assert table.loc[("clipped", "B04"), "n"] == truth.sizes["time"] * 40
    assert ("clipped", "B08") not in table.index


def test_several_are_told_beside_each_other_lazily_or_not(truth: xr.Dataset) -> None:
    table = s2cube.evaluate_l2a({"one": truth, "two": truth.chunk({"time": 1, "x": 7})}, truth)
    assert table["method"].drop_duplicates().tolist() == ["one", "two"]
    assert (table["mae"] == 0).all()


def test_what_it_refuses(truth: xr.Dataset) -> None:
    with pytest.raises(CubeError, match="another grid"):
        s2cube.evaluate_l2a(truth.isel(x=slice(0, 5)), truth)
    with pytest.raises(CubeError, match="lacks 2021"):
        s2cube.evaluate_l2a(truth.isel(time=[0]), truth)
    with pytest.raises(CubeError, match="no band in common"):
        s2cube.evaluate_l2a(truth[["B04"]], truth, bands=["B08"])
    grid = s2cube.schema.geobox_of(truth)
    other = type(grid)(grid.shape, grid.transform, "EPSG:32601")
    elsewhere = truth.assign_coords(spatial_ref=s2cube.schema.spatial_ref(other))
    with pytest.raises(CubeError, match="another grid"):
        s2cube.evaluate_l2a(elsewhere, truth)
    later = truth.isel(time=[0]).assign_coords(time=truth["time"].values[:1] + np.timedelta64(100, "m"))
    twice = xr.concat([truth.isel(time=[0]), later], "time", data_vars="minimal")
    with pytest.raises(CubeError, match="two looks of 2021"):
        s2cube.evaluate_l2a(twice, truth.isel(time=[0]))
    with pytest.raises(CubeError, match="truth has two looks of 2021"):
        s2cube.evaluate_l2a(truth, twice)
