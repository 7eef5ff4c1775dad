"""The perceptrons in the package: which there are, and what each looks at."""

import hashlib
import threading
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.errors import CubeError, ReadError
from s2cube.kernels.spectral import Layers
from s2cube.masks.needs import level_of
from s2cube.schema import Status

__all__ = [
    "BAND_SETS",
    "FILE",
    "SHA256",
    "STATES",
    "check_threshold",
    "choose_bands",
    "cloud_of",
    "layers_of",
    "pack",
    "status_of",
]

FILE: Final = "perceptrons.npz"
"""In this folder: plain arrays, no code. :mod:`s2cube.training.spectral` makes it."""
SHA256: Final = "7f0b0b76bff2cbff0683778720046919572c36665e85897dd39a81f3945d4aec"
STATES: Final = (
    Status.CLEAR, Status.CLEAR_WATER, Status.SNOW, Status.THIN_CLOUD, Status.CLOUD, Status.SHADOW,
)  # fmt: skip
"""What they tell apart, in the order of their output; the one of single looks does not know the last."""
_CLOUDS: Final = [STATES.index(state) for state in (Status.THIN_CLOUD, Status.CLOUD)]
_MASKED: Final = [*_CLOUDS, STATES.index(Status.SHADOW)]
_LOCK: Final = threading.Lock()
_VISIBLE: Final = ("B02", "B03", "B04", "B08")
BAND_SETS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "L1C": ((*_VISIBLE, "B11", "B10"), (*_VISIBLE, "B11"), _VISIBLE),
    "L2A": ((*_VISIBLE, "B11"), _VISIBLE),
}
"""By level: the bands of each, the one that knows most first."""


def choose_bands(cube: xr.Dataset) -> tuple[str, ...]:
    """Return the most bands that `cube` holds and a perceptron looks at."""
    return next(names for names in BAND_SETS[level_of(cube)] if all(band in cube for band in names))


def _key(kind: str, level: str, bands: tuple[str, ...]) -> str:
    return f"{kind}/{level}/{'-'.join(bands)}"


def pack(layers: dict[tuple[str, str, tuple[str, ...]], Layers]) -> bytes:
    """Return the file that holds all perceptrons, by kind (``look`` or ``change``), level and bands."""
    arrays = {
        f"{_key(*which)}/{number}/{part}": array
        for which, stack in layers.items()
        for number, pair in enumerate(stack)
        for part, array in zip(("weights", "bias"), pair, strict=True)
    }
    out = BytesIO()
    # NumPy 2.0 would take allow_pickle= for an array; numbers are never pickled.
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def check_threshold(threshold: float) -> float:
    """Return a threshold of probability; refuse what is none."""
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise CubeError(f"threshold is a probability from 0 to 1; got {threshold!r}.")
    return float(threshold)


def status_of(found: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Return the status that probabilities speak for, shape ``(states, ...)`` → ``(...)``.

    What would be masked is so where all of it together is more likely than `threshold`; then, or else,
    the likeliest among it, or among the rest.
    """
    states = np.array(STATES, np.uint8)
    seen = ~np.isnan(found[0])
    here = np.zeros(len(STATES), bool)
    here[_MASKED] = True
    here = here[: len(found)]
    values = np.where(seen, found, 0)
    masked = states[: len(found)][here][values[here].argmax(0)]
    kept = states[: len(found)][~here][values[~here].argmax(0)]
    status: NDArray[np.uint8] = np.where(values[here].sum(0) > np.float32(threshold), masked, kept)
    status[~seen] = Status.NO_DATA
    return status


def cloud_of(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of cloud and thin cloud, NaN where there is no look."""
    cloud: NDArray[np.float32] = found[_CLOUDS].sum(0)
    return cloud


@cache
def _arrays(sha256: str) -> dict[str, NDArray[np.float32]]:
    data = files("s2cube.masks").joinpath(FILE).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ReadError(
            f"s2cube/masks/{FILE} is not the file that the graph was made with (sha256 {found}, not "
            f"{sha256}): install one version of s2cube-ard on all machines."
        )
    # Tasks begin together, and numpy parses each array's header as Python: of two threads doing so at
    # once, one may fail in CPython 3.11 ("AST constructor recursion depth mismatch").
    with _LOCK, np.load(BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


@cache
def layers_of(kind: str, level: str, bands: tuple[str, ...], sha256: str = SHA256) -> Layers:
    """Return the perceptron of single looks (``look``) or of changes (``change``) for some bands.

    Read once a process; the file must be the one that `sha256` names.
    """
    arrays, key = _arrays(sha256), _key(kind, level, bands)
    found: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    while f"{key}/{len(found)}/weights" in arrays:
        part = f"{key}/{len(found)}"
        found.append((arrays[f"{part}/weights"], arrays[f"{part}/bias"]))
    return found
