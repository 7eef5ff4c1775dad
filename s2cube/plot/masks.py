"""``plot_masks``: masks beside the looks that they are of."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.masks.given import Mask, status_of_mask
from s2cube.plot.canvas import MISSING, pyplot, show
from s2cube.plot.frames import plot_true_color, steps_of
from s2cube.schema import Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "plot_masks"]

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
    steps = steps_of(cube, dates, most=5)
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
            show(axis, table[state])
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
