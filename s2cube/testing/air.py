"""Air over a cube of level 2A: the level 1C that it would have been made of."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.emulate import weights
from s2cube.emulate.estimate import air_of
from s2cube.emulate.light import OZONE, angles_of, by_step
from s2cube.kernels.atmosphere import MODELLED, coefficients, top
from s2cube.schema import SCL

__all__ = ["simulate_l1c"]

VIEW: Final = {"view_zenith": 5.0, "view_azimuth": 103.0}


def simulate_l1c(
    cube: xr.Dataset,
    *,
    aerosol: Any = 0.15,
    water_vapour: Any = 1.5,
    elevation: Any = 0.0,
    ozone: Any = OZONE,
    angles: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Put the air over a cube of level 2A: reflectance at the top of the atmosphere, lazily.

    It is what :func:`~s2cube.to_l2a` undoes, by the same coefficients: to show and to test how the verb
    works, not how near it is to a processor.

    Parameters
    ----------
    cube
        A cube of level 2A, such as :func:`simulate_cube` makes.
    aerosol, water_vapour, elevation, ozone, angles
        As in :func:`~s2cube.to_l2a`. By default the view is 5° from above, from the east.

    Returns
    -------
    xarray.Dataset
        The same cube of level 1C, without ``SCL``, with the angles as coordinates.

    Examples
    --------
    >>> import s2cube
    >>> ground = s2cube.testing.simulate_cube(seed=1, bands=["blue", "nir"])
    >>> seen = s2cube.testing.simulate_l1c(ground, aerosol=0.3)
    >>> bool(seen["B02"].median() > ground["B02"].median() + 0.05)
    True
    """
    cube = schema.validate(cube, level="L2A")
    names = [band for band in schema.bands_of(cube) if band in MODELLED]
    # The orbits of simulated cubes are made up.
    sky = angles_of(cube, {**VIEW, **(angles or {})})
    state = [
        by_step(cube, word, one, low, high)
        for word, one, low, high in (
            ("aerosol", aerosol, 0, 3),
            ("water_vapour", water_vapour, 0, 10),
            ("ozone", ozone, 0, 1),
            ("elevation", elevation, -500, 9000),
        )
    ]
    found = coefficients(weights.load(), air_of(sky, slice(None), *state), names)
    arrays = {}
    for row, band in enumerate(names):
        steps = [one[row].astype(np.float32)[:, None, None] for one in found]
        data = map_pixels(top, cube[band].data, *steps, dtype=np.float32)
        arrays[band] = cube[band].variable.copy(data=data)
    seen = cube.drop_vars(SCL, errors="ignore").assign(arrays)
    seen = seen.assign_coords(processing_level="L1C").assign_coords(
        {name: ("time", values, {"units": "degree"}) for name, values in sky.items()}
    )
    told = {"aerosol": aerosol, "water_vapour": water_vapour, "elevation": elevation, "ozone": ozone}
    return schema.record(seen, "simulate_l1c", **told)
