"""The command that fits the emulator: what it learns is what it was told."""

import numpy as np
import pytest

from s2cube.emulate import weights
from s2cube.kernels.atmosphere import MODELLED, Air, coefficients
from s2cube.training import atmosphere

pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("scipy", reason="draws skies with scipy")


def test_skies_cover_the_range_and_come_out_the_same() -> None:
    drawn = atmosphere.skies(256)
    assert drawn[:10] == atmosphere.skies(10)
    suns = np.array([sky["sza"] for sky in drawn])
    assert suns.min() < 15
    assert 75 < suns.max() <= 78
    assert max(sky["alt"] for sky in drawn) > 4


@pytest.mark.thorough
def test_it_learns_a_table() -> None:
    """A table that the shipped emulator tells in the place of 6S."""
    rows = []
    for number, sky in enumerate(atmosphere.skies(48)):
        state = Air(*(np.atleast_1d(one) for one in (
            sky["sza"], sky["vza"], sky["raa"], sky["aot"], sky["wv"], sky["o3"], 1000 * sky["alt"]
        )))  # fmt: skip
        a, b, c = coefficients(weights.load(), state)
        y = 0.2 / (1 - 0.2 * c)
        told = {
            band[1:]: [b[row, 0], c[row, 0], ((y + b) / a)[row, 0], 0.0, min(1.0, 1 / a[row, 0])]
            for row, band in enumerate(MODELLED)
        }
        rows.append({"k": number, **sky, "b": told})
    off = atmosphere.check(rows, atmosphere.fit(rows))
    assert np.median(off) < 20
