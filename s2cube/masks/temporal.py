"""``spectral-temporal``: looks against what their place usually shows, levels 1C and 2A."""

from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.composites import geomedian
from s2cube.errors import CubeError
from s2cube.kernels.spectral import probabilities
from s2cube.masks import spectral
from s2cube.masks.detected import Detected
from s2cube.masks.needs import check_cube, level_of
from s2cube.masks.perceptrons import choose_bands, detected, layers_of
from s2cube.schema import Status

__all__ = ["detect"]

SERIES: Final = 5
"""Dates that a series has at least: of fewer, what is usual cannot be told."""
WINTER: Final = (10, 11, 12, 1, 2, 3)
"""Months of the half-year with the lower sun; in the south the higher, which is as good."""
OWN: Final = ("half-year", "year")
GROUND: Final = (int(Status.CLEAR), int(Status.CLEAR_WATER))


def detect(
    cube: xr.Dataset,
    *,
    reference: xr.Dataset | Literal["half-year", "year"] = "half-year",
    threshold: float = 0.5,
) -> Detected:
    """Tell cloud, thin cloud, **shadow**, snow and water by how a look differs from the usual.

    Parameters
    ----------
    cube
        A cube of level 1C or 2A with B02, B03, B04 and B08. B11 is used where it is there, and of level
        1C B10. Of at least five dates, unless `reference` is given; a year or more serves best.
    reference
        What the place usually shows. ``"year"`` makes it from the cube: the geomedian over all dates of
        the looks that ``"spectral"`` calls clear; ``"half-year"`` one from April to September and one
        of the rest, where each has five dates or more. Or one clear image with the bands used, of the
        same grid and level, such as :func:`s2cube.geomedian` makes.
    threshold
        Probability of cloud, thin cloud and shadow together above which a look is one of them.

    Returns
    -------
    Detected
        ``CLEAR``, ``CLEAR_WATER``, ``SNOW``, ``THIN_CLOUD``, ``SHADOW`` and ``CLOUD``; ``NO_DATA`` where
        a band is missing. Where the reference is missing, what ``"spectral"`` finds. The probability is
        that of cloud and thin cloud.

    Raises
    ------
    CubeError
        The level is unknown, a band is missing, the cube has too few dates, or the reference is of
        another grid or lacks a band.

    Notes
    -----
    Features are the spectrum, the cosine, Euclidean and Bray-Curtis distances to the reference, and the
    difference and ratio to it of each band. As for ``"spectral"``, the perceptron was fitted on
    simulated spectra alone.

    A field that is green for two months differs from what is usual then, as a shadow or a haze may. In
    winter, when the sun is low, slopes are darker than in the mean of a year, and look like shadows; so
    each half-year has its own reference. A task that makes one reads all its dates of a block.
    """
    check_cube(cube, "spectral-temporal", spectral.WHY)
    names = choose_bands(cube)
    if isinstance(reference, str):
        images, which = _usual(cube, names, reference)
    else:
        images, which = [_given(cube, reference, names)], np.zeros(cube.sizes["time"], np.uint8)
    arrays = [cube[band].data for band in names]
    arrays += [plane for image in images for plane in image]
    arrays.append(which[:, None, None])
    found = detected(_found, arrays, threshold, names=names, level=level_of(cube))
    told = reference if isinstance(reference, str) else "given"
    return replace(found, told={"reference": told, "threshold": float(threshold)})


def _usual(
    cube: xr.Dataset, names: tuple[str, ...], own: str
) -> tuple[list[list[Any]], NDArray[np.uint8]]:
    """Return geomedians of what ``spectral`` calls clear, and which of them each date has.

    Each is a list of bands, shape ``(1, y, x)``.
    """
    if own not in OWN:
        raise CubeError(f"reference is an image, or one of {', '.join(OWN)}; got {own!r}.")
    if (dates := cube.sizes["time"]) < SERIES:
        raise CubeError(
            f"'spectral-temporal' needs a series of {SERIES} dates or more to tell what is usual, the "
            f"cube has {dates}: open more, give reference=, or take 'spectral'."
        )
    found = spectral.detect(cube)
    clear = cube[list(names)].assign(
        {
            band: schema.variable(
                map_pixels(_ground, cube[band].data, found.status, dtype=np.float32), cube[band].attrs
            )
            for band in names
        }
    )
    which = np.isin(cube["time"].dt.month.values, WINTER).astype(np.uint8)
    if own == "year" or min(which.sum(), (which == 0).sum()) < SERIES:
        which[:] = 0
    images = []
    for number in range(int(which.max()) + 1):
        part = clear.isel(time=np.flatnonzero(which == number))
        image = geomedian(part, bands=names, deviations=False)
        images.append([image[band].data[None] for band in names])
    return images, which


def _given(cube: xr.Dataset, reference: xr.Dataset, names: tuple[str, ...]) -> list[Any]:
    """Return the bands of a reference, shape ``(1, y, x)``."""
    if not isinstance(reference, xr.Dataset):
        raise CubeError(
            f"reference is an image with the cube's bands, or one of {', '.join(OWN)}; got "
            f"{type(reference).__name__}."
        )
    if missing := [band for band in names if band not in reference]:
        raise CubeError(f"The reference holds no {', '.join(missing)}; it must hold {', '.join(names)}.")
    image = reference.squeeze("time") if reference.sizes.get("time") == 1 else reference
    for band in names:
        if set(image[band].dims) != {"y", "x"}:
            raise CubeError(
                f"The reference is one image, dims (y, x); its {band} has {image[band].dims}."
            )
    for dim in ("y", "x"):
        if not image.indexes[dim].equals(cube.indexes[dim]):
            raise CubeError(f"The reference lies on another grid than the cube, along {dim!r}.")
    return [image[band].transpose("y", "x").data[None].astype(np.float32) for band in names]


def _ground(values: NDArray[np.float32], status: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.where(np.isin(status, GROUND), values, np.float32(np.nan))


def _found(
    arrays: tuple[NDArray[Any], ...], names: tuple[str, ...], level: str, weights: str
) -> NDArray[np.float32]:
    *planes, which = arrays
    number = len(names)
    now = dict(zip(names, planes, strict=False))
    # Of each band the images, one a half-year.
    usual = {band: np.concatenate(planes[number + at :: number]) for at, band in enumerate(names)}
    change, look = (layers_of(kind, level, names, weights) for kind in ("change", "look"))
    return probabilities(now, change, usual, look, which.reshape(-1))
