"""``simulate_spectra``: looks at single pixels of known truth, and what is usual there."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.schema import Status
from s2cube.testing.light import VISIBLE, aerosol_thickness, air_thickness, crystals

__all__ = ["Spectra", "simulate_spectra"]

_Floats = NDArray[np.float64]

NAMES: Final = tuple(schema.BANDS)
MICRON: Final = np.array([schema.BANDS[band].wavelength / 1000 for band in NAMES])
"""Wavelength of each band, µm."""
VAPOUR, CIRRUS, SWIR1, SWIR2 = (NAMES.index(band) for band in ("B09", "B10", "B11", "B12"))

# fmt: off
_LAND, _WATER, _SNOW = (int(state) for state in (Status.CLEAR, Status.CLEAR_WATER, Status.SNOW))
_GROUND: Final[dict[str, tuple[int, float, tuple[float, ...]]]] = {
    # What it is, how often, and its reflectance in B01 ... B8A, B09, B10, B11, B12.
    "leaves": (_LAND, 2, (.02, .025, .05, .025, .09, .28, .36, .38, .40, .40, .15, .20, .08)),
    "needles": (_LAND, 2, (.015, .018, .03, .018, .05, .15, .19, .21, .22, .22, .08, .09, .04)),
    "crop": (_LAND, 2, (.025, .035, .075, .04, .12, .36, .46, .49, .50, .50, .20, .24, .11)),
    "dry grass": (_LAND, 2, (.06, .08, .12, .15, .20, .25, .28, .31, .33, .35, .30, .40, .28)),
    "soil": (_LAND, 2, (.06, .07, .10, .14, .16, .18, .20, .22, .24, .26, .28, .33, .30)),
    "dark soil": (_LAND, 2, (.03, .035, .05, .06, .07, .08, .09, .10, .105, .11, .13, .16, .14)),
    "loess": (_LAND, 1.2, (.10, .13, .18, .23, .26, .28, .30, .32, .34, .35, .38, .43, .39)),
    "red soil": (_LAND, 1.5, (.04, .05, .08, .18, .21, .23, .25, .27, .29, .31, .35, .42, .38)),
    "sand": (_LAND, 1.5, (.12, .16, .24, .33, .36, .38, .40, .42, .43, .44, .45, .52, .48)),
    "salt": (_LAND, .5, (.40, .45, .52, .57, .58, .59, .60, .61, .62, .62, .55, .60, .50)),
    "concrete": (_LAND, 1, (.14, .17, .20, .23, .24, .25, .26, .27, .28, .28, .28, .31, .30)),
    "white roof": (_LAND, .8, (.35, .45, .52, .55, .56, .57, .58, .58, .58, .56, .50, .50, .42)),
    "metal": (_LAND, .8, (.30, .33, .35, .37, .37, .38, .38, .39, .39, .39, .38, .40, .38)),
    "tiles": (_LAND, .8, (.05, .06, .09, .18, .22, .25, .27, .28, .29, .30, .30, .35, .32)),
    "asphalt": (_LAND, 1, (.06, .07, .08, .09, .095, .10, .105, .11, .11, .115, .12, .13, .13)),
    "burnt": (_LAND, 1, (.03, .035, .045, .055, .06, .065, .07, .08, .085, .09, .12, .16, .17)),
    "water": (_WATER, 1.5, (.04, .03, .02, .01, .007, .005, .005, .004, .004, .003, .001, .002, .001)),
    "algae": (_WATER, 1, (.03, .04, .06, .03, .03, .015, .015, .012, .01, .006, .001, .004, .003)),
    "mud": (_WATER, 1, (.06, .08, .12, .12, .11, .06, .06, .04, .035, .02, .002, .01, .006)),
    "shallows": (_WATER, .5, (.12, .14, .13, .06, .03, .015, .012, .01, .01, .006, .001, .004, .003)),
    "snow": (_SNOW, 1.2, (.90, .92, .93, .92, .91, .90, .89, .87, .86, .80, .30, .10, .08)),
    "old snow": (_SNOW, 1.5, (.60, .62, .62, .60, .58, .55, .53, .50, .48, .42, .10, .04, .03)),
    "ice": (_SNOW, .7, (.58, .58, .55, .48, .45, .40, .38, .33, .30, .25, .05, .03, .02)),
}
# fmt: on
KINDS: Final = np.array([kind for kind, _, _ in _GROUND.values()])
OFTEN: Final = np.array([often for _, often, _ in _GROUND.values()])
SHAPES: Final = np.array([shape for _, _, shape in _GROUND.values()])
SNOWLESS: Final = np.flatnonzero(KINDS != _SNOW)
SKIES: Final = (("clear", 0.40), ("thin", 0.18), ("shadow", 0.14), ("cloud", 0.28))
"""What is between the ground and the sensor, and how often."""
ICE: Final = np.array([crystals(band) for band in NAMES])


@dataclass(frozen=True)
class Spectra:
    """Looks at single pixels, none beside another."""

    looks: NDArray[np.float32]
    """Reflectance, shape ``(pixels, 13)``, bands in the order of the table; NaN in B10 of level 2A."""
    usual: NDArray[np.float32]
    """What the place of each look mostly shows, the same shape."""
    status: NDArray[np.uint8]
    """The truth: ``clear``, ``clear_water``, ``snow``, ``thin_cloud``, ``shadow`` or ``cloud``."""


def simulate_spectra(pixels: int, *, level: str, seed: int = 0) -> Spectra:
    """Draw looks at ground of all kinds, under clear sky, cloud, cirrus and shadow.

    Parameters
    ----------
    pixels
        How many.
    level
        ``"L1C"``, reflectance at the top of the atmosphere, or ``"L2A"``, at the ground as a
        correction that errs by some aerosol would have it.
    seed
        The same seed gives the same spectra.

    Returns
    -------
    Spectra

    Raises
    ------
    CubeError
        The level is none.

    Notes
    -----
    *Ground*: one to three of 23 kinds in random shares, each brighter or darker than its table (by a
    quarter, log-normal) and tilted over wavelength; relief shades it. Shapes are typical of spectral
    libraries, rounded. *Usual*: the same ground in other shares, and in 15 % of cases something else
    (harvest, flood, fire, snow), under a higher sun, and with a little haze left.

    *Clouds* and *cirrus* as in :func:`add_clouds`, but with all that is chance there wider: reflectance
    of opaque cloud 0.2 to 1.15 with some colour, its drop in the shortwave infrared from that of small
    droplets to that of ice, its height, which decides what is left of it in B10. Thin cloud has an
    opacity from 0.1 on, cloud from 0.5.

    *Air* at level 1C: scattering by molecules and aerosol (thickness 0.02 to 0.8 at 550 nm), and water
    vapour in B09 and B10, to single scattering. Ground and haze come through B10 more often than they
    do, as over high and dry places, so that what learns from it does not trust that band too far.

    What it lacks is what spectra lack: neighbours. Mixed pixels of roofs, wet soils, smoke and many
    others are not in the table either.

    Examples
    --------
    >>> import s2cube
    >>> drawn = s2cube.testing.simulate_spectra(1000, level="L2A", seed=1)
    >>> drawn.looks.shape
    (1000, 13)
    """
    if level not in schema.LEVELS:
        raise CubeError(f"level is one of {', '.join(schema.LEVELS)}; got {level!r}.")
    rng = np.random.default_rng(seed)
    now, usual, status = _ground(pixels, rng)
    sky = rng.choice(len(SKIES), pixels, p=[share for _, share in SKIES])
    sun = np.sin(np.radians(rng.uniform(12, 75, (pixels, 1))))
    haze = np.exp(rng.normal(np.log(0.12), 0.7, (pixels, 1))).clip(0.02, 0.8)
    seen = _shaded(now, sky == 2, sun, haze, level, rng)
    opaque, veil = _opacities(sky, rng)
    seen = seen * (1 - opaque) + _cloud(pixels, rng) * opaque
    height = opaque * rng.beta(1.3, 2.5, (pixels, 1))
    seen = _through_air(seen, level, sun, haze, height, rng)
    ice = ICE * np.exp(rng.normal(0, 0.06, seen.shape))
    ice[:, CIRRUS] *= rng.uniform(0.3, 1, pixels)
    seen = seen * (1 - veil) + ice * veil
    for number, state in ((1, Status.THIN_CLOUD), (2, Status.SHADOW), (3, Status.CLOUD)):
        status[sky == number] = state
    return Spectra(_measured(seen, rng), _measured(_usually(usual, level, rng), rng), status)


def _measured(values: _Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `values` as a sensor whose bands agree within a per cent would have them."""
    return (values * np.exp(rng.normal(0, 0.01, values.shape))).astype(np.float32)


def _ground(n: int, rng: np.random.Generator) -> tuple[_Floats, _Floats, NDArray[np.uint8]]:
    """Return what is there, what is there usually, and the status of the former."""

    def drawn() -> NDArray[np.intp]:
        return rng.choice(len(SHAPES), (n, 3), p=OFTEN / OFTEN.sum())

    kinds, shares = drawn(), rng.dirichlet([0.35] * 3, n)
    shares[rng.random(n) < 0.35] = [1, 0, 0]
    bright = np.exp(rng.normal(0, 0.25, (n, 3, 1)))
    tilt = np.exp(rng.normal(0, 0.12, (n, 3, 1)) * np.log(MICRON / 0.8))
    now = _mixed(kinds, shares, bright * tilt)
    # Mostly the same things in somewhat other shares; sometimes something new.
    drift, turn = rng.beta(1, 6, (n, 1)), rng.random(n)
    before = np.where(
        (turn < 0.75)[:, None], (1 - drift) * shares + drift * rng.dirichlet([1] * 3, n), shares
    )
    other = np.where((turn > 0.85)[:, None], drawn(), kinds)
    # Snow is seldom what is usual.
    melts = (KINDS[other] == _SNOW) & (rng.random((n, 1)) < 0.85)
    other = np.where(melts, rng.choice(SNOWLESS, (n, 3)), other)
    usual = _mixed(other, before, bright * tilt * np.exp(rng.normal(0, 0.12, (n, 3, 1))))
    status = np.full(n, _LAND, np.uint8)
    wet = (shares * (KINDS[kinds] == _WATER)).sum(1)
    status[wet > 0.6] = _WATER
    status[(shares * (KINDS[kinds] == _SNOW)).sum(1) > 0.4] = _SNOW
    # The sun on waves has no colour.
    now += wet[:, None] * rng.random((n, 1)) ** 6 * 0.12
    relief = np.exp(rng.normal(0, 0.2, (n, 1)))
    now *= relief * np.exp(rng.normal(0, 0.06, (n, 1)))
    return now.clip(0, 1.1), (usual * relief).clip(0, 1.1), status


def _mixed(kinds: NDArray[np.intp], shares: _Floats, factor: _Floats) -> _Floats:
    mixed: _Floats = (shares[..., None] * SHAPES[kinds] * factor).sum(1)
    return np.minimum(mixed, 1.05)


def _shaded(
    ground: _Floats,
    where: NDArray[np.bool_],
    sun: _Floats,
    haze: _Floats,
    level: str,
    rng: np.random.Generator,
) -> _Floats:
    """Take direct light away, and leave that of the sky and of the sides of clouds."""
    depth = np.where(where, rng.uniform(0.4, 1, len(where)), 0)[:, None]
    thickness = 0.5 * air_thickness(MICRON) + 0.85 * aerosol_thickness(MICRON, haze)
    direct: _Floats = np.exp(-thickness / sun)
    seen: _Floats = ground * (1 - depth * direct * (1 - rng.uniform(0.05, 0.3, sun.shape)))
    if level == "L2A":
        # A correction takes the light of the open sky off, of which less is there.
        seen -= (depth > 0) * rng.uniform(0, 0.01, sun.shape) * (MICRON / 0.45) ** -2
    return seen


def _opacities(sky: NDArray[np.intp], rng: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Return the opacity of low cloud and of cirrus, shape ``(pixels, 1)``."""
    n = len(sky)

    def thin(most: float) -> _Floats:
        return np.exp(rng.uniform(np.log(VISIBLE), np.log(most), n))

    low_one, full, both = (rng.random(n) < share for share in (0.5, 0.6, 0.25))
    low = np.where(sky == 3, np.where(full, 1, rng.uniform(0.5, 1, n)), 0)
    low = np.where((sky == 1) & low_one, thin(0.5), low)
    veil = np.where((sky == 1) & ~low_one, thin(0.45), 0)
    veil = np.where((sky == 3) & both, rng.uniform(0.05, 0.4, n), veil)
    return low[:, None], veil[:, None]


def _cloud(n: int, rng: np.random.Generator) -> _Floats:
    """Return the reflectance of opaque clouds, of droplets and of ice."""
    colour = np.exp(rng.normal(0, 0.08, (n, 1)) * np.log(MICRON / 0.6))
    colour[:, CIRRUS:] = 1
    icy = rng.random(n) < 0.25
    colour[:, SWIR1] = np.where(icy, rng.uniform(0.25, 0.6, n), rng.uniform(0.45, 1, n))
    colour[:, SWIR2] = colour[:, SWIR1] * np.where(
        icy, rng.uniform(0.5, 0.9, n), rng.uniform(0.55, 0.95, n)
    )
    bright: _Floats = np.clip(rng.gamma(6, 0.1, (n, 1)), 0.2, 1.15)
    return bright * colour


def _through_air(
    seen: _Floats, level: str, sun: _Floats, haze: _Floats, height: Any, rng: np.random.Generator
) -> _Floats:
    """Return what the product says: with the air at level 1C, without most of it at 2A.

    `height` of a cloud, as a share of the water vapour below it.
    """
    n = len(seen)
    air: _Floats = air_thickness(MICRON)
    aerosol: _Floats = aerosol_thickness(MICRON, haze)
    if level == "L2A":
        wrong = rng.normal(0, 0.25, (n, 1)) * aerosol
        ground: _Floats = seen * (1 + 0.3 * wrong) - 0.06 * wrong + rng.normal(0, 0.003, seen.shape)
        ground[:, CIRRUS] = np.nan
        return ground
    path = air * 0.75 * (1 + sun**2) / (4 * sun) + 0.036 * aerosol / sun
    through = np.exp(-0.9 * (0.5 * air + 0.15 * aerosol) * (1 / sun + 1))
    through[:, NAMES.index("B8A")] *= 0.97
    through[:, SWIR1] *= 0.96
    through[:, SWIR2] *= 0.93
    dry = rng.uniform(0.15, 0.75, (n, 1))
    through[:, [VAPOUR]] = dry + (1 - dry) * height * 0.6
    dry = np.exp(rng.uniform(np.log(5e-4), np.log(0.015), (n, 1)))
    through[:, [CIRRUS]] = np.maximum(dry, height**2 * rng.uniform(0.01, 0.6, (n, 1)))
    top: _Floats = through * seen + path * (1 - 0.3 * height)
    noise = np.full(len(NAMES), 0.002)
    noise[CIRRUS] = 3e-4
    top[:, CIRRUS] += 8e-4
    top += rng.normal(0, 1, seen.shape) * noise
    return top


def _usually(ground: _Floats, level: str, rng: np.random.Generator) -> _Floats:
    """Return what a composite of the place shows: a high sun, clean air, a little haze left."""
    n = len(ground)
    sun = np.sin(np.radians(rng.uniform(25, 65, (n, 1))))
    haze = np.exp(rng.normal(np.log(0.12), 0.3, (n, 1)))
    seen = _through_air(ground, level, sun, haze, np.zeros((n, 1)), rng)
    left = (rng.random((n, 1)) < 0.25) * rng.uniform(0, 0.08, (n, 1))
    cirrus = np.full(len(NAMES), 0.6)
    cirrus[CIRRUS] = 0.012
    return seen * (1 - left) + cirrus * left
