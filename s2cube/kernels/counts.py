"""Counts and reflectance: decoding what sources hold, encoding what stores hold."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2cube.schema import NODATA, SCALE, Status

__all__ = ["clamped", "decode", "encode", "look_status", "read_failed_value"]

SATURATED: Final = 65535
"""ESA's special value for a saturated pixel."""
LIMIT: Final = 32767
"""The largest count on disk, either sign."""


def read_failed_value(dtype: np.dtype) -> float:
    """Return the count that stands for "this could not be read" in blocks of `dtype` from a reader.

    It is one that no product uses: 65534 in ``uint16`` (65535 is saturated), 254 in ``uint8``, far
    below zero in signed types.
    """
    if dtype.kind == "f":
        return float("inf")
    limits = np.iinfo(dtype)
    return float(limits.min + 1 if dtype.kind == "i" else limits.max - 1)


def _set_aside(raw: NDArray, nodata: float | None, marked: bool) -> dict[Status, NDArray[np.bool_]]:
    """Return where `raw` is no measurement, by reason."""
    missing = np.zeros(raw.shape, dtype=bool) if nodata is None else raw == nodata
    if raw.dtype.kind == "f":
        missing |= np.isnan(raw)
    found = {Status.SATURATED: raw == SATURATED, Status.NO_DATA: missing}
    if marked:
        found[Status.READ_FAILED] = raw == raw.dtype.type(read_failed_value(raw.dtype))
    return found


def decode(
    raw: NDArray,
    *,
    nodata: float | None,
    scale: float,
    offset: ArrayLike = 0.0,
    marked: bool = False,
) -> NDArray[np.float32]:
    """Turn counts into reflectance: special values aside first, then widen, then add.

    Parameters
    ----------
    raw
        Counts of any real type, shape ``(time, y, x)``.
    nodata
        The count that stands for missing; None where there is none.
    scale
        Reflectance of one count.
    offset
        Reflectance to add, a scalar or shape ``(time, 1, 1)``.
    marked
        Whether a reader has put :func:`read_failed_value` where it could not read.

    Returns
    -------
    numpy.ndarray
        ``float32`` reflectance, NaN where `raw` is missing, saturated or unread; negative values
        are kept. The offset is added in counts, where it is exact, so that ``(DN - 1000) / 10000``
        is right to the last bit that float32 can hold.
    """
    shift = np.asarray(offset, dtype=np.float64) / scale
    near = np.round(shift)
    # -0.1 / 1e-4 is -1000.0000000000001: a whole number of counts is meant.
    shift = np.where(np.abs(shift - near) < 1e-6, near, shift).astype(np.float32)
    values = raw.astype(np.float32)
    values += shift
    inverse = round(1 / scale)
    if abs(scale * inverse - 1) < 1e-12:
        # One correctly rounded operation: 1 / 10000 is exact as a divisor, 1e-4 is not as a factor.
        values /= np.float32(inverse)
    else:
        values *= np.float32(scale)
    for where in _set_aside(raw, nodata, marked).values():
        values[where] = np.nan
    return values


def look_status(
    *raws: NDArray, nodata: tuple[float | None, ...], marked: bool = False
) -> NDArray[np.uint8]:
    """Return the ``status`` of looks from the counts of all their bands: the worst band decides.

    Parameters
    ----------
    *raws
        Counts by band, each of shape ``(time, y, x)``.
    nodata
        The missing count by band.
    marked
        As in :func:`decode`.
    """
    status = np.zeros(raws[0].shape, dtype=np.uint8)
    for raw, missing in zip(raws, nodata, strict=True):
        for flag, where in _set_aside(raw, missing, marked).items():
            np.maximum(status, np.uint8(flag), out=status, where=where)
    return status


def encode(values: NDArray[np.float32]) -> NDArray[np.int16]:
    """Turn reflectance into the counts on disk: ``int16``, 1e-4 a count, missing is -32768.

    Rounds half to even. What lies outside ±3.2767 is clamped, never wrapped: ±inf too.
    """
    counts = _unclamped(values)
    np.clip(counts, -LIMIT, LIMIT, out=counts)
    counts[np.isnan(counts)] = NODATA
    encoded: NDArray[np.int16] = counts.astype(np.int16)
    return encoded


def _unclamped(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        counts: NDArray[np.float32] = np.rint(values * np.float32(1 / SCALE))
    return counts


def clamped(values: NDArray[np.float32]) -> int:
    """Return how many of `values` :func:`encode` clamps."""
    with np.errstate(invalid="ignore"):
        return int((np.abs(_unclamped(values)) > LIMIT).sum())
