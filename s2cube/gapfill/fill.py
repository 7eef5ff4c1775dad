"""``fill_gaps``: a value every day, with where it comes from."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels, map_time
from s2cube.errors import CubeError
from s2cube.kernels import fill
from s2cube.schema import CLEAR_AGE, FAILED_LOOKS, PROVENANCE, STATUS, Provenance

__all__ = ["check_method", "fill_gaps"]

DEFAULT: Final = "linear"
FARTHEST: Final = 366
"""Days beyond the first and last look for which a value may be asked."""


@dataclass(frozen=True)
class _Method:
    """One way to fill a series."""

    kernel: Callable[..., NDArray[np.float32]]
    two_sided: bool
    """Whether a value leans on the look after it."""


_METHODS: Final = {
    "linear": _Method(fill.fill_linear, two_sided=True),
    "last": _Method(fill.fill_last, two_sided=False),
}


def fill_gaps(
    cube: xr.Dataset,
    method: str | None = None,
    *,
    freq: str = "1D",
    dates: Any = None,
    causal: bool = False,
) -> xr.Dataset:
    """Fill the gaps of a masked cube, lazily: one value a pixel for every date asked for.

    A look counts where all bands of the cube have a value. Clear looks pass through untouched; of
    several on one solar day, the last. Pixels that were never seen clear stay missing.

    Parameters
    ----------
    cube
        A cube whose clouds are masked (:func:`s2cube.mask_clouds`).
    method
        ``"linear"`` in days between clear looks, or ``"last"``, the last clear look. None is the
        library's choice, now ``"linear"``.
    freq
        Spacing of the dates, a pandas offset (``"1D"``, ``"5D"``, ``"MS"``), from the first to the
        last solar day of the cube.
    dates
        The very dates instead: anything :class:`pandas.DatetimeIndex` takes. At most 366 days before
        the first or after the last look. Looks outside of them still help to fill, so open the cube
        some weeks longer at both ends than the period you want.
    causal
        Whether a value may lean only on looks up to its date: nothing that happens later changes
        it. Before its first clear look a pixel is then missing.

    Returns
    -------
    xarray.Dataset
        The bands at 00:00 of the dates; ``provenance`` (uint8,
        :class:`~s2cube.schema.Provenance`: observed, interpolated between two clear looks,
        extrapolated beyond the last one the method leans on, never observed) and ``clear_age``
        (int16, days to the nearest clear look leant on, -32768 for none). Where the cube has
        ``status``, also ``failed_looks`` (uint16, dims ``(y, x)``): looks that could not be read, and
        were filled like clouds.

    Raises
    ------
    CubeError
        Unknown method or frequency, dates unsorted, empty or far outside, ``linear`` with
        ``causal=True`` (it needs the next look), a cube that is filled already.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear", freq="1D")
    >>> bool(daily["B04"].notnull().all())
    True
    """
    name = check_method(method, causal=causal)
    chosen = _METHODS[name]
    cube = schema.validate(cube)
    if PROVENANCE in cube:
        raise CubeError(
            "The cube is filled already (it has 'provenance'): filling it again would call filled "
            "values observed. Fill the masked cube."
        )
    days = schema.solar_days(cube)
    targets = _targets(days, freq, dates)
    bands = schema.bands_of(cube)
    valid = map_pixels(fill.observed, *(cube[band].data for band in bands), dtype=np.bool_)
    reach: fill.Reach = "past" if causal else "both"
    between = Provenance.INTERPOLATED if chosen.two_sided else Provenance.EXTRAPOLATED
    common: dict[str, Any] = {"days": days, "targets": targets, "length": len(targets)}

    arrays: dict[Hashable, xr.Variable] = {}
    for band in bands:
        how: dict[str, Any] = {} if chosen.two_sided else {"reach": reach}
        data = map_time(chosen.kernel, cube[band].data, valid, dtype=np.float32, **common, **how)
        arrays[band] = schema.variable(data, cube[band].attrs)
    facts = {**common, "reach": reach, "between": int(between)}
    arrays[PROVENANCE] = schema.variable(
        map_time(fill.provenance, valid, dtype=np.uint8, **facts),
        schema.flag_attrs(Provenance, "where the value comes from"),
    )
    arrays[CLEAR_AGE] = schema.variable(
        map_time(fill.clear_age, valid, dtype=np.int16, **facts),
        # No `units` and no `missing_value`: xarray would decode them to timedelta and to float.
        {"long_name": "days to the nearest clear look", "comment": "-32768 where there is none"},
    )
    if STATUS in cube:
        failed = map_time(fill.failed_looks, cube[STATUS].data, length=1, dtype=np.uint16)
        attrs = {"long_name": "looks at the pixel that could not be read"}
        arrays[FAILED_LOOKS] = schema.variable(failed, attrs)[0]
    coords = {key: value for key, value in cube.coords.items() if "time" not in value.dims}
    times = targets.astype("datetime64[D]").astype("datetime64[ns]")
    filled = xr.Dataset(arrays, {**coords, "time": ("time", times)}, cube.attrs)
    return schema.record(
        filled,
        "fill_gaps",
        method=name,
        causal=causal,
        dates=f"{len(targets)} from {times[0].astype('datetime64[D]')} "
        f"to {times[-1].astype('datetime64[D]')}",
    )


def check_method(method: str | None, *, causal: bool) -> str:
    """Return the name of a method that can do what is asked, the default's for None."""
    name = DEFAULT if method is None else method
    if not isinstance(name, str) or name not in _METHODS:
        raise CubeError(f"Unknown filling method {name!r}; known: {', '.join(_METHODS)}.")
    if causal and _METHODS[name].two_sided:
        raise CubeError(
            f"{name!r} needs the look after each gap, so it cannot be causal: use method='last', or "
            "causal=False."
        )
    return name


def _targets(days: NDArray[np.int32], freq: str, dates: Any) -> NDArray[np.int32]:
    """Return the asked dates as days since 1970-01-01."""
    import pandas as pd
    from pandas.tseries.frequencies import to_offset

    first, last = (pd.Timestamp(int(day), unit="D") for day in (days[0], days[-1]))
    try:
        if dates is None:
            if pd.Timestamp(first) + to_offset(freq) < first + pd.Timedelta(days=1):
                raise ValueError("it is shorter than a day")
            asked = pd.date_range(first, last, freq=freq)
        else:
            asked = pd.DatetimeIndex(np.atleast_1d(np.asarray(dates)))
    except (ValueError, TypeError, OverflowError) as error:
        what = f"freq={freq!r}" if dates is None else "dates"
        raise CubeError(f"{what} names no dates: {error}") from None
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
