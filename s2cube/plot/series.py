"""``plot_series``: a pixel over time."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.plot.canvas import pyplot
from s2cube.schema import PROVENANCE, Provenance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_series"]


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
