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


def drop_told(cube: xr.Dataset) -> xr.Dataset:
    return cube.drop_vars(["sun_zenith", "sun_azimuth", "view_zenith", "view_azimuth"])


def hilly(seen: xr.Dataset, ground: xr.Dataset) -> s2cube.L2ASpec:
    """What is learnt where a processor has undone the light of hills."""
    down, across = np.mgrid[:40, :48]
    hills = (0.3 * np.sin(down / 8) * np.cos(across / 9)).astype(np.float32)
    made = ground.assign({band: ground[band] / (1 + hills) for band in BANDS})
    return s2cube.fit_l2a(seen.isel(time=[0]), made.isel(time=[0]), elevation=300, slopes=True)


@pytest.mark.parametrize("chunks", [{"time": 1, "y": 40, "x": 48}, {"time": 3, "y": 7, "x": 13}])
def test_chunks_change_nothing_where_slopes_are_learnt(
    ground: xr.Dataset, seen: xr.Dataset, chunks: dict[str, int]
) -> None:
    spec = hilly(seen, ground)
    with dask.config.set(scheduler=_refuse):
        lazy = in_pieces(seen, chunks).s2.to_l2a(spec, water_vapour=2.0)
    assert_same(lazy, seen.s2.to_l2a(spec, water_vapour=2.0))


def test_slopes_are_refused_on_pixels_of_another_size(ground: xr.Dataset, seen: xr.Dataset) -> None:
    """Of pixels thrice as large, every middle is that of one of the small ones."""
    spec = hilly(seen, ground)
    coarse = seen.isel(y=slice(1, None, 3), x=slice(1, None, 3))
    with pytest.raises(CubeError, match="another place or grid"):
        coarse.s2.to_l2a(spec, water_vapour=2.0)


@pytest.mark.parametrize("aerosol", [0.05, 0.7])
def test_vapour_is_told_by_the_scene_whatever_the_haze(ground: xr.Dataset, aerosol: float) -> None:
    """Simulated ground is not as bright in B09 as in B8A; here it is made so."""
    even = ground.assign(B09=ground["B8A"].copy())
    wet = np.linspace(0.5, 4.0, ground.sizes["time"])
    seen = simulate_l1c(even, aerosol=aerosol, water_vapour=wet, elevation=1500)
    back = seen.s2.to_l2a("given", aerosol=aerosol, water_vapour="scene", elevation=1500)
    clouded = seen["status"].values.min((1, 2)) > Status.SNOW
    assert np.allclose(back["l2a_water_vapour"][~clouded], wet[~clouded], rtol=0.03)
    assert (back["l2a_aerosol"] == aerosol).all()
    assert float(abs(back["B09"] - even["B09"])[~clouded].mean()) < 0.004
    assert (
        back.attrs["history"]
        .splitlines()[-1]
        .endswith(f"aerosol={aerosol}, water_vapour='scene', elevation=1500.0, ozone=0.3)")
    )


def test_clouds_tell_nothing_of_the_air(ground: xr.Dataset) -> None:
    """Haze over half of the place, which a mask knows, does not pass for haze over all of it."""
    even = ground.isel(time=[0]).assign(B09=ground["B8A"][:1].copy())
    even["status"][:] = Status.CLEAR
    one = {**AIR, "aerosol": 0.1, "water_vapour": 1.0}
    thin, thick = simulate_l1c(even, **one), simulate_l1c(even, **{**AIR, "water_vapour": 5.0})
    left = xr.DataArray(np.arange(48) < 30, dims="x")
    mixed = thick.where(left, thin).assign(status=thin["status"])
    air = {"aerosol": 0.1, "water_vapour": "scene", "elevation": 300}
    assert float(mixed.s2.to_l2a("given", **air)["l2a_water_vapour"][0]) > 2
    masked = mixed.assign(status=mixed["status"].where(~left, np.uint8(Status.CLOUD)))
    masked["status"] = masked["status"].transpose("time", "y", "x").astype(np.uint8)
    assert float(masked.s2.to_l2a("given", **air)["l2a_water_vapour"][0]) == pytest.approx(1, rel=0.05)


def test_many_dates_are_read_in_stretches(
    ground: xr.Dataset, seen: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s2cube.emulate import sample

    air = {"elevation": 300, "aerosol": 0.2}
    whole = seen.s2.to_l2a("blind", **air)["l2a_water_vapour"]
    monkeypatch.setattr(sample, "DATES", 3)
    assert [(one.start, one.stop) for one in sample.stretches(seen.isel(time=slice(0, 7)))] == [
        (0, 3), (3, 6), (6, 7),
    ]  # fmt: skip
    pieces = seen.isel(time=slice(0, 7)).chunk(time=2)
    # Whole chunks, which would be read twice else.
    assert [(one.start, one.stop) for one in sample.stretches(pieces)] == [(0, 4), (4, 7)]
    assert np.array_equal(seen.s2.to_l2a("blind", **air)["l2a_water_vapour"], whole)


def test_the_history_is_the_same_for_dates_that_are_appended(seen: xr.Dataset) -> None:
    """A store refuses dates that were made with other settings; each day's haze is none."""
    air = {
        **AIR,
        "aerosol": xr.DataArray(np.linspace(0.1, 0.3, seen.sizes["time"]), seen["time"].coords),
    }
    early, late = (
        seen.isel(time=part).s2.to_l2a("given", **air) for part in (slice(0, 5), slice(5, None))
    )
    assert early.attrs["history"] == late.attrs["history"]
    assert np.allclose(early["l2a_aerosol"], air["aerosol"][:5])
    with pytest.raises(CubeError, match="lacks dates of the cube"):
        seen.s2.to_l2a("given", **{**air, "aerosol": air["aerosol"][:5]})


def test_indices_of_level_1c_do_not_pass_for_level_2a(seen: xr.Dataset) -> None:
    more = seen.assign(NDVI=(seen["B08"] - seen["B04"]) / (seen["B08"] + seen["B04"]))
    assert set(more.s2.to_l2a("given", **AIR).data_vars) == {*BANDS, "status"}


def test_a_spec_does_not_make_b09_of_other_dates_in_silence(
    ground: xr.Dataset, seen: xr.Dataset
) -> None:
    spec = s2cube.fit_l2a(seen.isel(time=[0]), ground.isel(time=[0]), elevation=300, slopes=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        seen.s2.to_l2a(spec)
    assert any("B09 is hardly of use" in str(one.message) for one in told)
    # Its own date, the vapour told, or no B09: nothing to be said.
    seen.isel(time=[0]).s2.to_l2a(spec)
    seen.s2.to_l2a(spec, water_vapour=2.0)
    seen.drop_vars("B09").s2.to_l2a(spec)


def test_wide_cubes_are_warned_of(seen: xr.Dataset) -> None:
    apart = seen.isel(x=slice(0, 2), y=slice(0, 2)).assign_coords(
        x=seen["x"].values[0] + np.array([0.0, 90_000.0]),
        y=seen["y"].values[0] - np.array([0.0, 90_000]),
    )
    with pytest.warns(UserWarning, match="180 km wide"):
        apart.s2.to_l2a("given", **AIR)
