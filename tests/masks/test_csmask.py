"""csmask: what the library says, for any chunks and in any process."""

import threading
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from compare import same_bits
from dask.base import tokenize

import s2cube
from s2cube.masks import csmask
from s2cube.schema import Status

pytest.importorskip("ukis_csmask", reason="needs the extra 'csmask'")
pytest.importorskip("onnxruntime", reason="needs the extra 'csmask'")

NAMES = {
    "B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
STATES = np.array([Status.CLEAR, Status.CLOUD, Status.SHADOW], np.uint8)
SHAPE = (230, 300)
LAND = (0.06, 0.08, 0.07, 0.28, 0.18, 0.10)
SHADE = (0.60, 0.50, 0.45, 0.40, 0.35, 0.35)
CLOUD = (0.75, 0.75, 0.77, 0.80, 0.55, 0.45)
"""By band: reflectance of land and cloud, and what of it is left in shadow."""
Holes = Callable[[xr.Dataset], xr.Dataset]


def library(cube: xr.Dataset, level: str) -> np.ndarray:
    """What the library says when it is called directly, date by date."""
    from ukis_csmask.mask import CSmask

    bands = [band for band in NAMES if band in cube]
    found = []
    for look in np.stack([cube[band].values for band in bands], axis=-1):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Your input image is smaller", UserWarning)
            mask = CSmask(
                look, [NAMES[band] for band in bands], level, providers=["CPUExecutionProvider"]
            )
        found.append(STATES[mask.csm[..., 0]])
    return np.stack(found)


def noise(seed: int) -> np.ndarray:
    """Noise of all scales, standard normal: networks take no note of clouds that are smooth discs."""
    values = np.random.default_rng(seed).normal(size=SHAPE)
    rates = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in SHAPE), indexing="ij"))
    rates[0, 0] = 1
    values = np.fft.ifft2(np.fft.fft2(values) * rates**-1.5).real
    return (values - values.mean()) / values.std()


@pytest.fixture(scope="module")
def wide() -> xr.Dataset:
    """Two dates of cloud and shadow over land, several windows along each axis."""
    cube = s2cube.testing.simulate_cube(shape=SHAPE, seed=3, bands=list(NAMES)).isel(time=[4, 9])
    looks = []
    for date in range(2):
        cloud = np.clip(noise(date) - 0.2, 0, 1) ** 0.7
        dark = np.roll(cloud, (25, -20), axis=(0, 1))
        ripple = 1 + 0.05 * noise(date + 20)
        look = []
        for land, shade, white in zip(LAND, SHADE, CLOUD, strict=True):
            ground = land * np.exp(0.3 * noise(date + 10)) * (1 - dark * (1 - shade))
            look.append(ground * (1 - cloud) + white * ripple * cloud)
        looks.append(look)
    values = np.asarray(looks, dtype=np.float32)
    return cube.assign({band: (cube[band].dims, values[:, k]) for k, band in enumerate(NAMES)})


@pytest.mark.parametrize("level", ["L1C", "L2A"])
@pytest.mark.parametrize("bands", [4, 6])
def test_it_says_what_the_library_says(wide: xr.Dataset, level: str, bands: int) -> None:
    cube = wide[list(NAMES)[:bands]].assign_coords(processing_level=level)
    found = csmask.detect(cube)
    expected = library(cube, level)
    np.testing.assert_array_equal(found.status, expected)
    assert set(np.unique(found.status)) == set(STATES.tolist())
    assert found.status.dtype == np.uint8
    assert found.probability.dtype == np.float32
    assert 0 <= found.probability.min() <= found.probability.max() <= 1 + 1e-6
    # More probable than all others together is most probable.
    sure = found.probability > 0.5
    assert sure.any()
    assert (found.status[sure] == Status.CLOUD).all()


@pytest.mark.parametrize(
    "chunks", [{"time": 1, "y": 100, "x": 77}, {"time": 2, "y": 230, "x": 40}, {"time": 1}], ids=str
)
def test_any_chunks_give_the_same(wide: xr.Dataset, holes: Holes, chunks: dict[str, int]) -> None:
    cube = holes(wide[list(NAMES)])
    here, lazy = csmask.detect(cube), csmask.detect(cube.chunk(chunks))
    assert lazy.status.chunks == cube.chunk(chunks)["B02"].data.chunks
    assert same_bits(lazy.probability.compute(), here.probability)
    np.testing.assert_array_equal(lazy.status.compute(), here.status)


@pytest.mark.slow
def test_processes_give_the_same(wide: xr.Dataset) -> None:
    cube = wide[list(NAMES)]
    lazy = csmask.detect(cube.chunk(time=1, y=120, x=150))
    found = lazy.status.compute(scheduler="processes", num_workers=2)
    np.testing.assert_array_equal(found, csmask.detect(cube).status)


def test_missing_pixels_are_no_data_and_no_others(wide: xr.Dataset, holes: Holes) -> None:
    cube = holes(wide[list(NAMES)])
    missing = np.logical_or.reduce([np.isnan(cube[band].values) for band in NAMES])
    found = csmask.detect(cube)
    np.testing.assert_array_equal(found.status == Status.NO_DATA, missing)
    np.testing.assert_array_equal(np.isnan(found.probability), missing)
    # As the library, which is told that what is missing is 0.
    zero = xr.where(np.logical_or.reduce([cube[band].isnull() for band in NAMES]), 0, cube.fillna(0))
    expected = library(zero.astype(np.float32), "L2A")
    np.testing.assert_array_equal(found.status[~missing], expected[~missing])


def test_a_cube_without_any_look(wide: xr.Dataset) -> None:
    found = csmask.detect(wide[list(NAMES)] * np.float32(np.nan))
    assert (found.status == Status.NO_DATA).all()


def test_graphs_are_deterministic(wide: xr.Dataset) -> None:
    lazy = wide.chunk(time=1)
    one, again = csmask.detect(lazy), csmask.detect(lazy)
    assert tokenize(one.status) == tokenize(again.status)
    assert tokenize(one.status) != tokenize(csmask.detect(lazy.drop_vars("B12")).status)
    other = csmask.detect(lazy.assign_coords(processing_level="L1C"))
    assert tokenize(one.status) != tokenize(other.status)


def test_a_network_is_loaded_once_whatever_the_threads() -> None:
    csmask._load.cache_clear()
    start, seen = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        seen.append(csmask._network("model_4b_l2a", "1.0.0"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert csmask._load.cache_info().misses == 1
    assert len({id(found.session) for found in seen}) == 1


@pytest.mark.slow
def test_real_clouds(italy: xr.Dataset) -> None:
    """It and s2cloudless learnt from other labels: they agree on most looks."""
    pytest.importorskip("s2cloudless", reason="needs the extra 's2cloudless'")
    from s2cube.masks import cloudless

    some = italy.isel(time=slice(0, None, 5))
    mine = csmask.detect(some.chunk(time=1)).status.compute()
    other = cloudless.detect(some.chunk(time=2)).status.compute()
    agree = (mine == Status.CLOUD) == (other == Status.CLOUD)
    assert agree.mean() > 0.75
    clear = (other == Status.CLOUD).mean(axis=(1, 2)) < 0.02
    assert clear.any()
    assert (mine[clear] == Status.CLOUD).mean() < 0.1
