"""Simulated spectra: believable where one would look, and the same for the same seed."""

import numpy as np
import pytest

import s2cube
from s2cube.errors import CubeError
from s2cube.schema import BANDS, Status

BLUE, RED, NEAR, CIRRUS, SHORT = (
    list(BANDS).index(band) for band in ("B02", "B04", "B08", "B10", "B11")
)


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_what_the_sky_does(level: str) -> None:
    drawn = s2cube.testing.simulate_spectra(40_000, level=level, seed=1)
    looks, usual, status = drawn.looks, drawn.usual, drawn.status
    assert looks.dtype == usual.dtype == np.float32
    assert status.dtype == np.uint8
    held = [band for band in range(13) if level == "L1C" or band != CIRRUS]
    assert np.isfinite(looks[:, held]).all()
    assert np.isfinite(usual[:, held]).all()
    # All states that are asked of a method, and none that is not.
    assert set(np.unique(status)) == set(range(6))
    mean = {state: looks[status == state].mean(0) for state in Status if state < 6}
    assert mean[Status.CLOUD][BLUE] > mean[Status.THIN_CLOUD][BLUE] > mean[Status.CLEAR][BLUE]
    assert mean[Status.SHADOW][NEAR] < 0.7 * mean[Status.CLEAR][NEAR]
    assert mean[Status.SNOW][SHORT] < 0.4 * mean[Status.SNOW][BLUE]
    assert mean[Status.CLEAR_WATER][NEAR] < 0.1
    clear, shade = status == Status.CLEAR, status == Status.SHADOW
    change = np.log(looks[:, NEAR].clip(0.005) / usual[:, NEAR].clip(0.005))
    assert abs(np.median(change[clear])) < 0.15 < -np.median(change[shade])


def test_the_air_at_level_1c() -> None:
    """It shines in blue, hardly in red, and the vapour hides the ground in B10 but for cirrus."""
    top, ground = (
        s2cube.testing.simulate_spectra(40_000, level=level, seed=2) for level in ("L1C", "L2A")
    )
    dark = top.status == Status.CLEAR_WATER
    over = [
        np.median(top.looks[dark, band]) - np.median(ground.looks[dark, band]) for band in (BLUE, RED)
    ]
    assert over[0] > 0.04 > over[1] > 0
    assert np.median(top.looks[top.status == Status.CLEAR, CIRRUS]) < 0.006
    assert np.median(top.looks[top.status == Status.THIN_CLOUD, CIRRUS]) > 0.015


def test_the_seed_decides() -> None:
    one, two, other = (
        s2cube.testing.simulate_spectra(500, level="L2A", seed=seed).looks for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    with pytest.raises(CubeError, match="level is one of L1C, L2A; got '2A'"):
        s2cube.testing.simulate_spectra(10, level="2A")
