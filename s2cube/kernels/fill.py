"""Filling a series in time: from looks at some days to values at asked days.

All functions take looks along axis 0 with their days (integers, ascending), and the days asked for
(integers, ascending). Pixels are independent of each other, so blocks of any shape give the same.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final, Literal

import bottleneck
import numpy as np
from numpy.typing import NDArray

from s2cube.schema import NO_AGE, Provenance, Status

__all__ = ["Reach", "clear_age", "failed_looks", "fill_last", "fill_linear", "observed", "provenance"]

Reach = Literal["past", "both"]
"""Which looks a value may lean on: those up to its day, or those after it too."""

_Days = NDArray[np.int32]
_FAR: Final = 2**29
"""Stands for "no such look" where days are compared; ``_FAR + _FAR`` still fits int32."""


def observed(*bands: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where all of some bands have a value: only there a pixel is observed."""
    complete = np.isfinite(bands[0])
    for band in bands[1:]:
        complete &= np.isfinite(band)
    return complete


def _clear_looks(
    values: NDArray[np.float32], valid: NDArray[np.bool_], days: _Days
) -> tuple[NDArray[np.float32], _Days]:
    """Return one look a day, NaN where it is not clear: of several clear ones, the last."""
    clear = np.where(valid, values, np.float32(np.nan))
    unique, first = np.unique(days, return_index=True)
    if len(unique) == len(days):
        return clear, days
    merged = clear[first]
    rows = np.searchsorted(unique, days)
    for step, row in enumerate(rows.tolist()):
        np.copyto(merged[row], clear[step], where=valid[step])
    return merged, unique


def _clear_days(valid: NDArray[np.bool_], days: _Days) -> tuple[_Days, _Days]:
    """Return the days of the clear looks around each step.

    ``past[i]`` is the day of the last clear look up to step ``i``; ``later[i]`` that of the first
    one from step ``i`` on, with one row more than steps, since after the last there is none.
    """
    past = np.where(valid, days[:, None, None], np.int32(-_FAR))
    later = np.full((len(days) + 1, *valid.shape[1:]), _FAR, dtype=np.int32)
    np.copyto(later[:-1], past, where=valid)
    _carry(past, ~valid)
    _carry(later[-2::-1], ~valid[::-1])
    return past, later


def _carry(planes: NDArray[Any], missing: NDArray[np.bool_]) -> None:
    """Copy each plane into the next where that is missing: plane by plane, as memory lies."""
    for i in range(1, len(planes)):
        np.copyto(planes[i], planes[i - 1], where=missing[i])


def _steps(days: _Days, targets: _Days) -> Iterator[tuple[int, int, int]]:
    """Yield the index and day of each target and its step: the last at or before it, or -1.

    Where one day has several looks that is the last of them.
    """
    steps = np.searchsorted(days, targets, side="right") - 1
    yield from zip(range(len(targets)), targets.tolist(), steps.tolist(), strict=True)


def fill_last(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    days: _Days,
    targets: _Days,
    reach: Reach,
) -> NDArray[np.float32]:
    """Hold the last clear look.

    Parameters
    ----------
    values, valid
        Looks and whether they are clear, shape ``(time, y, x)``.
    days, targets
        Day of each look, days asked for.
    reach
        ``"past"``: NaN before the first clear look; ``"both"``: that look, held backwards.

    Returns
    -------
    numpy.ndarray
        ``float32``, shape ``(targets, y, x)``; NaN where a pixel was never seen clear.
    """
    clear, days = _clear_looks(values, valid, days)
    held = bottleneck.push(clear, axis=0)
    step = np.array([k for _, _, k in _steps(days, targets)])
    out: NDArray[np.float32] = held[np.maximum(step, 0)]
    out[step < 0] = np.nan
    if reach == "both":
        first = bottleneck.push(clear[::-1], axis=0)[-1]
        # Only days before a pixel's first clear look are still missing.
        for plane in out:
            np.copyto(plane, first, where=np.isnan(plane))
    return out


def fill_linear(
    values: NDArray[np.float32], valid: NDArray[np.bool_], *, days: _Days, targets: _Days
) -> NDArray[np.float32]:
    """Interpolate linearly in days between clear looks; hold the first and the last of them.

    Parameters and result as in :func:`fill_last`. Clear looks pass through bit for bit.
    """
    clear, days = _clear_looks(values, valid, days)
    seen = np.isfinite(clear)
    past, later = _clear_days(seen, days)
    before, after = clear, clear.copy()
    _carry(before, ~seen)
    _carry(after[::-1], ~seen[::-1])
    out = np.empty((len(targets), *values.shape[1:]), dtype=np.float32)
    flat = np.zeros(values.shape[1:], dtype=np.float32)
    # Between two looks a pixel moves along one line: find it once, then follow it day by day.
    for k, rows in groupby(_steps(days, targets), key=lambda row: row[2]):
        if k < 0:
            start, slope, since = after[0], flat, flat
        elif k + 1 == len(days):
            start, slope, since = before[k], flat, flat
        else:
            start, right = before[k], after[k + 1]
            since = past[k].astype(np.float32)
            slope = (right - start) / (later[k + 1] - since)
            # Where one side has no look, hold the other.
            start = np.where(np.isnan(start), right, start)
            slope[np.isnan(slope)] = 0
        for i, day, _ in rows:
            line = out[i]
            np.subtract(np.float32(day), since, out=line)
            line *= slope
            line += start
    return out


def failed_looks(status: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return how many looks at each pixel could not be read, shape ``(1, y, x)``."""
    count: NDArray[np.uint16] = (status == Status.READ_FAILED).sum(
        axis=0, keepdims=True, dtype=np.uint16
    )
    return count


def provenance(
    valid: NDArray[np.bool_], *, days: _Days, targets: _Days, reach: Reach, between: int
) -> NDArray[np.uint8]:
    """Return where each filled value comes from.

    Parameters
    ----------
    valid, days, targets, reach
        As in :func:`fill_last`.
    between
        What a value between two clear looks is called: interpolated, or extrapolated for a method
        that leans on one side only.

    Returns
    -------
    numpy.ndarray
        ``uint8`` of :class:`~s2cube.schema.Provenance`, shape ``(targets, y, x)``.
    """
    past, later = _clear_days(valid, days)
    out = np.empty((len(targets), *valid.shape[1:]), dtype=np.uint8)
    for i, day, k in _steps(days, targets):
        seen_before = past[k] > -_FAR if k >= 0 else np.zeros(valid.shape[1:], dtype=bool)
        seen_after = later[k + 1] < _FAR if reach == "both" else np.zeros_like(seen_before)
        plane = np.full(valid.shape[1:], Provenance.NEVER_OBSERVED, dtype=np.uint8)
        plane[seen_before | seen_after] = Provenance.EXTRAPOLATED
        plane[seen_before & seen_after] = between
        if k >= 0:
            plane[past[k] == day] = Provenance.OBSERVED
        out[i] = plane
    return out


def clear_age(
    valid: NDArray[np.bool_], *, days: _Days, targets: _Days, reach: Reach, between: int
) -> NDArray[np.int16]:
    """Return the days to the nearest clear look that a value leans on; -32768 where there is none.

    Parameters as in :func:`provenance`; a method that leans on one side only (`between` is
    extrapolated) counts from that side wherever it has a look there.
    """
    past, later = _clear_days(valid, days)
    two_sided = between == Provenance.INTERPOLATED
    out = np.empty((len(targets), *valid.shape[1:]), dtype=np.int16)
    for i, day, k in _steps(days, targets):
        age = day - past[k] if k >= 0 else np.full(valid.shape[1:], _FAR, dtype=np.int32)
        if reach == "both":
            ahead = later[k + 1] - day
            age = np.where(two_sided | (age >= _FAR // 2), np.minimum(age, ahead), age)
        out[i] = np.where(age >= _FAR // 2, NO_AGE, np.minimum(age, 32767)).astype(np.int16)
    return out
