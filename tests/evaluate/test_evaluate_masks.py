"""Masks against a truth, and against the series that they mask."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from chunkings import chunkings
from hypothesis import given
from hypothesis import strategies as st

import s2cube
from s2cube.blocks import count_steps, count_values, look_at_graph
from s2cube.errors import CubeError
from s2cube.evaluate import check_masks, evaluate_masks
from s2cube.kernels import consistency as kernel
from s2cube.kernels.confusion import near_edges
from s2cube.schema import Status
from s2cube.testing import add_clouds

SHAPE = (3, 16, 12)
CHUNKS = chunkings(SHAPE)


def place(shape: tuple[int, int, int] = SHAPE) -> xr.Dataset:
    """Dates and grid to put states on."""
    cube = s2cube.testing.simulate_cube(shape=shape[1:], seed=1, cloud_cover=0)
    return cube.isel(time=slice(0, shape[0]))


def mask_of(states: Any, cube: xr.Dataset | None = None) -> xr.Dataset:
    cube = place() if cube is None else cube
    shape = tuple(cube.sizes[dim] for dim in ("time", "y", "x"))
    values = np.broadcast_to(np.asarray(states, np.uint8), shape).copy()
    return xr.Dataset({"status": (("time", "y", "x"), values)}, cube.coords)


def random_mask(seed: int, states: int = 9) -> xr.Dataset:
    return mask_of(np.random.default_rng(seed).integers(0, states, SHAPE))


def row(table: pd.DataFrame, name: str, **where: object) -> pd.Series:
    for column, value in {"class": name, **where}.items():
        table = table[table[column] == value]
    (found,) = table.to_dict("records")
    return pd.Series(found)


def columns(*states: int) -> np.ndarray:
    """One state a column of pixels, over and over."""
    return np.resize(np.array(states), SHAPE[2])


def test_known_answer() -> None:
    truth = mask_of(columns(5, 5, 5, 0))
    found = mask_of(columns(5, 4, 0, 3))
    table = evaluate_masks(found, truth, classes="cloud")
    assert list(table.columns) == [
        "mask", "class", "erode", "n", "tp", "fp", "fn", "precision", "recall", "f1", "iou",
    ]  # fmt: skip
    quarter = 3 * 16 * 3
    cloud, dropped = row(table, "cloud"), row(table, "cloud_or_shadow")
    assert cloud[["n", "tp", "fp", "fn"]].tolist() == [4 * quarter, quarter, quarter, 2 * quarter]
    assert cloud[["precision", "recall", "f1", "iou"]].tolist() == [0.5, 1 / 3, 0.4, 0.25]
    # Cloud called shadow is dropped all the same.
    assert dropped[["tp", "fp", "fn"]].tolist() == [2 * quarter, quarter, quarter]
    assert table["n"].dtype == table["tp"].dtype == np.int64


def test_itself_is_perfect_and_what_is_not_there_is_nan() -> None:
    truth = mask_of(columns(0, 1, 4, 5))
    table = evaluate_masks(truth, truth)
    for name in ("cloud", "shadow", "cloud_or_shadow"):
        assert row(table, name)[["precision", "recall", "f1", "iou"]].tolist() == [1, 1, 1, 1]
    assert row(table, "snow")[["precision", "recall", "f1", "iou"]].isna().all()
    none = evaluate_masks(mask_of(7), truth)
    assert (none["n"] == 0).all()
    assert none["f1"].isna().all()


@given(CHUNKS, CHUNKS, st.integers(0, 5), st.booleans())
def test_chunks_change_nothing_and_sums_are_right(one: Any, other: Any, seed: int, thin: bool) -> None:
    truth, found = random_mask(seed), random_mask(seed + 100)
    expected = evaluate_masks(found, truth, thin=thin, erode=25)
    lazy = evaluate_masks(
        {"mask": found.chunk(dict(zip(("time", "y", "x"), other, strict=True)))},
        truth.chunk(dict(zip(("time", "y", "x"), one, strict=True))),
        thin=thin,
        erode=25,
    )
    pd.testing.assert_frame_equal(lazy, expected)
    t, p = truth["status"].values, found["status"].values
    both = (t < 6) & (p < 6) & (thin | (t != 3))
    for name, members in {"cloud": (3, 5), "shadow": (4,), "cloud_or_shadow": (3, 4, 5)}.items():
        is_, said = np.isin(t, members)[both], np.isin(p, members)[both]
        scores = row(expected, name, erode=0)
        assert scores["n"] == both.sum()
        assert scores["tp"] == (is_ & said).sum()
        assert scores["fp"] == (~is_ & said).sum()
        assert scores["fn"] == (is_ & ~said).sum()


def test_thin_cloud_counts_unless_told() -> None:
    truth, found = mask_of(columns(3, 5, 0, 0)), mask_of(columns(0, 5, 3, 0))
    cloud = row(evaluate_masks(found, truth), "cloud")
    assert cloud["tp"] == cloud["fp"] == cloud["fn"]
    left = row(evaluate_masks(found, truth, thin=False), "cloud")
    assert (left["fn"], left["tp"], left["fp"]) == (0, cloud["tp"], cloud["fp"])
    assert left["n"] * 4 == cloud["n"] * 3


def test_all_masks_are_judged_on_the_same_looks() -> None:
    truth = mask_of(columns(5, 0, 5, 0))
    masks = {"blind": mask_of(columns(8, 0, 5, 0)), "sees": mask_of(columns(5, 0, 5, 7))}
    table = evaluate_masks(masks, truth)
    assert set(table["n"]) == {3 * 16 * 6}
    assert table["mask"].unique().tolist() == ["blind", "sees"]
    assert (table.loc[table["class"] == "cloud", "f1"] == 1).all()


def test_booleans_are_clouds_and_order_does_not_matter() -> None:
    truth = random_mask(1, 6)
    cloudy = truth["status"].isin([3, 5]).transpose("x", "time", "y")
    assert row(evaluate_masks(cloudy, truth), "cloud")["iou"] == 1
    assert row(evaluate_masks(truth["status"], cloudy), "cloud")["iou"] == 1


@pytest.mark.parametrize("metres", [10, 25, 60])
def test_what_is_near_an_edge_is_left_out(metres: float) -> None:
    truth = random_mask(3, 1)
    truth["status"][:, 4:9, 3:8] = Status.CLOUD
    truth["status"][0, 0, 0] = Status.NO_DATA
    truth["status"][1, 12, 10] = Status.CLEAR_WATER
    truth["status"][2, 5, 4] = Status.THIN_CLOUD
    found = random_mask(4, 6)
    table = evaluate_masks(found, truth, erode=metres)
    groups = np.array([0, 0, 1, 3, 2, 3, 9, 9, 9])[truth["status"].values]
    far = np.ones(SHAPE, bool)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    for t, j, i in np.ndindex(SHAPE):
        around = (10 * np.hypot(y - j, x - i) <= metres + 1e-9) & (groups[t] != 9)
        far[t, j, i] = groups[t, j, i] != 9 and (groups[t][around] == groups[t, j, i]).all()
    assert row(table, "cloud", erode=metres)["n"] == far.sum() < row(table, "cloud", erode=0)["n"]
    said = np.isin(found["status"].values, (3, 5))
    assert row(table, "cloud", erode=metres)["tp"] == (far & said & (groups == 3)).sum()


def test_edges_of_water_thin_cloud_and_nothing_are_none() -> None:
    states = np.array([[[0, 1, 7, 5, 3, 3, 8]]], np.uint8)
    assert near_edges(states, radius=(1, 1)).tolist() == [[[False] * 7]]
    assert near_edges(states, radius=(2, 2)).tolist() == [
        [[False, True, False, True, False, False, False]]
    ]


def test_simulated_clouds_are_found_by_what_they_are() -> None:
    clear = s2cube.testing.simulate_cube(seed=1, cloud_cover=0, end="2021-08-01")
    cloudy, truth = add_clouds(clear.chunk(time=3), cover=0.4, seed=2)
    masks = {limit: cloudy["B02"] > limit for limit in (0.12, 0.3)}
    table = evaluate_masks({str(k): v for k, v in masks.items()}, truth, classes=["cloud"], erode=30)
    low, high = (row(table, "cloud", mask=str(limit), erode=0) for limit in masks)
    assert low["recall"] > high["recall"]
    assert low["precision"] < high["precision"]
    assert row(table, "cloud", mask="0.3", erode=30)["recall"] > high["recall"]


def test_refusals() -> None:
    truth, cube = random_mask(1), place()
    moved = truth.assign_coords(x=truth["x"] + 10)
    wrong: list[tuple[Any, Any, dict[str, Any], str]] = [
        (moved, truth, {}, "'mask' differs along 'x'"),
        (truth.isel(time=[0]), truth, {}, "differs along 'time'"),
        ({"a": cube[["B02"]]}, truth, {}, "'a' has no 'status'"),
        (truth["status"].astype(float), truth, {}, "float64"),
        (truth["status"].rename("SCL"), truth, {}, "isin"),
        (truth["status"][0], truth, {}, "dimensions"),
        ({}, truth, {}, "none"),
        ([truth], truth, {}, "list"),
        (truth, {"truth": truth}, {}, "The truth is one mask"),
        (truth, truth, {"classes": ["haze"]}, "Unknown classes"),
        (truth, truth, {"erode": -1}, "erode is a distance"),
        (truth, truth, {"erode": "30 m"}, "erode is a distance"),
        (truth, truth.drop_vars("spatial_ref"), {"erode": 30}, "CRS"),
    ]
    for found, true, how, words in wrong:
        with pytest.raises(CubeError, match=words):
            evaluate_masks(found, true, **how)


@given(CHUNKS)
def test_values_are_counted(chunks: Any) -> None:
    values = random_mask(2)["status"].values
    lazy = da.from_array(values, chunks)
    expected = np.bincount(values.ravel(), minlength=256)
    np.testing.assert_array_equal(count_values(values), expected)
    np.testing.assert_array_equal(count_values(lazy).compute(scheduler="sync"), expected)
    by_step = count_steps(da.from_array(values.astype(np.int32), chunks))
    np.testing.assert_array_equal(by_step.compute(scheduler="sync"), values.sum(axis=(1, 2)))


def test_declared_peak_of_counting() -> None:
    block = da.zeros((1, 512, 512), chunks=(1, 512, 512), dtype=np.uint8)
    (peak,) = look_at_graph([count_values(block)]).peaks
    assert 9 * 512**2 <= peak.task <= 27 * 512**2


# Without labels.

STEPS = 60


def series(shape: tuple[int, int] = (4, 5)) -> xr.Dataset:
    """Sixty dull looks, five days apart, with a little noise."""
    rng = np.random.default_rng(0)
    times = np.datetime64("2021-01-01T10:30", "ns") + np.arange(STEPS) * np.timedelta64(5, "D")
    base = place((1, *shape)).isel(time=0, drop=True)
    bands = {
        band: (("time", "y", "x"), (level + rng.normal(0, 0.004, (STEPS, *shape))).astype(np.float32))
        for band, level in (("B02", 0.04), ("B08", 0.3))
    }
    keep = {name: base.coords[name] for name in ("y", "x", "spatial_ref", "processing_level")}
    return xr.Dataset(bands, {"time": times, **keep})


def facts(cube: xr.Dataset, **masks: xr.Dataset) -> pd.DataFrame:
    return check_masks(cube, masks).set_index("mask")


def test_a_good_series_has_nothing_to_say() -> None:
    cube = series()
    table = facts(cube, clear=mask_of(0, cube))
    assert table.loc["clear", ["looks", "tested", "triples"]].tolist() == [1200, 1200, 1160]
    assert table.loc["clear", "clear"] == 1
    assert table.loc["clear", ["outside", "bright", "dark", "spikes"]].max() < 0.01
    assert table.loc["clear", "usual"] == 0
    assert np.isnan(table.loc["clear", "commission"])


def test_missed_clouds_and_shadows_show() -> None:
    cube = series()
    cloud, shadow = slice(5, None, 10), slice(8, None, 10)
    cube["B02"][cloud] += 0.1
    cube["B08"][shadow] -= 0.2
    states = np.zeros((STEPS, 1, 1))
    states[cloud], states[shadow] = Status.CLOUD, Status.SHADOW
    no_shadow, nothing = np.where(states == 4, 0, states), states * 0
    table = facts(
        cube,
        right=mask_of(states, cube),
        clouds=mask_of(no_shadow, cube),
        also=mask_of(no_shadow, cube),
        none=mask_of(nothing, cube),
    )
    assert table.loc["right", ["bright", "dark"]].max() < 0.01
    assert table.loc["clouds", "bright"] < 0.01
    assert table.loc["clouds", "dark"] == pytest.approx(6 / 54, abs=0.01)
    assert table.loc["none", "bright"] == pytest.approx(6 / 60, abs=0.01)
    assert table.loc["none", "outside"] == pytest.approx(12 / 60, abs=0.02)
    assert table.loc["right", "spikes"] < 0.01
    assert table.loc["none", "spikes"] == pytest.approx(12 / 58, abs=0.01)
    assert table.loc["right", "clear"] == pytest.approx(48 / 60)


def test_a_mask_of_bright_roofs_shows() -> None:
    cube = series()
    roof = np.zeros((1, 4, 5), bool)
    roof[:, 1, 1:3] = True
    cube["B02"] = cube["B02"].where(~xr.DataArray(roof[0], dims=("y", "x")), cube["B02"] + 0.26)
    half = roof & (np.arange(STEPS) % 2 == 0)[:, None, None]
    cube["B02"][::6] += 0.3
    clouds = np.broadcast_to((np.arange(STEPS) % 6 == 0)[:, None, None], half.shape)
    table = facts(
        cube,
        all=mask_of(np.where(roof | clouds, 5, 0), cube),
        half=mask_of(np.where(half | clouds, 5, 0), cube),
        good=mask_of(np.where(clouds, 5, 0), cube),
    )
    assert set(table["usual"]) == {2 * 50}
    assert table["commission"].tolist() == [1.0, 0.4, 0.0]


def test_looks_that_any_mask_lacks_do_not_count() -> None:
    cube = series()
    cube["B08"][0] = np.nan
    table = facts(
        cube, one=mask_of(0, cube), other=mask_of(np.arange(STEPS)[:, None, None] // 59 * 7, cube)
    )
    assert set(table["looks"]) == {58 * 20}
    few = cube.isel(time=slice(0, 9))
    assert facts(few, one=mask_of(0, few)).loc["one", "tested"] == 0
    assert np.isnan(facts(few, one=mask_of(0, few)).loc["one", "outside"])


def test_neighbours_far_apart_are_no_triples() -> None:
    cube = series().isel(time=slice(None, None, 12))
    assert facts(cube, one=mask_of(0, cube)).loc["one", "triples"] == 0


@given(st.sampled_from([(1, 64, 64), (60, 7, 64), (11, 30, 21)]))
def test_lazy_is_the_same(chunks: tuple[int, int, int]) -> None:
    cube = s2cube.testing.simulate_cube(seed=2, bands=["B02", "B8A"])
    masks = {"scl": s2cube.cloud_mask(cube), "wide": s2cube.cloud_mask(cube, buffer=40)}
    how = dict(zip(("time", "y", "x"), chunks, strict=True))
    lazy = check_masks(cube.chunk(how), {name: mask.chunk(how) for name, mask in masks.items()})
    pd.testing.assert_frame_equal(lazy, check_masks(cube, masks))


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = series((9, 5))
    whole = facts(cube, one=mask_of(0, cube))
    monkeypatch.setattr(kernel, "STRIP", 1)
    pd.testing.assert_frame_equal(facts(cube, one=mask_of(0, cube)), whole)


def test_what_cannot_be_checked_is_refused() -> None:
    cube = series()
    for wrong, words in (
        (cube[["B08"]], "B02"),
        (cube[["B02"]], "B08 or B8A"),
        (cube.assign(provenance=cube["B02"]), "filled"),
    ):
        with pytest.raises(CubeError, match=words):
            check_masks(wrong, mask_of(0, cube))
    with pytest.raises(CubeError, match="differs along 'time'"):
        check_masks(cube.isel(time=slice(1, None)), mask_of(0, cube))


def test_real_scene_classes(real_data: Callable[[str], Path]) -> None:
    """Of 140 looks at a forest, SCL lets haze and edges through; a buffer halves that."""
    path = real_data("nrt_romania/sentinel2_cube_subset_romania_10m.nc")
    with xr.open_dataset(path, mask_and_scale=False, decode_coords="all") as ds:
        cube = s2cube.as_cube(ds, scale=1e-4, offset=0, nodata=0).compute()
    scl = s2cube.cloud_mask(cube)
    table = facts(
        cube, scl=scl, wide=s2cube.cloud_mask(cube, buffer=60), none=mask_of(0, cube), again=scl
    )
    assert table["clear"].round(2).tolist() == [0.65, 0.56, 1.0, 0.65]
    for column in ("outside", "bright", "spikes"):
        assert (
            table.loc["wide", column] < 0.7 * table.loc["scl", column] < 0.3 * table.loc["none", column]
        )
