"""Devices of PyTorch: which there are, whose turn it is, how much fits."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any, Final

from s2cube.errors import CubeError

__all__ = ["batch_size", "check_device", "lease"]

ON_PROCESSOR: Final = 2**24
"""Bytes of a batch on the processor, where batches serve the cache and not the memory."""
SHARE: Final = 0.6
"""Of a device's free memory that a batch may take."""
_LOCKS: Final[dict[str, threading.Lock]] = defaultdict(threading.Lock)


def check_device(device: str, what: str) -> str:
    """Return `device` if PyTorch is there and knows it; touches no device.

    Parameters
    ----------
    device
        Its name.
    what
        What in the call of the user needs PyTorch, for the error.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    CubeError
        It is no name of a device.
    """
    if not isinstance(device, str) or device.partition(":")[0] not in {"cpu", "cuda", "mps", "xpu"}:
        raise CubeError(
            f"device is None, or a device of PyTorch such as 'cuda' or 'cpu'; got {device!r}."
        )
    if find_spec("torch") is None:
        raise ImportError(f"{what} needs PyTorch: python -m pip install 's2cube-ard[torch]'.")
    return device


@contextmanager
def lease(device: str) -> Iterator[Any]:
    """Give a device to one task of this process at a time, so that none shares its memory.

    The processor is for all.
    """
    import torch

    with nullcontext() if device == "cpu" else _LOCKS[device]:
        yield torch.device(device)


def batch_size(device: Any, bytes_each: int) -> int:
    """Return how many things of `bytes_each` may be on `device` at once, at least one."""
    import torch

    free = ON_PROCESSOR
    if device.type == "cuda":
        free = int(torch.cuda.mem_get_info(device)[0] * SHARE)
    return max(free // bytes_each, 1)
