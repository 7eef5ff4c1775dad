"""The drawings of a report."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.plot import MISSING, plot_true_color, pyplot
from s2cube.schema import Provenance, Status, bands_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "STATES",
    "by_days",
    "clear_map",
    "hidden_frames",
    "picture_bands",
    "states_over_time",
    "whence_over_time",
    "words",
]

STATES: Final[dict[str, tuple[str, tuple[Status, ...]]]] = {
    "clear": ("#4f9d7e", (Status.CLEAR, Status.CLEAR_WATER)),
    "snow": ("#8fc7d6", (Status.SNOW,)),
    "shadow": ("#6b6096", (Status.SHADOW,)),
    "cloud": ("#d3808c", (Status.THIN_CLOUD, Status.CLOUD)),
    "no look": ("#9a9aa4", (Status.SATURATED, Status.NO_DATA, Status.READ_FAILED)),
}
"""What is told apart in the timeline, and how it is drawn."""
WHENCE: Final[dict[Provenance, str]] = {
    Provenance.OBSERVED: "#2f7d60",
    Provenance.INTERPOLATED: "#7fb59c",
    Provenance.SAME_DATE: "#7d9fd0",
    Provenance.NETWORK: "#8a7cc0",
    Provenance.OTHER_SENSOR: "#c99bd0",
    Provenance.EXTRAPOLATED: "#dba35f",
    Provenance.NEVER_OBSERVED: "#9a9aa4",
}
ERROR: Final = 0.1
"""Reflectance at which the picture of an error is darkest."""


def clear_map(count: xr.DataArray) -> "Figure":
    """Draw how many clear looks each pixel has."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(5.0, 3.8), layout="constrained")
    image = axis.imshow(
        count, cmap="viridis", interpolation="nearest", vmin=0, extent=_extent(count), aspect="equal"
    )
    axis.ticklabel_format(useOffset=False, style="plain")
    axis.tick_params(labelsize=7)
    bar = figure.colorbar(image, ax=axis, shrink=0.85)
    bar.set_label("clear looks", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    drawn: Figure = figure
    return drawn


def _extent(array: xr.DataArray) -> tuple[float, float, float, float]:
    x, y = array["x"].values, array["y"].values
    half_x = abs(float(x[1] - x[0])) / 2 if len(x) > 1 else 0.5
    half_y = abs(float(y[0] - y[1])) / 2 if len(y) > 1 else 0.5
    return x[0] - half_x, x[-1] + half_x, y[-1] - half_y, y[0] + half_y


def states_over_time(shares: "pd.DataFrame") -> "Figure":
    """Draw what share of the area each look saw as what: a column a state, the index the dates."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(8.6, 2.7), layout="constrained")
    below = np.zeros(len(shares))
    for name in shares:
        values = shares[name].to_numpy(float)
        colour = STATES[str(name)][0]
        axis.bar(shares.index, 100 * values, bottom=100 * below, width=_width(shares), color=colour,
                 label=str(name))  # fmt: skip
        below = below + values
    _percent(axis, len(shares.columns))
    drawn: Figure = figure
    return drawn


def _width(shares: "pd.DataFrame") -> Any:
    """Return how wide bars may be so that neighbours do not meet."""
    times = shares.index.to_numpy()
    if len(times) < 2:
        return np.timedelta64(1, "D")
    return np.maximum(np.median(np.diff(times)) * 0.8, np.timedelta64(12, "h"))


def whence_over_time(shares: "pd.DataFrame") -> "Figure":
    """Draw where the values of each day come from: a column a :class:`Provenance`."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(8.6, 2.7), layout="constrained")
    axis.stackplot(
        shares.index,
        *(100 * shares[name].to_numpy(float) for name in shares),
        colors=[WHENCE[Provenance(int(name))] for name in shares],
        labels=[words(Provenance(int(name))) for name in shares],
        step="mid",
        linewidth=0,
    )
    _percent(axis, len(shares.columns))
    axis.margins(x=0)
    drawn: Figure = figure
    return drawn


def words(kind: Provenance) -> str:
    """Return what a provenance is called."""
    return kind.name.lower().replace("_", " ")


def _percent(axis: Any, columns: int) -> None:
    axis.set_ylim(0, 100)
    axis.set_ylabel("% of the area", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=min(columns, 5), fontsize=8, frameon=False
    )


def hidden_frames(truth: xr.Dataset, filled: xr.Dataset) -> "Figure":
    """Draw frames that were hidden, what was put in their place, and how far off that is."""
    plt = pyplot()
    count = truth.sizes["time"]
    rows, columns = truth.sizes["y"], truth.sizes["x"]
    figure, axes = plt.subplots(
        count, 3, figsize=(7.6, 0.3 + 2.5 * count * rows / columns), squeeze=False, layout="constrained"
    )
    shown = picture_bands(truth)
    colours = np.stack([cube[band].values for cube in (truth, filled) for band in shown])
    known = colours[np.isfinite(colours)]
    low, high = (float(value) for value in np.percentile(known, (2, 98))) if known.size else (0.0, 1.0)
    for column, cube in enumerate((truth, filled)):
        plot_true_color(cube, dates=cube["time"].values, bands=picture_bands(cube), limits=(low, high),
                        axes=axes[:, column])  # fmt: skip
    errors = np.stack([np.abs(filled[band].values - truth[band].values) for band in bands_of(truth)])
    mean = errors.mean(axis=0)
    for axis, error in zip(axes[:, 2], mean, strict=True):
        picture = np.full((*error.shape, 3), MISSING)
        seen = np.isfinite(error)
        shades = plt.get_cmap("magma")(np.clip(error / ERROR, 0, 1))[..., :3]
        picture[seen] = shades[seen]
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(f"mean error {np.nanmean(error):.4f}" if seen.any() else "", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    for axis, name in zip(axes[0], ("seen", "filled", "error"), strict=True):
        axis.set_title(f"{name}: {axis.get_title()}", fontsize=9)
    drawn: Figure = figure
    return drawn


def picture_bands(cube: xr.Dataset) -> Sequence[str]:
    """Return three bands for red, green and blue, of those there are."""
    held = bands_of(cube)
    for wanted in (("B04", "B03", "B02"), ("B08", "B04", "B03"), ("B8A", "B04", "B03")):
        if set(wanted) <= set(held):
            return wanted
    return (held * 3)[:3]


def by_days(table: "pd.DataFrame") -> "Figure":
    """Draw errors by the days to the nearest clear look: a panel a mask, a line a method."""
    plt = pyplot()
    order = ["1-5", "6-10", "11-20", "21-40", "41-80", "over 80"]
    known = [name for name in order if name in set(table["days"])]
    panels = list(dict.fromkeys(zip(table["mask"], table["causal"], strict=True)))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(1.2 + 2.1 * len(panels), 2.9), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    shades = ["#1b6e53", "#b4552d", "#1c2b4a", "#7d9fd0", "#c99bd0", "#dba35f", "#4f9d7e", "#6b6096"]
    methods = list(dict.fromkeys(table["method"]))
    colours: dict[Any, str] = {name: shades[k % len(shades)] for k, name in enumerate(methods)}
    for axis, (mask, causal) in zip(axes[0], panels, strict=True):
        own = table[(table["mask"] == mask) & (table["causal"] == causal)]
        for method, rows in own.groupby("method", sort=False):
            values: NDArray[np.float64] = (
                rows.set_index("days")["mae"].reindex(known).to_numpy(dtype=np.float64)
            )
            axis.plot(range(len(known)), values, "o-", ms=3.5, lw=1.2, color=colours[method],
                      label=str(method))  # fmt: skip
        axis.set_title(f"{mask}, {'past only' if causal else 'two-sided'}", fontsize=9)
        axis.set_xticks(range(len(known)), known, fontsize=7, rotation=30)
        axis.tick_params(axis="y", labelsize=7)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("mean absolute error", fontsize=8)
    handles = {
        label: handle
        for axis in axes[0]
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles),
                  fontsize=8, frameon=False)  # fmt: skip
    drawn: Figure = figure
    return drawn
