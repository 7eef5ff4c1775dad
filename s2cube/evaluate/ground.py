"""``evaluate_l2a``: estimates of level 2A against a processor's, band by band and class by class."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.schema import SCL, SCL_CLASSES, SCL_STATUS, Status

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["evaluate_l2a"]

COUNT: Final = 1e4
RANGE: Final = 12_000.0
"""Counts that errors are a share of: what published figures of such estimates refer to."""
NDVI: Final = "NDVI"
CLEAR: Final = "clear"
CLIPPED: Final = "clipped"
APART: Final = (2, 3)
"""Dark ground and shadow, where slopes decide: never among what is clear."""
COLUMNS: Final = ("method", "class", "band", "n", "mae", "percent", "rmse", "bias")

Sums = dict[tuple[str, str, str], NDArray[np.float64]]
"""By method, class and band: values, and the sums of absolute, squared and signed errors."""


def evaluate_l2a(
    predicted: xr.Dataset | Mapping[str, xr.Dataset],
    truth: xr.Dataset,
    *,
    bands: str | Iterable[str] | None = None,
) -> "pd.DataFrame":
    """Hold estimates of level 2A against what a processor made. Computes, date by date.

    Parameters
    ----------
    predicted
        What :func:`~s2cube.to_l2a` returned, or several such cubes by name; a cube of level 1C as well,
        to see what doing nothing costs.
    truth
        The processor's level 2A on the same grid; its dates must be among those of `predicted` (solar
        days count). With ``SCL``, classes are told apart.
    bands
        By id or common name; by default all that all of them have.

    Returns
    -------
    pandas.DataFrame
        One row a method, class and band: ``method``, ``class``, ``band``, ``n`` (values), ``mae``,
        ``rmse`` and ``bias`` (predicted minus truth) in counts of 0.0001, ``percent`` (of 12,000
        counts). The band ``NDVI`` is told in its own unit, without percent. The class ``clear`` is all
        that is clear and lit; ``clipped`` what the processor cut off (at most one count in the band),
        which is in no other class; the others are those of ``SCL``. Classes without a value have no row.

    Raises
    ------
    CubeError
        Grids, dates or bands differ.

    Examples
    --------
    >>> import s2cube
    >>> l2a = s2cube.testing.simulate_cube(seed=1, end="2021-06-30", bands=["red", "nir"])
    >>> l1c = s2cube.testing.simulate_l1c(l2a)
    >>> table = s2cube.evaluate_l2a({"nothing done": l1c}, l2a)
    >>> table[table["class"] == "clear"]["band"].tolist()
    ['B04', 'B08', 'NDVI']
    """
    cubes = {"to_l2a": predicted} if isinstance(predicted, xr.Dataset) else dict(predicted)
    truth = schema.validate(truth, level="L2A")
    days = schema.solar_days(truth)
    names = schema.pick_bands(truth, bands)
    pairs = {name: _paired(name, schema.validate(cube), truth, days) for name, cube in cubes.items()}
    names = [band for band in names if all(band in cube for cube in pairs.values())]
    if not names:
        raise CubeError("Prediction and truth have no band in common.")
    sums: Sums = {}
    for step in range(len(days)):
        real = truth.isel(time=step)[[*names, *([SCL] if SCL in truth else [])]].compute()
        for name, cube in pairs.items():
            _add(sums, name, cube.isel(time=step)[names].compute(), real, names)
    return _table(sums, [*names, NDVI])


def _paired(name: str, cube: xr.Dataset, truth: xr.Dataset, days: NDArray[np.int32]) -> xr.Dataset:
    """Return a prediction on the days of the truth."""
    if any(not np.array_equal(cube[axis].values, truth[axis].values) for axis in ("y", "x")) or (
        schema.geobox_of(cube).crs != schema.geobox_of(truth).crs
    ):
        raise CubeError(f"{name!r} lies on another grid than the truth.")
    own = schema.solar_days(cube)
    if missing := [str(np.datetime64(int(day), "D")) for day in days if day not in own]:
        raise CubeError(f"{name!r} lacks {', '.join(missing[:3])}, which the truth has.")
    for which, several in ((repr(name), own), ("The truth", days)):
        if twice := [day for day in days if (several == day).sum() > 1]:
            raise CubeError(
                f"{which} has two looks of {np.datetime64(int(twice[0]), 'D')}: select one of that day."
            )
    return cube.isel(time=[int(np.flatnonzero(own == day)[0]) for day in days])


def _table(sums: Sums, bands: list[str]) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for (name, kind, band), (count, total, squares, signed) in sums.items():
        mae = total / count
        percent = np.nan if band == NDVI else mae / RANGE * 100
        rows.append(
            (name, kind, band, int(count), mae, percent, (squares / count) ** 0.5, signed / count)
        )
    # As methods were given, classes as they come, bands in their order.
    methods = list(dict.fromkeys(key[0] for key in sums))
    kinds = list(dict.fromkeys(key[1] for key in sums))
    rows.sort(key=lambda row: (methods.index(row[0]), kinds.index(row[1]), bands.index(row[2])))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _add(sums: Sums, name: str, found: xr.Dataset, real: xr.Dataset, names: list[str]) -> None:
    """Add one date to the sums of a method."""
    scl = real[SCL].values if SCL in real else None
    made = {band: found[band].values.astype(np.float64) * COUNT for band in names}
    true = {band: real[band].values.astype(np.float64) * COUNT for band in names}
    # Counts as float32 are a hair off.
    cut = {band: values < 1.5 for band, values in true.items()}
    if "B04" in names and "B08" in names:
        names = [*names, NDVI]
        made[NDVI], true[NDVI] = _index(made), _index(true)
        cut[NDVI] = cut["B04"] | cut["B08"]
    for band in names:
        off = made[band] - true[band]
        for kind, where in _classes(scl, np.isfinite(off), cut[band]):
            here = off[where]
            if here.size:
                parts = np.array([here.size, np.abs(here).sum(), (here**2).sum(), here.sum()])
                key = (name, kind, band)
                sums[key] = sums.get(key, np.zeros(4)) + parts


def _index(values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    near, red = values["B08"], values["B04"]
    with np.errstate(divide="ignore", invalid="ignore"):
        # Of nearly black ground an index tells nothing.
        found: NDArray[np.float64] = np.where(near + red > 100, (near - red) / (near + red), np.nan)
    return found


def _classes(
    scl: NDArray[np.uint8] | None, known: NDArray[np.bool_], cut: NDArray[np.bool_]
) -> list[tuple[str, NDArray[np.bool_]]]:
    whole = known & ~cut
    if scl is None:
        return [(CLEAR, whole), (CLIPPED, known & cut)]
    bad = [one for one, status in SCL_STATUS.items() if status >= Status.THIN_CLOUD]
    clear = ~np.isin(scl, [*bad, *APART])
    found = [(CLEAR, whole & clear), (CLIPPED, known & cut & ~np.isin(scl, bad))]
    return found + [(SCL_CLASSES[one], whole & (scl == one)) for one in np.unique(scl).tolist() if one]
