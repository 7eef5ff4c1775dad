"""Methods that look at one pixel and one band: what is usual, and what others are held against.

Their defaults were tuned for the least error on hidden looks; ``docs/guide/fill.md`` says on what.
"""

import numpy as np

from s2cube.errors import CubeError
from s2cube.gapfill.series import Filled, Series, fill_bands
from s2cube.kernels import fill
from s2cube.kernels.harmonic import fill_harmonic
from s2cube.kernels.whittaker import fill_whittaker
from s2cube.schema import Provenance

__all__ = ["closest", "harmonic", "last", "linear", "median", "whittaker"]


def last(series: Series) -> Filled:
    """Hold the last clear look; before the first one that one, unless causal."""
    return fill_bands(series, fill.fill_last, between=Provenance.EXTRAPOLATED, reach=series.reach)


def closest(series: Series) -> Filled:
    """Take the clear look that is nearest in days."""
    return fill_bands(series, fill.fill_closest)


def linear(series: Series) -> Filled:
    """Interpolate linearly in days between clear looks."""
    return fill_bands(series, fill.fill_linear)


def median(series: Series, *, window: int = 25) -> Filled:
    """Take the median of the clear looks at most `window` days away; the nearest where there is none.

    Parameters
    ----------
    series
        The looks.
    window
        Days on each side; when causal, before.
    """
    _number("window", window, 0, 366, whole=True)
    return fill_bands(series, fill.fill_median, reach=series.reach, window=window, smooth=series.smooth)


def whittaker(
    series: Series,
    *,
    order: int | None = None,
    smoothness: float | None = None,
    slope_days: float | None = 25.0,
    robust: bool | None = None,
) -> Filled:
    """Smooth by Whittaker's method; see :func:`s2cube.kernels.whittaker.fill_whittaker`.

    Parameters
    ----------
    series
        The looks.
    order
        Of the differences that are kept small: 1, steps from day to day, or 2, changes of slope. None
        means 2, and 1 when causal: slopes run ahead.
    smoothness
        Weight of the differences against the looks. None means 1000 for order 2, 3 for order 1.
    slope_days
        With order 2, days in which a slope that no look supports decays to a third. None for never,
        as in Eilers' smoother: it runs away in long gaps.
    robust
        Whether looks far off the series get less weight: clouds that the mask missed. It takes the whole
        series, so None means yes, and no when causal.
    """
    if order is None:
        order = 1 if series.causal else 2
    if order not in (1, 2):
        raise CubeError(f"order is 1 or 2; got {order!r}.")
    if smoothness is None:
        smoothness = 3.0 if order == 1 else 1000.0
    _number("smoothness", smoothness, 1e-3, 1e9)
    if slope_days is not None:
        _number("slope_days", slope_days, 1, 10_000)
    if robust and series.causal:
        raise CubeError("robust=True weighs looks by the whole series: leave it out when causal.")
    return fill_bands(
        series,
        fill_whittaker,
        reach=series.reach,
        smooth=series.smooth,
        order=order,
        smoothness=float(smoothness),
        slope_days=slope_days,
        robust=not series.causal if robust is None else bool(robust),
    )


def harmonic(series: Series, *, harmonics: int = 3, ridge: float = 1.0) -> Filled:
    """Fit a mean and annual harmonics; see :func:`s2cube.kernels.harmonic.fill_harmonic`.

    Parameters
    ----------
    series
        The looks.
    harmonics
        Waves a year, of the fastest.
    ridge
        Weight that draws harmonics to 0, in looks.
    """
    _number("harmonics", harmonics, 1, 6, whole=True)
    _number("ridge", ridge, 1e-3, 1e6)
    return fill_bands(
        series,
        fill_harmonic,
        reach=series.reach,
        smooth=series.smooth,
        harmonics=harmonics,
        ridge=float(ridge),
    )


def _number(name: str, value: float, least: float, most: float, *, whole: bool = False) -> None:
    kinds = (int, np.integer) if whole else (int, float, np.number)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        words = "a whole number" if whole else "a number"
        raise CubeError(f"{name} is {words} from {least:g} to {most:g}; got {value!r}.")
