"""Masks by spectra: what they find in clouds of known truth, and that chunks do not matter."""

import hashlib
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest
import xarray as xr
from compare import assert_same

import s2cube
from s2cube.errors import CubeError, ReadError
from s2cube.masks import perceptrons
from s2cube.schema import Status

METHODS = ("spectral", "spectral-temporal")
Holes = Callable[[xr.Dataset], xr.Dataset]


@pytest.fixture(scope="module")
def series() -> tuple[xr.Dataset, xr.Dataset]:
    """A year over simulated land, with clouds and shadows of known truth."""
    clear = s2cube.testing.simulate_cube(
        shape=(96, 100), seed=7, cloud_cover=0, bands=["B02", "B03", "B04", "B08", "B11"]
    )
    cloudy, truth = s2cube.testing.add_clouds(clear.isel(time=slice(None, None, 3)), cover=0.35, seed=3)
    return cloudy.drop_vars("status", errors="ignore"), truth


@pytest.fixture
def land(italy: xr.Dataset) -> xr.Dataset:
    """A part of it, which is quicker."""
    return italy.isel(y=slice(128), x=slice(128))


def f1(cube: xr.Dataset, truth: xr.Dataset, method: str, of: str = "cloud_or_shadow") -> float:
    table = s2cube.evaluate_masks(
        s2cube.cloud_mask(cube, method), truth, classes=("cloud", "shadow")
    ).set_index("class")
    return float(table.loc[of, "f1"])


def test_finds_clouds_of_known_truth(series: tuple[xr.Dataset, xr.Dataset]) -> None:
    cube, truth = series
    assert f1(cube, truth, "spectral", "cloud") > 0.85
    assert f1(cube, truth, "spectral-temporal", "cloud") > 0.85
    assert f1(cube, truth, "spectral-temporal", "shadow") > 0.6


def test_a_series_tells_more_than_a_look(series: tuple[xr.Dataset, xr.Dataset]) -> None:
    cube, truth = series
    assert f1(cube, truth, "spectral-temporal") > f1(cube, truth, "spectral") + 0.05


def test_a_series_tells_more_than_a_look_over_real_land(land: xr.Dataset) -> None:
    """Simulated clouds over the clear ones of real dates, beside real clouds on the others."""
    cloudy = (land["B10"] > 0.006) | (land["B02"] > 0.2)
    clear = np.flatnonzero(cloudy.mean(("y", "x")).values < 0.02)
    assert len(clear) >= 5
    covered, truth = s2cube.testing.add_clouds(land.isel(time=clear), cover=0.4, seed=1)
    mixed = land.copy(deep=True)
    for band in mixed.data_vars:
        mixed[band].values[clear] = covered[band].values
    scores = {}
    for method in METHODS:
        found = s2cube.cloud_mask(mixed, method).isel(time=clear)
        table = s2cube.evaluate_masks(found, truth, classes=("cloud", "shadow")).set_index("class")
        scores[method] = table["f1"]
    assert scores["spectral"]["cloud"] > 0.85
    for words in ("cloud", "cloud_or_shadow"):
        assert scores["spectral-temporal"][words] > scores["spectral"][words]
    gain = scores["spectral-temporal"]["cloud_or_shadow"] - scores["spectral"]["cloud_or_shadow"]
    assert gain > 0.05
    assert scores["spectral-temporal"]["shadow"] > 0.75


@pytest.mark.thorough
def test_clear_land_stays_clear(italy: xr.Dataset) -> None:
    """The clearest of real dates: false clouds would be read as gaps every time."""
    haze = italy["B10"].mean(("y", "x")) + italy["B02"].std(("y", "x"))
    best = np.argsort(haze.values)[:5]
    for method in METHODS:
        status = s2cube.cloud_mask(italy, method)["status"].values[best]
        assert (status >= Status.THIN_CLOUD).mean() < 0.03


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunks", [{"time": 1, "y": 17, "x": 40}, {"time": -1, "y": 96, "x": 33}])
def test_same_for_any_chunks(
    series: tuple[xr.Dataset, xr.Dataset], method: str, chunks: dict[str, int], holes: Holes
) -> None:
    cube = holes(series[0])
    whole = s2cube.cloud_mask(cube, method, buffer=30, probability=True)
    lazy = s2cube.cloud_mask(cube.chunk(chunks), method, buffer=30, probability=True)
    assert lazy["status"].chunks is not None
    assert_same(lazy.compute(), whole)
    gone = np.isnan(cube["B02"].values)
    assert (whole["status"].values[gone] == Status.NO_DATA).all()
    assert np.isnan(whole["cloud_probability"].values[gone]).all()


def test_each_half_year_has_its_reference(series: tuple[xr.Dataset, xr.Dataset]) -> None:
    """As if both were masked apart, each against its own."""
    cube, _ = series
    found = s2cube.cloud_mask(cube.chunk({"time": 4, "y": 50}), "spectral-temporal")["status"]
    winter = np.isin(cube["time"].dt.month, (10, 11, 12, 1, 2, 3))
    assert winter.sum() >= 5
    for half in (winter, ~winter):
        alone = cube.isel(time=np.flatnonzero(half))
        np.testing.assert_array_equal(
            found.values[half], s2cube.cloud_mask(alone, "spectral-temporal")["status"].values
        )
    # Too few of one half: all dates together.
    summer = cube.isel(time=np.flatnonzero(~winter | (np.cumsum(winter) <= 4)))
    year, both = (
        s2cube.cloud_mask(summer, "spectral-temporal", reference=reference)["status"]
        for reference in ("year", "half-year")
    )
    np.testing.assert_array_equal(year, both)


def test_b10_sees_cirrus(italy: xr.Dataset) -> None:
    dark = (italy["B10"] < 0.003) & (italy["B02"] < 0.2)
    clear = italy.isel(time=np.flatnonzero(dark.mean(("y", "x")).values > 0.98))
    veiled, truth = s2cube.testing.add_clouds(clear, cover=0.3, thin=1, seed=2)
    cirrus = truth["status"] == Status.THIN_CLOUD
    found = [
        float((s2cube.cloud_mask(seen, "spectral")["status"] >= 3).where(cirrus).mean())
        for seen in (veiled, veiled.drop_vars("B10"), veiled.drop_vars(["B10", "B11"]))
    ]
    assert found[0] > 0.9
    assert found[0] > found[1]
    assert found[2] > 0.2


def test_a_reference_of_ones_own(series: tuple[xr.Dataset, xr.Dataset]) -> None:
    cube, truth = series
    known = (truth["status"] == Status.CLEAR).rename("keep")
    usual = cube.s2.mask_clouds(~known).s2.geomedian(deviations=False)
    given = s2cube.cloud_mask(cube.isel(time=[4]), "spectral-temporal", reference=usual)
    own = s2cube.cloud_mask(cube, "spectral-temporal")["status"].isel(time=[4])
    assert (given["status"] == own).mean() > 0.9
    dated = usual.expand_dims(time=[np.datetime64("2021-01-01", "ns")])
    assert_same(s2cube.cloud_mask(cube.isel(time=[4]), "spectral-temporal", reference=dated), given)
    # Where it is not known what is usual, the look alone speaks.
    half = usual.where(usual["x"] > usual["x"][50])
    part = s2cube.cloud_mask(cube.isel(time=[4]), "spectral-temporal", reference=half)["status"]
    alone = s2cube.cloud_mask(cube.isel(time=[4]), "spectral")["status"]
    np.testing.assert_array_equal(part[..., :51], alone[..., :51])
    np.testing.assert_array_equal(part[..., 51:], given["status"][..., 51:])


def test_clouds_are_not_what_is_usual() -> None:
    """Where most looks are cloudy the reference is still the ground."""
    cube = s2cube.testing.simulate_cube(
        shape=(16, 16), seed=7, cloud_cover=0, bands=["B02", "B03", "B04", "B08", "B11"]
    ).isel(time=slice(9))
    cloudy = [1, 2, 4, 5, 7, 8]
    for band in cube.data_vars:
        if band in s2cube.schema.BANDS:
            cube[band].values[cloudy] = 0.65
    status = s2cube.cloud_mask(cube, "spectral-temporal", reference="year")["status"].values
    assert (status[cloudy] == Status.CLOUD).mean() > 0.95
    assert (status[[0, 3, 6]] < Status.THIN_CLOUD).mean() > 0.95


def test_what_would_be_masked_is_weighed_together() -> None:
    """Cloud and shadow, neither of them likely: what is masked is more likely than what is not."""
    found = np.zeros((len(perceptrons.STATES), 5), np.float32)
    at = {state: number for number, state in enumerate(perceptrons.STATES)}
    found[at[Status.CLOUD]] = 0.3, 0.2, 0.25, 0, 1
    found[at[Status.SHADOW]] = 0.3, 0.4, 0.25, 0, 0
    found[at[Status.CLEAR]] = 0.4, 0.4, 0.5, 1, 0
    found[:, 3] = np.nan
    got = perceptrons.status_of(found, 0.5).tolist()
    # Half is not more than half; and what was not measured is neither.
    assert got[1:] == [Status.SHADOW, Status.CLEAR, Status.NO_DATA, Status.CLOUD]
    assert got[0] in (Status.CLOUD, Status.SHADOW)
    assert perceptrons.status_of(found[:, 4:], 1.0).tolist() != [Status.CLOUD], "nothing is surer"


@pytest.mark.parametrize("method", METHODS)
def test_threshold(series: tuple[xr.Dataset, xr.Dataset], method: str) -> None:
    masked = [
        float((s2cube.cloud_mask(series[0], method, threshold=at)["status"] >= 3).mean())
        for at in (0.05, 0.5, 0.95)
    ]
    assert masked[0] > masked[1] > masked[2] > 0
    for wrong in (50, True, float("nan"), "0.5"):
        with pytest.raises(CubeError, match="a probability from 0 to 1"):
            s2cube.cloud_mask(series[0], method, threshold=wrong)


def test_what_it_refuses(series: tuple[xr.Dataset, xr.Dataset]) -> None:
    cube, _ = series
    with pytest.raises(CubeError, match=r"'spectral' needs B08 \(nir\)"):
        s2cube.cloud_mask(cube.drop_vars("B08"), "spectral")
    with pytest.raises(CubeError, match="unknown level"):
        s2cube.cloud_mask(cube.drop_vars("processing_level"), "spectral-temporal")
    with pytest.raises(CubeError, match=r"series of 5 dates or more .* has 2: .*take 'spectral'"):
        s2cube.cloud_mask(cube.isel(time=[0, 1]), "spectral-temporal")
    few = s2cube.cloud_mask(cube.isel(time=slice(5)), "spectral-temporal")
    assert few.sizes["time"] == 5, "five are enough"
    usual = cube.s2.geomedian(deviations=False)
    for wrong, words in (
        (usual.drop_vars("B11"), "holds no B11"),
        (usual.isel(x=slice(1, None)), "another grid than the cube, along 'x'"),
        (cube, "one image"),
        (usual["B02"], "an image with the cube's bands, .* got DataArray"),
        ("season", "or one of half-year, year; got 'season'"),
    ):
        with pytest.raises(CubeError, match=words):
            s2cube.cloud_mask(cube, "spectral-temporal", reference=wrong)


def test_nothing_to_see(series: tuple[xr.Dataset, xr.Dataset]) -> None:
    nothing = series[0].map(lambda band: band.where(False))
    for method in METHODS:
        status = s2cube.cloud_mask(nothing.chunk({"y": 50}), method)["status"].values
        assert (status == Status.NO_DATA).all()


def test_weights_are_those_of_this_version() -> None:
    data = files("s2cube.masks").joinpath(perceptrons.FILE).read_bytes()
    assert hashlib.sha256(data).hexdigest() == perceptrons.SHA256
    assert len(data) < 200_000
    for level, sets in perceptrons.BAND_SETS.items():
        for names in sets:
            look, change = (perceptrons.layers_of(kind, level, names) for kind in ("look", "change"))
            assert (len(look[-1][1]), len(change[-1][1])) == (5, 6)
            assert all(part.dtype == np.float32 for pair in look for part in pair)
    with pytest.raises(ReadError, match="install one version of s2cube-ard on all machines"):
        perceptrons.layers_of("look", "L2A", perceptrons.BAND_SETS["L2A"][0], "0" * 64)


# --- plain arrays ---------------------------------------------------------------------------------


NAMES = ("B02", "B03", "B04", "B08", "B11")


def array_of(cube: xr.Dataset) -> np.ndarray:
    return np.stack([cube[band].values for band in NAMES], axis=-1)


def test_plain_arrays(series: tuple[xr.Dataset, xr.Dataset]) -> None:
    """One image, and a series, without a cube: the same numbers as with one."""
    cube, _ = series
    how = {"bands": NAMES, "level": "L2A"}
    pixels = array_of(cube)
    one = s2cube.cloud_mask(pixels[3], "spectral", **how)
    assert isinstance(one, np.ndarray)
    assert one.shape == pixels.shape[1:3]
    np.testing.assert_array_equal(one, s2cube.cloud_mask(cube, "spectral")["status"].values[3])
    every = s2cube.cloud_mask(pixels, "spectral-temporal", **how)
    # Without dates there are no half-years.
    expected = s2cube.cloud_mask(cube, "spectral-temporal", reference="year")["status"].values
    np.testing.assert_array_equal(every, expected)
    usual = np.nanmedian(pixels, axis=0)
    alone = s2cube.cloud_mask(pixels[3], "spectral-temporal", reference=usual, **how)
    assert (alone == expected[3]).mean() > 0.8
    grown = s2cube.cloud_mask(pixels[3], "spectral", buffer=40, resolution=20, **how)
    assert (grown >= 3).sum() > (one >= 3).sum()


def test_plain_arrays_that_do_not_say_what_they_are(
    series: tuple[xr.Dataset, xr.Dataset],
) -> None:
    cube, _ = series
    pixels, names = array_of(cube)[0], NAMES
    for wrong, how, words in (
        (pixels, {"level": "L2A"}, r"give bands=\['B02', ...\]"),
        (pixels, {"bands": names}, "and level='L1C' or 'L2A'"),
        (pixels, {"bands": names[:3], "level": "L2A"}, r"has the shape \(y, x, 3\)"),
        (pixels, {"bands": names, "level": "2A"}, "level is one of"),
        ((pixels * 1e4).astype(np.int16), {"bands": names, "level": "L2A"}, r"looks like counts"),
        (pixels * 1e4, {"bands": names, "level": "L2A"}, r"\(counts - 1000\) / 10000"),
        (pixels, {"bands": names, "level": "L2A", "buffer": 20}, "give resolution="),
    ):
        with pytest.raises(CubeError, match=words):
            s2cube.cloud_mask(wrong, "spectral", **how)
    with pytest.raises(CubeError, match="bands, level and resolution are of plain arrays"):
        s2cube.cloud_mask(cube, "spectral", level="L2A")
