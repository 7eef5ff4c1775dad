"""``seam_score``: how much an image jumps where the swath of an orbit ends."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import progress_bar
from s2cube.errors import CubeError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["seam_score"]

FEWEST: Final = 30
"""Rows that an edge must cross for its mean to say something."""


def seam_score(
    image: xr.Dataset, cube: xr.Dataset, *, across: int = 3, progress: bool = True
) -> "pd.DataFrame":
    """Measure the jump of an image at each edge of a swath. Computes.

    Parameters
    ----------
    image
        One image: bands of dims ``(y, x)``.
    cube
        The cube that it was made from, with ``relative_orbit``, on the same grid: its swaths tell where
        the edges are.
    across
        How far from the edge the two sides are compared, px; 0 compares neighbours.
    progress
        Whether to show how far computing is.

    Returns
    -------
    pandas.DataFrame
        One row a band, orbit and side (``"west"``, ``"east"``) of its swath: ``jump``, the mean of the
        differences inside minus outside along the edge (reflectance), ``error``, its standard error, and
        ``rows``, the rows of pixels that the edge crosses. ``attrs["score"]`` is the root of the mean
        square of all jumps: what is left of seams, texture averaged out.

    Raises
    ------
    CubeError
        Image and cube differ in grid, the image has ``time`` or ``percentile``, or no edge crosses the
        area.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1, bands=["red"], cloud_cover=0)
    >>> west = cube["x"] < cube["x"].mean()
    >>> ends = cube.assign_coords(relative_orbit=("time", [22] * cube.sizes["time"])).where(west)
    >>> image = cube.s2.median()
    >>> s2cube.seam_score(image, ends)[["relative_orbit", "side", "rows"]].values.tolist()
    [[22, 'east', 64]]
    """
    import pandas as pd

    bands = [str(name) for name in image.data_vars if name in schema.BANDS]
    for name in bands:
        if set(image[name].dims) != {"y", "x"}:
            raise CubeError(
                f"{name!r} has dims {image[name].dims}: select one image, with .isel(time=0) or "
                ".sel(percentile=50)."
            )
    if not bands or schema.geobox_of(image) != schema.geobox_of(cube):
        raise CubeError("Image and cube must lie on one grid, and share bands.")
    if across < 0:
        raise CubeError(f"across is a number of pixels, 0 or more, got {across}.")
    with progress_bar(progress):
        planes = image[bands].compute().transpose("y", "x")
        swaths = _swaths(cube)
    rows = []
    for orbit, seen in swaths.items():
        for side, sign in (("west", -1), ("east", 1)):
            at = _edges(seen, sign, across)
            if len(at[0]) < FEWEST:
                continue
            inside, outside = (at[0], at[1] - sign * across), (at[0], at[1] + sign * (across + 1))
            for band in bands:
                values = planes[band].values
                jump = (values[inside] - values[outside]).astype(np.float64)
                jump = jump[np.isfinite(jump)]
                if len(jump) >= FEWEST:
                    error = jump.std() / np.sqrt(len(jump))
                    rows.append((band, orbit, side, jump.mean(), error, len(jump)))
    if not rows:
        raise CubeError(
            f"No edge of a swath crosses at least {FEWEST} rows of the area with values on both sides."
        )
    table = pd.DataFrame(rows, columns=["band", "relative_orbit", "side", "jump", "error", "rows"])
    table.attrs["score"] = float(np.sqrt((table["jump"] ** 2).mean()))
    return table


def _swaths(cube: xr.Dataset) -> dict[int, NDArray[np.bool_]]:
    """Return where each orbit has seen anything, clouds too where the cube's status tells them."""
    orbits = schema.orbits_of(cube)
    if schema.STATUS in cube:
        looked: Any = cube[schema.STATUS] < schema.Status.NO_DATA
    else:
        looked = cube[schema.bands_of(cube)[0]].notnull()
    parts = {int(orbit): looked[orbits == orbit].any("time") for orbit in np.unique(orbits)}
    computed = xr.Dataset({str(orbit): part for orbit, part in parts.items()}).compute()
    return {orbit: computed[str(orbit)].values for orbit in parts}


def _edges(seen: NDArray[np.bool_], sign: int, across: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the outermost pixels of a swath, west or east, away from the image's border."""
    beside = np.zeros_like(seen)
    if sign > 0:
        beside[:, :-1] = seen[:, 1:]
        beside[:, -1] = True
    else:
        beside[:, 1:] = seen[:, :-1]
        beside[:, 0] = True
    down, along = np.nonzero(seen & ~beside)
    room = (along > across) & (along < seen.shape[1] - across - 1)
    return down[room], along[room]
