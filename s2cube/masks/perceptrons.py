"""The perceptrons in the package: which there are, and what each looks at."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import weights
from s2cube.blocks import map_pixels
from s2cube.errors import CubeError
from s2cube.kernels.spectral import Layers
from s2cube.masks.detected import Detected
from s2cube.masks.needs import level_of
from s2cube.schema import Status

__all__ = [
    "BAND_SETS",
    "FILE",
    "SHA256",
    "STATES",
    "choose_bands",
    "detected",
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
    return weights.pack(arrays)


def detected(
    find: Callable[..., NDArray[np.float32]], arrays: Sequence[Any], threshold: float, **how: Any
) -> Detected:
    """Return the status, and the probability of cloud, that a perceptron finds.

    Parameters
    ----------
    find
        ``find(arrays, weights=..., **how)`` returns probabilities of blocks, shape ``(states, ...)``.
    arrays
        Of shape ``(time, y, x)``, lazy or not.
    threshold
        Probability from which on a look is masked.
    **how
        Of `find`.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise CubeError(f"threshold is a probability from 0 to 1; got {threshold!r}.")
    how = {"find": find, "weights": SHA256, **how}
    return Detected(
        map_pixels(_status, *arrays, dtype=np.uint8, threshold=float(threshold), **how),
        map_pixels(_cloud, *arrays, dtype=np.float32, **how),
    )


def _status(*arrays: NDArray[Any], find: Any, threshold: float, **how: Any) -> NDArray[np.uint8]:
    return status_of(find(arrays, **how), threshold)


def _cloud(*arrays: NDArray[Any], find: Any, **how: Any) -> NDArray[np.float32]:
    """Return the probability of cloud and thin cloud, NaN where there is no look."""
    cloud: NDArray[np.float32] = find(arrays, **how)[_CLOUDS].sum(0)
    return cloud


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


@cache
def layers_of(kind: str, level: str, bands: tuple[str, ...], sha256: str = SHA256) -> Layers:
    """Return the perceptron of single looks (``look``) or of changes (``change``) for some bands.

    Read once a process; the file must be the one that `sha256` names.
    """
    arrays, key = weights.read("s2cube.masks", FILE, sha256), _key(kind, level, bands)
    found: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    while f"{key}/{len(found)}/weights" in arrays:
        part = f"{key}/{len(found)}"
        found.append((arrays[f"{part}/weights"], arrays[f"{part}/bias"]))
    return found
