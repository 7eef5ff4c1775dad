"""``to_l2a``: the contract, the modes, the range, and what it refuses."""

import warnings
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from compare import assert_same

import s2cube
from s2cube.errors import CubeError
from s2cube.schema import Status
from s2cube.testing import simulate_cube, simulate_l1c

AIR: dict[str, Any] = {"aerosol": 0.2, "water_vapour": 2.0, "elevation": 300}
BANDS = ("B02", "B04", "B08", "B8A", "B09", "B12")


@pytest.fixture(scope="module")
def ground() -> xr.Dataset:
    return simulate_cube(shape=(40, 48), seed=3, end="2021-08-31", bands=BANDS, cloud_cover=0.1)


@pytest.fixture(scope="module")
def seen(ground: xr.Dataset) -> xr.Dataset:
    return simulate_l1c(ground, **AIR)


def test_given_the_air_the_ground_comes_back(ground: xr.Dataset, seen: xr.Dataset) -> None:
    back = seen.s2.to_l2a("given", **AIR)
    for band in BANDS:
        assert back[band].dtype == np.float32
        assert float(abs(back[band] - ground[band]).max()) < 1e-5
        assert back[band].attrs == ground[band].attrs
    assert float(ground["B02"].min()) >= 0 or float(back["B02"].min()) < 0


def test_it_is_a_cube_of_level_2a(seen: xr.Dataset) -> None:
    with_cirrus = seen.assign(B10=seen["B12"].copy(data=np.zeros(seen["B12"].shape, np.float32)))
    back = s2cube.validate(with_cirrus.s2.to_l2a("given", **AIR), level="L2A", bands=BANDS)
    assert not {"B10", "SCL"} & set(back.data_vars)
    assert np.array_equal(back["status"], seen["status"])
    assert (back["l2a_flag"] == 0).all()
    assert back.attrs["history"].splitlines()[-1].startswith("to_l2a(method='given', aerosol=0.2")
    assert back["B04"].encoding["grid_mapping"] == "spatial_ref"


@pytest.mark.parametrize("chunks", [{"time": 1, "y": 40, "x": 48}, {"time": 3, "y": 7, "x": 13}])
def test_chunks_change_nothing_and_nothing_is_read(seen: xr.Dataset, chunks: dict[str, int]) -> None:
    with dask.config.set(scheduler=_refuse):
        lazy = in_pieces(seen, chunks).s2.to_l2a("given", **AIR)
    assert dask.is_dask_collection(lazy["B04"].data)
    assert_same(lazy, seen.s2.to_l2a("given", **AIR))
    again = in_pieces(seen, chunks).s2.to_l2a("given", **AIR)
    assert again["B04"].data.name == lazy["B04"].data.name


def in_pieces(cube: xr.Dataset, chunks: dict[str, int]) -> xr.Dataset:
    """Make bands and status lazy, as sources do; what lies along time stays in memory."""
    return cube.assign({name: array.chunk(chunks) for name, array in cube.data_vars.items()})


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("computed")


def test_blind_is_the_same_for_all_chunks_and_near(ground: xr.Dataset, seen: xr.Dataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = seen.s2.to_l2a("blind", elevation=300)
        lazy = seen.chunk({"time": 2, "y": 11, "x": 48}).s2.to_l2a("blind", elevation=300)
    assert_same(lazy, back)
    off = float(abs(back["B04"] - ground["B04"]).mean())
    assert off < 0.5 * float(abs(seen["B04"] - ground["B04"]).mean())


def test_blind_says_what_a_scene_does_not_tell(seen: xr.Dataset) -> None:
    with pytest.warns(UserWarning, match="do not tell their aerosol"):
        seen[["B02", "B04", "B08", "B8A", "B09"]].s2.to_l2a("blind", elevation=300)


def test_missing_stays_missing_negative_stays(ground: xr.Dataset) -> None:
    holes = ground.copy(deep=True)
    holes["B04"][0, :4] = np.nan
    holes["B04"][0, 4] = -0.01
    holes["status"][0, :4] = Status.SATURATED
    back = simulate_l1c(holes, **AIR).s2.to_l2a("given", **AIR)
    assert back["B04"][0, :4].isnull().all()
    assert not back["B02"][0, :4].isnull().any()
    assert np.allclose(back["B04"][0, 4], -0.01, atol=1e-5)
    assert (back["status"][0, :4] == Status.SATURATED).all()


def test_each_date_has_its_own_air(ground: xr.Dataset) -> None:
    steps = ground.sizes["time"]
    changing = {
        **AIR,
        "aerosol": np.linspace(0.05, 0.6, steps),
        "water_vapour": np.linspace(1, 4, steps),
    }
    seen = simulate_l1c(ground, **changing)
    back = seen.s2.to_l2a("given", **changing)
    assert float(abs(back["B02"] - ground["B02"]).max()) < 1e-5
    named = xr.DataArray(changing["aerosol"], {"time": seen["time"]}, ["time"])[::-1]
    assert_same(seen.s2.to_l2a("given", **{**changing, "aerosol": named}), back)


def test_outside_the_range_is_flagged_and_held(seen: xr.Dataset) -> None:
    two = seen.isel(time=slice(0, 4))
    suns = {"sun_zenith": [60.0, 75.0, 80.0, 95.0]}
    with pytest.warns(UserWarning, match="outside the range") as told:
        back = two.s2.to_l2a("given", angles=suns, **AIR)
    assert back["l2a_flag"].values.tolist() == [0, 0, 1, 4]
    assert back["l2a_flag"].attrs["flag_meanings"].split()[1] == "sun_too_low"
    words = " ".join(str(one.message) for one in told)
    assert "75°" in words
    assert "night" in words
    # Night is no data, in the bands and in the status; a low sun is taken as 75°.
    assert back["B04"][3].isnull().all()
    assert (back["status"][3] == Status.NO_DATA).all()
    held = two.isel(time=[2]).s2.to_l2a("given", angles={"sun_zenith": 75.0}, **AIR)
    assert np.array_equal(back["B04"][2], held["B04"][0])
    with pytest.warns(UserWarning, match="above 4000 m"):
        high = two.s2.to_l2a("given", **{**AIR, "elevation": 5000})
    assert (high["l2a_flag"] == 2).all()


def test_no_elevation_is_said(seen: xr.Dataset) -> None:
    with pytest.warns(UserWarning, match="sea level"):
        seen.s2.to_l2a("given", aerosol=0.2, water_vapour=2.0)


def test_angles_are_told_or_computed_or_asked_for(seen: xr.Dataset) -> None:
    bare = seen.drop_vars(["sun_zenith", "sun_azimuth", "view_zenith", "view_azimuth"])
    view = {"view_zenith": 5.0, "view_azimuth": 103.0}
    assert_same(
        bare.s2.to_l2a("given", angles=view, **AIR),
        seen.s2.to_l2a("given", **AIR).drop_vars(["sun_zenith", "sun_azimuth", *view]),
    )
    with pytest.raises(CubeError, match="does not pass"):
        bare.s2.to_l2a("given", **AIR)
    with pytest.raises(CubeError, match=r"neither angles nor a relative orbit.*angles=\{"):
        bare.drop_vars("relative_orbit").s2.to_l2a("given", **AIR)
    dates = bare.isel(time=[0]).assign_coords(time=bare["time"].values[:1].astype("datetime64[D]"))
    with pytest.raises(CubeError, match="no time of day"):
        dates.s2.to_l2a("given", angles=view, **AIR)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"method": "sen2cor"}, "Unknown method"),
        ({"aerosol": None}, "needs aerosol"),
        ({"aerosol": -1.0}, "between 0 and 3"),
        ({"aerosol": [0.1, 0.2]}, "one for each"),
        ({"water_vapour": np.ones((3, 3))}, "mean of each date"),
        ({"angles": {"sun": 30}}, "Unknown angle"),
        ({"angles": 30}, "mapping"),
        ({"angles": {"sun_zenith": 300.0}}, "between 0 and 180"),
        ({"device": "cuda"}, "memory"),
        ({"elevation": "high"}, "one number"),
    ],
)
def test_what_it_refuses(seen: xr.Dataset, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(CubeError, match=words):
        seen.s2.to_l2a(**{"method": "given", **AIR, **changed})


def test_other_levels_are_refused(ground: xr.Dataset, seen: xr.Dataset) -> None:
    with pytest.raises(CubeError, match="level 2A already"):
        ground.s2.to_l2a("given", **AIR)
    with pytest.raises(CubeError, match="not known"):
        seen.drop_vars("processing_level").s2.to_l2a("given", **AIR)
