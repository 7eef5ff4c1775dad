"""What kernels run on: compiled loops where there are, and products that come out the same."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["compiled", "matmul", "weighed"]


@cache
def compiled(name: str = "loops") -> ModuleType | None:
    """Return a module of compiled loops, or None without numba (the extra ``fast``).

    The numbers are the same with and without, to the rounding of float32; only time differs.
    """
    if find_spec("numba") is None:
        return None
    return import_module(f"s2cube.kernels.{name}")


def matmul(one: NDArray[Any], *others: NDArray[Any]) -> NDArray[np.float32]:
    """Multiply matrices in double precision, and round the result once.

    BLAS adds up in an order that depends on its threads, of which a worker has others than a notebook:
    in single precision the last bits would depend on it.
    """
    whole = np.asarray(one, np.float64)
    for other in others:
        whole = whole @ np.asarray(other, np.float64)
    return whole.astype(np.float32)


def weighed(weights: NDArray[np.float32], array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum an array along its first axis with few weights, in their order and without BLAS."""
    total: NDArray[np.float32] = np.einsum("s,s...->...", weights, array)
    return total
