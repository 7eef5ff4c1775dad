"""Modules of PyTorch that users bring: what they are called, and calling them with arrays of numpy."""

import hashlib
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2cube.models.run import one_thread

__all__ = ["call_module", "is_module", "sha256_of"]


def is_module(thing: Any) -> bool:
    """Return whether it is a ``torch.nn.Module``; who has none has not imported PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


def sha256_of(module: Any) -> str:
    """Return the sha256 of a module's weights, by name."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().cpu().numpy()
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def call_module(module: Any, where: Any, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Return what a module makes of arrays, on a device: one array, or two."""
    import torch

    module.to(where).eval()
    with one_thread(), torch.inference_mode():
        found = module(*(torch.from_numpy(np.ascontiguousarray(array)).to(where) for array in arrays))
        parts = found if isinstance(found, (tuple, list)) else [found]
        return [part.float().cpu().numpy() for part in parts]
