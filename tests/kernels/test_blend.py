"""Weighted means of what is there, and the distances that make weights."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from s2cube.kernels.blend import LATTICE, blend, distance_to_centre, mean_of_overlap
from s2cube.kernels.orbit import BEYOND, ORBITS, off_centre

PLACES = {
    "UTM 10 m": ("EPSG:32632", 10.0, (11.0, 46.5)),
    "UTM 30 m": ("EPSG:32632", 30.0, (11.0, 46.5)),
    "UTM south 10 m": ("EPSG:32722", 10.0, (-53.2, -38.0)),
    "LAEA 30 m": ("EPSG:3035", 30.0, (25.0, 62.0)),
    "LAEA 300 m": ("EPSG:3035", 300.0, (11.0, 46.5)),
    "degrees 10 m": ("EPSG:4326", 1e-4, (11.0, 46.5)),
    "degrees 30 m, north": ("EPSG:4326", 3e-4, (25.0, 70.0)),
    "antimeridian": ("EPSG:32701", 30.0, (179.99, -16.0)),
    "polar": ("EPSG:3413", 30.0, (-40.0, 80.0)),
}


@cache
def to_lonlat(crs: str) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform


def pixels(crs: str, size: float, lonlat: tuple[float, float], shape: tuple[int, int]) -> tuple:
    """Return y and x of pixels around a place."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(*lonlat)
    return y - size * np.arange(shape[0]), x + size * np.arange(shape[1])


def distances(y: np.ndarray, x: np.ndarray, crs: str, size: float, orbit: int) -> np.ndarray:
    return distance_to_centre(
        y[None, :, None],
        x[None, None],
        relative_orbit=orbit,
        pixel=(size, size),
        to_lonlat=to_lonlat(crs),
    )


@cache
def nearest(lonlat: tuple[float, float]) -> list[int]:
    """Return the orbits that see a place."""
    off = {orbit: abs(float(off_centre(*lonlat, orbit))) for orbit in range(1, ORBITS + 1)}
    return [orbit for orbit, far in off.items() if far < 160_000]


@pytest.mark.parametrize(("crs", "size", "lonlat"), PLACES.values(), ids=PLACES)
def test_distances_are_exact_within_a_metre(crs: str, size: float, lonlat: tuple[float, float]) -> None:
    y, x = pixels(crs, size, lonlat, (90, 120))
    lon, lat = to_lonlat(crs)(*np.meshgrid(x, y))
    assert nearest(lonlat)
    for orbit in nearest(lonlat):
        found = distances(y, x, crs, size, orbit)
        assert found.shape == (1, 90, 120)
        assert found.dtype == np.float32
        assert np.abs(found[0] - np.abs(off_centre(lon, lat, orbit))).max() < 1


@given(
    rows=st.lists(st.integers(1, 69), max_size=4, unique=True),
    columns=st.lists(st.integers(1, 69), max_size=4, unique=True),
    place=st.sampled_from(list(PLACES.values())),
)
def test_distances_are_the_same_whatever_the_blocks(rows: list, columns: list, place: tuple) -> None:
    crs, size, lonlat = place
    y, x = pixels(crs, size, lonlat, (70, 70))
    orbit = nearest(lonlat)[0]
    whole = distances(y, x, crs, size, orbit)
    parts = [
        [distances(part, piece, crs, size, orbit) for piece in np.split(x, sorted(columns))]
        for part in np.split(y, sorted(rows))
    ]
    assert np.array_equal(np.block(parts), whole)


def test_pixels_on_lattice_lines_and_single_pixels() -> None:
    size, crs = 30.0, "EPSG:3035"
    at = np.array([LATTICE * size * 6000])
    lon, lat = to_lonlat(crs)(at + 1e6, at)
    found = distances(at, at + 1e6, crs, size, 22)
    assert found.shape == (1, 1, 1)
    assert found[0, 0, 0] == pytest.approx(abs(float(off_centre(lon, lat, 22)[0])), abs=1)


def test_far_away_stays_far() -> None:
    y, x = pixels("EPSG:32632", 10.0, (11.0, 46.5), (20, 20))
    far = next(orbit for orbit in range(1, ORBITS + 1) if off_centre(11.0, 46.5, orbit) == BEYOND)
    assert (distances(y, x, "EPSG:32632", 10.0, far) == BEYOND).all()


VALUES = st.one_of(st.just(np.nan), st.floats(-0.125, 1.25, width=32))


@given(
    values=st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=6),
    weights=st.tuples(*[st.floats(2**-20, 1, width=32)] * 3),
)
def test_blend_is_the_weighted_mean_of_what_is_there(values: list, weights: tuple) -> None:
    array = np.array(values, np.float32).T  # (3 images, pixels)
    counts = np.where(np.isnan(array), 0, [[2], [3], [5]]).astype(np.float32)
    images = [
        np.stack([image, count])[None, :, None] for image, count in zip(array, counts, strict=True)
    ]
    shares = [np.full((1, 1, 1, array.shape[1]), weight, np.float32) for weight in weights]
    kept = [image.copy() for image in images]
    made = blend(*images, *shares)
    assert made.shape == images[0].shape
    assert made.dtype == np.float32
    for number, pixel in enumerate(array.T.astype(np.float64)):
        there = ~np.isnan(pixel)
        if not there.any():
            assert np.isnan(made[0, 0, 0, number])
            assert made[0, 1, 0, number] == 0
            continue
        wanted = np.average(pixel[there], weights=np.float64(weights)[there])
        assert made[0, 0, 0, number] == pytest.approx(wanted, abs=2e-6)
        assert made[0, 1, 0, number] == np.array([2, 3, 5])[there].sum()
    for image, was in zip(images, kept, strict=True):
        assert np.array_equal(image, was, equal_nan=True)


def test_a_single_image_is_itself_whatever_its_weight() -> None:
    """Where one orbit alone looked, its value is kept: within a rounding of a float."""
    rng = np.random.default_rng(0)
    image = rng.uniform(-0.05, 1, (2, 3, 8, 9)).astype(np.float32)
    nothing = np.full_like(image, np.nan)
    nothing[:, -1] = 0
    for weight in (1e-12, 1e-3, 1.0):
        own = np.full((1, 1, 8, 9), weight, np.float32)
        made = blend(image, nothing, own, np.ones_like(own))
        np.testing.assert_allclose(made, image, rtol=3e-7)


def test_tiles_of_one_orbit_are_averaged_and_their_looks_not_counted_twice() -> None:
    one = np.array([0.1, 0.2, np.nan, np.nan], np.float32)
    other = np.array([0.3, np.nan, 0.4, np.nan], np.float32)
    tiles = [
        np.stack([values, counts])[None, :, None]
        for values, counts in ((one, [4, 4, 0, 0]), (other, [3, 0, 5, 0]))
    ]
    made = mean_of_overlap(*[tile.astype(np.float32) for tile in tiles])
    np.testing.assert_allclose(made[0, 0, 0], [0.2, 0.2, 0.4, np.nan], rtol=1e-6)
    assert made[0, 1, 0].tolist() == [4, 4, 5, 0]
