"""``fit_l2a``: learn from a scene of both levels how its processor made the one of the other."""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import progress_bar
from s2cube.emulate import weights
from s2cube.emulate.estimate import air_of
from s2cube.emulate.light import LOWEST_SUN, OZONE, Angles, angles_of, by_step, elevation_of
from s2cube.emulate.sample import CLIPPED, lattice, usable
from s2cube.emulate.spec import L2ASpec, Slopes
from s2cube.errors import CubeError
from s2cube.kernels.atmosphere import LIT, MODELLED, Coefficients, coefficients
from s2cube.kernels.slopes import fit_slopes

__all__ = ["fit_l2a"]

Maps = NDArray[np.float64]
FEWEST: Final = 100
"""Clear pixels of a band, from which on something is learnt."""
LARGEST: Final = 1_000_000
"""Pixels of a place whose slopes a spec may hold: 4 MB, and 1 GB of memory a date while it is fitted."""
BETTER: Final = 0.9
"""Slopes are kept where they leave this much of the error in bands they were not learnt from."""
PIXELS: Final = 100_000
_AEROSOLS: Final = np.geomspace(0.01, 0.8, 16)
_WATERS: Final = np.geomspace(0.2, 6, 14)
_MIDDLE: Final = (0.7, 1.4)
"""Gains outside tell of pairs that do not belong together."""


def fit_l2a(
    l1c: xr.Dataset,
    l2a: xr.Dataset,
    *,
    bands: str | Iterable[str] | None = None,
    angles: Mapping[str, Any] | None = None,
    aerosol: Any = None,
    water_vapour: Any = None,
    elevation: Any = None,
    ozone: Any = None,
    slopes: bool | None = None,
    pixels: int = PIXELS,
    name: str = "",
    notes: str = "",
    progress: bool = True,
) -> L2ASpec:
    """Learn from a scene that exists at both levels how to make the one of the other, at once.

    :func:`~s2cube.to_l2a` takes what comes of it for other dates and places. It imitates whoever made
    `l2a`: Sen2Cor, MAJA, another processor, with what they do right and wrong.

    Parameters
    ----------
    l1c, l2a
        Cubes of level 1C and 2A on the same grid. Dates of the same solar day are a pair; one will do,
        more make it surer. Clear pixels are learnt from (``SCL`` and ``status`` of `l2a`, where it has
        them; shadow and dark ground are left out), of a whole tile a part.
    bands
        By id or common name; by default all that both cubes have, B10 left out.
    angles
        Degrees by ``sun_zenith``, ``sun_azimuth``, ``view_zenith``, ``view_azimuth``, one number or one
        a date of `l1c`. What is not given is told by the cube's coordinates of these names or by its
        items, or is computed from time, place and relative orbit.
    aerosol, water_vapour
        Optical thickness at 550 nm; column above the ground, g cm⁻². One number or one a date. By
        default, what explains the pair best.
    elevation
        Mean elevation of the place, metres. Sea level, with a warning, where it is not given.
    ozone
        Column, atm-cm; by default 0.3 (300 Dobson units).
    slopes
        Whether to learn how each pixel is lit, for processors that undo the light of slopes (Sen2Cor
        with a terrain model). This serves **the same grid only**, and a sun of about the same direction.
        By default it is tried, and kept where it explains bands that it was not learnt from.
    pixels
        Pixels to learn from, at most; all are read where slopes are learnt.
    name, notes
        Written into the spec.
    progress
        Whether to show how far computing is.

    Returns
    -------
    L2ASpec
        Small and frozen; ``spec.save(path)`` writes a file. ``spec.errors`` are in-sample.

    Raises
    ------
    CubeError
        The levels are others, no dates or bands are common, the grids differ, too little is clear, or
        the sun is too low.

    Examples
    --------
    >>> import s2cube
    >>> l2a = s2cube.testing.simulate_cube(seed=1, end="2021-06-30", cloud_cover=0.2)
    >>> l1c = s2cube.testing.simulate_l1c(l2a, aerosol=0.2, water_vapour=2.0, elevation=0)
    >>> spec = s2cube.fit_l2a(l1c, l2a, elevation=0)
    >>> bool(max(error for _, error in spec.errors) < 5)
    True
    """
    every, other, names, dates = _pair(l1c, l2a, bands)
    one = every.isel(time=dates)
    # All of these are told by date of l1c, of which only some have a pair.
    sky = {name: values[dates] for name, values in angles_of(every, angles).items()}
    if (sky["sun_zenith"] > LOWEST_SUN).any():
        raise CubeError(
            f"The sun stands {sky['sun_zenith'].max():.0f}° from above; nothing is learnt beyond "
            f"{LOWEST_SUN:g}°: take another date."
        )
    height = elevation_of(every, elevation)[dates]
    column = by_step(every, "ozone", OZONE if ozone is None else ozone, 0, 1)[dates]
    air = [
        None if given is None else by_step(every, word, given, 0, high)[dates]
        for word, given, high in (("aerosol", aerosol, 3), ("water_vapour", water_vapour, 10))
    ]
    whole = one.sizes["y"] * one.sizes["x"] <= LARGEST
    if slopes and not whole:
        raise CubeError(f"Slopes are learnt of at most {LARGEST} pixels: cut the cubes to your place.")
    count = one.sizes["y"] * one.sizes["x"] if whole and slopes is not False else pixels
    with progress_bar(progress):
        first, second = lattice(one[names], count), lattice(_kept(other, names), count)
    toa = np.stack([first[band].values for band in names]).astype(np.float64)
    boa = np.stack([second[band].values for band in names]).astype(np.float64)
    clear = np.isfinite(toa) & np.isfinite(boa) & (boa > CLIPPED) & usable(second)[None]
    if short := [band for band, there in zip(names, clear, strict=True) if there.sum() < FEWEST]:
        raise CubeError(
            f"Less than {FEWEST} clear pixels of {', '.join(short)} to learn from: take a larger or "
            "clearer scene, or leave the band out (bands=)."
        )
    # A date that shows nothing tells nothing of its air.
    if not (shown := clear.any((0, 2, 3))).all():
        toa, boa, clear = toa[:, shown], boa[:, shown], clear[:, shown]
        sky = {name: values[shown] for name, values in sky.items()}
        height, column = height[shown], column[shown]
        air = [None if given is None else given[shown] for given in air]
    haze, wet = _explain(names, toa, boa, clear, sky, column, height, air)
    found = coefficients(weights.load(), air_of(sky, slice(None), haze, wet, column, height), names)
    lit = None
    if whole and slopes is not False:
        lit = _slopes(first, found, toa, boa, clear, sky, names)
    if lit is not None and not slopes and not lit[1]:
        lit = None
    gain, shift, off = _lines(found, toa, boa, clear, None if lit is None else lit[0])
    if wrong := [b for b, g in zip(names, gain, strict=True) if not _MIDDLE[0] < g < _MIDDLE[1]]:
        warnings.warn(
            f"In {', '.join(wrong)} the two levels go together badly: do they show the same place and "
            "time, harmonized?",
            stacklevel=2,
        )
    day = int(schema.solar_days(one)[shown].max())
    return L2ASpec(
        bands=tuple(names),
        gain=tuple(gain),
        shift=tuple(shift),
        aerosol=float(np.average(haze, weights=clear.sum((0, 2, 3)))),
        water_vapour=float(np.average(wet, weights=clear.sum((0, 2, 3)))),
        ozone=float(column.mean()),
        elevation=float(height.mean()),
        slopes=None if lit is None else lit[0],
        fitted_until=str(np.datetime64(day, "D")),
        name=name,
        notes=notes,
        errors=tuple(zip(names, off, strict=True)),
    )


def _kept(cube: xr.Dataset, names: list[str]) -> xr.Dataset:
    return cube[[*names, *(more for more in (schema.SCL, schema.STATUS) if more in cube)]]


def _pair(
    l1c: xr.Dataset, l2a: xr.Dataset, bands: Any
) -> tuple[xr.Dataset, xr.Dataset, list[str], NDArray[np.intp]]:
    """Return level 1C, level 2A on their common days, the common bands, and the dates of level 1C."""
    one, other = schema.validate(l1c, level="L1C"), schema.validate(l2a, level="L2A")
    asked = list(MODELLED) if bands is None else schema.band_ids(bands)
    names = [band for band in asked if band in one and band in other]
    if missing := [band for band in asked if band not in names and bands is not None]:
        raise CubeError(f"{', '.join(missing)} is not in both cubes.")
    if not names:
        raise CubeError("The two cubes have no band in common.")
    if any(not np.array_equal(one[axis].values, other[axis].values) for axis in ("y", "x")) or (
        schema.geobox_of(one).crs != schema.geobox_of(other).crs
    ):
        raise CubeError(
            "The two levels lie on different grids: open both with the same geobox= or like the other."
        )
    days, others = schema.solar_days(one), schema.solar_days(other)
    common, first, second = np.intersect1d(days, others, return_indices=True)
    if not len(common):
        raise CubeError(
            f"No day has both levels: level 1C is of {_span(days)}, level 2A of {_span(others)}."
        )
    for cube, own in ((one, days), (other, others)):
        if twice := [day for day in common if (own == day).sum() > 1]:
            raise CubeError(
                f"Level {cube['processing_level'].item()} has two looks of "
                f"{np.datetime64(int(twice[0]), 'D')}, so it is not clear which belong together: open "
                "it with groupby='solar_day', or select one."
            )
    return one, other.isel(time=second), names, first


def _span(days: NDArray[np.integer]) -> str:
    first, last = (np.datetime64(int(day), "D") for day in (days.min(), days.max()))
    return f"{first}" if first == last else f"{first} to {last}"


def _flat(found: Coefficients, toa: Maps) -> Maps:
    """Return reflectance of flat ground, shape ``(bands, time, ...)``."""
    a, b, c = (one.reshape(*one.shape, *[1] * (toa.ndim - 2)) for one in found)
    y = a * toa - b
    ground: Maps = y / (1 + c * y)
    return ground


def _explain(
    names: list[str],
    toa: Maps,
    boa: Maps,
    clear: NDArray[np.bool_],
    sky: Angles,
    ozone: Maps,
    height: Maps,
    given: list[Maps | None],
) -> tuple[Maps, Maps]:
    """Return aerosol and water vapour by date: as given, or those that explain the pair best."""
    steps = toa.shape[1]
    found = np.empty((2, steps))
    load = weights.load()
    for step in range(steps):
        hazes, wets = (
            tried if told is None else told[step : step + 1]
            for tried, told in zip((_AEROSOLS, _WATERS), given, strict=True)
        )
        haze, wet = (one.ravel() for one in np.meshgrid(hazes, wets, indexing="ij"))
        here = {key: values[step : step + 1] for key, values in sky.items()}
        air = air_of(here, slice(None), haze, wet, ozone[step], height[step])
        cost = np.zeros(len(haze))
        if len(haze) > 1:
            every = coefficients(load, air, names)
            for band in range(len(names)):
                chosen = np.flatnonzero(clear[band, step])
                chosen = chosen[:: max(1, len(chosen) // 400)]
                if not len(chosen):
                    continue
                x, y = toa[band, step].ravel()[chosen], boa[band, step].ravel()[chosen]
                a, b, c = (one[band][:, None] for one in every)
                ground = (a * x - b) / (1 + c * (a * x - b))
                # Medians: what slopes make brighter they make darker elsewhere.
                cost += np.abs(np.median(ground - y, 1)) + 0.1 * np.abs(ground - y).mean(1)
        best = int(cost.argmin())
        found[:, step] = haze[best], wet[best]
    return found[0], found[1]


def _lines(
    found: Coefficients, toa: Maps, boa: Maps, clear: NDArray[np.bool_], slopes: Slopes | None
) -> tuple[list[float], list[float], list[float]]:
    """Return by band the gain and shift of ``y``, and the mean absolute error that is left, counts."""
    gains, shifts, errors = [], [], []
    for band in range(len(toa)):
        a, b, c = (one[band][:, None, None] for one in found)
        light: Any = 1.0
        if slopes is not None:
            light = np.maximum(1 + slopes.part[band] * slopes.extra[None].astype(float), LIT)
        where = clear[band]
        y = a * toa[band] - b
        wanted = boa[band] * light
        wanted = wanted / (1 - c * wanted)
        x, z = y[where], wanted[where]
        weight = np.ones(len(x))
        columns = np.stack([x, np.ones_like(x)], -1)
        # One count of pull towards doing nothing, for scenes of one brightness.
        pull = np.array([1e-4, 1e-6]) * len(x)
        for _ in range(4):
            left = (columns * weight[:, None]).T
            line = np.linalg.solve(left @ columns + np.diag(pull), left @ z + pull * [1, 0])
            rest = np.abs(columns @ line - z)
            weight = 1 / np.maximum(rest, 1.5 * np.median(rest) + 1e-5)
            weight /= weight.mean()
        gains.append(float(line[0]))
        shifts.append(float(line[1]))
        better = line[0] * y + line[1]
        made = better / (1 + c * better) / light
        errors.append(round(float(np.abs(made - boa[band])[where].mean()) * 1e4, 3))
    return gains, shifts, errors


def _slopes(
    cube: xr.Dataset,
    found: Coefficients,
    toa: Maps,
    boa: Maps,
    clear: NDArray[np.bool_],
    sky: Angles,
    names: list[str],
) -> tuple[Slopes, bool] | None:
    """Return how slopes are lit, and whether that explains bands that it was not learnt from."""
    if len(names) < 4 or toa.shape[2] < 3 or toa.shape[3] < 3:
        return None
    flat = _flat(found, toa)
    halves = [slice(0, None, 2), slice(1, None, 2)]
    before, after = 0.0, 0.0
    for own, others in (halves, halves[::-1]):
        extra = fit_slopes(flat[own], boa[own], clear[own])[0]
        for band in range(len(names))[others]:
            where = clear[band]
            x, y = flat[band][where], boa[band][where]
            more = -(boa[band] * extra)[where]
            for columns, learnt in (([x, np.ones_like(x)], False), ([x, np.ones_like(x), more], True)):
                table = np.stack(columns, -1)
                rest = np.abs(table @ np.linalg.lstsq(table, y, rcond=None)[0] - y).mean()
                after, before = (after + rest, before) if learnt else (after, before + rest)
    extra, part, _ = fit_slopes(flat, boa, clear)
    grid = schema.geobox_of(cube)
    azimuth = np.exp(1j * np.radians(sky["sun_azimuth"])).mean()
    slopes = Slopes(
        extra=extra.astype(np.float32),
        part=tuple(float(one) for one in part),
        x=np.asarray(cube["x"].values, np.float64),
        y=np.asarray(cube["y"].values, np.float64),
        crs=str(grid.crs),
        sun_zenith=float(sky["sun_zenith"].mean()),
        sun_azimuth=math.degrees(np.angle(azimuth)) % 360,
    )
    return slopes, bool(after < BETTER * before)
