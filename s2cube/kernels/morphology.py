"""Growing, opening and closing masks by a distance."""

import numpy as np
from numpy.typing import NDArray

from s2cube.schema import Status

__all__ = ["close_status", "grow_status", "open_status"]


def grow_status(
    status: NDArray[np.uint8], *, radius: tuple[float, float], states: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Grow some states over all pixels whose centre lies within a distance; the higher wins.

    Parameters
    ----------
    status
        States, shape ``(time, y, x)``.
    radius
        Distance in pixels along ``y`` and ``x`` (an ellipse where pixels are not square).
    states
        The states that grow, such as cloud and shadow.

    Returns
    -------
    numpy.ndarray
        ``uint8``, the same shape.
    """
    seeds = np.where(np.isin(status, states), status, np.uint8(Status.CLEAR))
    return np.maximum(status, _disk_maximum(seeds, *radius))


def open_status(
    status: NDArray[np.uint8], *, radius: tuple[float, float], states: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Call clear what is too small or thin to hold a disk of a radius: specks and lines.

    Parameters
    ----------
    status, radius
        As for :func:`grow_status`.
    states
        The states that are opened, together: a speck of cloud beside its shadow is one.

    Notes
    -----
    What lies beyond the edge of the image is taken for masked, so that clouds there stay.
    """
    masked = np.isin(status, states)
    core = 1 - _disk_maximum((~masked).astype(np.uint8), *radius)
    kept = _disk_maximum(core.astype(np.uint8), *radius).astype(bool)
    return np.where(masked & ~kept, np.uint8(Status.CLEAR), status)


def close_status(
    status: NDArray[np.uint8], *, radius: tuple[float, float], states: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Fill holes and gaps that cannot hold a disk of a radius, with the highest state around them.

    Parameters
    ----------
    status, radius
        As for :func:`grow_status`.
    states
        The states that are closed, together.

    Notes
    -----
    What lies beyond the edge of the image is taken for clear: no nearer to it than `radius` is anything
    filled.
    """
    seeds = np.where(np.isin(status, states), status, np.uint8(Status.CLEAR))
    grown = _disk_maximum(seeds, *radius)
    down, across = (int(side + 1e-9) for side in radius)
    outside = np.pad(
        grown == Status.CLEAR, ((0, 0), (down, down), (across, across)), constant_values=True
    )
    open_ = _disk_maximum(outside.astype(np.uint8), *radius)
    height, width = status.shape[1:]
    filled = open_[:, down : down + height, across : across + width] == 0
    return np.where(filled, np.maximum(status, grown), status)


def _disk_maximum(image: NDArray[np.uint8], ry: float, rx: float) -> NDArray[np.uint8]:
    """Return the maximum over an ellipse around each pixel, as a union of horizontal runs."""
    height = image.shape[1]
    result = image.copy()
    runs: dict[int, NDArray[np.uint8]] = {}
    for dy in range(int(ry + 1e-9) + 1):
        inside = max(0.0, 1 - (dy / ry) ** 2) if ry > 0 else 1.0
        half = int(rx * inside**0.5 + 1e-9)
        if half not in runs:
            runs[half] = _run_maximum(image, half)
        row = runs[half]
        if dy < height:
            np.maximum(result[:, dy:], row[:, : height - dy], out=result[:, dy:])
            np.maximum(result[:, : height - dy], row[:, dy:], out=result[:, : height - dy])
    return result


def _run_maximum(image: NDArray[np.uint8], half: int) -> NDArray[np.uint8]:
    """Return the maximum over ``2 * half + 1`` pixels along x, doubling the window at each step."""
    width = image.shape[2]
    padded = np.pad(image, ((0, 0), (0, 0), (half, half)))
    span, window = 1, 2 * half + 1
    while span < window:
        step = min(span, window - span)
        padded = np.maximum(padded[..., :-step], padded[..., step:])
        span += step
    return padded[..., :width]
