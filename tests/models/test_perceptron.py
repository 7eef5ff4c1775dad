"""Perceptrons: what PyTorch fits, numpy computes."""

import numpy as np
import pytest

from s2cube.kernels.spectral import probabilities, spectral_features

pytest.importorskip("torch", reason="needs the extra 'torch'")

NAMES = ("B02", "B03", "B04", "B08")


@pytest.mark.thorough
def test_learns_what_can_be_learnt_and_the_same_each_time() -> None:
    from s2cube.models.perceptron import fit_perceptron

    rng = np.random.default_rng(0)
    bands = {band: rng.uniform(0, 1, 20_000).astype(np.float32) for band in NAMES}
    states = (bands["B08"] > bands["B04"]).astype(np.uint8) + (bands["B02"] > 0.7)
    one, two = (
        fit_perceptron(spectral_features(bands), states, epochs=12, batch=256, seed=3) for _ in range(2)
    )
    for (weights, bias), (again, more) in zip(one, two, strict=True):
        assert weights.dtype == bias.dtype == np.float32
        np.testing.assert_array_equal(weights, again)
        np.testing.assert_array_equal(bias, more)
    test = {band: rng.uniform(0, 1, 5000).astype(np.float32) for band in NAMES}
    truth = (test["B08"] > test["B04"]).astype(int) + (test["B02"] > 0.7)
    assert (probabilities(test, one).argmax(0) == truth).mean() > 0.95


def test_leaves_the_random_state_of_others_alone() -> None:
    import torch

    from s2cube.models.perceptron import fit_perceptron

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    features = np.random.default_rng(0).normal(size=(4, 500)).astype(np.float32)
    fit_perceptron(features, (features[0] > 0).astype(np.uint8), epochs=1)
    assert torch.equal(torch.rand(3), expected)
