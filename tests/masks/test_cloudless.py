"""s2cloudless: what the library says, for any chunks and in any process."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from compare import same_bits
from dask.base import tokenize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s2cube.masks import cloudless
from s2cube.schema import Status

pytest.importorskip("s2cloudless", reason="needs the extra 's2cloudless'")

BANDS = ["B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12"]
Holes = Callable[[xr.Dataset], xr.Dataset]


@functools.cache
def detector(**options: Any) -> Any:
    from s2cloudless import S2PixelCloudDetector

    return S2PixelCloudDetector(**options)


def library(cube: xr.Dataset, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the library says when it is called directly: probability, and True where cloudy."""
    image = np.stack([cube[band].values for band in BANDS], axis=-1)
    found = detector().get_cloud_probability_maps(image)
    return found, detector(**options).get_mask_from_prob(found).astype(bool)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": 0.2, "average_over": 1, "dilation_size": 1},
        {"average_over": 0, "dilation_size": 0},
        {"average_over": None, "dilation_size": None},
        {"average_over": 9, "dilation_size": 5},  # OpenCV averages by a Fourier transform
    ],
    ids=str,
)
def test_it_says_what_the_library_says(top: xr.Dataset, options: dict[str, Any]) -> None:
    wanted = {"threshold": 0.4, "average_over": 4, "dilation_size": 2} | options
    probability, cloudy = library(top, **wanted)
    found = cloudless.detect(top, **options)
    assert same_bits(found.probability, probability)
    np.testing.assert_array_equal(found.status == Status.CLOUD, cloudy)
    assert set(np.unique(found.status)) == {Status.CLEAR, Status.CLOUD}
    assert 0.05 < cloudy.mean() < 0.95


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.fixed_dictionaries(
        {"time": st.integers(1, 4), "y": st.integers(9, 60), "x": st.integers(9, 70)}
    )
)
def test_any_chunks_give_the_same(top: xr.Dataset, holes: Holes, chunks: dict[str, int]) -> None:
    cube = holes(top)
    here = cloudless.detect(cube)
    lazy = cloudless.detect(cube.chunk(chunks))
    assert same_bits(lazy.probability.compute(scheduler="sync"), here.probability)
    np.testing.assert_array_equal(lazy.status.compute(scheduler="sync"), here.status)


@pytest.mark.slow
def test_processes_give_the_same(top: xr.Dataset) -> None:
    lazy = cloudless.detect(top.chunk(time=2, y=30, x=40))
    found = lazy.status.compute(scheduler="processes", num_workers=2)
    np.testing.assert_array_equal(found, cloudless.detect(top).status)


def test_missing_pixels_are_no_data_and_leave_the_average_to_the_others(
    top: xr.Dataset, holes: Holes
) -> None:
    cube = holes(top)
    missing = np.logical_or.reduce([np.isnan(cube[band].values) for band in BANDS])
    found = cloudless.detect(cube, average_over=2, dilation_size=0)
    assert found.status.dtype == np.uint8
    np.testing.assert_array_equal(found.status == Status.NO_DATA, missing)
    np.testing.assert_array_equal(np.isnan(found.probability), missing)
    assert (found.status[-1] == Status.NO_DATA).all()
    whole, _ = library(top)
    np.testing.assert_array_equal(found.probability[~missing], whole[~missing])
    # By hand, away from the edges: the library's disk of radius 2 is a square without corners.
    disk = np.ones((5, 5))
    disk[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    for t, y, x in ((0, 30, 14), (0, 22, 29), (1, 10, 10), (1, 40, 50), (2, 5, 60)):
        if not missing[t, y, x]:
            near = np.where(disk > 0, found.probability[t, y - 2 : y + 3, x - 2 : x + 3], np.nan)
            assert (found.status[t, y, x] == Status.CLOUD) == (np.nanmean(near) > 0.4)


def test_bands_may_be_named_in_any_order_and_others_do_not_matter(top: xr.Dataset) -> None:
    one = cloudless.detect(top[[*BANDS[::-1]]])
    assert same_bits(one.probability, cloudless.detect(top).probability)
    without = top.assign(B03=top["B03"] * np.float32(np.nan))
    assert same_bits(cloudless.detect(without).probability, one.probability)


def test_graphs_are_deterministic_and_hold_no_model(top: xr.Dataset) -> None:
    import pickle

    lazy = top.chunk(time=1)
    one, again = cloudless.detect(lazy), cloudless.detect(lazy)
    other = cloudless.detect(lazy, threshold=0.5)
    assert tokenize(one.status) == tokenize(again.status) != tokenize(other.status)
    assert one.probability.name == other.probability.name
    bare = cloudless.detect(top.isel(y=slice(0, 2), x=slice(0, 2)).chunk(time=1))
    assert len(pickle.dumps(bare.status)) < 100_000


def test_the_model_is_loaded_once_whatever_the_threads() -> None:
    cloudless._load.cache_clear()
    start, seen = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        seen.append(cloudless._detector("1.7.3"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cloudless._load.cache_info().misses == 1
    assert len({id(found) for found in seen}) == 1


@pytest.mark.slow
def test_real_clouds(italy: xr.Dataset) -> None:
    """At one place: as cloudy as those who published it said, and clear in between."""
    some = italy.isel(time=slice(0, None, 2))
    status = cloudless.detect(some.chunk(time=3)).status.compute()
    by_date = (status == Status.CLOUD).mean(axis=(1, 2))
    assert 0.3 < by_date.mean() < 0.55
    assert (by_date < 0.1).sum() >= 5
    assert (by_date > 0.9).sum() >= 2
    one = some.isel(time=[int(np.abs(by_date - 0.5).argmin())])
    _, cloudy = library(one, threshold=0.4, average_over=4, dilation_size=2)
    np.testing.assert_array_equal(cloudless.detect(one).status == Status.CLOUD, cloudy)
