"""The judge: it must know a good method from a bad one, and never show what it hides."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from compare import assert_same

import s2cube
from s2cube import schema
from s2cube.errors import CubeError
from s2cube.evaluate import compare_gap_filling, evaluate_gap_filling, summarize_gap_filling
from s2cube.gapfill import fill_gaps
from s2cube.gapfill.hidden import MASKS, Looks, looks_of, trials
from s2cube.kernels.fill import observed

QUIET: dict[str, Any] = {"progress": False, "daily": False}


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    """Two years, so that gaps of 90 days fit; a look in three days, so that there is a noise floor."""
    return s2cube.testing.simulate_cube(
        shape=(24, 30), seed=4, bands=["red", "nir"], end="2022-12-31", revisit=4.5
    ).s2.mask_clouds()


@pytest.fixture(scope="module")
def details(clear: xr.Dataset) -> pd.DataFrame:
    return evaluate_gap_filling(clear, ["last", "linear"], details=True, progress=False)


def flat(clear: xr.Dataset, value: float = 0.25) -> xr.Dataset:
    """The same looks, of a place that never changes."""
    return clear.assign(
        {
            band: clear[band].copy(data=np.where(np.isnan(clear[band]), np.nan, value).astype("f4"))
            for band in schema.bands_of(clear)
        }
    )


def all_trials(looks: Looks, **how: Any) -> list[Any]:
    told: dict[str, Any] = {"gaps": None, "rounds": 1, "seed": 0, **how}
    return list(trials(looks, MASKS, **told))


def test_one_screen(clear: xr.Dataset, details: pd.DataFrame) -> None:
    table = summarize_gap_filling(details)
    assert set(table["mask"]) == {"random", "clouds", "frame", "gap30", "gap45", "gap90"}
    ways = table.groupby("method")["causal"].agg(lambda column: sorted(set(column)))
    assert ways["linear"] == [False], "linear needs the look after a gap"
    assert ways["last"] == [False, True]
    assert len(table) == 6 * 3
    assert (table["n"] > 100).all()
    assert (table["rmse"] >= table["mae"]).all()
    assert (table["mae"] >= table["bias"].abs()).all()
    assert ((table["low"] <= table["mae"]) & (table["mae"] <= table["high"])).all()
    assert table["ssim"].between(0.8, 1).all()
    assert table[["ndvi", "sam"]].gt(0).all().all()
    assert (table["floor"] > 0).all()
    np.testing.assert_allclose(table["roughness"], 1, rtol=1e-4)
    assert (table[table["method"].eq("last") & table["causal"]]["step"] == 0).all()
    assert (table[table["method"] == "linear"]["step"] > 0.5).all()
    # The field's seasons: a straight line between looks is better than holding the last of them.
    both = table[~table["causal"]].set_index(["mask", "method"])["mae"].unstack()
    assert (both["linear"] < both["last"]).sum() >= 5
    assert both["last"]["gap45"] > 2 * both["last"]["frame"]


def test_the_accessor_has_it(clear: xr.Dataset) -> None:
    how: dict[str, Any] = {"masks": "frame", "causal": False, **QUIET}
    table = clear.s2.evaluate_gap_filling("linear", **how)
    pd.testing.assert_frame_equal(table, evaluate_gap_filling(clear, "linear", **how))
    assert table[["mask", "method"]].values.tolist() == [["frame", "linear"]]


def test_by_band_days_date_and_share(details: pd.DataFrame) -> None:
    whole = summarize_gap_filling(details).set_index(["mask", "causal", "method"])
    for split in ("band", "days", "date", "share"):
        table = summarize_gap_filling(details, by=split)
        parts = table.assign(sum=table["mae"] * table["n"]).groupby(["mask", "causal", "method"])
        again = parts["sum"].sum() / parts["n"].sum()
        pd.testing.assert_series_equal(again.reindex(whole.index), whole["mae"], check_names=False)
    bands = summarize_gap_filling(details, by="band")
    assert bands["band"].tolist() == ["B04", "B08"] * len(whole)
    assert bands[["ndvi", "sam", "ssim"]].isna().all().all()
    days = summarize_gap_filling(details, by="days")
    last = days[(days["mask"] == "gap90") & days["causal"]].set_index("days")["mae"]
    assert last["over 80"] > last["6-10"], "the longer ago, the worse"
    frames = summarize_gap_filling(details, by="share").query("mask == 'frame'")
    assert set(frames["share"]) == {"under 10 %"}, "of a hidden frame nothing is left"


def test_a_place_that_never_changes_is_filled_without_error(clear: xr.Dataset) -> None:
    table = evaluate_gap_filling(flat(clear), ["last", "linear"], progress=False)
    assert (table[["mae", "rmse", "bias", "ndvi", "floor"]] == 0).all().all()
    np.testing.assert_allclose(table["sam"], 0, atol=1e-5)
    np.testing.assert_allclose(table["ssim"].dropna(), 1, atol=1e-6)


def test_a_perfect_method_and_one_of_a_known_error(clear: xr.Dataset) -> None:
    """One knows the truth; another one too, but is 0.01 too high, and knows how sure it is."""

    def knows(cube: xr.Dataset, *, dates: Any, causal: bool) -> xr.Dataset:
        days = clear.assign_coords(time=clear["time"].dt.floor("D").values)
        return days[schema.bands_of(clear)].sel(time=dates)

    def high(cube: xr.Dataset, **how: Any) -> xr.Dataset:
        filled = knows(cube, **how) + np.float32(0.01)
        wide = {f"{band}_uncertainty": filled[band] * 0 + np.float32(0.0101) for band in filled}
        return filled.assign({**wide, "B04_uncertainty": filled["B04"] * 0})

    table = evaluate_gap_filling(clear, [knows, high], causal=False, **QUIET).set_index("method")
    assert (table.loc["knows", ["mae", "rmse", "bias", "ndvi"]] == 0).all().all()
    np.testing.assert_allclose(table.loc["knows", "ssim"].dropna(), 1)
    np.testing.assert_allclose(table.loc["knows", "step"], 1, rtol=1e-5)
    np.testing.assert_allclose(table.loc["high", ["mae", "rmse", "bias"]], 0.01, atol=1e-6)
    assert (table.loc["high", "in68"] == 0.5).all(), "one band of two is as sure as it may be"
    assert table["in95"].isna().all()
    assert table.loc["knows", "in68"].isna().all()


def test_hidden_pixels_are_never_shown(clear: xr.Dataset) -> None:
    """Nor what tells of them: no classification, no status."""
    looks = looks_of(clear)
    expected = iter([t for t in all_trials(looks) for _ in (False, True)])
    shown = 0

    def spy(cube: xr.Dataset, *, dates: Any, causal: bool) -> xr.Dataset:
        nonlocal shown
        trial = next(expected)
        assert set(cube.data_vars) == {"B04", "B08"}
        days = schema.solar_days(cube).astype("M8[D]").astype("M8[ns]")
        assert set(days[trial.steps]) == set(dates)
        assert trial.hidden.any()
        for band in cube.data_vars:
            assert np.isnan(cube[band].values[trial.hidden]).all()
            np.testing.assert_array_equal(
                cube[band].values[~trial.hidden], clear[band].values[~trial.hidden]
            )
        shown += 1
        return fill_gaps(cube, "last", dates=dates)

    evaluate_gap_filling(clear, spy, **QUIET)
    assert shown == 12


def test_only_clear_truth_counts(clear: xr.Dataset) -> None:
    """Spoil every pixel that is masked or beside a masked one: no score may notice."""
    looks = looks_of(clear)
    doubtful = looks.valid & ~looks.truth
    assert doubtful.any()
    for trial in all_trials(looks):
        scored = trial.scored(looks)
        assert not (scored & ~looks.truth[trial.steps]).any()
        assert not (scored & ~trial.hidden[trial.steps]).any()
    spoilt = clear.copy(deep=True)
    frames = np.concatenate([t.steps for t in all_trials(looks) if t.mask == "frame"])
    for band in schema.bands_of(clear):
        for step in frames:
            spoilt[band].values[step][doubtful[step]] = 3.0
    how: dict[str, Any] = {"masks": ["frame"], "causal": True, **QUIET}
    one, two = (evaluate_gap_filling(c, "last", **how) for c in (clear, spoilt))
    same = ["n", "mae", "rmse", "bias", "low", "high", "ndvi", "sam"]
    pd.testing.assert_frame_equal(one[same], two[same])


def test_what_each_mask_hides(clear: xr.Dataset) -> None:
    looks = looks_of(clear)
    found = {trial.mask: trial for trial in all_trials(looks)}
    assert list(found) == ["random", "clouds", "frame", "gap30", "gap45", "gap90"]
    for trial in found.values():
        assert not (trial.hidden & ~looks.valid).any()
        assert set(np.flatnonzero(trial.hidden.any(axis=(1, 2)))) >= set(trial.steps)
    share = {name: t.hidden[t.steps].sum() / looks.valid[t.steps].sum() for name, t in found.items()}
    assert abs(share["random"] - 0.5) < 0.05
    assert 0.05 < share["clouds"] < 0.9
    assert share["frame"] == 1
    for days in (30, 45, 90):
        hidden = found[f"gap{days}"].hidden.any(axis=(1, 2))
        seen = looks.valid.any(axis=(1, 2))
        blank = looks.days[hidden]
        assert 1 < len(blank) < len(looks.days) / 2
        # Blocks: what lies between two hidden looks near each other is hidden too.
        for before, after in pairwise(blank):
            if after - before < days:
                between = seen & (looks.days > before) & (looks.days < after)
                assert hidden[between].all()

    # Clouds come in one piece, single pixels do not.
    def edges(trial: Any) -> float:
        hidden = trial.hidden[trial.steps]
        return float(np.diff(hidden.astype(int), axis=2).__abs__().sum() / hidden.sum())

    assert edges(found["random"]) > 3 * edges(found["clouds"])


def test_rounds_hide_other_dates(clear: xr.Dataset) -> None:
    looks = looks_of(clear)
    steps = [set(looks.days[t.steps]) for t in all_trials(looks, rounds=5) if t.mask == "frame"]
    assert len(steps) == 5
    assert sum(map(len, steps)) == len(set.union(*steps))
    assert len(set.union(*steps)) >= 0.9 * len(looks.usable)


def test_the_second_look_of_a_day_gives_nothing_away(clear: xr.Dataset) -> None:
    """Every look twice, 90 minutes apart: hiding one and keeping the other would be no test."""
    later = clear.assign_coords(time=clear["time"] + np.timedelta64(90, "m"))
    twice = xr.concat([clear, later], "time").sortby("time")
    table = evaluate_gap_filling(twice, ["last"], **QUIET)
    assert (table["mae"] > 1e-3).all()


@pytest.mark.parametrize("chunks", [{"time": 9, "y": 13, "x": 11}, {"time": -1, "y": 24, "x": 7}])
def test_any_chunks_give_the_same(clear: xr.Dataset, chunks: dict[str, int]) -> None:
    how: dict[str, Any] = {"details": True, "progress": False, "gaps": [45]}
    here = evaluate_gap_filling(clear, "median", **how)
    pd.testing.assert_frame_equal(evaluate_gap_filling(clear.chunk(chunks), "median", **how), here)


def test_each_band_may_have_chunks_of_its_own(clear: xr.Dataset) -> None:
    """And a coordinate too: xarray opens stores so that it wrote itself."""
    how: dict[str, Any] = {"masks": "frame", "causal": False, **QUIET}
    mixed = clear.chunk(time=9, y=13).assign(B08=clear["B08"].chunk(time=5, x=11))
    mixed = mixed.assign_coords(number=("time", da.arange(clear.sizes["time"], chunks=2)))
    pd.testing.assert_frame_equal(
        evaluate_gap_filling(mixed, "linear", **how), evaluate_gap_filling(clear, "linear", **how)
    )
    filled = [cube.s2.fill_gaps("linear", freq="20D") for cube in (mixed, clear)]
    assert_same(*filled)


def test_square_areas_are_turned_too(clear: xr.Dataset) -> None:
    square = clear.isel(y=slice(0, 20), x=slice(0, 20))
    how: dict[str, Any] = {"masks": "clouds", "causal": False, **QUIET}
    tables = [
        evaluate_gap_filling(c, "linear", **how, seed=3) for c in (square, square.chunk(x=6, y=20))
    ]
    pd.testing.assert_frame_equal(*tables)


def test_the_seed_decides(clear: xr.Dataset, details: pd.DataFrame) -> None:
    how: dict[str, Any] = {"details": True, "progress": False}
    again = evaluate_gap_filling(clear, ["last", "linear"], **how)
    pd.testing.assert_frame_equal(details, again)
    other = evaluate_gap_filling(clear, ["last", "linear"], **how, seed=1)
    assert set(other["date"].dropna()) != set(details["date"].dropna())


def test_options_and_labels(clear: xr.Dataset) -> None:
    how: dict[str, Any] = {"masks": "frame", "causal": [False, True], **QUIET}
    methods = {
        "stiff": {"method": "whittaker", "smoothness": 1e6},
        "median": {"window": 10},
        "own": lambda cube, **asked: fill_gaps(cube, "last", **asked),
        "last": None,
    }
    table = evaluate_gap_filling(clear, methods, **how).set_index(["method", "causal"])
    assert list(table.index.get_level_values(0).unique()) == list(methods)
    assert table.loc[("own", True), "mae"] == table.loc[("last", True), "mae"]
    # So stiff that it is little more than the mean of all looks.
    assert table.loc[("stiff", False), "mae"] > 2 * table.loc[("median", False), "mae"]


def test_comparing_methods(details: pd.DataFrame) -> None:
    table = compare_gap_filling(details, "linear").set_index("mask")
    assert set(table["method"]) == {"last"}
    assert not table["causal"].any(), "there is no causal linear to compare with"
    row = table.loc["gap90"]
    assert row["difference"] == pytest.approx(row["mae"] - row["mae_to"])
    assert row["low"] <= row["difference"] <= row["high"]
    assert row["change"] == pytest.approx(row["difference"] / row["mae_to"])
    again = compare_gap_filling(details, "last").set_index("mask")
    np.testing.assert_allclose(again["difference"], -table["difference"])
    bands = compare_gap_filling(details, "linear", by="band")
    assert len(bands) == 2 * len(table)


def test_places_are_drawn_with_their_dates(details: pd.DataFrame) -> None:
    """A second place with the same dates doubles what is drawn; without its name it does not."""
    two = pd.concat([details.assign(place="here"), details.assign(place="there")])
    one = compare_gap_filling(details, "linear").set_index("mask")
    both = compare_gap_filling(two, "linear").set_index("mask")
    assert (both["dates"] == 2 * one["dates"]).all()
    np.testing.assert_allclose(both["difference"], one["difference"])
    wide = (one["high"] - one["low"]).mean()
    assert (both["high"] - both["low"]).mean() == pytest.approx(wide / 2**0.5, rel=0.15)
    places = summarize_gap_filling(two, by="place")
    assert (places.groupby("place")["n"].sum().nunique(), len(places)) == (1, 2 * 18)


def test_roughness_and_seams(clear: xr.Dataset) -> None:
    """A method that trembles from day to day, and one that fills two halves apart, are found out."""

    def trembles(cube: xr.Dataset, **asked: Any) -> xr.Dataset:
        filled = fill_gaps(cube, "linear", dates=asked["dates"])
        sign = xr.where(np.arange(filled.sizes["time"]) % 2 == 0, 1, -1).astype("f4")
        return filled.assign(B08=filled["B08"] + 0.002 * xr.DataArray(sign, dims="time"))

    def halves(cube: xr.Dataset, **asked: Any) -> xr.Dataset:
        filled = fill_gaps(cube, "linear", dates=asked["dates"])
        right = (filled["x"] > filled["x"][14]).astype("f4")
        return filled.assign(B08=filled["B08"] + np.float32(0.2) * right)

    how: dict[str, Any] = {"masks": "frame", "causal": False, "progress": False, "by": "band"}
    table = evaluate_gap_filling(clear, ["linear", trembles, halves], **how)
    near = table[table["band"] == "B08"].set_index("method")
    assert near.loc["trembles", "roughness"] > 1.3
    assert near.loc["linear", "roughness"] == pytest.approx(1, rel=1e-4)
    assert near.loc["halves", "seam"] > 1.5 * near.loc["linear", "seam"]
    red = table[table["band"] == "B04"].set_index("method")
    assert (red["roughness"].round(4) == 1).all()


def test_the_noise_floor_is_the_noise() -> None:
    """Of a place that never changes and looks every second day: the mean difference of two looks."""
    rng = np.random.default_rng(0)
    times = pd.date_range("2021-01-01", periods=120, freq="2D")
    base = s2cube.testing.simulate_cube(shape=(12, 12), bands=["red"], cloud_cover=0)
    noisy = rng.normal(0.2, 0.01, (120, 12, 12)).astype("f4")
    cube = base.isel(time=[0]).drop_vars("time").squeeze("time")[["x", "y", "spatial_ref"]]
    cube = cube.assign_coords(time=times).assign(B04=schema.variable(noisy, {}))
    table = evaluate_gap_filling(cube, "last", masks="frame", causal=True, **QUIET)
    expected = 2 / np.pi**0.5 * 0.01
    assert table["floor"].item() == pytest.approx(expected, rel=0.05)
    assert table["mae"].item() == pytest.approx(expected, rel=0.1)


def test_progress_is_shown(clear: xr.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    how: dict[str, Any] = {"masks": "frame", "causal": True, "daily": False}
    evaluate_gap_filling(clear, "last", **how)
    assert "frame: last, past only" in capsys.readouterr().err
    evaluate_gap_filling(clear, "last", **how, progress=False)
    assert capsys.readouterr().err == ""


def test_bad_input(clear: xr.Dataset, details: pd.DataFrame) -> None:
    refused: list[tuple[str, Callable[[], Any]]] = [
        (r"Unknown masks \['rain'\]; known: random, clouds, frame, gap",
         lambda: evaluate_gap_filling(clear, masks=["rain"])),
        ("too few to hide", lambda: evaluate_gap_filling(clear.isel(time=slice(0, 6)))),
        ("Unknown filling method 'magic'", lambda: evaluate_gap_filling(clear, ["magic"])),
        ("cannot be causal: use method='last'",
         lambda: evaluate_gap_filling(clear, "linear", causal=True)),
        ("has no option windw", lambda: evaluate_gap_filling(clear, {"median": {"windw": 3}})),
        ("methods is empty", lambda: evaluate_gap_filling(clear, [])),
        ("same label", lambda: evaluate_gap_filling(clear, ["last", "last"])),
        ("causal is True, False or both", lambda: evaluate_gap_filling(clear, causal=())),
        ("rounds=9: in 5 rounds", lambda: evaluate_gap_filling(clear, rounds=9)),
        ("gaps=900: no block", lambda: evaluate_gap_filling(clear, gaps=[900], masks="gap")),
        ("cannot be split by", lambda: summarize_gap_filling(details, by="weather")),
        (r"details=True\) returned", lambda: summarize_gap_filling(summarize_gap_filling(details))),
        ("no method 'magic'; it has last, linear", lambda: compare_gap_filling(details, "magic")),
        ("Dates are what is drawn", lambda: compare_gap_filling(details, "last", by="date")),
    ]  # fmt: skip
    for words, call in refused:
        with pytest.raises(CubeError, match=words):
            call()
    cloudless = s2cube.testing.simulate_cube(shape=(9, 9), cloud_cover=0)
    with pytest.raises(CubeError, match="No date is partly cloudy"):
        evaluate_gap_filling(cloudless, masks=["clouds"])


def test_what_own_methods_return_is_checked(clear: xr.Dataset) -> None:
    def fewer(cube: xr.Dataset, *, dates: Any, causal: bool) -> xr.Dataset:
        return fill_gaps(cube, "last", dates=dates[:-1])

    def moved(cube: xr.Dataset, *, dates: Any, causal: bool) -> xr.Dataset:
        return fill_gaps(cube, "last", dates=dates + np.timedelta64(1, "D"))

    def nothing(cube: xr.Dataset, *, dates: Any, causal: bool) -> None:
        return None

    for method, words in ((fewer, "must return B04 with"), (moved, "other dates"),
                          (nothing, "returned a NoneType, not a Dataset")):  # fmt: skip
        with pytest.raises(CubeError, match=words):
            evaluate_gap_filling(clear, method, **QUIET)


def test_observed_is_what_the_judge_thinks(clear: xr.Dataset) -> None:
    looks = looks_of(clear.chunk(time=8))
    np.testing.assert_array_equal(
        np.asarray(looks.valid), observed(clear["B04"].values, clear["B08"].values)
    )
