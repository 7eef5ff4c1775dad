"""The judge: it must know a good method from a bad one, and never look at what it hides."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import s2cube
from s2cube import schema
from s2cube.errors import CubeError
from s2cube.evaluate import filling


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    return s2cube.testing.simulate_cube(shape=(40, 48), seed=4, bands=["red", "nir"]).s2.mask_clouds()


def test_table(clear: xr.Dataset) -> None:
    table = s2cube.evaluate_gap_filling(clear)
    assert len(table) == 2 * 2 * 2
    assert set(table["mask"]) == {"clouds", "frame"}
    assert (table["n"] > 100).all()
    assert (table["rmse"] >= table["mae"]).all()
    assert (table["mae"] >= table["bias"].abs()).all()
    pd.testing.assert_frame_equal(table, clear.s2.evaluate_gap_filling())
    nir = table[table["band"] == "B08"].set_index(["mask", "method"])["mae"]
    assert nir["frame", "linear"] < nir["frame", "last"]


def test_a_cube_that_never_changes_is_filled_without_error(clear: xr.Dataset) -> None:
    still = clear.copy()
    for band in schema.bands_of(clear):
        still[band] = xr.where(clear[band].notnull(), np.float32(0.25), np.float32("nan"))
        still[band] = still[band].transpose("time", "y", "x")
    assert (s2cube.evaluate_gap_filling(still)["mae"] == 0).all()


def test_a_known_error_is_found(clear: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filling that is 0.01 too high everywhere, on a cube that never changes."""
    still = clear.assign(
        {
            band: clear[band].copy(data=np.where(np.isnan(clear[band]), np.nan, 0.25).astype("f4"))
            for band in schema.bands_of(clear)
        }
    )
    real = filling.fill_gaps

    def high(cube: xr.Dataset, *args: Any, **how: Any) -> xr.Dataset:
        filled = real(cube, *args, **how)
        return filled.assign({b: filled[b] + np.float32(0.01) for b in schema.bands_of(filled)})

    monkeypatch.setattr(filling, "fill_gaps", high)
    table = s2cube.evaluate_gap_filling(still, ["linear"])
    np.testing.assert_allclose(table[["mae", "rmse", "bias"]], 0.01, atol=1e-6)


def test_the_method_is_not_shown_what_it_is_judged_by(
    clear: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is scored is missing in what the method gets."""
    shown: list[xr.Dataset] = []
    real = filling.fill_gaps

    def spy(cube: xr.Dataset, *args: Any, **how: Any) -> xr.Dataset:
        shown.append(cube)
        return real(cube, *args, **how)

    scored: list[dict[int, np.ndarray]] = []
    errors = filling._errors

    def keep(filled: Any, truth: Any, where: Any, dates: Any) -> Any:
        scored.append(where)
        return errors(filled, truth, where, dates)

    monkeypatch.setattr(filling, "fill_gaps", spy)
    monkeypatch.setattr(filling, "_errors", keep)
    for mask in ("clouds", "frame"):
        shown.clear()
        scored.clear()
        s2cube.evaluate_gap_filling(clear, ["linear"], masks=[mask])
        for step, where in scored[0].items():
            assert where.any()
            for band in schema.bands_of(clear):
                assert np.isnan(shown[0][band].values[step][where]).all()
                assert np.isfinite(clear[band].values[step][where]).all(), "only clear truth counts"


def test_cloud_edges_are_no_truth(clear: xr.Dataset) -> None:
    """Spoil every pixel beside a cloud: the frame's score must not notice."""
    masked = np.isnan(clear["B04"].values)
    near = filling._near_clouds(masked) & ~masked
    assert near.any()
    one = s2cube.evaluate_gap_filling(clear, ["last"], masks=["frame"])
    only_edges = clear.copy(deep=True)
    chosen = filling._dates(~masked & ~filling._near_clouds(masked), np.random.default_rng(0))
    for band in schema.bands_of(clear):
        for step in chosen:
            only_edges[band].values[step][near[step]] = 3.0
    two = s2cube.evaluate_gap_filling(only_edges, ["last"], masks=["frame"])
    pd.testing.assert_frame_equal(one, two)


def test_one_name_is_enough(clear: xr.Dataset) -> None:
    table = s2cube.evaluate_gap_filling(clear, "linear", masks="frame")
    assert set(table["method"]) == {"linear"}
    assert set(table["mask"]) == {"frame"}


def test_the_second_look_of_a_day_gives_nothing_away(clear: xr.Dataset) -> None:
    """Every look twice, 90 minutes apart: hiding one and keeping the other would be no test."""
    later = clear.assign_coords(time=clear["time"] + np.timedelta64(90, "m"))
    twice = xr.concat([clear, later], "time").sortby("time")
    for how in ("clouds", "frame"):
        assert (s2cube.evaluate_gap_filling(twice, ["last"], masks=[how])["mae"] > 1e-3).all()


def test_bad_input(clear: xr.Dataset) -> None:
    with pytest.raises(CubeError, match=r"Unknown masks \['rain'\]; known: clouds, frame"):
        s2cube.evaluate_gap_filling(clear, masks=["rain"])
    with pytest.raises(CubeError, match="too few to hide"):
        s2cube.evaluate_gap_filling(clear.isel(time=slice(0, 6)))
    with pytest.raises(CubeError, match="Unknown filling method"):
        s2cube.evaluate_gap_filling(clear, ["magic"])
    cloudless = s2cube.testing.simulate_cube(shape=(9, 9), cloud_cover=0)
    with pytest.raises(CubeError, match="No date is partly cloudy"):
        s2cube.evaluate_gap_filling(cloudless, masks=["clouds"])
