"""Composites of cubes: the numbers are numpy's, and what they are is told."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import xarray as xr
from compare import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st

import s2cube
from s2cube.errors import CubeError

BANDS = ["B04", "B08", "B11"]
SUMMER = {"summer": ("2021-06-01", "2021-08-31"), "june": ("2021-06-01", "2021-06-30")}

VERBS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "percentile": lambda c: c.s2.percentile(),
    "percentile of one": lambda c: c.s2.percentile(25, bands="red"),
    "percentile by month": lambda c: c.s2.percentile((10, 90), period="MS"),
    "percentile by torch": lambda c: c.s2.percentile(device="cpu", period="QS-DEC"),
    "median": lambda c: c.s2.median(period="pan-european"),
    "geomedian": lambda c: c.s2.geomedian(),
    "geomedian by season": lambda c: c.s2.geomedian(period="QS-DEC", deviations=False),
    "geomedian of intervals": lambda c: c.s2.geomedian(period=SUMMER),
    "geomedian weighted": lambda c: c.s2.geomedian(weights=np.arange(c.sizes["time"])),
    "count": lambda c: c.s2.count(period="10D", months=[6, 7]),
}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    """A masked cube, in memory."""
    return s2cube.testing.simulate_cube(shape=(24, 20), seed=1, bands=BANDS).s2.mask_clouds()


def quantiles(array: xr.DataArray, q: tuple[float, ...]) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanpercentile(array.values.astype(np.float64), q, axis=0)


def test_percentiles_are_numpys(clear: xr.Dataset) -> None:
    image = clear.s2.percentile((5, 50, 95))
    assert image["B08"].dims == ("percentile", "y", "x")
    assert image["percentile"].values.tolist() == [5, 50, 95]
    for band in BANDS:
        assert image[band].dtype == np.float32
        np.testing.assert_allclose(image[band], quantiles(clear[band], (5, 50, 95)), atol=3e-7)
    assert image["count"].dtype == np.int16
    np.testing.assert_array_equal(image["count"], np.isfinite(clear["B04"]).sum("time"))


def test_percentiles_as_xarrays(clear: xr.Dataset) -> None:
    ours = clear.s2.percentile((25, 75), period="QS-DEC")
    for start in ours["time"].values:
        days = clear["time"].values.astype("M8[D]")
        own = clear.isel(time=(days >= start) & (days < start + np.timedelta64(92, "D")))
        end = ours["time_bnds"].sel(time=start).values[1]
        own = own.isel(time=own["time"].values < end)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            theirs = own["B04"].quantile([0.25, 0.75], "time", skipna=True)
        np.testing.assert_allclose(ours["B04"].sel(time=start), theirs, atol=3e-7)


def test_a_single_percentile_has_no_dimension(clear: xr.Dataset) -> None:
    for q in (25, 25.0, np.float32(25)):
        image = clear.s2.percentile(q, period="MS")
        assert image["B04"].dims == ("time", "y", "x")
        assert image["percentile"].item() == 25
        np.testing.assert_array_equal(
            image["B04"], clear.s2.percentile((25,), period="MS")["B04"].sel(percentile=25)
        )


def test_the_median_is_the_percentile_of_50(clear: xr.Dataset) -> None:
    image = clear.s2.median()
    assert set(image.data_vars) == {*BANDS, "count"}
    assert "percentile" not in image.coords
    np.testing.assert_array_equal(image["B08"], clear.s2.percentile(50)["B08"])
    assert image["B08"].attrs["cell_methods"] == "time: median"


def test_the_count_is_that_of_the_band_with_the_fewest(clear: xr.Dataset) -> None:
    holes = clear.copy(deep=True)
    holes["B08"][:30] = np.nan
    image = holes.s2.percentile()
    np.testing.assert_array_equal(image["count"], np.isfinite(holes["B08"]).sum("time"))
    complete = np.isfinite(holes[BANDS].to_array()).all("variable").sum("time")
    np.testing.assert_array_equal(holes.s2.count()["count"], complete)
    np.testing.assert_array_equal(holes.s2.geomedian()["count"], complete)
    red = holes.s2.count(bands="red")
    np.testing.assert_array_equal(red["count"], np.isfinite(holes["B04"]).sum("time"))


def test_the_geomedian_is_the_references(clear: xr.Dataset) -> None:
    image = clear.s2.geomedian()
    assert set(image.data_vars) == {*BANDS, "emad", "smad", "bcmad", "count"}
    looks = clear[BANDS].to_array().values.reshape(3, clear.sizes["time"], -1)
    wanted = reference.geometric_medians(looks)
    found = image[BANDS].to_array().values.reshape(3, -1)
    assert np.abs(found - wanted).max() < 5e-5
    for name in ("emad", "smad", "bcmad"):
        assert image[name].dtype == np.float32
        assert (image[name] >= 0).all()
    away = np.sqrt(((looks - wanted[:, None]) ** 2).sum(0))
    np.testing.assert_allclose(
        image["emad"].values.ravel(), np.nanmedian(away, axis=0), rtol=1e-3, atol=1e-5
    )


def test_by_period_is_each_period_alone(clear: xr.Dataset) -> None:
    whole = clear.s2.geomedian(period="QS-DEC")
    days = clear["time"].values.astype("M8[D]")
    for number in range(whole.sizes["time"]):
        start, stop = whole["time_bnds"].values[number]
        alone = clear.isel(time=(days >= start) & (days < stop)).s2.geomedian()
        for name in whole.data_vars:
            np.testing.assert_array_equal(whole[name][number], alone[name])


def test_weights_are_those_of_the_dates_of_each_period(clear: xr.Dataset) -> None:
    weights = xr.DataArray(np.arange(clear.sizes["time"]) % 4, {"time": clear["time"]})
    one = clear.s2.geomedian(weights=weights, period="QS-DEC")
    without = clear.isel(time=weights.values > 0)
    kept = without.s2.geomedian(weights=weights.values[weights.values > 0], period="QS-DEC")
    np.testing.assert_array_equal(one["count"], kept["count"])
    np.testing.assert_allclose(one["B08"], kept["B08"], atol=1e-5)


def test_periods_without_looks(clear: xr.Dataset) -> None:
    """An image without values, and a count of 0: what is missing is said."""
    never = {"never": ("2001-01-01", "2001-12-31"), "june": ("2021-06-01", "2021-06-30")}
    for image in (clear.s2.percentile(period=never), clear.s2.geomedian(period=never)):
        assert (image["count"][0] == 0).all()
        assert (image["count"][1] > 0).any()
        for name in set(image.data_vars) - {"count"}:
            assert image[name][0].isnull().all()
            assert image[name][1].notnull().any()
        assert image["period"].values.tolist() == ["never", "june"]
    assert (clear.s2.count(period=never)["count"][0] == 0).all()


@settings(max_examples=8)
@given(st.integers(1, 30), st.integers(1, 24), st.integers(1, 20), st.sampled_from(sorted(VERBS)))
def test_lazily_the_same(clear: xr.Dataset, time: int, y: int, x: int, name: str) -> None:
    verb = VERBS[name]
    lazy = verb(clear.chunk(time=time, y=y, x=x))
    assert all(array.chunks for array in lazy.data_vars.values())
    assert_same(lazy, verb(clear))


@every_verb
def test_nothing_is_computed(clear: xr.Dataset, verb: Callable) -> None:
    import dask.array as da

    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    lazy = clear.chunk(time=1)
    for band in BANDS:
        lazy[band] = lazy[band].copy(
            data=da.map_blocks(
                explode, lazy[band].data, dtype=np.float32, meta=np.empty((0, 0, 0), "f4")
            )
        )
    image = verb(lazy)
    with pytest.raises(AssertionError, match="computed"):
        image.compute(scheduler="sync")


@every_verb
def test_it_says_what_it_is(clear: xr.Dataset, verb: Callable) -> None:
    image = verb(clear)
    before, after = clear.attrs["history"], image.attrs["history"]
    assert after.startswith(before)
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    assert after.splitlines()[-1].partition("(")[0] in {"percentile", "geomedian", "count"}
    assert not set(image.data_vars) & {"SCL", "status", "cloud_mask"}
    for name, array in image.data_vars.items():
        assert array.attrs["long_name"], name
        assert array.attrs["units"] == "1"
        # What a mask says of itself, and of classes, is no business of an image.
        assert not {key for key in array.attrs if key.startswith("flag")}, name
        assert array.encoding["grid_mapping"] == "spatial_ref"
    assert image["count"].attrs["standard_name"] == "number_of_observations"
    if "time" in image.dims:
        assert image["time"].attrs["bounds"] == "time_bnds"
        assert set(image.coords) >= {"time", "time_bnds"}
        # What belonged to single looks is gone.
    assert not {"platform", "relative_orbit", "datatake", "items"} & set(image.coords)


@every_verb
def test_it_stays_on_its_grid(clear: xr.Dataset, verb: Callable) -> None:
    import odc.geo.xr  # noqa: F401
    import rioxarray  # noqa: F401

    image = verb(clear)
    assert image.odc.geobox == clear.odc.geobox
    assert image.rio.crs.to_epsg() == 32633
    assert image["count"].rio.crs.to_epsg() == 32633
    assert image["count"].rio.transform() == clear["B04"].rio.transform()


@every_verb
def test_it_can_be_kept_as_netcdf(clear: xr.Dataset, verb: Callable, tmp_path: Any) -> None:
    image = verb(clear)
    image.to_netcdf(tmp_path / "image.nc")
    with xr.open_dataset(tmp_path / "image.nc", decode_coords="all") as back:
        for name in image.data_vars:
            np.testing.assert_array_equal(back[name], image[name])
            assert back[name].rio.crs.to_epsg() == 32633


def test_history_has_what_decides_the_values(clear: xr.Dataset) -> None:
    def told(image: xr.Dataset) -> str:
        return image.attrs["history"].splitlines()[-1]

    assert told(clear.s2.percentile((25, 75), bands="red", period="MS", months=[6])) == (
        "percentile(q=[25.0, 75.0], bands=['B04'], period='MS', months=[6])"
    )
    assert told(clear.s2.median()) == told(clear.s2.percentile(50))
    assert told(clear.s2.percentile(device="cpu")) == told(clear.s2.percentile())


def test_tasks_do_not_grow_with_dates(clear: xr.Dataset) -> None:
    """Above what reads and masks: a few for each block and image."""
    cube = s2cube.testing.simulate_cube(shape=(32, 32), seed=1, bands=BANDS)
    tasks = []
    for dates in (20, 40):
        lazy = cube.isel(time=slice(0, dates)).chunk(time=1, y=16, x=16)
        reads = {key for band in BANDS for key in lazy[band].data.__dask_graph__()}
        tasks.append(len(set(lazy.s2.geomedian().__dask_graph__()) - reads))
    assert tasks[0] == tasks[1] < 4 * 20


def test_band_names_and_the_cubes_own_order(clear: xr.Dataset) -> None:
    assert list(clear.s2.geomedian(bands=["nir", "red"], deviations=False).data_vars) == [
        "B08", "B04", "count",
    ]  # fmt: skip


REFUSED: dict[str, tuple[Callable[[xr.Dataset], Any], str]] = {
    "q above 100": (lambda c: c.s2.percentile(101), "from 0 to 100"),
    "q below 0": (lambda c: c.s2.percentile((-1, 50)), "from 0 to 100"),
    "q of nothing": (lambda c: c.s2.percentile(()), "from 0 to 100"),
    "q is no number": (lambda c: c.s2.percentile("median"), "from 0 to 100"),
    "q is None": (lambda c: c.s2.percentile(None), "from 0 to 100"),
    "q twice": (lambda c: c.s2.percentile((25, 25)), "different percentiles"),
    "q NaN": (lambda c: c.s2.percentile(float("nan")), "from 0 to 100"),
    "q nested": (lambda c: c.s2.percentile([[25, 50]]), "from 0 to 100"),
    "period": (lambda c: c.s2.median(period="fortnight"), "'QS-DEC'"),
    "months": (lambda c: c.s2.count(months=[14]), "from 1 to 12"),
    "bands": (lambda c: c.s2.geomedian(bands="B99"), "B99"),
    "bands not held": (lambda c: c.s2.geomedian(bands="B02"), "holds no B02"),
    "too few weights": (lambda c: c.s2.geomedian(weights=[1, 2]), "one for each look"),
    "negative weights": (
        lambda c: c.s2.geomedian(weights=-np.ones(c.sizes["time"])), "none negative",
    ),
    "weights NaN": (lambda c: c.s2.geomedian(weights=np.full(c.sizes["time"], np.nan)), "finite"),
    "weights are words": (lambda c: c.s2.geomedian(weights="idw"), "one for each look"),
    "weights of other dates": (
        lambda c: c.s2.geomedian(
            weights=xr.DataArray(
                np.ones(c.sizes["time"]), {"time": c["time"] + np.timedelta64(1, "D")}
            )
        ),
        "time",
    ),
    "a quantile": (lambda c: c.s2.percentile((0.25, 0.5)), r"not quantiles .* \[25.0, 50.0\]"),
    "device": (lambda c: c.s2.percentile(device="gpu"), "'cuda'"),
    "device of another kind": (lambda c: c.s2.geomedian(device=0), "'cuda'"),
    "an image": (lambda c: c.s2.median().s2.median(), "no 'time' dimension"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(clear: xr.Dataset, name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(CubeError, match=words):
        call(clear)


def test_weights_are_aligned_by_time(clear: xr.Dataset) -> None:
    """A DataArray says itself of which look each weight is."""
    weights = xr.DataArray(np.arange(clear.sizes["time"]) % 4, {"time": clear["time"]})
    turned = weights.isel(time=slice(None, None, -1))
    one, other = (clear.s2.geomedian(weights=some) for some in (weights, turned))
    np.testing.assert_array_equal(one["B08"], other["B08"])


def test_heavy_handed() -> None:
    """A cloud-free picture of a cloudy place: the low percentile of a hundred looks of some years."""
    how: dict[str, Any] = {
        "shape": (32, 32), "seed": 4, "bands": ["red", "green", "blue"],
        "start": "2019-01-01", "end": "2021-12-31",
    }  # fmt: skip
    cube = s2cube.testing.simulate_cube(**how, cloud_cover=0.7)
    truth = s2cube.testing.simulate_cube(**how, cloud_cover=0)
    cube, truth = (some.isel(time=slice(-100, None)) for some in (cube, truth))
    looks = cube.s2.mask_clouds(buffer=20)
    image = looks.s2.percentile(25)
    assert image["count"].max() <= 100
    for band in ("B04", "B03", "B02"):
        missed = image[band].isnull().mean()
        assert missed < 0.01
        # Within what the ground itself goes through in those years: no cloud, no shadow.
        low, high = truth[band].min("time") - 0.01, truth[band].max("time") + 0.01
        assert ((image[band] >= low) & (image[band] <= high) | image[band].isnull()).all()
    # And in spite of a mask that lets through a fifth of all clouds.
    missed = xr.DataArray(
        np.random.default_rng(0).random(cube["B04"].shape) < 0.2, dims=cube["B04"].dims
    )
    dirty = cube.assign({band: cube[band].where(missed, looks[band]) for band in ("B04", "B03", "B02")})
    bright = (dirty["B04"].mean("time") - truth["B04"].mean("time")).mean()
    rest = (dirty.s2.percentile(25)["B04"] - truth["B04"].quantile(0.25, "time")).mean()
    assert bright > 0.05
    assert abs(rest) < 0.25 * bright
