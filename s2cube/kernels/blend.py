"""Blending images that overlap: weights by distance, and weighted means."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.orbit import off_centre

__all__ = ["LATTICE", "blend", "distance_to_centre", "mean_of_overlap"]

LATTICE: Final = 16
"""Pixels between the points at which distances are computed; between them they are interpolated."""


def distance_to_centre(
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    *,
    relative_orbit: int,
    pixel: tuple[float, float],
    to_lonlat: Callable[[NDArray, NDArray], tuple[NDArray, NDArray]],
) -> NDArray[np.float32]:
    """Return how far pixels lie from the middle of a swath, metres.

    Parameters
    ----------
    y, x
        Pixel centres, shapes ``(1, n, 1)`` and ``(1, 1, m)``.
    relative_orbit
        1 to 143.
    pixel
        Height and width of a pixel, positive.
    to_lonlat
        From x and y to longitude and latitude in degrees.

    Notes
    -----
    Computed on a lattice that is anchored to the coordinates' origin, so that it does not matter where
    blocks begin; the distance is so smooth that interpolating it errs by centimetres.
    """
    (rows, down), (columns, across) = (
        _lattice(axis.ravel(), LATTICE * size) for axis, size in zip((y, x), pixel, strict=True)
    )
    lon, lat = to_lonlat(*np.meshgrid(columns, rows))
    far = off_centre(lon, lat, relative_orbit)
    # Between lattice lines along y, then along x.
    part = (down - np.floor(down))[:, None]
    above = np.floor(down).astype(np.intp)
    lines = far[above] * (1 - part) + far[above + 1] * part
    left = np.floor(across).astype(np.intp)
    part = across - left
    between = lines[:, left] * (1 - part) + lines[:, left + 1] * part
    distance: NDArray[np.float32] = np.abs(between).astype(np.float32)[None]
    return distance


def _lattice(axis: NDArray[np.float64], step: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lattice lines around an axis, and where its points lie among them."""
    at = axis / step
    first, last = np.floor(at.min()), np.floor(at.max()) + 1
    return np.arange(first, last + 1) * step, at - first


def mean_of_overlap(*tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the values that are there; of the last plane (counts) the largest.

    Parameters
    ----------
    *tiles
        Shape ``(period, plane, y, x)``.
    """
    values = blend(*tiles, *(np.ones((1, 1, 1, 1), np.float32),) * len(tiles))
    counts = tiles[0][:, -1]
    for tile in tiles[1:]:
        # Tiles overlap in the same looks: adding them up would count these twice.
        counts = np.fmax(counts, tile[:, -1])
    values[:, -1] = counts
    return values


def blend(*parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weighted mean of the values that are there; of the last plane (counts) the sum.

    Parameters
    ----------
    *parts
        First images, shape ``(period, plane, y, x)``, NaN where missing; then as many weights, shape
        ``(1, 1, y, x)``, positive.
    """
    images, weights = parts[: len(parts) // 2], parts[len(parts) // 2 :]
    total = np.zeros_like(images[0])
    weight = np.zeros_like(images[0])
    counts = np.zeros_like(images[0][:, -1])
    for image, own in zip(images, weights, strict=True):
        there = np.isfinite(image)
        share = np.where(there, own, np.float32(0))
        total += share * np.where(there, image, np.float32(0))
        weight += share
        counts += np.where(there[:, -1], image[:, -1], np.float32(0))
    with np.errstate(invalid="ignore"):
        total /= weight
    total[:, -1] = counts
    return total
