"""Methods that look at all pixels of a window together, at time and at the same date.

All that they estimate (curve, noise of dates, weights, regressions) comes from one window, which lies at
fixed pixels of the grid: no pass over the whole cube, and no chunk, region or neighbour changes a value.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.gapfill.series import Filled, Series, fill_tiles
from s2cube.kernels.fill import Days
from s2cube.kernels.fusion import Sensor, sensor_bytes
from s2cube.kernels.window import fill_window

__all__ = ["seasonal", "similar"]

SIDE: Final = 128
"""Of a window without its halo, px: many pixels to estimate from, and a piece of land that is alike."""
HALO: Final = 32
"""How far a window goes beyond, px. Twice as far lowers errors by 1 %, and is 1.8 times the pixels."""
VALUE_WORK: Final = {False: 20, True: 28}
"""Bytes that the kernel works with by band and look of a pixel: without, and with the same date."""
LOOK_WORK, DAY_WORK, PIXEL_WORK = 24, 8, 1024
"""The same by look, by day that is asked for, and by pixel."""


def seasonal(series: Series) -> Filled:
    """Fill with a Gaussian process around the seasons of the window, weighed against a straight line."""
    return _fill(series, same_date=False)


def similar(series: Series) -> Filled:
    """Fill with the same, corrected by what the clear pixels of the date say of the cloudy ones."""
    return _fill(series, same_date=True)


def _fill(series: Series, *, same_date: bool) -> Filled:
    sizes = len(series.bands), len(series.days), len(series.targets)
    return fill_tiles(
        series,
        _window,
        *(array for one in series.extra for array in one.arrays),
        side=SIDE,
        halo=HALO,
        work=work_of(*sizes, same_date=same_date) + _extra_work(series),
        same_date=same_date,
        extra=[(len(one.arrays), one.days) for one in series.extra],
    )


def work_of(bands: int, looks: int, days: int, *, same_date: bool) -> int:
    """Return the bytes by pixel of a window that it is filled with, beside what goes in and out."""
    return looks * (bands * VALUE_WORK[same_date] + LOOK_WORK) + days * DAY_WORK + PIXEL_WORK


def _extra_work(series: Series) -> int:
    """Return what other sensors add to it."""
    each = [
        sensor_bytes(len(one.arrays), len(one.days) + len(series.days), len(series.targets))
        for one in series.extra
    ]
    return sum(by_pixel for by_pixel, _ in each) + sum(fixed for _, fixed in each) // SIDE**2


def _window(
    *looks: NDArray[Any], extra: Sequence[tuple[int, Days]] = (), uncertain: bool, **keywords: Any
) -> Iterator[NDArray[Any]]:
    """Yield provenance, bands and, if asked for, deviations.

    `looks` are bands, where they are valid, and then as many variables of other sensors as `extra` says.
    """
    first = len(looks) - sum(count for count, _ in extra)
    *bands, valid = looks[:first]
    sensors = []
    for count, days in extra:
        sensors.append(Sensor(np.stack(looks[first : first + count], axis=1), days))
        first += count
    filled = fill_window(
        np.stack(bands, axis=1), valid, uncertain=uncertain, sensors=sensors, **keywords
    )
    yield filled.source
    yield from np.moveaxis(filled.bands, 1, 0)
    if uncertain:
        yield from np.moveaxis(filled.deviation, 1, 0)
