"""Pictures of cubes: frames in true or false colour, masks beside them, and the series of a pixel."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.masks.given import Mask, status_of_mask
from s2cube.schema import PROVENANCE, Provenance, Status

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MISSING",
    "plot_gap_filling",
    "plot_masks",
    "plot_series",
    "plot_true_color",
    "pyplot",
]

MISSING = (0.80, 0.80, 0.84)
"""Colour of missing pixels: a grey that no landscape has."""
COLOURS: dict[Status, Any] = {
    Status.CLEAR: "#ece8dc",
    Status.CLEAR_WATER: "#4a86b8",
    Status.SNOW: "#8fdcea",
    Status.THIN_CLOUD: "#f2b0c4",
    Status.SHADOW: "#3b2f63",
    Status.CLOUD: "#cf4257",
    Status.NO_DATA: MISSING,
}
"""Colours of a mask; whatever is no look is drawn as missing."""


def plot_true_color(
    cube: xr.Dataset,
    *,
    dates: Any = None,
    bands: Sequence[str] = ("red", "green", "blue"),
    limits: tuple[float, float] | None = None,
    columns: int = 4,
    axes: "Iterable[Axes] | None" = None,
) -> "Figure":
    """Draw frames of a cube in colour; missing pixels are grey.

    Parameters
    ----------
    cube
        A cube, or images such as :func:`s2cube.percentile` makes, with ``time`` or without; only the
        frames drawn are computed.
    dates
        Which frames; each is the nearest step. By default, up to eight evenly spread over the cube.
    bands
        Three bands for red, green and blue; ``("nir", "red", "green")`` is the usual false colour.
    limits
        Reflectance drawn black and white. By default, the 2nd and 98th percentile of all frames
        together, so that frames compare.
    columns
        Frames in a row.
    axes
        Axes to draw on, one a frame, instead of a new figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    CubeError
        The cube lacks a band, or there are not three.
    ModuleNotFoundError
        matplotlib is not installed (extra ``plot``).

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> figure = cube.s2.plot_true_color(columns=3)
    """
    plt = pyplot()
    cube = _frames(cube)
    if len(bands) != 3:
        raise CubeError(f"A picture takes three bands, got {len(bands)}: {list(bands)}.")
    names = [schema.pick_bands(cube, band)[0] for band in bands]
    frames = cube[names].isel(time=_steps(cube, dates, most=8)).compute()
    image = np.stack([frames[name].values for name in names], axis=-1)
    low, high = _limits(image) if limits is None else limits
    figure: Figure
    if axes is None:
        rows = -(-len(image) // columns)
        width = min(columns, len(image))
        figure, grid = plt.subplots(
            rows, width, figsize=(2.6 * width, 2.9 * rows), squeeze=False, layout="constrained"
        )
        drawn = list(grid.flat)
    else:
        drawn = list(axes)
        figure = drawn[0].get_figure()
    for axis in drawn[len(image) :]:
        axis.set_axis_off()
    for axis, picture, title in zip(drawn, image, _titles(frames), strict=False):
        missing = np.isnan(picture).any(axis=-1)
        colours = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
        colours[missing] = MISSING
        axis.imshow(colours, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    return figure


def plot_masks(
    cube: xr.Dataset,
    masks: Mask | Mapping[str, Mask],
    *,
    dates: Any = None,
    bands: Sequence[str] = ("red", "green", "blue"),
    limits: tuple[float, float] | None = None,
) -> "Figure":
    """Draw masks beside the looks that they are of: a row a date, a column a mask.

    Parameters
    ----------
    cube
        The looks, not masked.
    masks
        One, or several by name: what :func:`~s2cube.cloud_mask` returned, a ``status`` array, or a
        boolean array that is True where there is cloud.
    dates
        Which looks; each is the nearest step. By default, up to five evenly spread over the cube.
    bands, limits
        As for :func:`plot_true_color`.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, with a legend of the states that occur.

    Raises
    ------
    CubeError
        The cube lacks a band, or a mask does not fit it.
    ModuleNotFoundError
        matplotlib is not installed (extra ``plot``).

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> masks = {"scl": s2cube.cloud_mask(cube), "wide": s2cube.cloud_mask(cube, buffer=100)}
    >>> figure = s2cube.plot.plot_masks(cube, masks)
    """
    plt = pyplot()
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    cube = schema.validate(cube)
    # A Dataset is a Mapping too.
    single = isinstance(masks, (xr.Dataset, xr.DataArray)) or not isinstance(masks, Mapping)
    named: dict[str, Any] = {"": masks} if single else {str(name): mask for name, mask in masks.items()}
    steps = _steps(cube, dates, most=5)
    rows, columns = len(steps), 1 + len(named)
    size = (2.2 * columns, 2.3 * rows + 0.4)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    times = cube["time"].values[steps]
    plot_true_color(cube, dates=times, bands=bands, limits=limits, axes=grid[:, 0])
    table = np.full((len(Status), 3), MISSING)
    for state, colour in COLOURS.items():
        table[state] = to_rgb(colour)
    occurring: set[int] = set()
    for column, (name, mask) in zip(grid.T[1:], named.items(), strict=True):
        status = status_of_mask(mask, like=cube, name=repr(name) if name else "The mask")
        states = schema.variable(status, {}).isel(time=steps).compute().values
        states = np.where(states >= Status.SATURATED, np.uint8(Status.NO_DATA), states)
        for axis, state in zip(column, states, strict=True):
            axis.imshow(table[state], interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        column[0].set_title(name, fontsize=9)
        occurring.update(np.unique(states).tolist())
    figure.legend(
        handles=[
            Patch(facecolor=colour, edgecolor="0.6", label=_word(state))
            for state, colour in COLOURS.items()
            if state in occurring
        ],
        loc="outside lower center",
        ncols=len(occurring),
        fontsize=8,
        frameon=False,
    )
    drawn: Figure = figure
    return drawn


def _word(state: Status) -> str:
    return "no look" if state == Status.NO_DATA else state.name.lower().replace("_", " ")


def _steps(cube: xr.Dataset, dates: Any, *, most: int) -> np.ndarray:
    """Return the numbers of the steps nearest to `dates`; of None, at most so many, evenly spread."""
    if dates is None:
        count = min(most, cube.sizes["time"])
        return np.linspace(0, cube.sizes["time"] - 1, count).round().astype(int)
    try:
        wanted = np.atleast_1d(np.asarray(dates, dtype="datetime64[ns]"))
    except (TypeError, ValueError) as error:
        raise CubeError(f"dates={dates!r} are no dates: {error}") from None
    found: np.ndarray = cube.indexes["time"].get_indexer(wanted, method="nearest")
    return found


def _frames(cube: xr.Dataset) -> xr.Dataset:
    """Return a cube, or images, as frames along ``time``."""
    if "percentile" in cube.dims:
        raise CubeError(
            "There are several percentiles: select one, images.sel(percentile=50), and draw that."
        )
    if "time" in cube.dims:
        return schema.validate(cube) if schema.bands_of(cube) else cube
    if "time" in cube.coords:
        return cube.expand_dims("time")
    begin = np.datetime64(cube.attrs.get("time_coverage_start", "1970-01-01"), "ns")
    return cube.expand_dims(time=[begin])


def _titles(frames: xr.Dataset) -> list[str]:
    """Return what each frame is called: its day, or its period."""
    if "period" in frames.coords:
        return [str(label) for label in np.atleast_1d(frames["period"].values)]
    days = [str(time.astype("datetime64[D]")) for time in frames["time"].values]
    covered = [frames.attrs.get(f"time_coverage_{end}") for end in ("start", "end")]
    if len(days) == 1 and days[0] == covered[0]:
        return [f"{covered[0]} to {covered[1]}"]
    return days


def pyplot() -> Any:
    """Return ``matplotlib.pyplot``, or say how to get it."""
    try:
        import matplotlib.pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Pictures need matplotlib: install the extra, s2cube-ard[plot]."
        ) from error
    return matplotlib.pyplot


def _limits(image: np.ndarray) -> tuple[float, float]:
    known = image[np.isfinite(image)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, (2, 98))
    return float(low), float(high)


def plot_series(
    cube: xr.Dataset,
    *,
    x: float | None = None,
    y: float | None = None,
    band: str = "nir",
    masked: xr.Dataset | None = None,
    filled: xr.Dataset | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw one band of one pixel over time.

    Parameters
    ----------
    cube
        The looks, as opened.
    x, y
        Where, in units of the CRS; the nearest pixel. By default, the centre.
    band
        Which band.
    masked
        The cube after :func:`s2cube.mask_clouds`: looks that it dropped are drawn as crosses.
    filled
        The cube after :func:`s2cube.fill_gaps`: drawn as a line, dotted where extrapolated.
    ax
        Axes to draw on.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    CubeError
        The band is not there, or the place is outside the cube.
    ModuleNotFoundError
        matplotlib is not installed (extra ``plot``).

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> clear = cube.s2.mask_clouds("scl")
    >>> ax = cube.s2.plot_series(band="nir", masked=clear, filled=clear.s2.fill_gaps())
    """
    plt = pyplot()
    cube = schema.validate(cube)
    name = schema.pick_bands(cube, band)[0]
    place = _place(cube, x, y)
    looks = cube[name].sel(place).compute()
    if ax is None:
        _, ax = plt.subplots(figsize=(11, 3.8), layout="constrained")
    if filled is not None:
        line = filled.sel(place)[[name, PROVENANCE]].compute()
        values, times = line[name].values, line["time"].values
        beyond = line[PROVENANCE].values == Provenance.EXTRAPOLATED
        ax.plot(times, np.where(beyond, np.nan, values), color="#1b6e53", lw=1.3, label="filled")
        if beyond.any():
            ax.plot(
                times,
                np.where(beyond, values, np.nan),
                color="#1b6e53",
                lw=1.3,
                ls=":",
                label="extrapolated",
            )
    clear = looks if masked is None else masked[name].sel(place).compute()
    dropped = np.isfinite(looks.values) & ~np.isfinite(clear.values)
    ax.plot(
        looks["time"].values[dropped],
        looks.values[dropped],
        "x",
        color="#b4552d",
        ms=5,
        label="masked look",
    )
    ax.plot(clear["time"].values, clear.values, "o", color="#1c2b4a", ms=4, zorder=3, label="clear look")
    if np.isfinite(clear.values).any():
        # Clouds are far brighter than the land: without them the series would be a flat line.
        top = float(np.nanmax(clear.values))
        low = min(0.0, float(np.nanmin(clear.values)))
        ax.set_ylim(low, max(1.6 * top, 0.05))
    ax.set_ylabel(f"{name} reflectance")
    ax.set_title(f"{name} at x = {float(looks['x']):.8g}, y = {float(looks['y']):.9g}", fontsize=10)
    ax.legend(loc="upper right", ncols=4, fontsize=8, frameon=False)
    return ax


def _place(cube: xr.Dataset, x: float | None, y: float | None) -> dict[str, float]:
    """Return the centre of the pixel nearest to a place that must lie within the cube."""
    found = {}
    for dim, asked in (("x", x), ("y", y)):
        centres = cube[dim].values
        value = float(centres[len(centres) // 2]) if asked is None else float(asked)
        nearest = float(centres[np.abs(centres - value).argmin()])
        step = abs(float(centres[1] - centres[0])) if len(centres) > 1 else np.inf
        if abs(nearest - value) > step:
            raise CubeError(
                f"{dim}={value:g} lies outside the cube ({centres.min():g} to {centres.max():g}, in "
                "units of its CRS)."
            )
        found[dim] = nearest
    return found


def plot_gap_filling(table: "pd.DataFrame", score: str = "mae") -> "Figure":
    """Draw how well methods fill: a panel for each mask, two-sided above, past only below.

    Parameters
    ----------
    table
        What :func:`s2cube.evaluate_gap_filling` returned, not split further.
    score
        Which column. ``"mae"`` is drawn with its interval and with the noise floor, dashed.

    Returns
    -------
    matplotlib.figure.Figure
        The figure. The best method of each panel is drawn full.

    Raises
    ------
    CubeError
        It is no such table, or has no such column.
    ModuleNotFoundError
        matplotlib is not installed (extra ``plot``).

    Examples
    --------
    >>> import s2cube
    >>> from s2cube.plot import plot_gap_filling
    >>> cube = s2cube.testing.simulate_cube(seed=1).s2.mask_clouds("scl")
    >>> table = cube.s2.evaluate_gap_filling(["last", "linear"], masks="frame", daily=False)
    >>> figure = plot_gap_filling(table)
    """
    plt = pyplot()
    keys = ["mask", "causal", "method"]
    if missing := [name for name in (*keys, score) if name not in table]:
        raise CubeError(f"The table has no {', '.join(missing)}: draw what evaluate_gap_filling made.")
    if table.duplicated(keys).any():
        raise CubeError(
            "The table has several rows a method: draw one that is not split by band, days or date."
        )
    masks, methods = list(table["mask"].unique()), list(table["method"].unique())
    ways = sorted(table["causal"].unique())
    figure: Figure
    figure, axes = plt.subplots(
        len(ways),
        len(masks),
        figsize=(1.2 + 1.9 * len(masks), 0.9 + 0.27 * len(methods) * len(ways)),
        squeeze=False,
        sharey="row",
        sharex="col",
        layout="constrained",
    )
    for line, causal in zip(axes, ways, strict=True):
        own = table[table["causal"] == causal]
        names = [name for name in methods if name in set(own["method"])]
        for axis, mask in zip(line, masks, strict=True):
            _panel(axis, own[own["mask"] == mask].set_index("method").reindex(names), score)
            if axis in axes[0]:
                axis.set_title(mask, fontsize=9)
            if axis in axes[-1]:
                axis.set_xlabel(score, fontsize=8)
        line[0].set_yticks(range(len(names)), names, fontsize=8)
        line[0].set_ylabel("past only" if causal else "two-sided", fontsize=9)
    return figure


def _panel(axis: "Axes", rows: "pd.DataFrame", score: str) -> None:
    """Draw the scores of one mask."""
    values = rows[score].to_numpy(float)
    places = np.arange(len(rows))
    better = np.nanmax if score in ("ssim", "n") else np.nanmin
    best = values == better(values) if np.isfinite(values).any() else np.zeros(len(rows), bool)
    if score == "mae":
        axis.hlines(places, rows["low"], rows["high"], color="#9db7ad", lw=3)
        if np.isfinite(floor := float(rows["floor"].max())):
            axis.axvline(floor, color="#b4552d", lw=0.9, ls="--")
    axis.plot(values[~best], places[~best], "o", mfc="white", color="#1b6e53", ms=4.5)
    axis.plot(values[best], places[best], "o", color="#1b6e53", ms=5.5)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(left=0 if score == "mae" else None)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="x", color="#e4e4ea", lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
