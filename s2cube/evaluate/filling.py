"""``evaluate_gap_filling``: hide clear looks, fill, and compare with what was hidden."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill import check_method, fill_gaps
from s2cube.kernels.fill import observed
from s2cube.kernels.morphology import grow_status
from s2cube.schema import Status

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["evaluate_gap_filling"]

SHARE: Final = 0.2
"""Of the dates that are clear enough, how many are hidden at once: few, so that the series that is
left stays like the real one."""
CLEAR_ENOUGH: Final = 0.3
EDGE: Final = 2.0
"""Pixels around a masked one that are no truth: clouds have edges that masks miss."""

_Masks = dict[int, NDArray[np.bool_]]


def evaluate_gap_filling(
    cube: xr.Dataset,
    methods: str | Iterable[str] = ("last", "linear"),
    *,
    masks: str | Iterable[str] = ("clouds", "frame"),
    causal: bool = False,
    seed: int = 0,
) -> "pd.DataFrame":
    """Measure methods of :func:`s2cube.fill_gaps` on clear looks that they were not shown.

    A fifth of the dates that are at least 30 % clear is chosen. On these, clear pixels are hidden,
    the gaps filled from what is left, and the result compared with the hidden values; never with
    pixels that were cloudy, or that lie within two pixels of a cloud.

    Parameters
    ----------
    cube
        A masked cube. It is computed.
    methods
        Names of methods. Those that can be are run two-sided unless `causal`.
    masks
        What is hidden: ``"clouds"``, where another date was really cloudy (turned at random);
        ``"frame"``, the whole date. Errors depend on it strongly, so they are reported apart.
    causal
        Whether methods may use only what came before.
    seed
        Of the choice of dates and clouds.

    Returns
    -------
    pandas.DataFrame
        A row by ``mask, method, causal, band``, with ``n`` (hidden values compared) and ``mae``,
        ``rmse``, ``bias`` (filled minus truth) in reflectance.

    Raises
    ------
    CubeError
        Unknown names, or too few clear dates to hide any.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1).s2.mask_clouds("scl")
    >>> table = s2cube.evaluate_gap_filling(cube, ["linear"], masks=["frame"])
    >>> list(table.columns)
    ['mask', 'method', 'causal', 'band', 'n', 'mae', 'rmse', 'bias']
    """
    import pandas as pd

    cube = schema.validate(cube)
    bands = schema.bands_of(cube)
    names = [methods] if isinstance(methods, str) else list(methods)
    for name in names:
        check_method(name, causal=causal)
    asked = [masks] if isinstance(masks, str) else list(masks)
    if unknown := [name for name in asked if name not in _FAMILIES]:
        raise CubeError(f"Unknown masks {unknown}; known: {', '.join(_FAMILIES)}.")
    # One pass over the pixels; all that follows works on what is in memory.
    series = cube[bands].compute()
    valid = observed(*(series[band].values for band in bands))
    truth = valid & ~_near_clouds(~valid)
    chosen = _dates(truth, np.random.default_rng(seed))
    rows = []
    for family in asked:
        hidden = _FAMILIES[family](valid, chosen, np.random.default_rng(seed))
        gappy = _without(series, hidden)
        scored = {step: where & truth[step] for step, where in hidden.items()}
        dates = schema.solar_days(series)[list(hidden)].astype("datetime64[D]").astype("datetime64[ns]")
        for method in names:
            filled = fill_gaps(gappy, method, dates=np.unique(dates), causal=causal)
            for band in bands:
                error = _errors(filled[band], series[band], scored, dates)
                rows.append((family, method, causal, band, *_summary(error)))
    return pd.DataFrame(rows, columns=["mask", "method", "causal", "band", "n", "mae", "rmse", "bias"])


def _near_clouds(masked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    cloudy = masked.astype(np.uint8) * np.uint8(Status.CLOUD)
    grown = grow_status(cloudy, radius=(EDGE, EDGE), states=(int(Status.CLOUD),))
    near: NDArray[np.bool_] = grown > 0
    return near


def _dates(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the steps to hide: never the first or last clear one, which nothing surrounds."""
    clear = np.flatnonzero(truth.mean(axis=(1, 2)) >= CLEAR_ENOUGH)
    usable = clear[1:-1]
    if len(usable) < 5:
        raise CubeError(
            f"Only {len(clear)} dates are at least {CLEAR_ENOUGH:.0%} clear: too few to hide some "
            "and still fill from the rest. Open a longer period, or a smaller area."
        )
    return np.sort(rng.choice(usable, max(1, round(SHARE * len(usable))), replace=False))


def _clouds(valid: NDArray[np.bool_], chosen: NDArray[np.int64], rng: np.random.Generator) -> _Masks:
    """Hide what lies under the clouds of another date, mirrored at random."""
    cover = 1 - valid.mean(axis=(1, 2))
    donors = np.flatnonzero((cover >= 0.1) & (cover <= 0.9))
    if len(donors) == 0:
        raise CubeError("No date is partly cloudy, so there is no cloud to move: use masks=['frame'].")
    hidden = {}
    for step in chosen.tolist():
        cloud = ~valid[rng.choice(donors)]
        for axis in (0, 1):
            if rng.random() < 0.5:
                cloud = np.flip(cloud, axis)
        hidden[step] = valid[step] & cloud
    return hidden


def _frame(valid: NDArray[np.bool_], chosen: NDArray[np.int64], _rng: np.random.Generator) -> _Masks:
    """Hide the whole date."""
    return {step: valid[step] for step in chosen.tolist()}


_FAMILIES: Final[dict[str, Callable[..., _Masks]]] = {"clouds": _clouds, "frame": _frame}


def _without(series: xr.Dataset, hidden: _Masks) -> xr.Dataset:
    """Return `series` without the hidden pixels, in every look of that day."""
    days = schema.solar_days(series)
    arrays = {}
    for band in series.data_vars:
        values = series[band].values.copy()
        for step, where in hidden.items():
            for twin in np.flatnonzero(days == days[step]):
                values[twin][where] = np.nan
        arrays[band] = schema.variable(values, series[band].attrs)
    return series.assign(arrays)


def _errors(
    filled: xr.DataArray, truth: xr.DataArray, scored: _Masks, dates: NDArray[Any]
) -> NDArray[np.float32]:
    """Return filled minus truth where it is scored; what the method left missing is NaN."""
    parts = [
        filled.sel(time=date).values[where] - truth.values[step][where]
        for (step, where), date in zip(scored.items(), dates, strict=True)
    ]
    return np.concatenate(parts)


def _summary(error: NDArray[np.float32]) -> tuple[int, float, float, float]:
    known = error[np.isfinite(error)].astype(np.float64)
    if known.size == 0:
        return 0, float("nan"), float("nan"), float("nan")
    return (
        int(known.size),
        float(np.abs(known).mean()),
        float(np.sqrt((known**2).mean())),
        float(known.mean()),
    )
