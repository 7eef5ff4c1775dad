"""``spectral``: a perceptron that looks at the spectrum of one pixel, levels 1C and 2A."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.kernels.spectral import probabilities
from s2cube.masks.detected import Detected
from s2cube.masks.needs import check_cube, level_of
from s2cube.masks.perceptrons import choose_bands, detected, layers_of

__all__ = ["detect"]

WHY = "it learnt reflectance at the top of the atmosphere, and that at the ground"


def detect(cube: xr.Dataset, *, threshold: float = 0.5) -> Detected:
    """Tell cloud, thin cloud, snow and water by the spectrum of each pixel.

    Parameters
    ----------
    cube
        A cube of level 1C or 2A with B02, B03, B04 and B08. B11 is used where it is there, and of level
        1C B10, which sees cirrus.
    threshold
        Probability of cloud and thin cloud together above which a look is one of them.

    Returns
    -------
    Detected
        ``CLEAR``, ``CLEAR_WATER``, ``SNOW``, ``THIN_CLOUD`` and ``CLOUD``, ``NO_DATA`` where a band is
        missing. One look does not tell a shadow from dark ground: shadows are clear here
        (``"spectral-temporal"`` finds them). Without B11, snow is mostly taken for cloud.

    Raises
    ------
    CubeError
        The level is unknown, a band is missing, or the threshold is none.

    Notes
    -----
    Two hidden layers of 32 take the bands and some twenty features of them (colour, brightness,
    normalized differences, haze-optimized transform: :mod:`s2cube.kernels.spectral`) to a probability.
    They were fitted on simulated spectra alone (:func:`s2cube.testing.simulate_spectra`,
    ``python -m s2cube.training.spectral``): no real place was seen in training.
    """
    check_cube(cube, "spectral", WHY)
    names = choose_bands(cube)
    arrays = [cube[band].data for band in names]
    return detected(_found, arrays, threshold, names=names, level=level_of(cube))


def _found(
    bands: tuple[NDArray[np.float32], ...], names: tuple[str, ...], level: str, weights: str
) -> NDArray[np.float32]:
    layers = layers_of("look", level, names, weights)
    return probabilities(dict(zip(names, bands, strict=True)), layers)
