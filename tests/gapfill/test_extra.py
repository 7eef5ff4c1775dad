"""``fill_gaps(extra=)``: what is taken, what is refused, and that nothing depends on how it is cut."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from compare import assert_same

import s2cube
from s2cube.errors import CubeError
from s2cube.gapfill import windows
from s2cube.schema import Provenance


@pytest.fixture(scope="module")
def pair() -> tuple[xr.Dataset, xr.Dataset]:
    """A masked cube, closed for two months, and a sensor that sees its fields through clouds."""
    how: dict[str, Any] = {
        "shape": (32, 32), "start": "2020-10-01", "seed": 3, "bands": ["red", "nir"], "revisit": 10,
    }  # fmt: skip
    truth = s2cube.testing.simulate_cube(cloud_cover=0, **how)
    rng = np.random.default_rng(0)
    # What weather does to the land, which no season tells.
    rain = np.zeros(len(truth["time"]))
    for k in range(1, len(rain)):
        rain[k] = 0.9 * rain[k - 1] + 0.4 * rng.standard_normal()
    field = rng.uniform(-1, 1, (4, 4)).repeat(8, 0).repeat(8, 1)
    state = (rain[:, None, None] * field).astype(np.float32)
    cube = s2cube.testing.simulate_cube(**how).s2.mask_clouds("scl")
    cube = cube.assign({name: cube[name] + by * state for name, by in (("B04", 0.01), ("B08", -0.03))})
    closed = (cube["time"] > np.datetime64("2021-08-01")) & (cube["time"] < np.datetime64("2021-09-25"))
    cube = cube.assign({name: cube[name].where(~closed) for name in ("B04", "B08")})
    speckle = 0.1 * rng.standard_normal((2, *state.shape))
    names = {"VV": state - 10 + speckle[0], "VH": -2 * state - 17 + speckle[1]}
    coords = cube[["time", "y", "x", "spatial_ref"]].coords
    radar = xr.Dataset({name: (("time", "y", "x"), data) for name, data in names.items()}, coords)
    return cube, radar.astype(np.float32)


@pytest.mark.slow
def test_any_chunks_give_the_same(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "SIDE", 20)
    monkeypatch.setattr(windows, "HALO", 4)
    cube, radar = pair
    how: dict[str, Any] = {"freq": "20D", "uncertainty": True}
    whole = cube.s2.fill_gaps("similar", extra=radar, **how)
    assert Provenance.OTHER_SENSOR in whole["provenance"]
    chunks, others = {"time": 7, "y": 23, "x": 11}, {"time": 11, "y": 9, "x": 30}
    lazy = cube.chunk(chunks).s2.fill_gaps("similar", extra=[radar.chunk(others)], **how)
    assert set(lazy.chunks) == {"time", "y", "x"}
    assert_same(lazy, whole)
    # Either may be lazy alone.
    cube, radar = (one.isel(y=slice(12), x=slice(12)) for one in pair)
    one = cube.chunk(chunks).s2.fill_gaps("similar", extra=radar, **how)
    assert_same(cube.s2.fill_gaps("similar", extra=radar.chunk(others), **how), one)


def test_nothing_is_computed_and_the_plan_knows_what_it_takes(pair: Any) -> None:
    import dask

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    cube, radar = (one.chunk(time=1) for one in pair)
    with dask.config.set(scheduler=never):
        plans = [
            s2cube.explain(cube.s2.fill_gaps("similar", extra=extra, freq="5D"), threads=1).task_bytes
            for extra in (None, radar)
        ]
    assert plans[0] is not None
    assert plans[1] is not None
    assert plans[1] > plans[0] + radar.nbytes


def test_what_is_made_of_it(pair: Any) -> None:
    cube, radar = pair
    daily = cube.s2.fill_gaps("similar", extra=[radar[["VH"]], radar], freq="3D", uncertainty=True)
    assert "extra=[['VH'], ['VV', 'VH']]" in daily.attrs["history"]
    other = daily["provenance"].values == Provenance.OTHER_SENSOR
    assert other.any()
    assert np.isfinite(daily["B08_uncertainty"].values[other]).all()
    assert (daily["B08_uncertainty"].values[other] > 0).all()
    plain = cube.s2.fill_gaps("similar", freq="3D")
    assert "extra" not in plain.attrs["history"]
    observed = plain["provenance"].values == Provenance.OBSERVED
    np.testing.assert_array_equal(observed, daily["provenance"].values == Provenance.OBSERVED)
    np.testing.assert_array_equal(plain["B08"].values[observed], daily["B08"].values[observed])
    np.testing.assert_array_equal(plain["clear_age"], daily["clear_age"])


def test_far_away_or_missing_it_changes_nothing(pair: Any) -> None:
    cube, radar = pair
    plain = cube.s2.fill_gaps("seasonal", freq="10D")
    far = radar.assign_coords(time=radar["time"] + np.timedelta64(3000, "D"))
    for extra in (far, radar.where(False), []):
        told = cube.s2.fill_gaps("seasonal", freq="10D", extra=extra)
        xr.testing.assert_equal(told, plain)


def test_what_it_is_made_of_does_not_matter(pair: Any) -> None:
    """Dimensions in another order, double precision, infinities for what is missing."""
    cube, radar = pair
    missing = radar.where(radar["time"].dt.month != 3)
    plain = cube.s2.fill_gaps("seasonal", freq="10D", extra=missing)
    other = missing.fillna(np.inf).astype(np.float64).transpose("y", "x", "time")
    assert_same(cube.s2.fill_gaps("seasonal", freq="10D", extra=other), plain)


def test_causal_from_mask_to_fill(pair: Any) -> None:
    cube, radar = pair
    day = np.datetime64("2021-08-20")
    how: dict[str, Any] = {"freq": "7D", "causal": True}
    whole = cube.s2.fill_gaps("similar", extra=radar, **how)
    later = radar["time"] > day
    rng = np.random.default_rng(0)
    changed = radar.where(~later, xr.full_like(radar, 0) + rng.uniform(-30, 5)).where(
        ~(later & (rng.random(len(later)) < 0.3))
    )
    upto = {"time": whole["time"] <= day}
    told = cube.s2.fill_gaps("similar", extra=changed, **how)
    xr.testing.assert_equal(told.isel(upto), whole.isel(upto))
    assert not told.equals(whole)
    cut = cube.s2.fill_gaps("similar", extra=radar.isel(time=~later.values), **how)
    xr.testing.assert_equal(cut.isel(upto), whole.isel(upto))


def test_the_judge_takes_it(pair: Any) -> None:
    cube, radar = pair
    methods = {"time": {"method": "seasonal"}, "with radar": {"method": "seasonal", "extra": radar}}
    table = s2cube.evaluate_gap_filling(
        cube, methods, masks=["gap"], gaps=[60], causal=False, seed=1, daily=False, progress=False
    )
    error = table[table["mask"] == "gap60"].set_index("method")["mae"]
    assert error["with radar"] < 0.95 * error["time"]
    with pytest.raises(CubeError, match="'linear' has no use for other sensors"):
        s2cube.evaluate_gap_filling(cube, {"linear": {"extra": radar}}, progress=False)


def bad(change: Callable[[xr.Dataset], Any], words: str, name: str) -> Any:
    return pytest.param(change, words, id=name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        bad(lambda r: r["VV"], r"extra\[0\] is a DataArray.*to_dataset", "array"),
        bad(lambda _: 5, "a Dataset or a list of them; got int", "number"),
        bad(lambda r: [r, None], r"extra\[1\] is a NoneType", "none inside"),
        bad(lambda r: r[[]], "has no variables", "no variables"),
        bad(lambda r: r.astype("int16"), "is int16: missing is NaN.*astype", "integers"),
        bad(lambda r: r.assign(h=r["VV"][0]), "'h' of .*drop what has no dates", "no dates"),
        bad(lambda r: r.isel(time=slice(0)), "has no date", "empty"),
        bad(lambda r: r.drop_vars("time"), "no coordinate 'time'", "no times"),
        bad(lambda r: r.assign_coords(time=np.arange(r.sizes["time"])), "not datetime64", "numbers"),
        bad(lambda r: r.isel(time=slice(None, None, -1)), "not sorted: extra.sortby", "unsorted"),
        bad(lambda r: r.isel(time=[0, 0, 1]), "one time twice: extra.groupby", "twice"),
        bad(lambda r: r.drop_vars("spatial_ref"), "no CRS.*assign_crs.*write_crs", "no crs"),
        bad(lambda r: r.isel(x=slice(1, None)), "32 x 31 px.*reproject_match", "smaller"),
        bad(lambda r: r.assign_coords(x=r["x"] + 5), "not on the grid.*odc.reproject", "shifted"),
        bad(lambda r: r.isel(y=slice(None, None, -1)), "not on the grid", "south up"),
        bad(
            lambda r: r.assign_coords(spatial_ref=s2cube.schema.spatial_ref(box("EPSG:32634"))),
            "is in EPSG:32634, the cube in EPSG:32633.*reproject",
            "other crs",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(pair: Any, change: Any, words: str) -> None:
    cube, radar = pair
    with pytest.raises(CubeError, match=words):
        cube.s2.fill_gaps("similar", extra=change(radar))


def box(crs: str) -> Any:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox((4, 4), Affine(10, 0, 0, 0, -10, 0), crs)


@pytest.mark.parametrize("method", ["linear", "last", "whittaker", "harmonic"])
def test_methods_that_cannot_use_it_say_so(pair: Any, method: Any) -> None:
    cube, radar = pair
    with pytest.raises(CubeError, match=r"no use for other sensors: extra= goes with seasonal, similar"):
        cube.s2.fill_gaps(method, extra=radar)


def test_radar_over_real_fields(real_data: Callable[[str], Path]) -> None:
    """One year of 10-day composites is little to learn from: little is gained, and nothing lost."""
    path = real_data("s1s2_scaleag") / "inference_area_tevuren.nc"
    with xr.open_dataset(path, decode_coords="all", mask_and_scale=False) as source:
        cube = s2cube.as_cube(source, scale=1e-4, offset=0, level="L2A").compute()
        counts = {pol: source[f"S1-SIGMA0-{pol}"].values for pol in ("VV", "VH")}
    decibels = {
        pol: np.where(dn == -1, np.nan, 20 * np.log10(dn.view("u2").astype(np.float32)) - 83)
        for pol, dn in counts.items()
    }
    grid = cube[["time", "y", "x", "spatial_ref"]].coords
    radar = xr.Dataset({pol: (("time", "y", "x"), data) for pol, data in decibels.items()}, grid)
    cube = cube[["B03", "B04", "B08", "B11"]]
    methods = {"time": {"method": "seasonal"}, "with radar": {"method": "seasonal", "extra": radar}}
    table = s2cube.evaluate_gap_filling(
        cube, methods, masks=["gap"], gaps=[45, 90], daily=False, progress=False, seed=0
    )
    table = table[table["mask"] != "floor"]
    error = table.pivot_table(index=["mask", "causal"], columns="method", values="mae", observed=True)
    ratio = error["with radar"] / error["time"]
    assert ratio.max() < 1.02
    assert ratio.mean() < 1.0
