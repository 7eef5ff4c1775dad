"""Pictures show what they say."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import s2cube
from s2cube.errors import CubeError
from s2cube.plot import COLOURS, MISSING, plot_gap_filling, plot_masks
from s2cube.schema import Status

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


def test_masks_beside_their_looks(cube: xr.Dataset) -> None:
    """Each pixel has the colour of its state; one date asked for twice is drawn twice."""
    from matplotlib.colors import to_rgb

    masks = {"scl": s2cube.cloud_mask(cube), "bright": cube["B02"] > 0.15}
    times = cube["time"].values[[2, 7, 7]]
    figure = plot_masks(cube, masks, dates=times, limits=(0, 0.3))
    grid = np.reshape(figure.axes, (3, 3))
    assert [axis.get_title() for axis in grid[0]] == [str(times[0])[:10], "scl", "bright"]
    states = {"scl": masks["scl"]["status"], "bright": masks["bright"] * np.uint8(Status.CLOUD)}
    for row, time in zip(grid, times, strict=True):
        for axis, wanted in zip(row[1:], states.values(), strict=True):
            found, drawn = wanted.sel(time=time).values, np.asarray(axis.images[0].get_array())
            for state in np.unique(found):
                colour = to_rgb(COLOURS[Status(state)])
                np.testing.assert_allclose(drawn[found == state] - colour, 0, atol=1e-6)
    words = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"clear", "cloud", "shadow", "thin cloud"} <= words


def test_one_lazy_mask_and_looks_that_are_none(cube: xr.Dataset) -> None:
    """Whatever is no look is missing; a mask needs no name."""
    lazy = cube.chunk(time=5).s2.cloud_mask()
    mask = lazy.assign(
        status=lazy["status"].where(lazy["x"] > lazy["x"][4], Status.SATURATED).astype("u1")
    )
    figure = plot_masks(cube, mask)
    assert len(figure.axes) == 10
    drawn = np.asarray(figure.axes[1].images[0].get_array())
    np.testing.assert_allclose(drawn[:, :5] - np.array(MISSING), 0, atol=1e-6)
    assert "no look" in {text.get_text() for text in figure.legends[0].get_texts()}
    with pytest.raises(CubeError, match="'other' differs along 'time'"):
        plot_masks(cube, {"other": mask.isel(time=slice(3))})


def test_series(cube: xr.Dataset, clear: xr.Dataset) -> None:
    filled = clear.s2.fill_gaps("linear", dates=np.arange("2021-05-20", "2022-06-10", dtype="M8[D]"))
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
    with pytest.raises(CubeError, match="'2099-07-01' lies outside the cube: "):
        cube.s2.plot_true_color(dates=["2099-07-01"])


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


def test_evaluation(clear: xr.Dataset) -> None:
    """A panel a mask and way, a point a method at its error, the best one full."""
    table = clear.s2.evaluate_gap_filling(["last", "linear"], masks=["frame", "clouds"], daily=False)
    figure = plot_gap_filling(table)
    assert len(figure.axes) == 4
    both, _, past, _ = figure.axes
    assert [label.get_text() for label in both.get_yticklabels()] == ["last", "linear"]
    assert [label.get_text() for label in past.get_yticklabels()] == ["last"]
    assert (both.get_title(), both.get_ylabel(), past.get_ylabel()) == (
        "frame",
        "two-sided",
        "past only",
    )
    others, best = (line.get_xdata() for line in both.lines[-2:])
    own = table[(table["mask"] == "frame") & ~table["causal"]]["mae"]
    assert (best.item(), others.item()) == (own.min(), own.max())
    assert len(plot_gap_filling(table, "ssim").axes) == 4
    with pytest.raises(CubeError, match="several rows a method"):
        plot_gap_filling(pd.concat([table, table]))
    with pytest.raises(CubeError, match="has no beauty"):
        plot_gap_filling(table, "beauty")
