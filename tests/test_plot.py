"""Pictures show what they say."""

import numpy as np
import pytest
import xarray as xr

from s2cube.errors import CubeError
from s2cube.plot import MISSING

plt = pytest.importorskip("matplotlib.pyplot", reason="needs the extra 'plot'")


@pytest.fixture(scope="module")
def clear(cube: xr.Dataset) -> xr.Dataset:
    return cube.s2.mask_clouds("scl")


def test_frames(clear: xr.Dataset) -> None:
    figure = clear.s2.plot_true_color(columns=3)
    drawn = [axis for axis in figure.axes if axis.images]
    assert len(drawn) == 8
    assert len(figure.axes) == 9
    assert drawn[0].get_title() == "2021-06-01"


def test_frames_of_dates_in_false_colour(clear: xr.Dataset) -> None:
    times = clear["time"].values[[3, 9]]
    figure = clear.s2.plot_true_color(dates=times, bands=("nir", "red", "green"), limits=(0, 0.5))
    for axis, time in zip(figure.axes, times, strict=True):
        image = np.asarray(axis.images[0].get_array())
        frame = clear.sel(time=time)
        missing = np.isnan(frame["B08"].values)
        np.testing.assert_allclose(
            image[missing], np.broadcast_to(MISSING, image[missing].shape), atol=1e-6
        )
        red = np.clip(frame["B08"].values / 0.5, 0, 1)
        np.testing.assert_allclose(image[~missing][:, 0], red[~missing], atol=1e-6)
        assert axis.get_title() == str(time)[:10]


def test_frames_on_given_axes_and_of_nothing(clear: xr.Dataset) -> None:
    figure, axes = plt.subplots(1, 2)
    got = (
        clear.where(False)
        .astype("f4")
        .assign(clear[["SCL", "status"]])
        .s2.plot_true_color(dates=clear["time"].values[:2], axes=axes)
    )
    assert got is figure


def test_series(cube: xr.Dataset, clear: xr.Dataset) -> None:
    filled = clear.s2.fill_gaps(dates=np.arange("2021-05-20", "2022-06-10", dtype="M8[D]"))
    axis = cube.s2.plot_series(band="red", masked=clear, filled=filled)
    lines = {line.get_label(): line for line in axis.lines}
    assert set(lines) == {"filled", "extrapolated", "masked look", "clear look"}
    y, x = (cube[d].values[len(cube[d]) // 2] for d in ("y", "x"))
    seen = clear["B04"].sel(x=x, y=y).values
    np.testing.assert_array_equal(lines["clear look"].get_ydata(), seen)
    assert len(lines["masked look"].get_ydata()) == np.isnan(seen).sum()
    low, high = axis.get_ylim()
    assert high < 2 * np.nanmax(seen) + 0.05, "clouds must not flatten the series"
    assert low <= np.nanmin(seen)


def test_bad_input(cube: xr.Dataset) -> None:
    with pytest.raises(CubeError, match="three bands, got 2"):
        cube.s2.plot_true_color(bands=("red", "green"))
    with pytest.raises(CubeError, match="holds no B12"):
        cube.s2.plot_true_color(bands=("B12", "red", "green"))
    with pytest.raises(CubeError, match="outside the cube"):
        cube.s2.plot_series(x=15.0, y=48.0)


def test_without_matplotlib_the_extra_is_named(
    cube: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw in (cube.s2.plot_true_color, cube.s2.plot_series):
        with pytest.raises(ModuleNotFoundError, match=r"s2cube-ard\[plot\]"):
            draw()


def test_images_are_drawn_too(cube: xr.Dataset) -> None:
    """With periods, of one period, of all looks; several percentiles must be told apart."""
    clear = cube.s2.mask_clouds()
    titles = {
        "two": clear.s2.percentile(
            25, period={"a": ("2021-06", "2021-07"), "b": ("2021-08", "2021-09")}
        ),
        "one": clear.s2.geomedian(period="pan-european").isel(time=1),
        "all": clear.s2.median(),
    }
    drawn = {
        name: [ax.get_title() for ax in image.s2.plot_true_color().axes]
        for name, image in titles.items()
    }
    assert drawn["two"] == ["a", "b"]
    assert drawn["one"] == ["2021 summer"]
    assert drawn["all"] == [f"{str(cube.time.values[0])[:10]} to {str(cube.time.values[-1])[:10]}"]
    with pytest.raises(CubeError, match="select one"):
        clear.s2.percentile((25, 75)).s2.plot_true_color()
