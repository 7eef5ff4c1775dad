"""Beside odc-algo, whose users may change over: the same images."""

import numpy as np
import odc.algo
import pytest
import xarray as xr

import s2cube

BANDS = ["B04", "B08", "B11"]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    return s2cube.testing.simulate_cube(shape=(24, 20), seed=1, bands=BANDS).s2.mask_clouds()


def test_geomedian_with_mads(clear: xr.Dataset) -> None:
    ours = clear.s2.geomedian()
    looks = clear[BANDS].drop_vars("items").chunk(time=-1, y=12, x=20)
    theirs = odc.algo.geomedian_with_mads(looks, num_threads=1).compute(scheduler="sync")
    assert set(theirs.data_vars) == set(ours.data_vars)
    np.testing.assert_array_equal(ours["count"], theirs["count"])
    for name in set(ours.data_vars) - {"count"}:
        # Theirs stops early: most pixels are within a few counts, some up to sixty away.
        difference = np.abs(ours[name] - theirs[name])
        assert difference.median() < 5e-4, name
        assert difference.max() < 1e-2, name


def test_quantiles_at_whole_ranks(clear: xr.Dataset) -> None:
    """Theirs takes the nearest look; where a rank is whole, that is the percentile."""
    looks = s2cube.testing.simulate_cube(shape=(24, 20), seed=1, bands=BANDS).isel(time=slice(41))
    theirs = odc.algo.xr_quantile(looks[BANDS].drop_vars("items"), [0.25, 0.5, 0.75], np.nan)
    ours = looks.s2.percentile((25, 50, 75))
    for band in BANDS:
        np.testing.assert_array_equal(ours[band].values, theirs[band].values)
