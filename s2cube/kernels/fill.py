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

from s2cube.kernels.engine import compiled
from s2cube.kernels.order import percentiles
from s2cube.schema import NO_AGE, Provenance, Status

__all__ = [
    "Days",
    "Reach",
    "clear_age",
    "clear_looks",
    "failed_looks",
    "fill_closest",
    "fill_last",
    "fill_linear",
    "fill_median",
    "finish",
    "observed",
    "provenance",
]

Reach = Literal["past", "both"]
"""Which looks a value may lean on: those up to its day, or those after it too."""

Days = NDArray[np.int32]
LANES: Final = 256
"""Pixels side by side in a tile of the compiled loops."""
_FAR: Final = 2**29
"""Stands for "no such look" where days are compared; ``_FAR + _FAR`` still fits int32."""


def observed(*bands: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where all of some bands have a value: only there a pixel is observed."""
    complete = np.isfinite(bands[0])
    for band in bands[1:]:
        complete &= np.isfinite(band)
    return complete


def clear_looks(
    values: NDArray[np.float32], valid: NDArray[np.bool_], days: Days
) -> tuple[NDArray[np.float32], Days]:
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


def _one_look_a_day(
    values: NDArray[np.float32], valid: NDArray[np.bool_], days: Days
) -> tuple[tuple[NDArray[Any], ...], Days]:
    """Return values and whether they are clear, as compiled loops take them: ``(looks, pixels)``."""
    if len(np.unique(days)) < len(days):
        values, days = clear_looks(values, valid, days)
        valid = np.isfinite(values)
    return tuple(array.reshape(len(days), -1) for array in (values, valid)), days


def _clear_days(valid: NDArray[np.bool_], days: Days) -> tuple[Days, Days]:
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


def _steps(days: Days, targets: Days) -> Iterator[tuple[int, int, int]]:
    """Yield the index and day of each target and its step: the last at or before it, or -1.

    Where one day has several looks that is the last of them.
    """
    steps = np.searchsorted(days, targets, side="right") - 1
    yield from zip(range(len(targets)), targets.tolist(), steps.tolist(), strict=True)


def fill_last(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    days: Days,
    targets: Days,
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
    if fast := compiled("fill_loops"):
        looks, days = _one_look_a_day(values, valid, days)
        steps = np.searchsorted(days, targets, side="right") - 1
        made = np.empty((len(targets), *values.shape[1:]), dtype=np.float32)
        fast.last(*looks, steps, reach == "both", LANES, made.reshape(len(targets), -1))
        return made
    clear, days = clear_looks(values, valid, days)
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
    values: NDArray[np.float32], valid: NDArray[np.bool_], *, days: Days, targets: Days
) -> NDArray[np.float32]:
    """Interpolate linearly in days between clear looks; hold the first and the last of them.

    Parameters and result as in :func:`fill_last`. Clear looks pass through bit for bit.
    """
    out = np.empty((len(targets), *values.shape[1:]), dtype=np.float32)
    if fast := compiled("fill_loops"):
        looks, days = _one_look_a_day(values, valid, days)
        steps = np.searchsorted(days, targets, side="right") - 1
        fast.linear(*looks, days, targets, steps, LANES, out.reshape(len(targets), -1))
        return out
    clear, days = clear_looks(values, valid, days)
    seen = np.isfinite(clear)
    past, later = _clear_days(seen, days)
    before, after = clear, clear.copy()
    _carry(before, ~seen)
    _carry(after[::-1], ~seen[::-1])
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
            slope = (right - start) / (later[k + 1] - past[k]).astype(np.float32)
            # Where one side has no look, hold the other.
            start = np.where(np.isnan(start), right, start)
            slope[np.isnan(slope)] = 0
        for i, day, _ in rows:
            line = out[i]
            np.subtract(np.float32(day), since, out=line)
            line *= slope
            line += start
    return out


def fill_closest(
    values: NDArray[np.float32], valid: NDArray[np.bool_], *, days: Days, targets: Days
) -> NDArray[np.float32]:
    """Take the clear look that is nearest in days; of two as near, the one before.

    Parameters and result as in :func:`fill_last`.
    """
    clear, days = clear_looks(values, valid, days)
    seen = np.isfinite(clear)
    past, later = _clear_days(seen, days)
    before, after = clear, clear.copy()
    _carry(before, ~seen)
    _carry(after[::-1], ~seen[::-1])
    out = np.empty((len(targets), *values.shape[1:]), dtype=np.float32)
    for i, day, k in _steps(days, targets):
        if k < 0:
            out[i] = after[0]
        elif k + 1 == len(days):
            out[i] = before[k]
        else:
            out[i] = np.where(later[k + 1] - day < day - past[k], after[k + 1], before[k])
    return out


def fill_median(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    days: Days,
    targets: Days,
    reach: Reach,
    window: int,
    smooth: bool,
) -> NDArray[np.float32]:
    """Take the median of the clear looks around a day; where there is none, the nearest look.

    Parameters
    ----------
    values, valid, days, targets
        As in :func:`fill_last`.
    reach
        ``"past"``: looks up to the day, and the last one where there is none within the window.
    window
        Days on each side.
    smooth
        Whether the median replaces clear looks too.

    Returns
    -------
    numpy.ndarray
        As :func:`fill_last` returns it.
    """
    if reach == "past":
        out = fill_last(values, valid, days=days, targets=targets, reach=reach)
    else:
        out = fill_closest(values, valid, days=days, targets=targets)
    clear, days = clear_looks(values, valid, days)
    starts = np.searchsorted(days, targets - window, side="left").tolist()
    after = 0 if reach == "past" else window
    ends = np.searchsorted(days, targets + after, side="right").tolist()
    looks = zip(starts, ends, strict=True)
    # Neighbouring days often have the same looks around them.
    for (start, end), rows in groupby(enumerate(looks), key=lambda row: row[1]):
        if start == end:
            continue
        (middle,), seen = percentiles(clear[start:end], (50,))
        for i, _ in rows:
            np.copyto(out[i], middle, where=seen > 0)
    return finish(out, clear, days=days, targets=targets, reach=reach, smooth=smooth)


def finish(
    out: NDArray[np.float32],
    clear: NDArray[np.float32],
    *,
    days: Days,
    targets: Days,
    reach: Reach,
    smooth: bool,
) -> NDArray[np.float32]:
    """Let clear looks through, unless smooth; and leave missing what nothing is known of. In place.

    Parameters
    ----------
    out
        Estimates, shape ``(targets, y, x)``.
    clear, days
        As :func:`clear_looks` returns them.
    targets, reach, smooth
        As in :func:`fill_median`.
    """
    steps = [step for _, _, step in _steps(days, targets)]
    if not smooth:
        for plane, day, step in zip(out, targets.tolist(), steps, strict=True):
            if step >= 0 and days[step] == day:
                np.copyto(plane, clear[step], where=np.isfinite(clear[step]))
    if reach == "both":
        out[:, ~np.isfinite(clear).any(axis=0)] = np.nan
        return out
    unseen = np.ones(out.shape[1:], bool)
    done = -1
    for plane, step in zip(out, steps, strict=True):
        for look in clear[done + 1 : step + 1]:
            unseen &= np.isnan(look)
        done = step
        plane[unseen] = np.nan
    return out


def failed_looks(status: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return how many looks at each pixel could not be read, shape ``(1, y, x)``."""
    count: NDArray[np.uint16] = (status == Status.READ_FAILED).sum(
        axis=0, keepdims=True, dtype=np.uint16
    )
    return count


def provenance(
    valid: NDArray[np.bool_],
    *,
    days: Days,
    targets: Days,
    reach: Reach,
    between: int,
    on_look: int = Provenance.OBSERVED,
) -> NDArray[np.uint8]:
    """Return where each filled value comes from.

    Parameters
    ----------
    valid, days, targets, reach
        As in :func:`fill_last`.
    between
        What a value between two clear looks is called: interpolated, or extrapolated for a method
        that leans on one side only.
    on_look
        What a value on the day of a clear look is called: not observed where it was smoothed.

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
            plane[past[k] == day] = on_look
        out[i] = plane
    return out


def clear_age(
    valid: NDArray[np.bool_], *, days: Days, targets: Days, reach: Reach, between: int
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
