"""The ways in which composites are computed, by one interface: what holds for one holds for all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest

from s2cube.kernels import geomedian as geomedians
from s2cube.kernels import order
from s2cube.kernels.engine import compiled
from s2cube.models import torch_kernels

Pair = tuple[np.ndarray, np.ndarray]


@contextmanager
def without_numba() -> Iterator[None]:
    """Compute as where the extra ``fast`` is not installed."""
    with (
        mock.patch.object(order, "compiled", return_value=None),
        mock.patch.object(geomedians, "compiled", return_value=None),
    ):
        yield


@contextmanager
def as_it_is() -> Iterator[None]:
    yield


@dataclass(frozen=True)
class Engine:
    """Kernels of one kind."""

    name: str
    around: Callable = as_it_is
    device: str | None = None

    def percentiles(self, values: np.ndarray, q: tuple[float, ...]) -> Pair:
        if self.device:
            both = torch_kernels.percentiles(values, q=q, device=self.device)
            return both[:-1], both[-1].astype(np.int16)
        with self.around():
            return order.percentiles(values, q)

    def geomedian(self, values: np.ndarray, weights: np.ndarray | None = None) -> Pair:
        if self.device:
            found = torch_kernels.geomedian(
                *values, deviations=False, device=self.device, weights=weights
            )
            return found[:-1], found[-1].astype(np.int16)
        with self.around():
            return geomedians.geomedian(values, weights)

    def deviations(self, values: np.ndarray, weights: np.ndarray | None = None) -> Pair:
        """Return geomedians and deviations."""
        if self.device:
            found = torch_kernels.geomedian(
                *values, deviations=True, device=self.device, weights=weights
            )
            return found[:-4], found[-4:-1]
        with self.around():
            centre, _ = geomedians.geomedian(values, weights)
            return centre, geomedians.deviations(values, centre, weights)


def _cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


COMPILED = Engine("compiled")
NUMPY = Engine("numpy", without_numba)
needs_numba = pytest.mark.skipif(compiled() is None, reason="needs the extra 'fast'")
needs_cuda = pytest.mark.skipif(not _cuda(), reason="needs a GPU")

ENGINES = [
    pytest.param(COMPILED, id="compiled", marks=needs_numba),
    pytest.param(NUMPY, id="numpy"),
    pytest.param(Engine("torch", device="cpu"), id="torch"),
    pytest.param(Engine("cuda", device="cuda"), id="cuda", marks=needs_cuda),
]
every_engine = pytest.mark.parametrize("engine", ENGINES)
