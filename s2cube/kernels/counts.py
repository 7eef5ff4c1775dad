"""Counts and reflectance: decoding what sources hold, encoding what stores hold."""

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2cube.schema import NODATA, SCALE, Status

__all__ = [
    "NODATA_UNSIGNED",
    "SATURATED",
    "clamped",
    "decode",
    "encode",
    "held_as",
    "look_status",
    "read_failed_value",
    "representable",
]

SATURATED: Final = 65535
"""ESA's special value for a saturated pixel."""
LIMIT: Final = 32767
"""The largest count on disk, either sign."""
NODATA_UNSIGNED: Final = 65535
"""Missing on disk in ``uint16``."""


_WIDER: Final = {"uint8": "int16", "int8": "int16", "int16": "int32", "uint16": "int32"}
"""Integer types that hold all counts of another, and have room for special ones besides."""


def read_failed_value(dtype: np.dtype) -> float:
    """Return the count that stands for "this could not be read" in blocks of `dtype` from a reader.

    It is none that a product uses, in the types that :func:`held_as` gives: 65534 in ``uint16`` (65535
    is saturated), one above the smallest in signed types, -2**100 in floats. In ``uint8``, 254: of
    classes only, which are few; counts of 8 bits are held in a wider type.
    """
    if dtype.kind == "f":
        return -(2.0**100)
    limits = np.iinfo(dtype)
    return float(limits.min + 1 if dtype.kind == "i" else limits.max - 1)


def representable(value: float | None, dtype: np.dtype) -> bool:
    """Return whether a pixel of `dtype` can have that value, a finite one."""
    if value is None:
        return False
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return bool(np.isfinite(dtype.type(value)))
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max) and float(value).is_integer()


def held_as(dtype: np.dtype, nodata: float | None, *, marked: bool) -> tuple[np.dtype, float | None]:
    """Return the type in which a reader gives counts, and the one among them that is missing.

    That is `dtype`, or a wider one where it has no count to spare: for what lies outside the file,
    where no count is declared missing, and for :func:`read_failed_value`, where `marked`.

    Parameters
    ----------
    dtype
        Type of the counts in the file.
    nodata
        The missing count; None where there is none. One that no pixel can have is none.
    marked
        Whether the reader puts :func:`read_failed_value` where it could not read.

    Returns
    -------
    dtype, nodata
        The missing count is None for floats that have no other than NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from s2cube.kernels.counts import held_as
    >>> held_as(np.dtype("uint16"), 0, marked=True)
    (dtype('uint16'), 0)
    >>> held_as(np.dtype("uint8"), 0, marked=True)
    (dtype('int16'), 0)
    >>> held_as(np.dtype("uint16"), None, marked=False)
    (dtype('int32'), -2147483648.0)
    """
    if dtype.kind == "f":
        return dtype, None if nodata is None or np.isnan(nodata) else nodata
    declared = representable(nodata, dtype)
    # The smallest signed counts but one are written by those who clip: no marks.
    spare = declared and not (
        marked and (dtype.name not in ("uint16", "uint32") or nodata == read_failed_value(dtype))
    )
    held = dtype if spare else np.dtype(_WIDER.get(dtype.name, dtype))
    if declared:
        return held, nodata
    limits = np.iinfo(held)
    return held, float(limits.min if held.kind == "i" else limits.max)


def _set_aside(raw: NDArray, nodata: float | None, marked: bool) -> dict[Status, NDArray[np.bool_]]:
    """Return where `raw` is no measurement, by reason."""
    missing = np.zeros(raw.shape, dtype=bool) if nodata is None else raw == nodata
    if raw.dtype.kind == "f":
        # Nor is infinity one: it comes from dividing by zero.
        missing |= ~np.isfinite(raw)
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
    values = raw.astype(np.float32)
    # -0.1 / 1e-4 is -1000.0000000000001: in float32 it is the whole number of counts that is meant.
    values += (np.asarray(offset, dtype=np.float64) / scale).astype(np.float32)
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


def encode(values: NDArray[np.float32], *, unsigned: bool = False) -> NDArray[Any]:
    """Turn reflectance into the counts on disk, 1e-4 a count.

    Parameters
    ----------
    values
        Reflectance, or with `unsigned` what is never negative, such as half-widths of intervals.
    unsigned
        Whether counts are ``uint16`` (missing 65535) rather than ``int16`` (missing -32768).

    Notes
    -----
    Rounds half to even. What lies outside ±3.2767 (0 to 6.5534) is clamped, never wrapped: ±inf too.
    """
    low, high = _limits(unsigned)
    counts = _unclamped(values)
    np.clip(counts, low, high, out=counts)
    counts[np.isnan(counts)] = NODATA_UNSIGNED if unsigned else NODATA
    return counts.astype(np.uint16 if unsigned else np.int16)


def _limits(unsigned: bool) -> tuple[int, int]:
    return (0, NODATA_UNSIGNED - 1) if unsigned else (-LIMIT, LIMIT)


def _unclamped(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        counts: NDArray[np.float32] = np.rint(values * np.float32(1 / SCALE))
    return counts


def clamped(values: NDArray[np.float32], *, unsigned: bool = False) -> int:
    """Return how many of `values` :func:`encode` clamps."""
    low, high = _limits(unsigned)
    counts = _unclamped(values)
    with np.errstate(invalid="ignore"):
        return int(((counts < low) | (counts > high)).sum())
