"""Fields whose state wanders, as a camera sees them between clouds and another sensor always."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from s2cube.kernels.fusion import Sensor
from s2cube.kernels.window import Window, fill_window

FIRST = 17_000


@dataclass(frozen=True)
class Place:
    """Nearly two years of a window."""

    truth: np.ndarray
    """``(time, band, y, x)``."""
    valid: np.ndarray
    days: np.ndarray
    sensor: Sensor

    @property
    def hidden(self) -> np.ndarray:
        """Looks that a gap of 60 days takes, three times."""
        phase = (self.days - FIRST) % 230
        return (phase >= 130) & (phase < 190)

    def fill(self, targets: Any = None, *, sensors: Any = None, **how: Any) -> Window:
        told = {"origin": (0, 0), "same_date": True, "causal": False, **how}
        return fill_window(
            self.truth, self.valid & ~self.hidden[:, None, None], days=self.days,
            targets=self.days[self.hidden] if targets is None else targets,
            sensors=[self.sensor] if sensors is None else sensors, **told,
        )  # fmt: skip

    def off(self, window: Window) -> float:
        """Return the mean absolute error in the gaps."""
        error = np.abs(window.bands - self.truth[self.hidden])
        return float(error[np.broadcast_to(self.valid[self.hidden][:, None], error.shape)].mean())

    def but(self, **other: Any) -> "Place":
        return replace(self, **other)


def place(
    seed: int = 0, *, years: float = 1.8, shape: tuple[int, int] = (36, 36), noise: float = 0.3,
    every: int = 6, season: float = 0.1,
) -> Place:  # fmt: skip
    """Return fields of 12 px whose state loses itself in 40 days.

    Bands and the sensor's two variables follow it in straight lines, the sensor with `noise`, of which
    the state's deviation is 1.
    """
    rng = np.random.default_rng(seed)
    span = round(365 * years)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    field = rows // 12 * (shape[1] // 12 + 1) + columns // 12
    fields = int(field.max()) + 1
    state = np.zeros((span, fields))
    kept = np.exp(-1 / 40)
    for day in range(1, span):
        state[day] = kept * state[day - 1] + np.sqrt(1 - kept**2) * rng.standard_normal(fields)
    wave = season * np.sin(2 * np.pi * np.arange(span) / 365.25)[:, None]
    base = rng.uniform(0.05, 0.3, (3, 1, fields))
    bands = base * (1 + wave) + np.array([-0.01, 0.01, 0.03])[:, None, None] * state
    looks = np.cumsum(rng.integers(3, 12, span // 3))
    looks = looks[looks < span]
    truth = bands[:, looks][..., field].transpose(1, 0, 2, 3)
    truth = truth + 0.002 * rng.standard_normal(truth.shape)
    valid = np.ones((len(looks), *shape), bool)
    for k in np.flatnonzero(rng.random(len(looks)) < 0.6):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        valid[k] = np.hypot(rows - y, columns - x) > rng.uniform(10, 30)
    seen = np.arange(0, span, every)
    values = np.stack([2 * state[seen] - 15, 3 - state[seen]], axis=1)[..., field]
    values += noise * rng.standard_normal(values.shape) * np.array([2, 1])[:, None, None]
    return Place(
        truth.astype(np.float32), valid, (FIRST + looks).astype(np.int32),
        Sensor(values.astype(np.float32), (FIRST + seen).astype(np.int32)),
    )  # fmt: skip
