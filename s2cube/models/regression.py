"""Fitting small networks to smooth functions, whose weights numpy alone can use."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_smooth"]


def fit_smooth(
    seen: NDArray[np.floating[Any]],
    wanted: NDArray[np.floating[Any]],
    matter: NDArray[np.floating[Any]],
    *,
    hidden: tuple[int, ...] = (24, 24),
    decay: float = 1e-3,
    steps: int = 1500,
    seed: int = 0,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Fit a network of hyperbolic tangents to numbers without noise, on the processor.

    Parameters
    ----------
    seen
        Shape ``(ways, samples, features)``: the outputs of the ways of a sample add up.
    wanted
        Shape ``(samples,)``.
    matter
        Weight of each sample, multiplied with its error.
    hidden
        Width of each layer between.
    decay
        By how much large weights are punished.
    steps
        Of L-BFGS with all samples at once, at most.
    seed
        The same seed gives the same weights on the same machine.

    Returns
    -------
    list
        Weights ``(out, in)`` and biases ``(out,)`` of each layer; the standardization of the features is
        part of the first.
    """
    import torch

    flat = seen.reshape(-1, seen.shape[-1])
    mean, spread = flat.mean(0), flat.std(0) + 1e-9
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: list[torch.nn.Module] = []
        for width, following in itertools.pairwise([seen.shape[-1], *hidden, 1]):
            parts += [torch.nn.Linear(width, following, dtype=torch.float64), torch.nn.Tanh()]
        network = torch.nn.Sequential(*parts[:-1])
    values = torch.from_numpy((seen - mean) / spread)
    truth, weight = torch.from_numpy(wanted), torch.from_numpy(matter)
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=steps, max_eval=2 * steps, history_size=30,
        line_search_fn="strong_wolfe", tolerance_change=1e-12, tolerance_grad=1e-9,
    )  # fmt: skip

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        off = (network(values)[..., 0].sum(0) - truth) * weight
        loss: torch.Tensor = 1e4 * (off**2).mean()
        for part in network.parameters():
            loss = loss + decay * (part**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    layers = [
        (part.weight.detach().numpy(), part.bias.detach().numpy())
        for part in network
        if isinstance(part, torch.nn.Linear)
    ]
    weights, bias = layers[0]
    layers[0] = (weights / spread, bias - weights @ (mean / spread))
    return layers
