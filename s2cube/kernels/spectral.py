"""What spectra tell about clouds: features of one look, and against what its place usually shows.

Features have shape ``(features, pixels)``, ``float32``: a small perceptron takes them to the probability
of each state. Pixels are independent, and worked on in tiles of one size, so that a pixel's result does
not depend on those beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.fill import observed

__all__ = ["Layers", "change_features", "derived", "probabilities", "spectral_features"]

Layers = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Weights ``(out, in)`` and biases ``(out,)`` of each layer, all ``float32``."""

_Bands = Mapping[str, NDArray[np.float32]]

TILE: Final = 2048
"""Pixels at once. A product of matrices may round otherwise for another number of columns."""
DARK: Final = np.float32(0.005)
"""Reflectance below which a logarithm would tell noise."""
DARK_CIRRUS: Final = np.float32(0.0005)
"""The same of B10, where nearly all is dark."""


def _contrast(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a normalized difference that stays within -1 and 1 for negative reflectances too."""
    contrast: NDArray[np.float32] = (a - b) / np.maximum(np.abs(a) + np.abs(b), np.float32(0.01))
    return contrast


def _log(band: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    logs: NDArray[np.float32] = np.log(np.maximum(values, DARK_CIRRUS if band == "B10" else DARK))
    return logs


def derived(bands: _Bands) -> list[NDArray[np.float32]]:
    """Return what bands tell together: colour, brightness and the shape of the spectrum.

    Parameters
    ----------
    bands
        B02, B03, B04 and B08, and any of B10 and B11.

    Notes
    -----
    Whiteness (Gómez-Chova et al. 2007), the haze-optimized transform ``B02 - B04 / 2`` (Zhang et al.
    2002; Zhu and Woodcock 2012), normalized differences of vegetation, water and snow, and logarithms,
    to which illumination is a shift.
    """
    blue, green, red, infrared = (bands[band] for band in ("B02", "B03", "B04", "B08"))
    mean = (blue + green + red) / np.float32(3)
    spread = np.abs(blue - mean) + np.abs(green - mean) + np.abs(red - mean)
    found = [
        _log("B02", blue),
        _log("B08", infrared),
        _log("B02", np.minimum(np.minimum(blue, green), red)),
        _contrast(blue, red),
        _contrast(green, blue),
        _contrast(green, red),
        _contrast(infrared, red),
        _contrast(green, infrared),
        _contrast(blue, infrared),
        spread / np.maximum(mean, np.float32(0.01)),
        blue - red / np.float32(2),
    ]
    if "B11" in bands:
        short = bands["B11"]
        found += [_contrast(band, short) for band in (blue, green, red, infrared)]
        found.append(_log("B11", short))
    if "B10" in bands:
        found.append(_log("B10", bands["B10"]))
    return found


def spectral_features(bands: _Bands) -> NDArray[np.float32]:
    """Return features of single looks: the bands and what is derived of them.

    Parameters
    ----------
    bands
        By name, reflectance, shape ``(pixels,)``, without NaN.
    """
    return np.stack([*bands.values(), *derived(bands)])


def change_features(now: _Bands, usual: _Bands) -> NDArray[np.float32]:
    """Return features of looks against what their places usually show.

    Cosine, Euclidean and Bray-Curtis distance of the two spectra; of each band the difference and the
    logarithm of the ratio; and what is derived of either.

    Parameters
    ----------
    now, usual
        As in :func:`spectral_features`, the same bands.
    """
    a, b = np.stack(list(now.values())), np.stack(list(usual.values()))
    off = a - b
    length = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    cosine = np.float32(1) - (a * b).sum(0) / np.maximum(length, np.float32(1e-4))
    euclidean = np.sqrt((off * off).mean(0))
    bray_curtis = np.abs(off).sum(0) / np.maximum(np.abs(a + b).sum(0), np.float32(0.01))
    ratios = [_log(band, now[band]) - _log(band, usual[band]) for band in now]
    return np.stack(
        [*now.values(), *derived(now), *derived(usual), cosine, euclidean, bray_curtis, *off, *ratios]
    )


def probabilities(
    bands: _Bands,
    layers: Layers,
    usual: _Bands | None = None,
    without: Layers | None = None,
    which: NDArray[np.integer] | None = None,
) -> NDArray[np.float32]:
    """Return how likely each state is.

    Parameters
    ----------
    bands
        By name, reflectance, arrays of one shape.
    layers
        A perceptron of :func:`spectral_features`, or of :func:`change_features` where `usual` is given.
    usual
        What the places of `bands` usually show: images of shape ``(images, y, x)``.
    without
        With `usual`: the perceptron of :func:`spectral_features` for pixels of which that is not known.
        It may lack the last states, which then have probability 0.
    which
        With `usual`: the number of the image that each date is compared with; None for the first.

    Returns
    -------
    numpy.ndarray
        ``float32``, shape ``(states, *shape)``, with the sum 1; NaN where a band is missing.
    """
    shape = next(iter(bands.values())).shape
    flat = {band: values.reshape(-1) for band, values in bands.items()}
    out = np.full((len(layers[-1][1]), flat[next(iter(flat))].size), np.nan, np.float32)
    seen = observed(*flat.values())
    if usual is None:
        _classify(out, seen, layers, lambda where: spectral_features(_take(flat, where)))
        return out.reshape(len(out), *shape)
    known = {band: values.reshape(-1) for band, values in usual.items()}
    size = next(iter(usual.values()))[0].size
    first = (np.zeros(shape[0], np.intp) if which is None else which.astype(np.intp)) * size

    def there(where: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return which value of `known` belongs to each look."""
        at: NDArray[np.intp] = first[where // size] + where % size
        return at

    place = observed(*known.values()).reshape(-1, size)
    both = seen & place[first // max(size, 1)].reshape(-1)
    _classify(
        out,
        both,
        layers,
        lambda where: change_features(_take(flat, where), _take(known, there(where))),
    )
    if without is not None:
        _classify(out, seen & ~both, without, lambda where: spectral_features(_take(flat, where)))
    return out.reshape(len(out), *shape)


def _take(bands: _Bands, where: NDArray[np.intp]) -> dict[str, NDArray[np.float32]]:
    return {band: values[where] for band, values in bands.items()}


def _classify(
    out: NDArray[np.float32],
    chosen: NDArray[np.bool_],
    layers: Layers,
    features: Callable[[NDArray[np.intp]], NDArray[np.float32]],
) -> None:
    """Fill the columns of `out` that are chosen, in tiles of one size."""
    pixels = np.flatnonzero(chosen)
    states = len(layers[-1][1])
    for start in range(0, len(pixels), TILE):
        own = pixels[start : start + TILE]
        tile = own if len(own) == TILE else np.pad(own, (0, TILE - len(own)), mode="edge")
        values = features(tile)
        for number, (weights, bias) in enumerate(layers):
            values = weights @ values
            values += bias[:, None]
            if number + 1 < len(layers):
                np.maximum(values, 0, out=values)
        values -= values.max(0)
        np.exp(values, out=values)
        values /= values.sum(0)
        out[:, own] = 0
        out[:states, own] = values[:, : len(own)]
