"""The rules for offsets, as such: all facts that can be told, against what must never happen."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2cube.errors import HarmonizationError
from s2cube.harmonize import OffsetFacts, check_unit, offset_to_add, parse_baseline, scene_classes

facts = st.builds(
    OffsetFacts,
    asset=st.just("B04 of item X"),
    measures=st.booleans(),
    baseline=st.none() | st.tuples(st.integers(0, 9), st.integers(0, 99)),
    removed=st.none() | st.booleans(),
    original=st.booleans(),
    declared=st.none() | st.sampled_from([0.0, -0.1, -0.7, -1000.0]) | st.floats(-2, 2),
)


@given(facts)
def test_the_answer_is_one_of_esas_or_an_error(told: OffsetFacts) -> None:
    try:
        offset, refusal = offset_to_add(told), ""
    except HarmonizationError as error:
        offset, refusal = None, str(error)
    assert offset in (0.0, -0.1, None)
    if offset is None:
        assert "B04 of item X" in refusal
        assert "offset=" in refusal, "every refusal says how to go on"
        assert told.measures
    if not told.measures:
        assert offset == 0.0


@given(facts)
def test_nothing_is_subtracted_twice(told: OffsetFacts) -> None:
    """Where the provider has removed the offset from its own file, whatever else is said."""
    if told.measures and told.removed and not told.original:
        assert offset_to_add(told) == 0.0


def test_a_file_as_esa_made_it_follows_its_baseline() -> None:
    for baseline, removed in itertools.product([(2, 14), (3, 1), (4, 0), (5, 11)], [None, True, False]):
        told = OffsetFacts("B04", baseline=baseline, removed=removed, original=True)
        assert offset_to_add(told) == (-0.1 if baseline >= (4, 0) else 0.0)


def test_a_declared_0_on_a_file_as_esa_made_it_is_refused() -> None:
    """Elsewhere it may mean "removed"; there it means that one of the two is wrong."""
    told = OffsetFacts("B04 of item X", baseline=(5, 9), declared=0.0)
    assert offset_to_add(told) == 0.0
    # What a provider removed from its own files it did not remove from ESA's.
    jp2 = replace(told, original=True)
    for one in (jp2, replace(jp2, removed=True), replace(told, removed=False)):
        with pytest.raises(
            HarmonizationError, match=r"declares an offset of 0, but .* 05\.09 has -0\.1"
        ):
            offset_to_add(one)


def test_counts_are_not_taken_for_reflectance() -> None:
    with pytest.raises(
        HarmonizationError, match=r"-1000, which can only be in counts.*offset=-0\.1"
    ) as e:
        offset_to_add(OffsetFacts("B04 of item X", declared=-1000.0))
    assert "offset=-1000" not in str(e.value)


@pytest.mark.parametrize("declared", [-0.05, -0.0999, 0.05, 0.1])
def test_an_offset_that_esa_does_not_have_is_refused(declared: float) -> None:
    with pytest.raises(HarmonizationError, match=r"ESA's is 0 or -0\.1"):
        offset_to_add(OffsetFacts("B04 of item X", declared=declared))


def test_an_offset_that_is_no_number_is_refused() -> None:
    """It would make everything missing, and nobody would know why."""
    with pytest.raises(HarmonizationError, match="declares an offset of nan"):
        check_unit("B04 of item X", float("nan"))


@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_classes_that_sen2cor_does_not_have_are_no_data(kind: type) -> None:
    """Not what is left of them in 8 bits: 256 + 4 is no vegetation."""
    found = scene_classes(np.array([[[4, 11, 12, 260, -1]]], kind))
    assert found.values.ravel().tolist() == [4, 11, 0, 0, 0]
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("text", "baseline"),
    [
        ("05.10", (5, 10)), ("N0510", (5, 10)), ("0510", (5, 10)), (5.1, (5, 10)), ("5.1", (5, 10)),
        (5.0, (5, 0)), ("05.09", (5, 9)), ("N0209", (2, 9)), ("02.9", (2, 90)), ("99.99", None),
        (5, (5, 0)), (4.0, (4, 0)), (float("nan"), None), (True, None), ("N9999", None), ("", None),
        (None, None), ("1.2.0", None), ("v5", None), ("5", None),
    ],
)  # fmt: skip
def test_baselines_are_numbers(text: object, baseline: tuple[int, int] | None) -> None:
    assert parse_baseline(text) == baseline


def test_numeric_order_is_not_that_of_text() -> None:
    assert parse_baseline("05.10") > parse_baseline("05.09") > parse_baseline("04.00")  # type: ignore[operator]
    assert parse_baseline(5.1) == parse_baseline("05.10")
