"""Decoding and encoding: exact, and nothing invented at the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from s2cube.kernels.counts import (
    clamped,
    decode,
    encode,
    held_as,
    look_status,
    read_failed_value,
    representable,
)
from s2cube.schema import Status

raw_blocks = hnp.arrays(np.uint16, st.just((2, 3, 4)), elements=st.integers(0, 65533))


@given(raw_blocks, st.sampled_from([0.0, -0.1]))
def test_decode_is_right_to_the_last_bit(raw: np.ndarray, offset: float) -> None:
    values = decode(raw, nodata=0, scale=1e-4, offset=offset)
    exact = ((raw.astype(np.int64) + round(offset * 10_000)) / 10_000).astype(np.float32)
    expected = np.where(raw == 0, np.float32(np.nan), exact)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected)


def test_special_counts_are_set_aside_before_the_offset() -> None:
    raw = np.array([0, 1, 500, 1000, 65534, 65535], np.uint16).reshape(1, 1, 6)
    values = decode(raw, nodata=0, scale=1e-4, offset=-0.1, marked=True)[0, 0]
    assert np.isnan(values[[0, 4, 5]]).all()
    # Dark water stays negative, and a count equal to the offset is zero, not missing.
    np.testing.assert_array_equal(values[1:4], np.float32([-0.0999, -0.05, 0.0]))


def test_no_data_is_not_zero_where_there_is_none() -> None:
    raw = np.zeros((1, 1, 2), np.uint16)
    assert (decode(raw, nodata=None, scale=1e-4) == 0).all()


def test_offsets_by_date() -> None:
    raw = np.full((2, 1, 1), 3000, np.uint16)
    offsets = np.array([0.0, -0.1])[:, None, None]
    values = decode(raw, nodata=0, scale=1e-4, offset=offsets)
    np.testing.assert_array_equal(values.ravel(), np.float32([0.3, 0.2]))


def test_other_scales() -> None:
    raw = np.array([[[10_000, 20_000]]], np.uint16)
    values = decode(raw, nodata=0, scale=2.75e-5, offset=-0.2)
    np.testing.assert_allclose(values.ravel(), [0.075, 0.35], rtol=1e-6)


@given(hnp.arrays(np.int16, st.just((3, 2, 5)), elements=st.integers(-32767, 32767)))
def test_every_count_survives_the_way_to_disk_and_back(counts: np.ndarray) -> None:
    values = decode(counts, nodata=-32768, scale=1e-4)
    np.testing.assert_array_equal(encode(values), counts)
    assert clamped(values) == 0


@given(
    hnp.arrays(
        np.float32,
        st.just((2, 2, 6)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
def test_encoding_clamps_and_never_wraps(values: np.ndarray) -> None:
    counts = encode(values)
    missing = np.isnan(values)
    assert (counts[missing] == -32768).all()
    assert (counts[~missing] > -32768).all(), "a value must not turn into no-data"
    exact = np.clip(np.rint(values[~missing].astype(np.float64) * 1e4), -32767, 32767)
    # float32 holds four digits of a count: the last may tip either way.
    assert np.abs(counts[~missing] - exact).max(initial=0) <= 1
    with np.errstate(over="ignore"):
        beyond = np.abs(np.rint(values[~missing] * np.float32(1e4))) > 32767
    assert clamped(values) == beyond.sum()


def test_what_is_missing_or_beyond_on_disk() -> None:
    """By hand, as properties draw these values by chance only."""
    values = np.float32([np.nan, np.inf, -np.inf, 3.2767, 3.2768, -3.2767, -3.2768, 0, -0.0001])
    counts = [-32768, 32767, -32767, 32767, 32767, -32767, -32767, 0, -1]
    assert encode(values).tolist() == counts
    assert clamped(values) == 4
    widths = np.float32([np.nan, 0, 6.5534, 6.5535, np.inf, -0.0001])
    assert encode(widths, unsigned=True).tolist() == [65535, 0, 65534, 65534, 65534, 0]
    assert clamped(widths, unsigned=True) == 3


def test_encoding_rounds_half_to_even() -> None:
    halves = np.arange(-200, 200, dtype=np.float32) + np.float32(0.5)
    values = halves * np.float32(1e-4)
    # Only those that float32 brings back as exact halves tell anything about rounding.
    exact = values * np.float32(1e4) == halves
    assert exact.sum() > 100
    got = encode(values[exact].reshape(1, 1, -1)).ravel()
    assert (got % 2 == 0).all()
    assert (np.abs(got - halves[exact]) == 0.5).all()


def test_the_worst_band_decides_the_status() -> None:
    failed = int(read_failed_value(np.dtype(np.uint16)))
    red = np.array([[[1, 0, 65535, 7, 65535]]], np.uint16)
    nir = np.array([[[1, 5, 9, failed, 0]]], np.uint16)
    worst = [
        Status.CLEAR, Status.NO_DATA, Status.SATURATED, Status.READ_FAILED, Status.NO_DATA,
    ]  # fmt: skip
    for bands in ((red, nir), (nir, red)):
        assert look_status(*bands, nodata=(0, 0), marked=True).ravel().tolist() == worst


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_the_mark_of_a_failed_read_is_no_measurement(dtype: str) -> None:
    mark = read_failed_value(np.dtype(dtype))
    raw = np.full((1, 1, 1), mark, dtype)
    assert np.isnan(decode(raw, nodata=None, scale=1.0, marked=True)).all()
    assert look_status(raw, nodata=(None,), marked=True).item() == Status.READ_FAILED


def test_a_missing_count_that_is_the_mark_makes_room_for_it() -> None:
    """Else every pixel without data would have failed to be read."""
    held, missing = held_as(np.dtype("uint16"), 65534, marked=True)
    assert missing == 65534 != read_failed_value(held)
    assert held_as(np.dtype("uint16"), 65534, marked=False) == (np.dtype("uint16"), 65534)


TYPES = ["uint8", "int8", "uint16", "int16", "int32", "uint32", "float32"]


@given(st.sampled_from(TYPES), st.data(), st.booleans())
def test_counts_are_held_with_room_for_what_is_special(
    name: str, data: st.DataObject, marked: bool
) -> None:
    """No count of the file is the mark or, where none is declared, the missing one."""
    dtype = np.dtype(name)
    any_count = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    declared = data.draw(st.none() | any_count | st.sampled_from([-9999.0, 65535.0, np.nan]))
    nodata = None if declared is None else float(declared)
    held, missing = held_as(dtype, nodata, marked=marked)
    assert np.can_cast(dtype, held)
    specials = [read_failed_value(held)] if marked else []
    if representable(nodata, dtype):
        assert missing == nodata
    elif missing is not None and dtype.kind != "f":
        specials.append(missing)
    assert all(representable(value, held) for value in specials)
    if missing is not None and marked:
        assert missing != read_failed_value(held) or dtype.itemsize == 4
    if dtype.itemsize <= 2:
        spare = {65534.0} if held == np.uint16 else set()
        assert not any(representable(value, dtype) for value in set(specials) - spare)


def test_infinity_is_missing() -> None:
    raw = np.array([[[0.5, np.inf, -np.inf, np.nan]]], np.float32)
    assert np.isnan(decode(raw, nodata=None, scale=1.0)).ravel().tolist() == [False, True, True, True]
    status = look_status(raw, nodata=(None,), marked=True)
    assert status.ravel().tolist() == [Status.CLEAR] + 3 * [Status.NO_DATA]
