"""Geomedians against a reference in double precision and geomad, whoever computes them."""

import os
import subprocess
import sys
from pathlib import Path

import geomad
import numpy as np
import pytest
import reference
from compare import same_bits
from engines import COMPILED, ENGINES, NUMPY, Engine, every_engine, needs_numba
from hypothesis import given, settings
from hypothesis import strategies as st

import s2cube
from s2cube.kernels.geomedian import geomedian

COUNT = 1e-4
"""Reflectance of one count."""
TEN = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]


def simulated(bands: list[str], pixels: int, *, clouds: bool, seed: int = 0) -> np.ndarray:
    """Looks ``(band, time, pixel)`` as they come from a cube, under clouds or without any."""
    cube = s2cube.testing.simulate_cube(
        shape=(64, 64), bands=bands, seed=seed, cloud_cover=0.4 if clouds else 0
    )
    clear = cube.s2.mask_clouds() if clouds else cube
    looks = np.stack([clear[band].values for band in bands]).reshape(len(bands), cube.sizes["time"], -1)
    return np.ascontiguousarray(looks[:, :, np.linspace(0, 4095, pixels).astype(int)])


def random_looks(seed: int, bands: int, steps: int, pixels: int, missing: float) -> np.ndarray:
    """Off and on the grid, with looks that repeat, look by look and band by band missing."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(0.2, 0.15, (bands, steps, pixels))
    looks[:, rng.random(steps) < 0.3] = looks[:, :1]
    looks = (np.rint(looks * 1e4) / 1e4 if seed % 2 else looks).astype(np.float32)
    looks[:, rng.random((steps, pixels)) < missing] = np.nan
    looks[0, rng.random((steps, pixels)) < missing / 5] = np.nan
    return looks


def costs(looks: np.ndarray, centres: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    off = looks.astype(np.float64) - centres[:, None]
    distance = np.sqrt((off * off).sum(0))
    if weights is not None:
        distance = np.where(weights[:, None] > 0, distance * weights[:, None], np.nan)
    return np.nansum(distance, axis=0)


def theirs(looks: np.ndarray) -> np.ndarray:
    """Return geomad's answer, ``(band, pixel)``."""
    found = geomad.nangeomedian_pcm(as_geomad(looks), num_threads=1)
    return np.asarray(found)[0].T


def as_geomad(looks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(looks.transpose(2, 0, 1)[None])


DATA = {
    "ten bands, clouds": (TEN, True),
    "ten bands, clear": (TEN, False),
    "three bands, clouds": (["B04", "B08", "B11"], True),
    "one band": (["B08"], True),
}


@every_engine
@pytest.mark.parametrize("name", DATA)
def test_as_the_reference(engine: Engine, name: str) -> None:
    """Closer than half a count, which is what a product on disk can tell."""
    bands, clouds = DATA[name]
    looks = simulated(bands, 200, clouds=clouds)
    found, count = engine.geomedian(looks)
    assert found.dtype == np.float32
    assert count.dtype == np.int16
    np.testing.assert_array_equal(count, np.isfinite(looks).all(0).sum(0))
    wanted = reference.geometric_medians(looks)
    if len(bands) == 1 or count.min() < 3:
        # Two looks, or an even number on a line, have many medians: any of them is one.
        assert (costs(looks, found) <= costs(looks, wanted) + 1e-6).all()
    else:
        assert np.abs(found - wanted).max() < 0.5 * COUNT
    assert (costs(looks, found) <= costs(looks, wanted) * (1 + 1e-6) + 1e-6).all()


@every_engine
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.3, 0.8]),
)
def test_no_other_place_is_nearer_to_all(
    engine: Engine, seed: int, bands: int, steps: int, missing: float
) -> None:
    """The sum of distances is the smallest there is, whatever the looks."""
    looks = random_looks(seed, bands, steps, 4, missing)
    found, count = engine.geomedian(looks)
    np.testing.assert_array_equal(count, np.isfinite(looks).all(0).sum(0))
    np.testing.assert_array_equal(np.isnan(found).all(0), count == 0)
    wanted = reference.geometric_medians(looks)
    seen = count > 0
    excess = (costs(looks, found) - costs(looks, wanted))[seen]
    # Within TOLERANCE of the minimum, each look is farther by no more than that.
    assert (excess <= 2e-6 * count[seen]).all(), excess.max()


@every_engine
def test_never_worse_than_geomads(engine: Engine) -> None:
    for clouds in (False, True):
        looks = simulated(TEN, 300, clouds=clouds, seed=3)
        found, _ = engine.geomedian(looks)
        other = theirs(looks)
        # geomad stops early: a few counts away in most pixels, up to a hundred in some.
        assert np.nanmedian(np.abs(found - other)) < 2 * COUNT
        assert (costs(looks, found) <= costs(looks, other) + 1e-6).all()


@every_engine
def test_few_looks(engine: Engine) -> None:
    a, b = np.float32([0.1, 0.2, 0.3]), np.float32([0.3, 0.1, 0.5])
    nothing = np.full(3, np.nan, np.float32)
    half = np.float32([0.1, np.nan, 0.3])
    cases = {
        "one look": ([nothing, a, nothing], a, 1),
        "a look without one band is none": ([half, a, half], a, 1),
        "two looks have their mean": ([a, b, nothing], (a + b) / 2, 2),
        "all the same": ([a, a, a], a, 3),
        "the majority is the same": ([a, b, a], a, 3),
        "none": ([nothing, half, nothing], nothing, 0),
    }
    looks = np.stack([np.stack(rows, axis=1) for rows, _, _ in cases.values()], axis=2)
    found, count = engine.geomedian(looks)
    for i, (name, (_, wanted, seen)) in enumerate(cases.items()):
        np.testing.assert_allclose(found[:, i], wanted, atol=1e-6, err_msg=name)
        assert count[i] == seen, name


@every_engine
@pytest.mark.parametrize("others", [2, 5, 20])
def test_a_majority_is_the_median_exactly(engine: Engine, others: int) -> None:
    """Half of the looks or more at one place: no other place is nearer to all of them."""
    rng = np.random.default_rng(others)
    looks = rng.normal(0.2, 0.2, (4, 2 * others + 1, 30)).astype(np.float32)
    looks[:, others:] = looks[:, -1:]
    found, _ = engine.geomedian(looks[:, rng.permutation(2 * others + 1)])
    np.testing.assert_allclose(found, looks[:, -1], rtol=2e-7, atol=6e-8)  # to the rounding


@every_engine
def test_looks_on_a_line(engine: Engine) -> None:
    """Between the middle ones, as the median of numbers is; the sum does not tell where between."""
    rng = np.random.default_rng(0)
    way = np.float32([0.3, -0.1, 0.2])[:, None, None]
    for steps in (3, 4, 7, 30):
        along = rng.random((1, steps, 50), np.float32)
        looks = (0.1 + way * along).astype(np.float32)
        found, _ = engine.geomedian(looks)
        best = costs(looks, (0.1 + way * np.median(along, axis=1))[:, 0])
        assert (costs(looks, found) <= best + 2e-6).all()


@every_engine
def test_far_away_looks_pull_no_more_than_near_ones(engine: Engine) -> None:
    looks = simulated(TEN, 50, clouds=False)
    found, _ = engine.geomedian(looks)
    glint = looks.copy()
    glint[:, :20] = 50.0
    moved, _ = engine.geomedian(glint)
    assert np.abs(moved - found).max() < 0.2
    wanted = reference.geometric_medians(glint)
    assert np.abs(moved - wanted).max() < 0.5 * COUNT


@every_engine
def test_weights_are_repetitions(engine: Engine) -> None:
    looks = simulated(["B04", "B08", "B11"], 60, clouds=True, seed=5)
    steps = looks.shape[1]
    weights = np.random.default_rng(1).integers(0, 4, steps).astype(np.float32)
    found, count = engine.geomedian(looks, weights)
    repeated, _ = engine.geomedian(np.repeat(looks, weights.astype(int), axis=1))
    some = count > 2
    assert np.abs(found - repeated)[:, some].max() < 0.1 * COUNT
    wanted = reference.geometric_medians(looks, weights)
    assert np.abs(found - wanted)[:, some].max() < 0.5 * COUNT
    np.testing.assert_array_equal(count, np.isfinite(looks[:, weights > 0]).all(0).sum(0))


@every_engine
def test_a_weight_of_zero_leaves_out(engine: Engine) -> None:
    looks = simulated(["B04", "B08"], 40, clouds=True, seed=2)
    looks[:, 5] = 9.0
    weights = np.ones(looks.shape[1], np.float32)
    weights[5] = 0
    one, count = engine.geomedian(looks, weights)
    other, same = engine.geomedian(np.delete(looks, 5, axis=1))
    np.testing.assert_allclose(one, other, atol=0.1 * COUNT)
    np.testing.assert_array_equal(count, same)


@every_engine
@pytest.mark.parametrize("scale", [1e-4, 0.1, 7.0, 1e5])
def test_the_scale_of_weights_does_not_matter(engine: Engine, scale: float) -> None:
    looks = simulated(["B04", "B08", "B11"], 60, clouds=True, seed=5)
    weights = np.random.default_rng(1).random(looks.shape[1]).astype(np.float32)
    one, count = engine.geomedian(looks, weights)
    other, _ = engine.geomedian(looks, weights * np.float32(scale))
    assert np.abs(one - other)[:, count > 2].max() < 0.1 * COUNT


def test_weights_by_pixel() -> None:
    looks = simulated(["B04", "B08"], 40, clouds=True, seed=2)
    weights = np.random.default_rng(3).random(looks.shape[1:]).astype(np.float32)
    found, count = COMPILED.geomedian(looks, weights)
    each = np.stack(
        [COMPILED.geomedian(looks[:, :, [i]], weights[:, i])[0][:, 0] for i in range(40)], axis=1
    )
    np.testing.assert_allclose(found, each, atol=0.1 * COUNT)
    np.testing.assert_allclose(found, NUMPY.geomedian(looks, weights)[0], atol=0.1 * COUNT)
    some = count > 2
    wanted = reference.geometric_medians(looks, weights)
    assert np.abs(found - wanted)[:, some].max() < 0.5 * COUNT


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(4,\) or \(4, 5\), one for each look; got \(3,\)"):
        geomedian(np.zeros((2, 4, 5), np.float32), np.ones(3))


@every_engine
def test_the_order_of_dates_does_not_matter(engine: Engine) -> None:
    looks = simulated(TEN, 100, clouds=True, seed=7)
    shuffled = looks[:, np.random.default_rng(0).permutation(looks.shape[1])]
    one, other = (engine.deviations(some) for some in (looks, shuffled))
    assert np.abs(one[0] - other[0]).max() < 0.1 * COUNT
    np.testing.assert_allclose(one[1], other[1], atol=2e-5)


def test_all_engines_agree() -> None:
    """Within a tenth of a count, where there is one median only."""
    for name, (bands, clouds) in DATA.items():
        looks = simulated(bands, 300, clouds=clouds, seed=11)
        first, *others = [
            param.values[0].deviations(looks)
            for param in ENGINES
            if not any(mark.args[:1] == (True,) for mark in param.marks)
        ]
        single = np.isfinite(looks).all(0).sum(0) > 2 if len(bands) > 1 else slice(0)
        for centre, far in others:
            assert np.abs(centre - first[0])[:, single].max(initial=0) < 0.1 * COUNT, name
            np.testing.assert_allclose(far[:, single], first[1][:, single], atol=2e-5, err_msg=name)


@needs_numba
@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_neighbours_do_not_matter(seed: int) -> None:
    """To the last bit: results do not depend on where blocks are cut, nor on slow pixels beside."""
    rng = np.random.default_rng(seed)
    cube = simulated(["B04", "B08", "B11"], 300, clouds=True, seed=seed % 1000)
    steps = cube.shape[1]
    line = np.float32([0.1, 0.2, 0.3])[:, None, None] * rng.random((steps, 40), "f4")
    looks = np.concatenate([cube, random_looks(seed, 3, steps, 60, 0.4), line], axis=2)
    looks = np.ascontiguousarray(looks[:, :, rng.permutation(400)])
    centre, far = COMPILED.deviations(looks)
    some = rng.permutation(400)[: rng.integers(1, 400)]
    alone = COMPILED.deviations(np.ascontiguousarray(looks[:, :, some]))
    assert same_bits(alone[0], centre[:, some])
    assert same_bits(alone[1], far[:, some])


@every_engine
def test_what_is_given_stays_as_it_is(engine: Engine) -> None:
    looks = simulated(["B04", "B08"], 40, clouds=True)
    before = looks.copy()
    engine.deviations(looks)
    assert same_bits(looks, before)


@every_engine
def test_no_looks_at_all(engine: Engine) -> None:
    looks = np.empty((2, 0, 3, 4), np.float32)
    found, count = engine.geomedian(looks)
    assert found.shape == (2, 3, 4)
    assert np.isnan(found).all()
    assert not count.any()
    centre, far = engine.deviations(looks)
    assert far.shape == (3, 3, 4)
    assert np.isnan(far).all()
    assert np.isnan(centre).all()


def defined(looks: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the deviations as the papers define them, in double precision, by pixel."""
    out = np.full((3, looks.shape[2]), np.nan)
    for i in range(looks.shape[2]):
        x, m = reference.complete(looks[:, :, i]), centre[:, i].astype(np.float64)
        if not len(x):
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            far = np.stack(
                [
                    np.linalg.norm(x - m, axis=1),
                    1 - (x @ m) / (np.linalg.norm(x, axis=1) * np.linalg.norm(m)),
                    np.abs(x - m).sum(1) / np.abs(x + m).sum(1),
                ]
            )
        for kind, row in enumerate(far):
            if np.isfinite(row).any():
                out[kind, i] = np.median(row[np.isfinite(row)])
    return out


@every_engine
@pytest.mark.parametrize("name", DATA)
def test_deviations_are_those_of_the_papers(engine: Engine, name: str) -> None:
    bands, clouds = DATA[name]
    looks = simulated(bands, 150, clouds=clouds, seed=4)
    centre, far = engine.deviations(looks)
    assert far.dtype == np.float32
    wanted = defined(looks, centre)
    np.testing.assert_allclose(far[0], wanted[0], rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(far[1], wanted[1], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(far[2], wanted[2], rtol=2e-6, atol=1e-7)


@every_engine
def test_deviations_as_geomads(engine: Engine) -> None:
    looks = simulated(TEN, 200, clouds=True, seed=4)
    looks = np.abs(looks)  # geomad's Bray-Curtis distance is meant for positive values
    centre, far = engine.deviations(looks)
    given_ = as_geomad(looks), np.ascontiguousarray(centre.T[None])
    for row, name in zip(far, ("emad_pcm", "smad_pcm", "bcmad_pcm"), strict=True):
        other = np.asarray(getattr(geomad, name)(*given_, num_threads=1))[0]
        np.testing.assert_allclose(row, other, rtol=2e-3, atol=2e-6, err_msg=name)


@every_engine
def test_a_distance_that_is_not_defined_does_not_count(engine: Engine) -> None:
    """A look of zeros has no direction: the angle of the others decides."""
    looks = np.zeros((2, 5, 3), np.float32)
    looks[:, :, 0] = [[0.1, 0.2, 0.3, 0.0, 0.0], [0.2, 0.2, 0.2, 0.0, 0.0]]
    looks[:, :, 2] = np.nan
    centre, far = engine.deviations(looks)
    np.testing.assert_allclose(far, defined(looks, centre), rtol=1e-4, atol=1e-7)
    # All zeros: a distance of 0, and neither angle nor share.
    assert far[0, 1] == 0
    assert np.isnan(far[1:, 1]).all()
    assert np.isnan(far[:, 2]).all()


@every_engine
def test_looks_of_weight_zero_have_no_deviation(engine: Engine) -> None:
    looks = simulated(["B04", "B08", "B11"], 60, clouds=False)
    weights = np.ones(looks.shape[1], np.float32)
    weights[3:20] = 0
    centre, far = engine.deviations(looks, weights)
    without = engine.deviations(np.delete(looks, range(3, 20), axis=1))
    np.testing.assert_allclose(centre, without[0], atol=0.1 * COUNT)
    np.testing.assert_allclose(far, without[1], rtol=1e-2, atol=2e-5)


@needs_numba
@pytest.mark.thorough
def test_what_is_compiled_first_does_not_matter(tmp_path: Path) -> None:
    """Loops are compiled when first called, and kept: not with the liberties of who called first."""
    code = (
        "import sys, numpy as np\n"
        "from s2cube.kernels import geomedian, order\n"
        "rng = np.random.default_rng(0)\n"
        "looks = (rng.integers(-900, 12000, (1, 9, 700)) / 1e4).astype('f4')\n"
        "calls = {'far': lambda: geomedian.deviations(looks, looks[:, 0]),\n"
        "         'order': lambda: order.percentiles(looks[0], (25.0, 60.0))}\n"
        "for name in sys.argv[1:]: calls[name]()\n"
        "looks[0, 0, ::200] = 0.123456789\n"
        "print(order.percentiles(looks[0], (25.0, 60.0))[0].tobytes().hex())\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", code, *names],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / names[0])},
            capture_output=True, text=True, check=True,
        ).stdout
        for names in (["far", "order"], ["order", "far"])
    ]  # fmt: skip
    assert printed[0] == printed[1]
