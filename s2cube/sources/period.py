"""Dates and periods, as users write them."""

import re
from datetime import date
from datetime import datetime as dt
from typing import Any

import numpy as np

from s2cube.errors import CubeError

__all__ = ["period"]


def period(datetime: Any) -> tuple[np.datetime64, np.datetime64]:
    """Return the first and last moment of what `datetime` names.

    Parameters
    ----------
    datetime
        A date, month, year or moment, or a period of two of them, as ``"start/end"`` or a pair;
        ``".."`` or None is an open end.

    Raises
    ------
    CubeError
        It names nothing, or ends before it starts.

    Examples
    --------
    >>> from s2cube.sources.period import period
    >>> [str(end) for end in period("2020-02")]
    ['2020-02-01T00:00:00.000000', '2020-02-29T23:59:59.999999']
    """
    import pandas as pd

    ends = datetime.split("/") if isinstance(datetime, str) else datetime
    if not isinstance(ends, (list, tuple)):
        ends = [ends]
    if len(ends) not in (1, 2):
        raise CubeError(f"datetime is one date or a period 'start/end', got {datetime!r}.")
    try:
        first, last = (
            None if end in (None, "", "..") else _naive_period(pd, end) for end in (ends[0], ends[-1])
        )
    except (ValueError, TypeError) as error:
        raise CubeError(f"datetime={datetime!r} is no date or period: {error}") from None
    start = np.datetime64("0001-01-01", "s") if first is None else first[0]
    end = np.datetime64("9999-12-31", "s") if last is None else last[1]
    if start > end:
        raise CubeError(f"datetime={datetime!r} ends before it starts.")
    return start, end


def _naive_period(pd: Any, end: Any) -> tuple[np.datetime64, np.datetime64]:
    """Return the first and last moment of a date, month or year, or of a moment."""
    if isinstance(end, str) and not re.match(r"\d{4}(-\d\d)?(-\d\d)?([T ].*)?$", end):
        raise ValueError(f"{end!r} does not begin with a year, as in 2020, 2020-06 or 2020-06-15")
    whole = isinstance(end, str) and len(end) <= 10
    if isinstance(end, pd.Period) or whole:
        period = pd.Period(end)
        return period.start_time.to_datetime64(), period.end_time.to_datetime64()
    day = isinstance(end, np.datetime64) and end.dtype == "datetime64[D]"
    if day or (isinstance(end, date) and not isinstance(end, dt)):
        period = pd.Period(pd.Timestamp(end), freq="D")
        return period.start_time.to_datetime64(), period.end_time.to_datetime64()
    if not isinstance(end, (str, dt, np.datetime64)):
        raise TypeError(f"{end!r} is a {type(end).__name__}")
    stamp = pd.Timestamp(end)
    if stamp is pd.NaT:
        raise ValueError("not a time")
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC").tz_localize(None)
    return stamp.to_datetime64(), stamp.to_datetime64()
