"""Periods: which looks make which image."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.errors import CubeError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SEASONS", "Period", "Periods", "find_periods"]

SEASONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "pan-european": {
        "winter": ("12-02", "03-20"),
        "spring": ("03-21", "06-24"),
        "summer": ("06-25", "09-12"),
        "autumn": ("09-13", "12-01"),
    }
}
"""Seasons by name, each with its first day of the year and its last. A season that begins in one year
and ends in the next belongs to the second. ``"pan-european"`` are those of M. Witjes and others (2023),
EcoDataCube.eu: analysis-ready open environmental data cube for Europe, PeerJ 11:e15478."""

Period = str | Mapping[str, tuple[Any, Any]] | None
"""What a verb takes as ``period``."""
_DAY: Final = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Periods:
    """The looks of each image, and the coordinates that tell the images apart."""

    groups: list[NDArray[np.intp]]
    coords: dict[str, xr.Variable]
    """``time``, ``time_bnds`` and, of labelled periods, ``period``; empty where there is one image."""
    told: dict[str, object]
    """For the history."""
    span: tuple[str, str]
    """Days of the first and the last look that counts."""


def find_periods(
    days: NDArray[np.int32], period: Period, months: Iterable[int] | None = None
) -> Periods:
    """Sort looks into periods.

    Parameters
    ----------
    days
        Of the looks: solar days since 1970-01-01, at least one, in any order.
    period
        None: one image of all looks. A pandas offset of a day or more (``"MS"``, ``"QS-DEC"``,
        ``"YS"``, ``"10D"``): one image for each from the first look to the last. The name of
        :data:`SEASONS`. Or labelled periods: ``{"label": (first day, last day)}``, both included, which
        may overlap; ``"2021-08"`` is all of that month.
    months
        Only looks of these months (1 to 12) count. Of regular periods, those that touch none of them are
        left out.

    Raises
    ------
    CubeError
        The period or a month is none.
    """
    days = days.astype("datetime64[D]")
    asked = list(range(1, 13)) if months is None else _check_months(months)
    wanted = np.isin(_months(days), asked)
    told: dict[str, object] = {} if months is None else {"months": asked}
    if period is None:
        groups = [np.flatnonzero(wanted)]
        return Periods(groups, {}, told, _span(groups, days, period, months))
    # Periods reach from the first look that counts to the last.
    counted = days[wanted] if wanted.any() else days
    labels: list[str] | None = None
    if isinstance(period, str) and period in SEASONS:
        labels, starts, stops = _seasons(SEASONS[period], counted)
    elif isinstance(period, str):
        starts, stops = _regular(period, counted)
    else:
        labels, starts, stops = _labelled(period)
    if months is not None and not isinstance(period, Mapping):
        kept = np.array(
            [
                i
                for i, (start, stop) in enumerate(zip(starts, stops, strict=True))
                if np.isin(_months(np.arange(start, stop)), asked).any()
            ],
            dtype=np.intp,
        )
        starts, stops = starts[kept], stops[kept]
        labels = None if labels is None else [labels[i] for i in kept]
    groups = [
        np.flatnonzero(wanted & (days >= start) & (days < stop))
        for start, stop in zip(starts, stops, strict=True)
    ]
    span = _span(groups, days, period, months)
    words: object = period
    if not isinstance(period, str):
        words = dict(zip(labels or [], _words(starts, stops), strict=True))
    return Periods(groups, _coords(starts, stops, labels), {"period": words, **told}, span)


def _span(
    groups: list[NDArray[np.intp]], days: NDArray, period: Period, months: object
) -> tuple[str, str]:
    used = days[np.concatenate(groups)] if groups else days[:0]
    if not len(used):
        asked = ", ".join(
            f"{name}={value!r}" for name, value in {"period": period, "months": months}.items() if value
        )
        raise CubeError(
            f"No look lies in {asked}: the looks are from {days.min()} to {days.max()} (solar days)."
        )
    return str(used.min()), str(used.max())


def _words(starts: NDArray, stops: NDArray) -> list[str]:
    return [f"{start}/{stop - _DAY}" for start, stop in zip(starts, stops, strict=True)]


def _coords(starts: NDArray, stops: NDArray, labels: list[str] | None) -> dict[str, xr.Variable]:
    time = starts.astype("datetime64[ns]")
    bounds = np.stack([time, stops.astype("datetime64[ns]")], axis=1)
    attrs = {"standard_name": "time", "long_name": "start of the period", "bounds": "time_bnds"}
    # The same for both, or they would be told apart on disk.
    encoding = {"units": "days since 1970-01-01", "dtype": "int32"}
    coords = {
        "time": xr.Variable("time", time, attrs, encoding),
        "time_bnds": xr.Variable(("time", "nv"), bounds, {}, encoding),
    }
    if labels is not None:
        coords["period"] = xr.Variable("time", np.array(labels), {"long_name": "period"})
    return coords


def _months(days: NDArray) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    return numbers


def _check_months(months: Iterable[int]) -> list[int]:
    asked = [months] if isinstance(months, int) else list(months)
    if not asked or any(
        isinstance(month, bool) or not isinstance(month, int | np.integer) or not 1 <= month <= 12
        for month in asked
    ):
        raise CubeError(f"months are numbers from 1 to 12, got {months!r}.")
    return sorted({int(month) for month in asked})


def _regular(freq: str, days: NDArray) -> tuple[NDArray, NDArray]:
    """Return the periods of a pandas offset that hold the first look to the last."""
    import pandas as pd
    from pandas.tseries.frequencies import to_offset

    first, last = pd.Timestamp(days.min()), pd.Timestamp(days.max())
    try:
        offset: Any = to_offset(freq)
        if first + offset < first + pd.Timedelta(days=1):
            raise ValueError("it is shorter than a day")
        if type(offset).__name__.endswith("End"):
            raise ValueError("it names the ends of periods, and starts are needed: 'MS' for 'ME'")
        # The period that holds the first look begins on that day or before; "10D" counts from it.
        edges = pd.date_range(offset.rollback(first), last + offset, freq=offset).normalize()
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        why = str(error).partition(". Failed to parse")[0]
        raise CubeError(
            f"period={freq!r} is no period ({why}): a pandas offset of a day or more, such as 'MS', "
            f"'QS-DEC' or 'YS', one of {sorted(SEASONS)}, or {{'label': (first day, last day)}}."
        ) from None
    return _edges(edges, last)


def _edges(edges: "pd.DatetimeIndex", last: "pd.Timestamp") -> tuple[NDArray, NDArray]:
    starts = edges.to_numpy().astype("datetime64[D]")
    used = starts[:-1] <= np.datetime64(last, "D")
    return starts[:-1][used], starts[1:][used]


def _seasons(
    seasons: Mapping[str, tuple[str, str]], days: NDArray
) -> tuple[list[str], NDArray, NDArray]:
    """Return the seasons of all years that hold the first look to the last."""
    first, last = (int(str(day)[:4]) for day in (days.min(), days.max()))
    found = []
    for year in range(first, last + 2):
        for name, (begin, end) in seasons.items():
            start = np.datetime64(f"{year if begin <= end else year - 1}-{begin}")
            stop = np.datetime64(f"{year}-{end}") + _DAY
            if stop > days.min() and start <= days.max():
                found.append((start, stop, f"{year} {name}"))
    found.sort()
    starts, stops = (np.array([row[i] for row in found]) for i in (0, 1))
    return [label for *_, label in found], starts, stops


def _labelled(period: object) -> tuple[list[str], NDArray, NDArray]:
    if not isinstance(period, Mapping) or not period:
        raise CubeError(
            "period is a pandas offset such as 'MS', the name of seasons, or {'label': (first day, last "
            f"day)}}; got {period!r}."
        )
    starts, stops = [], []
    for label, interval in period.items():
        try:
            begin, end = (np.datetime64(_plain(day)) for day in interval)
            # "2021-08" is all of August: to its last day where it ends a period.
            end = (end + 1).astype("datetime64[D]") - _DAY if _is_coarse(end) else end
            begin, end = (moment.astype("datetime64[D]") for moment in (begin, end))
        except (TypeError, ValueError) as error:
            raise CubeError(
                f"Period {label!r} is (first day, last day), got {interval!r}: {error}"
            ) from None
        if not begin <= end:
            raise CubeError(f"Period {label!r} ends on {end}, before it begins on {begin}.")
        starts.append(begin)
        stops.append(end + _DAY)
    return [str(label) for label in period], np.array(starts), np.array(stops)


def _is_coarse(moment: np.datetime64) -> bool:
    """Return whether a time names a whole year, month or week."""
    return np.datetime_data(moment.dtype)[0] in {"Y", "M", "W"}


def _plain(day: Any) -> Any:
    """Return a pandas time as numpy's; all else as it is."""
    return day.to_numpy() if hasattr(day, "to_numpy") else day
