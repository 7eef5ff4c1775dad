"""Composites by PyTorch: the array kernels, on its arrays, in batches that fit the device."""

from collections.abc import Iterator
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels import geomedian as geomedians
from s2cube.kernels import order
from s2cube.models.device import batch_size, lease

__all__ = ["geomedian", "percentiles"]

COPIES: Final = 6
"""Of the looks of a pixel that the kernels hold at once, at most."""


def _batches(device: Any, looks: int, pixels: int) -> Iterator[slice]:
    size = batch_size(device, COPIES * 4 * max(looks, 1))
    for start in range(0, pixels, size):
        yield slice(start, min(start + size, pixels))


def percentiles(
    values: NDArray[np.float32], *, q: tuple[float, ...], device: str
) -> NDArray[np.float32]:
    """Return percentiles and, last, the number of values: shape ``(q + 1, ...)``.

    Parameters
    ----------
    values
        Shape ``(time, ...)``, NaN where missing.
    q
        Percentiles, 0 to 100.
    device
        One of PyTorch's.
    """
    import torch

    steps = len(values)
    flat = values.reshape(steps, prod(values.shape[1:]))
    out = np.full((len(q) + 1, flat.shape[1]), np.nan, np.float32)
    out[-1] = 0
    if steps:
        network = order.sorting_network(steps)
        with lease(device) as where:
            low, part = (torch.from_numpy(table).to(where) for table in order.ranks(q, steps))
            for batch in _batches(where, steps, flat.shape[1]):
                looks = torch.from_numpy(np.ascontiguousarray(flat[:, batch])).to(where)
                found, seen = order.sorted_percentiles(looks, network, low, part, torch)
                out[:-1, batch], out[-1, batch] = found.cpu().numpy(), seen.cpu().numpy()
    return out.reshape(len(q) + 1, *values.shape[1:])


def geomedian(
    *looks: NDArray[np.float32],
    deviations: bool,
    device: str,
    weights: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return geomedians, deviations if asked for, and last the number of looks.

    Parameters
    ----------
    *looks
        By band, shape ``(time, ...)``, NaN where missing.
    deviations
        Whether to compute them.
    device
        One of PyTorch's.
    weights
        By date.
    """
    import torch

    bands, (steps, *space) = len(looks), looks[0].shape
    flat = np.stack([look.reshape(steps, prod(space)) for look in looks])
    weight = np.ones((steps, 1), np.float32) if weights is None else weights[:, None]
    out = np.full((bands + 3 * deviations + 1, flat.shape[2]), np.nan, np.float32)
    network = order.sorting_network(steps)
    with lease(device) as where:
        low, part = (torch.from_numpy(table).to(where) for table in order.ranks((50.0,), steps))
        own = torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32)).to(where)
        for batch in _batches(where, bands * steps, flat.shape[2]):
            some = np.ascontiguousarray(flat[:, :, batch])
            values = torch.from_numpy(some).to(where)
            centre, seen, left = geomedians.weiszfeld(values, own, torch)
            found, slow = centre.cpu().numpy(), left.cpu().numpy()
            if slow.any():
                found[:, slow] = geomedians.newton(some[:, :, slow], weight, found[:, slow])
            out[:bands, batch], out[-1, batch] = found, seen.cpu().numpy()
            if deviations and steps:
                centre = torch.from_numpy(found).to(where)
                far = geomedians.deviations_of_tile(values, own, centre, network, low, part, torch)
                out[bands : bands + 3, batch] = far.cpu().numpy()
    return out.reshape(len(out), *space)
