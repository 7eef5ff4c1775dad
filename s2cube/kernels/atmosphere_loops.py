"""The loop of :mod:`~s2cube.kernels.atmosphere` that numba compiles: one pass over the pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.atmosphere import LIT
from s2cube.kernels.loops import exact

__all__ = ["to_surface"]

F = np.float32


@exact
def _flat(toa: NDArray, a: NDArray, b: NDArray, c: NDArray, out: NDArray) -> None:
    for t in range(toa.shape[0]):
        of_step, made = toa[t], out[t]
        for i in range(of_step.size):
            value = of_step[i] * a[t] - b[t]
            made[i] = value / (c[t] * value + F(1))


@exact
def _sloping(
    toa: NDArray, a: NDArray, b: NDArray, c: NDArray, extra: NDArray, part: NDArray, out: NDArray
) -> None:
    for t in range(toa.shape[0]):
        of_step, made = toa[t], out[t]
        for i in range(of_step.size):
            value = of_step[i] * a[t] - b[t]
            light = F(1) + part[t] * extra[i]
            made[i] = value / (c[t] * value + F(1)) / (light if light > LIT or light != light else LIT)


def to_surface(
    toa: NDArray[np.float32],
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
    *slope: NDArray[np.float32],
) -> NDArray[Any]:
    """See :func:`s2cube.kernels.atmosphere.to_surface`; `toa` is contiguous, `a` to `c` are flat."""
    out = np.empty_like(toa)
    flat = toa.reshape(len(toa), -1)
    if slope:
        extra = np.ascontiguousarray(slope[0]).ravel()
        _sloping(flat, a, b, c, extra, slope[1].ravel(), out.reshape(flat.shape))
    else:
        _flat(flat, a, b, c, out.reshape(flat.shape))
    return out
