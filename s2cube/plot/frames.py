"""``plot_true_color``: frames of a cube in true or false colour."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.plot.canvas import MISSING, pyplot, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_true_color", "steps_of"]

_DAY: Final = np.timedelta64(1, "D").astype("timedelta64[ns]")


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
        The cube lacks a band, there are not three, or `dates` lie outside the cube.
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
    frames = cube[names].isel(time=steps_of(cube, dates, most=8)).compute()
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
        show(axis, colours)
        axis.set_title(title, fontsize=9)
    return figure


def steps_of(cube: xr.Dataset, dates: Any, *, most: int) -> np.ndarray:
    """Return the numbers of the steps nearest to `dates`; of None, at most so many, evenly spread.

    Raises
    ------
    CubeError
        `dates` are no dates, or lie outside those of the cube.
    """
    if dates is None:
        count = min(most, cube.sizes["time"])
        return np.linspace(0, cube.sizes["time"] - 1, count).round().astype(int)
    try:
        wanted = np.atleast_1d(np.asarray(dates, dtype="datetime64[ns]"))
    except (TypeError, ValueError) as error:
        raise CubeError(f"dates={dates!r} are no dates: {error}") from None
    times = cube["time"].values
    # As far off as frames are apart: that of a month is called by its first day.
    near = np.diff(times).max(initial=_DAY)
    for date in wanted[(wanted < times[0] - near) | (wanted > times[-1] + near)]:
        day, first, last = (str(time.astype("datetime64[D]")) for time in (date, times[0], times[-1]))
        raise CubeError(f"dates={day!r} lies outside the cube: {first} to {last}.")
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


def _limits(image: np.ndarray) -> tuple[float, float]:
    known = image[np.isfinite(image)]
    if known.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, (2, 98))
    return float(low), float(high)
