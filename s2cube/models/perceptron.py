"""Fitting small perceptrons, whose weights numpy alone can use."""

import itertools

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.spectral import Layers

__all__ = ["fit_perceptron"]


def fit_perceptron(
    features: NDArray[np.float32],
    states: NDArray[np.uint8],
    *,
    hidden: tuple[int, ...] = (32, 32),
    epochs: int = 12,
    batch: int = 2048,
    rate: float = 3e-3,
    smoothing: float = 0.02,
    seed: int = 0,
) -> Layers:
    """Fit a perceptron that tells states apart, on the processor.

    Parameters
    ----------
    features
        Shape ``(features, samples)``.
    states
        Numbers from 0 on, shape ``(samples,)``.
    hidden
        Width of each layer between.
    epochs, batch, rate
        Of AdamW, with a rate that rises and falls once.
    smoothing
        Share of each label that is spread over all states: labels err.
    seed
        The same seed gives the same weights on the same machine.

    Returns
    -------
    Layers
        Weights and biases for :func:`s2cube.kernels.spectral.probabilities`; the standardization of the
        features is part of the first.
    """
    import torch

    mean, spread = features.mean(1, dtype=np.float64), features.std(1, dtype=np.float64) + 1e-6
    scaled = ((features - mean[:, None]) / spread[:, None]).T.astype(np.float32)
    values, truth = torch.from_numpy(scaled), torch.from_numpy(states.astype(np.int64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = [values.shape[1], *hidden, int(states.max()) + 1]
        parts: list[torch.nn.Module] = []
        for width, following in itertools.pairwise(widths):
            parts += [torch.nn.Linear(width, following), torch.nn.ReLU()]
        network = torch.nn.Sequential(*parts[:-1])
        optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-4)
        steps = epochs * -(-len(values) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
        for _ in range(epochs):
            order = torch.randperm(len(values))
            for start in range(0, len(values), batch):
                chosen = order[start : start + batch]
                loss = torch.nn.functional.cross_entropy(
                    network(values[chosen]), truth[chosen], label_smoothing=smoothing
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    layers = [
        (part.weight.detach().numpy().astype(np.float64), part.bias.detach().numpy().astype(np.float64))
        for part in network
        if isinstance(part, torch.nn.Linear)
    ]
    weights, bias = layers[0]
    layers[0] = (weights / spread, bias - weights @ (mean / spread))
    return [(weights.astype(np.float32), bias.astype(np.float32)) for weights, bias in layers]
