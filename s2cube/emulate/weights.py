"""The weights of the emulator in the package."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube import weights

__all__ = ["FILE", "SHA256", "load"]

FILE: Final = "atmosphere.npz"
"""In this folder. :mod:`s2cube.training.atmosphere` makes it."""
SHA256: Final = "405b07932fc26d23223d07e9a7e541ca159beb10be45720d5a1ba80ffe2b884a"


def load(sha256: str = SHA256) -> dict[str, NDArray[np.float32]]:
    """Return the weights; the file must be the one that `sha256` names."""
    return weights.read("s2cube.emulate", FILE, sha256)
