"""Which looks make which image: by solar day, against pandas and by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import s2cube
from s2cube import schema
from s2cube.composites import SEASONS, find_periods
from s2cube.errors import CubeError


def seen_at(
    times: list[str], *, crs: str = "EPSG:32633", x: float = 500_000.0, y: float = 5_000_000.0
) -> xr.Dataset:
    """A cube of four pixels with looks at some times."""
    number = len(times)
    values = np.arange(1, number + 1, dtype=np.uint16)[:, None, None] * 100
    ds = xr.Dataset(
        {"B04": (("time", "y", "x"), np.broadcast_to(values, (number, 2, 2)).copy())},
        {
            "time": np.array(times, "M8[ns]"),
            "y": y - 10 * np.arange(2.0),
            "x": x + 10 * np.arange(2.0),
        },
    )
    return s2cube.as_cube(ds, scale=1e-4, offset=0, nodata=0, crs=crs, level="L2A")


def find(cube: xr.Dataset, *how: Any, **more: Any) -> Any:
    return find_periods(schema.solar_days(cube), *how, **more)


def starts(cube: xr.Dataset, period: Any, **more: Any) -> dict[str, list[int]]:
    """Return the numbers of the looks by the first day of their period."""
    found = find(cube, period, **more)
    days = found.coords["time"].values.astype("M8[D]").astype(str)
    return {day: group.tolist() for day, group in zip(days, found.groups, strict=True)}


days_of_looks = st.sets(st.integers(17_500, 19_200), min_size=1, max_size=40).map(
    lambda days: np.array(sorted(days)).astype("M8[D]")
)


@given(
    days_of_looks, st.sampled_from(["MS", "2MS", "QS", "QS-DEC", "QS-NOV", "YS", "YS-OCT", "10D", "1D"])
)
def test_each_look_has_one_period(days: np.ndarray, freq: str) -> None:
    cube = seen_at([f"{day}T10:00" for day in days])
    found = find(cube, freq)
    assert np.concatenate(found.groups).tolist() == list(range(len(days)))
    bounds = found.coords["time_bnds"].values
    np.testing.assert_array_equal(found.coords["time"].values, bounds[:, 0])
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    for (start, stop), group in zip(bounds, found.groups, strict=True):
        assert (days[group] >= start).all()
        assert (days[group] < stop).all()
    # From the first look to the last, and none before or after.
    assert len(found.groups[0])
    assert len(found.groups[-1])


@given(days_of_looks, st.sampled_from(["MS", "QS", "QS-DEC", "YS", "YS-OCT"]))
def test_as_pandas(days: np.ndarray, freq: str) -> None:
    cube = seen_at([f"{day}T10:00" for day in days])
    wanted = pd.Series(1, index=pd.DatetimeIndex(days)).resample(freq).sum()
    found = find(cube, freq)
    np.testing.assert_array_equal(found.coords["time"].values, wanted.index.values)
    assert [len(group) for group in found.groups] == wanted.tolist()


def test_one_image_of_all() -> None:
    found = find(seen_at(["2021-01-01", "2021-06-01"]), None)
    assert [group.tolist() for group in found.groups] == [[0, 1]]
    assert found.coords == {}


def test_december_belongs_to_the_winter_of_the_next_year() -> None:
    cube = seen_at([f"{day}T10:00" for day in ("2020-11-30", "2020-12-01", "2020-12-31", "2021-02-28")])
    assert starts(cube, "QS-DEC") == {"2020-09-01": [0], "2020-12-01": [1, 2, 3]}
    found = find(cube, "pan-european")
    by_label = dict(zip(found.coords["period"].values.tolist(), found.groups, strict=True))
    assert {label: group.tolist() for label, group in by_label.items()} == {
        "2020 autumn": [0, 1],
        "2021 winter": [2, 3],
    }


@given(st.integers(18_000, 20_500))
def test_every_day_has_one_pan_european_season(day: int) -> None:
    """No day is left out, none is in two; leap years too."""
    date = np.datetime64(day, "D")
    found = find(seen_at([f"{date}T10:00"]), "pan-european")
    assert [group.tolist() for group in found.groups] == [[0]]
    (label,) = found.coords["period"].values
    month_day = str(date)[5:]
    seasons = {
        name
        for name, (begin, end) in SEASONS["pan-european"].items()
        if (begin <= month_day <= end if begin <= end else month_day >= begin or month_day <= end)
    }
    assert {label.split()[1]} == seasons
    year = int(str(date)[:4]) + (month_day >= "12-02")
    assert label == f"{year} {seasons.pop()}"


def test_seasons_without_a_look_at_the_ends_are_left_out() -> None:
    """Also where the first look is of the very day after one ends."""
    start, stop = (str(day) for day in SEASONS["pan-european"]["spring"])
    first, last = (np.datetime64(f"2021-{day}") for day in (start, stop))
    found = find_periods(np.array([first, last]), "pan-european")
    assert found.coords["period"].values.tolist() == ["2021 spring"]


def test_solar_days_east_and_west_of_the_date_line() -> None:
    """The day that people there call it, and not the one in Greenwich."""
    east = seen_at(["2021-06-30T11:00", "2021-06-30T13:00"], crs="EPSG:32660", x=722_000.0, y=10_000.0)
    assert starts(east, "MS") == {"2021-06-01": [0], "2021-07-01": [1]}
    west = seen_at(["2021-07-01T11:00", "2021-07-01T13:00"], crs="EPSG:32601", x=278_000.0, y=10_000.0)
    assert starts(west, "MS") == {"2021-06-01": [0], "2021-07-01": [1]}
    # Months of looks, too, are solar ones.
    assert find(east, None, months=[7]).groups[0].tolist() == [1]
    assert find(west, None, months=[6]).groups[0].tolist() == [0]


def test_labelled_periods_may_overlap_and_be_empty() -> None:
    cube = seen_at([f"2021-{day}T10:00" for day in ("05-31", "06-01", "06-10", "06-11", "07-01")])
    found = find(
        cube,
        {
            "early": ("2021-06-01", "2021-06-10"),
            "june": (pd.Timestamp("2021-06-01"), np.datetime64("2021-06-30")),
            "none": ("2019-01-01", "2019-12-31"),
            "a day": ("2021-07-01", "2021-07-01"),
        },
    )
    assert [group.tolist() for group in found.groups] == [[1, 2], [1, 2, 3], [], [4]]
    assert found.coords["period"].values.tolist() == ["early", "june", "none", "a day"]
    assert found.coords["time_bnds"].values[0].astype("M8[D]").astype(str).tolist() == [
        "2021-06-01",
        "2021-06-11",
    ]


def test_where_no_look_lies_is_said() -> None:
    cube = seen_at(["2021-06-01", "2021-07-15"])
    for how, words in (
        ({"period": {"a": ("2020-01-01", "2020-12-31")}}, r"period=.*2021-06-01 to 2021-07-15"),
        ({"period": None, "months": [1]}, r"months=\[1\]"),
        ({"period": "MS", "months": [1]}, r"period='MS', months=\[1\]"),
    ):
        with pytest.raises(CubeError, match=words):
            find(cube, **how)


def test_looks_in_any_order() -> None:
    """As those of several cubes, one after another."""
    days = np.array(["2021-07-01", "2021-05-03", "2021-07-02", "2021-05-01"], "M8[D]")
    found = find_periods(days.astype(np.int32), "MS")
    assert [group.tolist() for group in found.groups] == [[1, 3], [], [0, 2]]


def test_months_pick_a_season_of_all_years() -> None:
    cube = seen_at([f"{day}T10:00" for day in ("2020-06-05", "2020-09-01", "2021-07-01", "2021-12-01")])
    assert find(cube, None, months=(6, 7, 8)).groups[0].tolist() == [0, 2]
    assert starts(cube, "YS", months=(6, 7, 8)) == {"2020-01-01": [0], "2021-01-01": [2]}
    # Periods that have none of the months are not asked for; those without looks are.
    assert starts(cube, "QS", months=[6, 7, 8]) == {
        "2020-04-01": [0],
        "2020-07-01": [],
        "2021-04-01": [],
        "2021-07-01": [2],
    }


@pytest.mark.parametrize(
    "period",
    ["month", "6h", "0D", "-1MS", "ME", "QE-DEC", "", 5, {}, ["MS"], {"a": "2021"}, {"a": ("x", "y")},
     {"a": ("2021-01-01",)}, {"a": ("2021-02-01", "2021-01-01")}, {"a": ("NaT", "2021-01-01")}],
    ids=str,
)  # fmt: skip
def test_what_is_no_period_is_refused(period: Any) -> None:
    with pytest.raises(CubeError, match=r"'MS'|first day, last day|before it begins"):
        find(seen_at(["2021-06-01"]), period)


@pytest.mark.parametrize("months", [0, 13, (), (6, 13), ["June"], (True,), (6.5,), "6"], ids=str)
def test_what_is_no_month_is_refused(months: Any) -> None:
    with pytest.raises(CubeError, match="months are numbers from 1 to 12"):
        find(seen_at(["2021-06-01"]), None, months=months)


def test_what_is_told() -> None:
    """For the history: all that decides which looks are taken."""
    cube = seen_at(["2021-06-01", "2021-07-01"])
    assert find(cube, None).told == {}
    assert find(cube, "MS", months=[7, 6, 6]).told == {"period": "MS", "months": [6, 7]}
    assert find(cube, {"a": ("2021-06-01", "2021-06-30")}).told == {
        "period": {"a": "2021-06-01/2021-06-30"}
    }
