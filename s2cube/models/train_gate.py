"""Teaching a gate whom of the experts to believe: on pixels that were hidden from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.experts import SIGNED
from s2cube.models.architectures import build
from s2cube.models.run import one_thread

__all__ = ["Cell", "Trained", "corrections", "train_gate"]

F = NDArray[np.float32]
Scales = dict[tuple[str, int], float]
BATCH: Final = 32
"""Crops of one band each."""
CROP: Final = 32
"""Side of what is learnt from at once, px, beside the margin."""
STEPS: Final = 60
"""Batches of an epoch, whatever there is to learn from: the next has others, or the same turned."""
JUDGED: Final = 200
"""Cells that say how well it does, at most, drawn by chance."""
BANDS: Final = 4
"""Bands of a date that are learnt from at once, drawn by chance where there are more."""
RATE: Final = 2e-3
DECAY: Final = 0.98
"""Of the mean of weights over steps, which is what is kept: it is less of the last batches."""
PATIENCE: Final = 8
"""Epochs without a better one, after which it is over."""
SPREAD: Final = 0.05
"""What the deviation counts beside the value."""
DEVIATION: Final = 4
"""Channel of the deviation."""
LEAST: Final = 1e-3
"""Deviations are not taken for less."""


class Cell(NamedTuple):
    """A piece of one date with hidden truth: what experts said of it, and how far they are off."""

    own: NDArray[np.float16]
    """What is told of each band, ``(band, channel, side, side)``."""
    shared: NDArray[np.float16]
    """What is told of all, ``(channel, side, side)``."""
    off: F
    """Hidden truth less the best expert, in deviations of the window, ``(band, inner, inner)``; NaN
    where nothing was hidden."""
    unit: F
    """That deviation by band, reflectance."""
    age: NDArray[np.int16]
    """Days to the nearest clear look, ``(inner, inner)``."""
    family: str
    """How it was hidden."""
    date: tuple[int, int]
    """Place and day, all of whose cells stay together."""

    @property
    def group(self) -> tuple[str, int]:
        """Family and place: groups count alike, so that no place with large errors rules."""
        return self.family, self.date[0]

    def windows(self, bands: Sequence[int] | slice = slice(None)) -> NDArray[np.float16]:
        """Return what goes into the network, ``(band, channels, side, side)``."""
        own = self.own[bands]
        shared = np.broadcast_to(self.shared, (len(own), *self.shared.shape))
        return np.concatenate([own, shared], axis=1)


@dataclass(frozen=True)
class Trained:
    """What came out."""

    weights: dict[str, NDArray[Any]]
    epoch: int
    """The best one; 0 where none was better than nothing learnt."""
    loss: float
    """Error of what was held out, by that of the best expert; families and places count alike."""


def train_gate(
    taught: Sequence[Cell],
    held_out: Sequence[Cell],
    *,
    parameters: dict[str, Any],
    shape: tuple[int, int],
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
    parameters, shape
        Of the network: see :class:`~s2cube.models.spec.ModelSpec`.
    epochs
        At most.
    seed
        The same seed gives the same weights on the same machine.
    device
        One of PyTorch's. The processor works with one thread, so that its sums have one order.
    tell
        Called with a line an epoch.
    """
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    rng = np.random.default_rng(seed)
    held_out = [held_out[k] for k in sorted(rng.permutation(len(held_out))[:JUDGED].tolist())]
    scales, judged = _scales(taught), _scales(held_out)
    forked: list[int] | None = [] if device == "cpu" else None
    with torch.random.fork_rng(devices=forked), one_thread():
        torch.manual_seed(seed)
        network = build("gate", *shape, parameters).to(device)
        mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * STEPS)
        best, batches = Trained({}, 0, 1.0), _batches(taught, scales, rng)
        for epoch in range(1, epochs + 1):
            for told, off, weight in islice(batches, STEPS):
                optimizer.zero_grad()
                loss = _loss(network, *(torch.from_numpy(a).to(device) for a in (told, off, weight)))
                loss.backward()
                optimizer.step()
                rates.step()
                mean.update_parameters(network)
            now = _judge(mean.module, held_out, judged, device)
            tell(f"epoch {epoch} of {epochs}: held-out error {now:.3f} of the best expert's")
            if now < best.loss:
                state = {key: a.cpu().numpy().copy() for key, a in mean.module.state_dict().items()}
                best = Trained(state, epoch, now)
            elif epoch - best.epoch >= PATIENCE:
                break
    return best


def corrections(network: Any, cell: Cell, device: str) -> F:
    """Return what a network adds in a cell, and its factor's logarithm, ``(band, 2, inner, inner)``."""
    import torch

    with torch.inference_mode():
        told = torch.from_numpy(cell.windows()).to(device).float()
        found: F = network(told).cpu().numpy()
    margin = (found.shape[-1] - cell.off.shape[-1]) // 2
    return found[..., margin:-margin, margin:-margin]


def _scales(cells: Sequence[Cell]) -> Scales:
    """Return the best expert's mean error in each family of each place, reflectance."""
    sums: dict[tuple[str, int], list[float]] = {}
    for cell in cells:
        error = np.abs(cell.off) * cell.unit[:, None, None]
        one = sums.setdefault(cell.group, [0.0, 0.0])
        one[0] += float(np.nansum(error, dtype=np.float64))
        one[1] += int(np.isfinite(error).sum())
    return {group: max(total / max(number, 1), 1e-6) for group, (total, number) in sums.items()}


def _batches(
    cells: Sequence[Cell], scales: Scales, rng: np.random.Generator
) -> Iterator[tuple[F, F, F]]:
    """Yield crops of windows, what they are off and what that counts, for ever, varied by chance."""
    told: list[F] = []
    off: list[F] = []
    weight: list[F] = []
    rounds = (rng.permutation(len(cells)).tolist() for _ in count())
    for number in chain.from_iterable(rounds):
        cell = cells[number]
        some = rng.permutation(len(cell.unit))[:BANDS]
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        i, j = _somewhere(np.isfinite(cell.off[0]), rng)
        size = CROP + cell.shared.shape[-1] - cell.off.shape[-1]
        # What time gets wrong one way this year, it may get wrong the other way the next.
        sign = np.where(rng.random(len(some)) < 0.5, np.float32(-1), np.float32(1))[:, None, None]
        crop = cell.windows(some)[..., i : i + size, j : j + size].astype(np.float32)
        crop[:, SIGNED] *= sign[:, None]
        for array, into in ((crop, told), (sign * cell.off[some, i : i + CROP, j : j + CROP], off)):
            turned = np.rot90(array, turns, (-2, -1))
            into.extend(turned[..., ::-1] if mirrored else turned)
        weight.extend(cell.unit[some] / np.float32(scales[cell.group]))
        while len(told) >= BATCH:
            yield np.stack(told[:BATCH]), np.stack(off[:BATCH]), np.stack(weight[:BATCH])
            del told[:BATCH], off[:BATCH], weight[:BATCH]


def _somewhere(known: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    """Return where a crop begins that has something known about its middle."""
    rows, columns = np.nonzero(known)
    chosen = int(rng.integers(len(rows)))
    i, j = (
        int(np.clip(at[chosen] - rng.integers(CROP), 0, size - CROP))
        for at, size in zip((rows, columns), known.shape, strict=True)
    )
    return i, j


def _loss(network: Any, told: Any, off: Any, weight: Any) -> Any:
    """Return the error, relative to the best expert's, and how badly the deviation tells it."""
    import torch

    found = network(told)
    margin = (found.shape[-1] - off.shape[-1]) // 2
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    known = torch.isfinite(off)
    error = (torch.where(known, off, 0) - found[:, 0][inner]).abs()
    value = (error * weight[:, None, None])[known].mean()
    deviation = told[:, DEVIATION][inner].clamp(min=LEAST)
    wider = found[:, 1][inner]
    spread = (error.detach() / deviation * torch.exp(-wider) + wider)[known].mean()
    return value + SPREAD * spread


def _judge(network: Any, cells: Sequence[Cell], scales: Scales, device: str) -> float:
    """Return a network's error by that of the best expert; families and places count alike."""
    sums: dict[tuple[str, int], list[float]] = {}
    for cell in cells:
        error = np.abs(cell.off - corrections(network, cell, device)[:, 0])
        error *= cell.unit[:, None, None]
        one = sums.setdefault(cell.group, [0.0, 0.0])
        one[0] += float(np.nansum(error, dtype=np.float64))
        one[1] += int(np.isfinite(error).sum())
    parts = [total / max(number, 1) / scales[group] for group, (total, number) in sums.items()]
    return float(np.mean(parts)) if parts else 1.0
