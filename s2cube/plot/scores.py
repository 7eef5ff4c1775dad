"""``plot_gap_filling``: how well methods fill."""

from typing import TYPE_CHECKING

import numpy as np

from s2cube.errors import CubeError
from s2cube.plot.canvas import pyplot

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_gap_filling"]


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
