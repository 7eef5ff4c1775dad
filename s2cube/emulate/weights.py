"""The weights of the emulator in the package."""

import hashlib
import threading
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import ReadError

__all__ = ["FILE", "SHA256", "load", "pack"]

FILE: Final = "atmosphere.npz"
"""In this folder: plain arrays, no code. :mod:`s2cube.training.atmosphere` makes it."""
SHA256: Final = "405b07932fc26d23223d07e9a7e541ca159beb10be45720d5a1ba80ffe2b884a"
_LOCK: Final = threading.Lock()


def pack(weights: dict[str, NDArray[np.float32]]) -> bytes:
    """Return the file that holds the weights."""
    out = BytesIO()
    # NumPy 2.0 would take allow_pickle= for an array; numbers are never pickled.
    np.savez(out, **weights)  # type: ignore[arg-type]
    return out.getvalue()


@cache
def load(sha256: str = SHA256) -> dict[str, NDArray[np.float32]]:
    """Return the weights; the file must be the one that `sha256` names."""
    data = files("s2cube.emulate").joinpath(FILE).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ReadError(
            f"s2cube/emulate/{FILE} is not the file that this version was made with (sha256 {found}, "
            f"not {sha256}): install s2cube-ard anew."
        )
    # See s2cube.masks.perceptrons: headers must not be parsed by two threads at once.
    with _LOCK, np.load(BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)
