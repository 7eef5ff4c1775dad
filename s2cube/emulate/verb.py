"""``to_l2a``: reflectance of the ground from reflectance at the top of the atmosphere."""

import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels, progress_bar
from s2cube.emulate import weights
from s2cube.emulate.estimate import air_of, estimate
from s2cube.emulate.light import (
    HIGHEST,
    LOWEST_SUN,
    NIGHT,
    OZONE,
    Angles,
    angles_of,
    by_step,
    elevation_of,
)
from s2cube.emulate.spec import L2ASpec, Slopes
from s2cube.errors import CubeError
from s2cube.kernels.atmosphere import MODELLED, Coefficients, coefficients, to_surface
from s2cube.schema import STATUS, Status

__all__ = ["FLAG", "FLAGS", "METHODS", "to_l2a"]

METHODS: Final = ("blind", "given")
FLAG: Final = "l2a_flag"
FLAGS: Final = {
    0: "within_range",
    1: "sun_too_low",
    2: "place_too_high",
    3: "sun_low_and_place_high",
    4: "night",
}
SCENE: Final = "scene"
BLURRED: Final = "B09"
"""The band of water vapour itself."""
TURNED: Final = 25.0
"""Degrees by which the sun may stand elsewhere than when slopes were learnt."""


def to_l2a(
    cube: xr.Dataset,
    method: str | L2ASpec = "blind",
    *,
    angles: Mapping[str, Any] | None = None,
    aerosol: Any = None,
    water_vapour: Any = None,
    elevation: Any = None,
    ozone: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Estimate the reflectance of the ground (level 2A) of a cube of level 1C, lazily.

    Parameters
    ----------
    cube
        A cube of level 1C.
    method
        What :func:`~s2cube.fit_l2a` learnt from a scene that exists at both levels: *calibrated*, which
        imitates the processor of that scene, and is the most exact where there is one.
        ``"given"``: aerosol and water vapour are given. ``"blind"``: what is not given of the two is
        estimated from the scene.
    angles
        Degrees by ``sun_zenith``, ``sun_azimuth``, ``view_zenith``, ``view_azimuth``, one number or one
        a date. What is not given is told by the cube's coordinates of these names or by its items, or is
        computed from time, place and relative orbit.
    aerosol
        Optical thickness at 550 nm, one number or one a date (``AOT`` of a product, or a forecast). By
        default that of the spec. ``"scene"`` estimates it date by date from dense dark vegetation.
    water_vapour
        Column above the ground, g cm⁻² (``WVP``), one number or one a date. By default that of the spec,
        with which B09 is of no use on other dates. ``"scene"`` estimates it from B09 beside B8A (B08).
    elevation
        Mean elevation of the place, metres, to 4,000, one number or one a date; maps are refused. By
        default that of the spec; else sea level, with a warning.
    ozone
        Column, atm-cm; by default that of the spec, else 0.3 (300 Dobson units).
    progress
        Whether to show how far estimating from the scene is, which computes at once.

    Returns
    -------
    xarray.Dataset
        The same cube with reflectance of the ground, without B10, ``processing_level`` ``"L2A"``; no
        ``SCL``, and nothing else that was made of level 1C (indices): bands and ``status`` only. Missing
        and saturated pixels stay so. ``l2a_flag`` along time tells which dates lie outside the range:
        there the nearest that was learnt is taken (sun 75° from above, 4,000 m). Dates at night have no
        values. ``l2a_aerosol`` and ``l2a_water_vapour`` along time are what was taken.

    Raises
    ------
    CubeError
        The cube is not of level 1C, angles are neither known nor to be computed, ``"given"`` lacks one,
        the spec does not know a band, or its slopes are those of another place.

    Notes
    -----
    Only what is estimated from the scene computes something when called: at most 40,000 pixels of each
    date, on a lattice of the grid, the same however the cube is chunked. To get at them, every chunk of
    the bands needed (at most seven, and ``status``, of which what is clear is taken) is read once.

    Angles, air and elevation are one number a date for the whole cube, with a warning where that is
    wider than 150 km.

    Examples
    --------
    >>> import s2cube
    >>> l2a = s2cube.testing.simulate_cube(seed=1, end="2021-06-30", cloud_cover=0.2)
    >>> l1c = s2cube.testing.simulate_l1c(l2a, aerosol=0.2, water_vapour=2.0, elevation=0)
    >>> back = l1c.s2.to_l2a("given", aerosol=0.2, water_vapour=2.0, elevation=0)
    >>> bool(abs(back["B04"] - l2a["B04"]).max() < 1e-4)
    True
    """
    cube = _checked(cube, method)
    names = [band for band in schema.bands_of(cube) if band in MODELLED]
    if not names:
        raise CubeError("The cube has no band of level 2A: all but B10 have one.")
    spec = method if isinstance(method, L2ASpec) else None
    sky = angles_of(cube, angles)
    if elevation is None and spec is not None:
        elevation = spec.elevation
    height = elevation_of(cube, elevation)
    ozone = by_step(
        cube, "ozone", (OZONE if spec is None else spec.ozone) if ozone is None else ozone, 0, 1
    )
    flags = _flags(sky["sun_zenith"], height)
    held = {**sky, "sun_zenith": np.minimum(sky["sun_zenith"], LOWEST_SUN)}
    low = np.clip(height, 0, HIGHEST)
    with progress_bar(progress):
        aerosol, water_vapour, estimated = _state(
            cube, names, method, held, low, ozone, aerosol, water_vapour
        )
    air = air_of(held, slice(None), aerosol, water_vapour, ozone, low)
    found = coefficients(weights.load(), air, names)
    arrays = _ground(cube, names, found, spec, held, night=flags == 4)
    # What else there is, an index or somebody's map, was made of level 1C, and would pass for level 2A.
    made = cube[[*names, *([STATUS] if STATUS in cube else [])]].assign(arrays)
    if STATUS in cube and (flags == 4).any():
        night = np.where(flags == 4, Status.NO_DATA, 0).astype(np.uint8)[:, None, None]
        data = map_pixels(np.maximum, cube[STATUS].data, night, dtype=np.uint8)
        made[STATUS] = cube[STATUS].variable.copy(data=data)
    attrs = schema.flag_attrs(FLAGS, "range of the estimate of level 2A")
    made = made.assign_coords({
        "processing_level": "L2A",
        FLAG: ("time", flags.astype(np.uint8), attrs),
        "l2a_aerosol": ("time", aerosol, {"long_name": "aerosol optical thickness at 550 nm"}),
        "l2a_water_vapour": ("time", water_vapour, {"units": "g cm-2", "long_name": "water vapour"}),
    })  # fmt: skip
    told = {"method": method if spec is None else f"calibrated {spec.sha256[:12]}"}
    state = {
        "aerosol": SCENE if estimated[0] else _words(aerosol),
        "water_vapour": SCENE if estimated[1] else _words(water_vapour),
        "elevation": _words(height),
        "ozone": _words(ozone),
    }
    return schema.record(made, "to_l2a", **told, **state)


def _ground(
    cube: xr.Dataset,
    names: list[str],
    found: Coefficients,
    spec: L2ASpec | None,
    sky: Angles,
    *,
    night: NDArray[np.bool_],
) -> dict[str, xr.Variable]:
    """Return the reflectance of the ground by band, lazily: what a spec has learnt comes on top."""
    a, b, c = found
    slope: tuple[Any, ...] = ()
    parts = np.zeros((len(names), cube.sizes["time"]))
    if spec is not None:
        rows = spec.index(names)
        gain, shift = (np.array(one)[rows][:, None] for one in (spec.gain, spec.shift))
        a, b = gain * a, gain * b - shift
        if spec.slopes is not None:
            slope = (_extra(cube, spec.slopes),)
            parts = _parts(spec.slopes, rows, sky)
    a = np.where(night, np.nan, a)
    arrays = {}
    for row, band in enumerate(names):
        steps = [one[row].astype(np.float32)[:, None, None] for one in (a, b, c)]
        more = [*slope, parts[row].astype(np.float32)[:, None, None]] if slope else []
        data = map_pixels(to_surface, cube[band].data, *steps, *more, dtype=np.float32)
        arrays[band] = cube[band].variable.copy(data=data)
    return arrays


def _checked(cube: xr.Dataset, method: object) -> xr.Dataset:
    cube = schema.validate(cube)
    level = str(cube.coords["processing_level"].item()) if "processing_level" in cube.coords else ""
    if level == "L2A":
        raise CubeError("The cube is of level 2A already: to_l2a() takes level 1C.")
    if level != "L1C":
        raise CubeError(
            "The level of the cube is not known: say as_cube(..., level='L1C') where it is "
            "reflectance at the top of the atmosphere."
        )
    if not isinstance(method, L2ASpec) and method not in METHODS:
        raise CubeError(
            f"Unknown method {method!r}; known: {', '.join(METHODS)}, and what fit_l2a() returns."
        )
    return cube


def _state(
    cube: xr.Dataset,
    names: list[str],
    method: str | L2ASpec,
    sky: Angles,
    height: NDArray,
    ozone: NDArray,
    aerosol: Any,
    water: Any,
) -> tuple[NDArray, NDArray, tuple[bool, bool]]:
    """Return aerosol and water vapour by date: as given, of the spec, or estimated; and which are."""
    spec = method if isinstance(method, L2ASpec) else None
    if spec is not None:
        if water is None and BLURRED in names and _other_days(cube, spec):
            warnings.warn(
                f"{BLURRED} is hardly of use: the water vapour that the spec was learnt from is taken "
                "for other dates. Pass water_vapour= where you know it, or water_vapour='scene', or "
                f"leave {BLURRED} out.",
                stacklevel=3,
            )
        aerosol = spec.aerosol if aerosol is None else aerosol
        water = spec.water_vapour if water is None else water
    given = {"aerosol": (aerosol, 3), "water_vapour": (water, 10)}
    if method == "given" and (missing := [name for name, (one, _) in given.items() if one is None]):
        raise CubeError(
            f"'given' needs {' and '.join(missing)}: pass it (of a product: AOT, WVP; of a forecast), "
            "or take method='blind', which estimates it."
        )
    told = {
        word: None if one is None or (isinstance(one, str) and one == SCENE)
        else by_step(cube, word, one, 0, high)
        for word, (one, high) in given.items()
    }  # fmt: skip
    aerosols, waters = told["aerosol"], told["water_vapour"]
    estimated = (aerosols is None, waters is None)
    if aerosols is None or waters is None:
        bands = cube[[*names, *([STATUS] if STATUS in cube else [])]]
        aerosols, waters = estimate(
            bands, sky, height, ozone, aerosol=aerosols, water_vapour=waters, spec=spec
        )
    return aerosols, waters, estimated


def _other_days(cube: xr.Dataset, spec: L2ASpec) -> bool:
    days = schema.solar_days(cube).astype("datetime64[D]").astype(str)
    return bool((days != spec.fitted_until).any())


def _flags(zenith: NDArray, height: NDArray) -> NDArray[np.int64]:
    flags = (zenith > LOWEST_SUN) + 2 * (height > HIGHEST).astype(np.int64)
    flags = np.where(zenith > NIGHT, 4, flags)
    words = (
        f"the sun more than {LOWEST_SUN:g}° from above",
        f"a place above {HIGHEST:g} m",
        f"a low sun and a place above {HIGHEST:g} m",
        "night, which has no values",
    )
    for flag, what in enumerate(words, 1):
        if count := int((flags == flag).sum()):
            warnings.warn(
                f"{count} of {len(flags)} dates lie outside the range of to_l2a(): {what}. "
                f"The coordinate {FLAG} tells which.",
                stacklevel=3,
            )
    return flags


def _extra(cube: xr.Dataset, slopes: Slopes) -> NDArray[np.float32]:
    """Return how slopes are lit at the pixels of `cube`, shape ``(1, y, x)``; refuse another grid."""
    where = []
    for axis, own in (("y", slopes.y), ("x", slopes.x)):
        asked = np.asarray(cube[axis].values, np.float64)
        step = abs(own[1] - own[0])
        index = np.rint((asked - own[0]) / (own[1] - own[0])).astype(int)
        inside = (index >= 0) & (index < len(own))
        # Of pixels thrice as large, each has its middle where one of these has it.
        same = inside.all() and (np.diff(index) == 1).all()
        if not same or np.abs(own[index] - asked).max() > 0.05 * step:
            raise CubeError(
                "The spec holds the slopes of another place or grid: fit it there, or fit it with "
                "slopes=False to use it elsewhere."
            )
        where.append(index)
    if str(schema.geobox_of(cube).crs) != slopes.crs:
        raise CubeError(f"The spec holds slopes on a grid in {slopes.crs}; the cube has another CRS.")
    extra: NDArray[np.float32] = slopes.extra[np.ix_(*where)][None]
    return extra


def _parts(slopes: Slopes, rows: list[int], sky: Angles) -> NDArray[np.float64]:
    """Return by how much slopes count in each band on each date: the lower the sun, the more."""
    turned = np.abs((sky["sun_azimuth"] - slopes.sun_azimuth + 180) % 360 - 180)
    if (turned > TURNED).any():
        warnings.warn(
            f"On {int((turned > TURNED).sum())} dates the sun stands up to {turned.max():.0f}° beside "
            "where it stood when slopes were learnt: other slopes are lit. Fit in that season too.",
            stacklevel=4,
        )
    tangent = np.tan(np.radians(sky["sun_zenith"])) / np.tan(np.radians(max(slopes.sun_zenith, 1.0)))
    counts: NDArray[np.float64] = np.array(slopes.part)[rows][:, None] * tangent
    return counts * np.cos(np.radians(turned))


def _words(values: NDArray[np.float64]) -> float | str:
    """Return a number for the history, which tells settings, the same for dates that are appended."""
    return round(float(values[0]), 4) if (values == values[0]).all() else "by date"
