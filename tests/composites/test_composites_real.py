"""Composites of real looks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import s2cube

BANDS = ["B02", "B03", "B04", "B08"]


@pytest.fixture
def romania(real_data: Callable[[str], Path]) -> xr.Dataset:
    """140 dates of forest over five years, cloud, snow and haze among them; masked."""
    path = real_data("nrt_romania/sentinel2_cube_subset_romania_10m.nc")
    with xr.open_dataset(path, mask_and_scale=False, decode_coords="all") as ds:
        cube = s2cube.as_cube(ds, scale=1e-4, offset=0, nodata=0).compute()
    return cube.s2.mask_clouds("scl", buffer=60)


def test_summers_of_romania(romania: xr.Dataset) -> None:
    """Forest is dark red and bright infrared in summer, whichever statistic is asked."""
    low, mid = (romania.s2.percentile(q, months=(6, 7, 8)) for q in (25, 50))
    geo = romania.s2.geomedian(months=(6, 7, 8))
    assert int(mid["count"].min()) > 10
    for image in (low, mid, geo):
        ndvi = (image["B08"] - image["B04"]) / (image["B08"] + image["B04"])
        assert float(ndvi.median()) > 0.75
        assert not image[BANDS].to_array().isnull().any()
    assert (low["B04"] <= mid["B04"]).all()
    # Both are middles of the same looks.
    for band in BANDS:
        assert float(np.abs(geo[band] - mid[band]).median()) < 0.005
    assert 0.005 < float(geo["emad"].median()) < 0.06
    assert float(geo["smad"].median()) < 0.01


def test_real_looks_are_whole_counts_and_sorted_as_such(romania: xr.Dataset) -> None:
    """The median of a number of looks that is odd is one of them, to the bit."""
    image = romania.s2.median()
    odd = image["count"].values % 2 == 1
    is_a_look = (romania["B04"] == image["B04"]).any("time").values
    assert is_a_look[odd].all()


def test_years_of_romania(romania: xr.Dataset) -> None:
    lazy = romania.chunk(time=1, y=64, x=64)
    image = lazy.s2.percentile((25, 50, 75), bands=["red", "nir"], period="YS").compute()
    whole = romania.s2.percentile((25, 50, 75), bands=["red", "nir"], period="YS")
    xr.testing.assert_identical(image, whole)
    assert int(whole["count"].sum("time").max()) <= romania.sizes["time"]
    assert (image["B08"].diff("percentile") >= 0).where(image["B08"][:, 1:].notnull(), True).all()
