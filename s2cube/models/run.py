"""Networks at work: built once a process, fed in batches of one shape, on the device there is."""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError
from s2cube.models.architectures import ARCHITECTURES, build
from s2cube.models.device import batch_size as fitting
from s2cube.models.device import check_device, lease
from s2cube.models.spec import ModelSpec

__all__ = [
    "AUTO",
    "BatchSize",
    "bytes_of_window",
    "check_batch_size",
    "check_run",
    "here",
    "in_batches",
    "on_device",
    "one_thread",
    "run_network",
]

BatchSize = int | Literal["auto"]
AUTO: Final = "auto"
LARGEST: Final = 256
"""Windows that go at once, however much memory there is: more are not faster."""
KEPT: Final = 4
"""Networks that a process keeps."""
_LOCK: Final = threading.Lock()


def check_run(device: str, batch_size: BatchSize, what: str) -> None:
    """Refuse what is no device and no size of a batch, where `what` needs PyTorch; touches no device.

    Raises
    ------
    CubeError, ImportError
        As :func:`~s2cube.models.device.check_device`, and where `batch_size` is none.
    """
    check_device("cpu" if device == AUTO else device, what)
    check_batch_size(batch_size)


def check_batch_size(batch_size: BatchSize) -> None:
    """Refuse what is neither ``"auto"`` nor a number of windows."""
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if batch_size != AUTO and not (whole and int(batch_size) >= 1):
        raise CubeError(f"batch_size is 'auto' or a number of windows from 1; got {batch_size!r}.")


def bytes_of_window(spec: ModelSpec) -> int:
    """Return about what a network works with for one window, bytes."""
    values = ARCHITECTURES[spec.architecture].values(dict(spec.parameters))
    return 4 * spec.side**2 * (values + sum(spec.shape))


def run_network(
    windows: NDArray[np.float32] | NDArray[np.float16],
    spec: ModelSpec,
    *,
    device: str = AUTO,
    batch_size: BatchSize = AUTO,
) -> NDArray[np.float32]:
    """Put windows through a network.

    Parameters
    ----------
    windows
        Shape ``(n, channels, side, side)``; for a mask the bands, NaN where missing. Half precision is
        taken to the device as it is, and made single there.
    spec
        The network; built and loaded at its first use in this process.
    device
        One of PyTorch's; ``"auto"`` is ``"cuda"`` where this process has it, else ``"cpu"``.
    batch_size
        Windows that go at once; ``"auto"``: what fits the device, on the processor one, which is as
        fast as more.

    Returns
    -------
    numpy.ndarray
        What the network makes of them, float32, shape ``(n, made, side, side)``.

    Raises
    ------
    CubeError
        The file was changed, or its weights are not those of the architecture.

    Notes
    -----
    Every batch has the same shape; the last is filled up. So on the processor a window's result does not
    depend on those beside it. Where memory of a device is too short the batch is halved, and what does
    not fit one by one goes to the processor, with a warning.
    """
    return on_device(
        lambda batch, where: _forward(spec, batch, where),
        windows,
        name=spec.name,
        bytes_each=bytes_of_window(spec),
        device=device,
        batch_size=batch_size,
    )


def on_device(
    function: Callable[[NDArray[Any], Any], NDArray[np.float32]],
    windows: NDArray[Any],
    *,
    name: str,
    bytes_each: int,
    device: str,
    batch_size: BatchSize,
) -> NDArray[np.float32]:
    """Call a function on batches that fit a device, under its lease.

    Parameters
    ----------
    function
        ``(batch, torch.device)`` → what it makes of each window, float32.
    windows
        Shape ``(n, ...)``, n from 1.
    name
        Of the network, for messages.
    bytes_each
        About what it works with for one window.
    device, batch_size
        As for :func:`run_network`, whose notes hold here too.
    """
    import torch

    chosen = here(device)
    with lease(chosen) as where:
        size = int(batch_size) if batch_size != AUTO else 1
        if batch_size == AUTO and where.type != "cpu":
            size = min(fitting(where, bytes_each), LARGEST, max(len(windows), 1))
        found, left = in_batches(
            lambda batch: function(batch, where),
            windows,
            size,
            smaller=[torch.OutOfMemoryError],
            emptied=_empty,
        )
    if not left:
        return found
    if where.type == "cpu":
        raise MemoryError(f"The processor has no memory for one window of {name!r}.")
    warnings.warn(
        f"{chosen} has no memory for one window of {name!r}: the rest is computed on the processor.",
        RuntimeWarning,
        stacklevel=3,
    )
    rest = on_device(
        function, windows[len(windows) - left :], name=name, bytes_each=bytes_each, device="cpu",
        batch_size=AUTO,
    )  # fmt: skip
    return np.concatenate([found, rest]) if len(found) else rest


def in_batches(
    function: Callable[[NDArray[Any]], NDArray[np.float32]],
    windows: NDArray[Any],
    size: int,
    *,
    smaller: Sequence[type[Exception]] = (),
    emptied: Callable[[], None] = lambda: None,
) -> tuple[NDArray[np.float32], int]:
    """Call a function on batches of one shape; halve them when it has no memory.

    Parameters
    ----------
    function
        ``(size, ...)`` → ``(size, ...)``.
    windows
        Shape ``(n, ...)``, n from 1.
    size
        Of a batch.
    smaller
        What the function raises when the batch should be smaller.
    emptied
        Called then, before the next.

    Returns
    -------
    found : numpy.ndarray
        Of all windows, or those up to the first that does not fit alone.
    left : int
        How many do not.
    """
    found: list[NDArray[np.float32]] = []
    start = 0
    while start < len(windows):
        some = windows[start : start + size]
        batch = np.zeros((size, *windows.shape[1:]), windows.dtype)
        batch[: len(some)] = some
        made = None
        with suppress(*smaller):
            made = function(batch)[: len(some)]
        # Outside: as long as the error is held, so are the tensors of its frames.
        if made is None:
            emptied()
            if size == 1:
                break
            size //= 2
            continue
        found.append(made)
        start += len(some)
    whole = np.concatenate(found) if found else np.empty((0,), np.float32)
    return whole, len(windows) - start


def here(device: str) -> str:
    """Return which device `device` is in this process."""
    import torch

    if device != AUTO:
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _empty() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _forward(spec: ModelSpec, batch: NDArray[Any], where: Any) -> NDArray[np.float32]:
    import torch

    network = network_of(spec, str(where))
    with one_thread(), torch.inference_mode():
        found: NDArray[np.float32] = network(torch.from_numpy(batch).to(where).float()).cpu().numpy()
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use this thread alone: Dask runs tasks side by side."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def network_of(spec: ModelSpec, device: str) -> Any:
    """Return a network of this process, loaded once whatever the threads."""
    with _LOCK:
        return _load(spec, device)


@lru_cache(maxsize=KEPT)
def _load(spec: ModelSpec, device: str) -> Any:
    import torch

    weights = spec.weights()
    # Chance is not touched: it is its user's.
    with torch.random.fork_rng(devices=[]):
        network = build(spec.architecture, *spec.shape, dict(spec.parameters))
    wanted = {name: tuple(array.shape) for name, array in network.state_dict().items()}
    got = {name: array.shape for name, array in weights.items()}
    if wanted != got:
        other = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
        first = other[0]
        raise CubeError(
            f"The weights of {spec.name!r} are not those of a {spec.architecture!r} with "
            f"{len(spec.bands)} bands and {len(spec.classes)} classes: {len(other)} differ, {first!r} "
            f"is {got.get(first, 'missing')} and should be {wanted.get(first, 'absent')}."
        )
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return network.to(device).eval()
