"""Windows of known truth: fields of a few crops through a year, with clouds."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from s2cube.kernels.window import Window, fill_window


@dataclass(frozen=True)
class Scene:
    """A window as cameras see it, and as it is."""

    truth: np.ndarray
    """``(time, band, y, x)``."""
    valid: np.ndarray
    days: np.ndarray

    @property
    def values(self) -> np.ndarray:
        return np.where(self.valid[:, None], self.truth, np.float32(np.nan))

    def fill(self, targets: Any = None, **how: Any) -> Window:
        told: dict[str, Any] = {"origin": (0, 0), "same_date": True, "causal": False}
        days = self.days if targets is None else np.asarray(targets, np.int32)
        return fill_window(self.values, self.valid, days=self.days, targets=days, **{**told, **how})

    def but(self, **other: Any) -> "Scene":
        return replace(self, **other)


def scene(
    seed: int = 0, looks: int = 16, bands: int = 3, shape: tuple[int, int] = (40, 48), *,
    weather: float = 0.02, noise: float = 0.003, covered: float = 0.4,
) -> Scene:  # fmt: skip
    """Return fields of four crops; `weather` moves all fields of a crop together, date by date."""
    rng = np.random.default_rng(seed)
    days = (17_000 + np.cumsum(rng.integers(3, 12, looks))).astype(np.int32)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    crop = rng.integers(0, 4, (20, 20))[rows // 8 % 20, columns // 8 % 20]
    base = rng.uniform(0.05, 0.3, (bands, 4, 1))
    season = 0.4 * base * np.sin(2 * np.pi * days / 365.25 + rng.uniform(0, 6, (1, 4, 1)))
    moved = weather * rng.standard_normal((bands, 4, looks))
    truth = (base + season + moved)[:, crop].transpose(3, 0, 1, 2)
    truth = truth + noise * rng.standard_normal(truth.shape)
    valid = np.ones((looks, *shape), bool)
    for k in np.flatnonzero(rng.random(looks) < 0.7):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        radius = covered * max(shape) * rng.uniform(0.5, 1.2)
        valid[k] = np.hypot(rows - y, columns - x) > radius
    return Scene(truth.astype(np.float32), valid, days)


def off(window: Window, of: Scene, where: np.ndarray) -> float:
    """Return the mean absolute error where ``(time, y, x)``; targets are the days of the looks."""
    error = np.abs(window.bands - of.truth)
    return float(error[np.broadcast_to(where[:, None], error.shape)].mean())
