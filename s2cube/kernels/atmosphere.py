"""The air between the ground and the satellite: what it does to each band, and how to undo it.

Over flat ground that scatters alike into all directions, with ``y = a * TOA - b`` and
``BOA = y / (1 + c * y)`` (Vermote et al. 1997, https://doi.org/10.1109/36.581987): `a` is one over what
air lets through, down and up; `b` what air itself reflects, times `a`; `c` the albedo of the sky.

:func:`coefficients` predicts the three from geometry, aerosol, water vapour, ozone and elevation. A
rough formula of single scattering is corrected by three networks of two layers of 24 units, which see
optical thicknesses instead of bands, so that one network serves all bands; what gases absorb is a sum
of a few terms a band.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.engine import compiled
from s2cube.schema import BANDS

__all__ = [
    "LIT",
    "MODELLED",
    "NETWORKS",
    "Air",
    "Coefficients",
    "coefficients",
    "gas_terms",
    "inputs",
    "rough",
    "to_surface",
    "top",
]

Array = NDArray[np.floating[Any]]

MODELLED: Final = tuple(band for band in BANDS if band != "B10")
"""The bands of level 2A: from the ground, B10 sees nothing."""
NETWORKS: Final = ("through", "path", "sky")
LIT: Final = np.float32(0.2)
"""Of the light of flat ground, the least that a slope is taken to get: below it, noise is all there
is."""

_WAVES: Final = np.array([BANDS[band].wavelength for band in MODELLED])[:, None] / 1000
_SCALE: Final = 8.4
"""Kilometres over which the air's pressure falls to 1/e."""
_ANGSTROM: Final = 1.3


class Air(NamedTuple):
    """What lies between, step by step: arrays of shape ``(steps,)``."""

    sun_zenith: Array
    """Degrees, as all angles."""
    view_zenith: Array
    azimuth: Array
    """Between sun and satellite, 0 to 180."""
    aerosol: Array
    """Optical thickness at 550 nm, above the ground."""
    water_vapour: Array
    """Above the ground, g cm⁻²."""
    ozone: Array
    """atm-cm: 0.3 are 300 Dobson units."""
    elevation: Array
    """Metres."""


class Coefficients(NamedTuple):
    """``y = a * TOA - b``, ``BOA = y / (1 + c * y)``: each of shape ``(bands, steps)``."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    c: NDArray[np.float64]


class _Light(NamedTuple):
    """What formulas and networks share: shapes ``(steps,)`` and ``(bands, steps)``."""

    sun: Array
    view: Array
    angle: Array
    air: Array
    haze: Array


def _light(air: Air) -> _Light:
    sun, view = np.radians(air.sun_zenith), np.radians(air.view_zenith)
    angle = -np.cos(sun) * np.cos(view)
    angle = angle - np.sin(sun) * np.sin(view) * np.cos(np.radians(air.azimuth))
    pressure = np.exp(-np.asarray(air.elevation) / (1000 * _SCALE))
    molecules = 0.008569 * _WAVES**-4 * (1 + 0.0113 * _WAVES**-2 + 0.00013 * _WAVES**-4)
    return _Light(
        1 / np.cos(sun),
        1 / np.cos(view),
        angle,
        molecules * pressure,
        # Networks see its logarithm.
        np.maximum(air.aerosol, 0.005) * (_WAVES / 0.55) ** -_ANGSTROM,
    )


def rough(air: Air) -> tuple[Array, Array, Array]:
    """Return what passes, what air reflects over it, and the albedo of the sky, by rough formulas.

    Shapes ``(bands, steps)``. Without gases.
    """
    light = _light(air)
    through = np.exp(-(0.5 * light.air + 0.17 * light.haze) * (light.sun + light.view))
    scattered = light.air * 0.75 * (1 + light.angle**2) + 0.35 * light.haze
    path = scattered * light.sun * light.view / 4 / through
    sky = 0.75 * light.air / (1 + light.air) + 0.2 * light.haze / (1 + light.haze)
    return through, path, sky


def inputs(air: Air) -> dict[str, Array]:
    """Return what each network sees, shape ``(ways, features, bands, steps)``: outputs of ways add up.

    Light goes down and up by the same rule, which the network of what passes learns once.
    """
    light = _light(air)
    full = light.air.shape
    base = [np.log(light.air), np.log(light.haze), np.broadcast_to(np.log(_WAVES), full)]
    down, up = (np.broadcast_to(np.log(one), full) for one in (light.sun, light.view))
    return {
        "through": np.stack([np.stack([down, *base]), np.stack([up, *base])]),
        "path": np.stack([down, up, np.broadcast_to(light.angle, full), *base])[None],
        "sky": np.stack(base)[None],
    }


def gas_terms(air: Air) -> Array:
    """Return of what the optical thickness of gases is a sum, shape ``(terms, steps)``.

    Ozone, water vapour (whose lines saturate), and what is mixed into the air.
    """
    light = _light(air)
    paths = light.sun + light.view
    pressure = np.exp(-np.asarray(air.elevation) / (1000 * _SCALE))
    water = paths * np.asarray(air.water_vapour)
    terms = [
        paths * np.asarray(air.ozone),
        water**0.25,
        water**0.5,
        water,
        np.log1p(water),
        paths * pressure,
        paths**0.5 * pressure**1.5,
        water**0.5 * pressure,
        water * pressure,
        paths,
        np.ones_like(paths),
    ]
    return np.stack(np.broadcast_arrays(*terms))


def _network(weights: Mapping[str, Array], name: str, seen: Array) -> Array:
    """Return the output of a network, summed over its ways; shape ``(bands, steps)``."""
    values, layer = np.moveaxis(seen, 1, -1), 0
    while f"{name}/{layer}/weights" in weights:
        if layer:
            values = np.tanh(values)
        # Few numbers: sums in a fixed order, without BLAS, whose last bits its threads decide.
        values = np.einsum("...i,oi->...o", values, weights[f"{name}/{layer}/weights"], optimize=False)
        values = values + weights[f"{name}/{layer}/bias"]
        layer += 1
    total: Array = values[..., 0].sum(0)
    return total


def coefficients(
    weights: Mapping[str, Array], air: Air, bands: Sequence[str] = MODELLED
) -> Coefficients:
    """Predict the three coefficients of bands.

    Parameters
    ----------
    weights
        Arrays of the three networks (``through/0/weights``, ...) and of the gases (``gas``).
    air
        Arrays of shape ``(steps,)``.
    bands
        Ids; not B10.
    """
    rows = [MODELLED.index(band) for band in bands]
    air = Air(*np.broadcast_arrays(*(np.atleast_1d(np.asarray(one, np.float64)) for one in air)))
    seen = inputs(air)
    through, path, sky = (
        first * np.exp(_network(weights, name, seen[name]))
        for name, first in zip(NETWORKS, rough(air), strict=True)
    )
    gas = np.einsum("bt,ts->bs", weights["gas"], gas_terms(air), optimize=False)
    # Light that the air gives back has met the water below it about half.
    return Coefficients(*(
        np.ascontiguousarray(one[rows])
        for one in (np.exp(gas) / through, path * np.exp(0.5 * gas), sky)
    ))  # fmt: skip


def to_surface(
    toa: NDArray[np.float32],
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
    *slope: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return reflectance of the ground.

    Parameters
    ----------
    toa
        Reflectance at the top of the atmosphere, ``float32``, shape ``(time, y, x)``; NaN stays NaN.
    a, b, c
        Shape ``(time, 1, 1)``.
    slope
        Of a calibrated place: by how much more light its slopes get than flat ground, a share, shape
        ``(1, y, x)``; and which part of it counts in this band on each date, ``(time, 1, 1)``.

    Notes
    -----
    With numba one pass, at about the speed of a copy; numpy gives the same bits.
    """
    loops = compiled("atmosphere_loops")
    if loops is not None and toa.flags.c_contiguous:
        return loops.to_surface(toa, a.ravel(), b.ravel(), c.ravel(), *slope)  # type: ignore[no-any-return]
    values = toa * a
    values -= b
    below = c * values
    below += np.float32(1)
    values /= below
    if slope:
        extra, part = slope
        values /= np.maximum(np.float32(1) + part * extra, LIT)
    return values


def top(
    boa: NDArray[np.float32],
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return reflectance at the top of the atmosphere: what :func:`to_surface` undoes."""
    below: NDArray[np.float32] = (boa / (np.float32(1) - c * boa) + b) / a
    return below
