"""The dates that are filled."""

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError

__all__ = ["FARTHEST", "target_days"]

FARTHEST: Final = 366
"""Days beyond the first and last look for which a value may be asked."""
_DAY: Final = re.compile(r"\d{4}-?\d\d-?\d\d.*")


def target_days(days: NDArray[np.int32], freq: str, dates: Any) -> NDArray[np.int32]:
    """Return the dates asked for as days since 1970-01-01.

    Parameters
    ----------
    days
        Days of the looks, ascending.
    freq, dates
        See :func:`~s2cube.fill_gaps`.
    """
    import pandas as pd
    from pandas.tseries.frequencies import to_offset

    if isinstance(dates, str) and not _DAY.fullmatch(dates):
        raise CubeError(
            f"dates={dates!r} is no day such as '2020-06-15'; a period is "
            "pandas.date_range('2020-01-01', '2020-12-31')."
        )
    first, last = (pd.Timestamp(int(day), unit="D") for day in (days[0], days[-1]))
    try:
        if dates is None:
            if pd.Timestamp(first) + to_offset(freq) < first + pd.Timedelta(days=1):
                raise ValueError("it is shorter than a day")
            asked = pd.date_range(first, last, freq=freq)
        else:
            asked = pd.DatetimeIndex(np.atleast_1d(np.asarray(dates)))
    except (ValueError, TypeError, OverflowError) as error:
        if dates is None:
            raise CubeError(
                f"freq={freq!r} names no dates: it is a pandas offset of a day or more, such as '1D', "
                "'5D' or 'MS'."
            ) from None
        raise CubeError(f"dates names no dates: {error}") from None
    if len(asked) == 0:
        raise CubeError(f"No date to fill between {first:%Y-%m-%d} and {last:%Y-%m-%d}.")
    if asked.tz is not None or (asked != asked.normalize()).any():
        raise CubeError("dates are whole days without a time zone, such as '2020-06-15'.")
    if not (asked.is_monotonic_increasing and asked.is_unique):
        raise CubeError("dates must be sorted, each once.")
    far = pd.Timedelta(days=FARTHEST)
    if asked[0] < first - far or asked[-1] > last + far:
        raise CubeError(
            f"dates reach from {asked[0]:%Y-%m-%d} to {asked[-1]:%Y-%m-%d}, but the cube's looks only "
            f"from {first:%Y-%m-%d} to {last:%Y-%m-%d}: a value more than {FARTHEST} days away from "
            "any look would be invented. Open the cube with a datetime= that covers the dates."
        )
    days_asked: NDArray[np.int32] = asked.to_numpy().astype("datetime64[D]").astype(np.int32)
    return days_asked
