"""Teaching a network to tell the pixels of windows apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError
from s2cube.models.architectures import build

__all__ = ["UNLABELLED", "Lessons", "Trained", "train_classifier"]

UNLABELLED: Final = -1
"""A pixel from which nothing is learnt."""
BATCH: Final = 8
RATE: Final = 3e-3
PATIENCE: Final = 8
"""Epochs without a better one, after which it is over."""
GAIN: Final = 0.1
"""Up to which share a window is made brighter or darker, all bands alike."""
HOLES: Final = 0.25
"""Share of windows that lose a strip, so that gaps are known to be none of the classes."""


@dataclass(frozen=True)
class Lessons:
    """Windows and what they show."""

    looks: NDArray[np.float32]
    """Shape ``(n, bands, side, side)``, NaN where missing."""
    labels: NDArray[np.int8]
    """Shape ``(n, side, side)``: the number of the class, or :data:`UNLABELLED`."""


@dataclass(frozen=True)
class Trained:
    """What came out."""

    weights: dict[str, NDArray[Any]]
    epoch: int
    """The best one, from 1."""
    loss: float
    """Cross-entropy on what was held out, classes weighted alike."""
    f1: float
    """Mean of F1 over the classes there, the same."""


def train_classifier(
    taught: Lessons,
    held_out: Lessons,
    *,
    architecture: str,
    classes: int,
    parameters: Mapping[str, Any],
    epochs: int,
    seed: int,
    device: str,
    tell: Callable[[str], None],
) -> Trained:
    """Train a network; keep the weights that do best on what was held out.

    Parameters
    ----------
    taught, held_out
        What it learns from, and what decides when it has learnt.
    architecture, parameters
        As in a :class:`~s2cube.models.spec.ModelSpec`.
    classes
        How many there are.
    epochs
        At most.
    seed
        The same seed gives the same weights on the same machine with the same number of threads.
    device
        One of PyTorch's.
    tell
        Called with a line an epoch.

    Raises
    ------
    CubeError
        The loss was never a number.
    """
    import torch

    rng = np.random.default_rng(seed)
    forked: list[int] | None = [] if device == "cpu" else None
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(seed)
        network = build(architecture, taught.looks.shape[1], classes, parameters)
        network.load_state_dict(_scale(taught.looks), strict=False)
        network.to(device)
        weights = torch.from_numpy(_weights(taught.labels, classes)).to(device)
        loss = torch.nn.CrossEntropyLoss(weights, ignore_index=UNLABELLED)
        steps = -(-len(taught.looks) // BATCH)
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps)
        best = Trained({}, 0, float("inf"), 0.0)
        for epoch in range(1, epochs + 1):
            network.train()
            for some in np.array_split(rng.permutation(len(taught.looks)), steps):
                looks, labels = _varied(taught.looks[some], taught.labels[some], rng)
                optimizer.zero_grad()
                found = network.logits(torch.from_numpy(looks).to(device))
                wrong = loss(found, torch.from_numpy(labels).long().to(device))
                if torch.isfinite(wrong):  # not so where a batch has no label at all
                    wrong.backward()
                    optimizer.step()
                rates.step()
            now, f1 = _judge(network, held_out, classes, loss, device)
            tell(f"epoch {epoch} of {epochs}: held-out loss {now:.3f}, mean F1 {f1:.3f}")
            if now < best.loss:
                state = {key: value.cpu().numpy().copy() for key, value in network.state_dict().items()}
                best = Trained(state, epoch, now, f1)
            elif epoch - best.epoch >= PATIENCE:
                break
    if not best.weights:
        raise CubeError("Nothing was learnt: the loss was never a number. Is the reflectance one?")
    return best


def _scale(looks: NDArray[np.float32]) -> dict[str, Any]:
    """Return mean and deviation of each band, as the network keeps them."""
    import torch

    mean = np.nanmean(looks, axis=(0, 2, 3), dtype=np.float64)
    deviation = np.nanstd(looks, axis=(0, 2, 3), dtype=np.float64) + 1e-4
    named = {"mean": mean, "deviation": deviation}
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in named.items()}


def _weights(labels: NDArray[np.int8], classes: int) -> NDArray[np.float32]:
    """Return by class what its pixels count: the rarer, the more, though less than in proportion."""
    counts = np.bincount(labels[labels >= 0].ravel(), minlength=classes).astype(np.float64)
    weights = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0)
    return np.asarray(weights / weights.max(), dtype=np.float32)


def _varied(
    looks: NDArray[np.float32], labels: NDArray[np.int8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return the windows turned, mirrored, brighter or darker, and some with a strip missing."""
    # Shadows lie north of their clouds, or south, whatever the hemisphere: all of them are turned.
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    looks, labels = np.rot90(looks, turns, (2, 3)), np.rot90(labels, turns, (1, 2))
    if mirrored:
        looks, labels = looks[..., ::-1], labels[..., ::-1]
    gain = rng.uniform(1 - GAIN, 1 + GAIN, (len(looks), 1, 1, 1)).astype(np.float32)
    looks, labels = looks * gain, labels.copy()
    side = looks.shape[-1]
    for window in np.flatnonzero(rng.random(len(looks)) < HOLES):
        start = int(rng.integers(side))
        strip = slice(start, start + int(rng.integers(1, side // 2 + 1)))
        looks[window, :, strip] = np.nan
        labels[window, strip] = UNLABELLED
    return np.ascontiguousarray(looks), labels


def _judge(network: Any, lessons: Lessons, classes: int, loss: Any, device: str) -> tuple[float, float]:
    """Return the mean loss of a window, and the mean F1 of the classes that are there."""
    import torch

    network.eval()
    losses: list[float] = []
    counts = np.zeros((classes, classes), np.int64)
    with torch.inference_mode():
        for start in range(0, len(lessons.looks), BATCH):
            some = slice(start, start + BATCH)
            labels = lessons.labels[some]
            found = network.logits(torch.from_numpy(lessons.looks[some]).to(device))
            one = float(loss(found, torch.from_numpy(labels).long().to(device)))
            if np.isfinite(one):
                losses.append(one)
            best = found.argmax(dim=1).cpu().numpy()
            known = labels >= 0
            pairs = labels[known].astype(np.int64) * classes + best[known]
            counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    right, there = np.diag(counts), counts.sum(axis=1) > 0
    f1 = 2 * right[there] / (counts.sum(axis=0) + counts.sum(axis=1))[there]
    return float(np.mean(losses)), float(f1.mean())
