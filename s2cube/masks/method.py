"""``cloud_mask``: from a cube and the name of a method to the ``status`` of every look."""

import inspect
import math
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final, overload

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_halo, map_pixels
from s2cube.errors import CubeError
from s2cube.kernels.morphology import close_status, grow_status, open_status
from s2cube.masks.arrays import mask_array
from s2cube.masks.detected import Detected
from s2cube.masks.needs import METHODS
from s2cube.schema import STATUS, Status

__all__ = ["PROBABILITY", "SOFT", "check_mask_method", "cloud_mask"]

PROBABILITY: Final = "cloud_probability"
SOFT: Final = (int(Status.THIN_CLOUD), int(Status.SHADOW), int(Status.CLOUD))
"""What buffers grow, and opening and closing work on. Snow, water and missing data have no soft edge."""
FARTHEST: Final = 10_000
"""Metres: a distance beyond it is a slip."""


@overload
def cloud_mask(cube: xr.Dataset, method: str = "scl", **options: Any) -> xr.Dataset: ...
@overload
def cloud_mask(
    cube: NDArray[np.floating[Any]], method: str = "scl", **options: Any
) -> NDArray[np.uint8]: ...


def cloud_mask(
    cube: xr.Dataset | NDArray[np.floating[Any]],
    method: str = "scl",
    *,
    buffer: float | None = None,
    opening: float | None = None,
    closing: float | None = None,
    probability: bool = False,
    bands: Iterable[str] | None = None,
    level: str | None = None,
    resolution: float | None = None,
    **options: Any,
) -> xr.Dataset | NDArray[np.uint8]:
    """Tell, for every look at every pixel, whether it is clear, lazily.

    Parameters
    ----------
    cube
        A cube; or a plain array of reflectance, shape ``(y, x, band)`` or ``(time, y, x, band)``, NaN
        where nothing is known, with `bands` and `level`.
    method
        ``"scl"``: Sen2Cor's scene classification (level 2A, variable ``SCL``). ``"spectral"``: clouds,
        snow and water by the spectrum of each pixel (level 1C or 2A, at least four bands;
        :mod:`s2cube.masks.spectral`). ``"spectral-temporal"``: clouds, **shadows**, snow and water by
        how a look differs from what its place usually shows (the same, and a series;
        :mod:`s2cube.masks.temporal`). ``"s2cloudless"``: clouds
        by boosted trees (level 1C, ten bands, extra ``s2cloudless``; :mod:`s2cube.masks.cloudless`).
        ``"csmask"``: clouds and shadows by a U-Net (level 1C or 2A, at least four bands, extra
        ``csmask``; :mod:`s2cube.masks.csmask`). ``"segmentation"``: what a network of your own, or
        anyone's function, tells apart (:mod:`s2cube.masks.segmentation`).
    buffer
        Metres by which cloud, thin cloud and shadow grow, None for none. A pixel is taken in when
        its centre lies at most that far from the centre of a cloudy one.
    opening
        Metres: specks and lines of cloud or shadow that hold no disk of this radius are called clear
        first. Bright roofs go, and small clouds too.
    closing
        Metres: holes and gaps between clouds that hold no disk of this radius are filled, after opening
        and before the buffer.
    probability
        Whether to give ``cloud_probability`` too, for methods that have one.
    bands, level, resolution
        Of a plain array only: the names of its bands in their order, ``"L1C"`` or ``"L2A"``, and, where
        a distance is asked for, the metres of a pixel.
    options
        Of the method: ``threshold`` of ``"spectral"``; ``reference`` and ``threshold`` of
        ``"spectral-temporal"``; ``threshold``, ``average_over`` and ``dilation_size`` of
        ``"s2cloudless"``; ``model``, ``threshold``, ``device`` and ``batch_size`` of ``"segmentation"``.

    Returns
    -------
    xarray.Dataset or numpy.ndarray
        ``status``, uint8 flags of :class:`~s2cube.schema.Status`, dims ``(time, y, x)``; if asked for,
        ``cloud_probability``, float32 from 0 to 1, as the method gives it, before any distance. Of a
        plain array, the status as one: ``(y, x)`` or ``(time, y, x)``, computed at once.

    Raises
    ------
    CubeError
        The method is unknown, the cube lacks what the method needs, an option is none of its, or a
        distance is negative.
    ImportError
        The method needs an extra that is not installed.

    Notes
    -----
    SCL is known to take bright roofs, sand and snow for cloud, to miss thin cloud over water, and to
    miss shadows far from their cloud (Baetens et al. 2019, https://doi.org/10.3390/rs11040433).

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> mask = s2cube.cloud_mask(cube, "scl", buffer=60)
    >>> mask["status"].dtype
    dtype('uint8')

    One image as an array, no cube:

    >>> import numpy as np
    >>> pixels = np.full((20, 30, 4), 0.6, np.float32)
    >>> names = ["blue", "green", "red", "nir"]
    >>> status = s2cube.cloud_mask(pixels, "spectral", bands=names, level="L2A")
    >>> status.shape, bool((status == s2cube.schema.Status.CLOUD).all())
    ((20, 30), True)
    """
    if isinstance(cube, np.ndarray):
        if probability:
            raise CubeError("Of a plain array there is a status only: make a cube of it (as_cube).")
        options |= {"buffer": buffer, "opening": opening, "closing": closing}
        return mask_array(
            cloud_mask, cube, method, bands=bands, level=level, resolution=resolution, **options
        )
    if any(said is not None for said in (bands, level, resolution)):
        raise CubeError("bands, level and resolution are of plain arrays; a cube says them itself.")
    cube = schema.validate(cube)
    found = check_mask_method(method, options)(cube, **options)
    status = found.status
    told: dict[str, float] = {}
    # Each in its turn sees what those before have made.
    for words, metres, kernel, reach in (
        ("opening", opening, open_status, 2),
        ("closing", closing, close_status, 2),
        ("buffer", buffer, grow_status, 1),
    ):
        if metres is None:
            continue
        radius = _radius(cube, words, metres)
        depth = (reach * math.floor(radius[0] + 1e-9), reach * math.floor(radius[1] + 1e-9))
        status = map_halo(kernel, status, depth=depth, dtype=np.uint8, radius=radius, states=SOFT)
        told[words] = metres
    if STATUS in cube:
        # After the distances: what was masked before, or never measured, must not grow again.
        status = map_pixels(np.maximum, status, cube[STATUS].data, dtype=np.uint8)
    arrays = {STATUS: schema.variable(status, schema.status_attrs())}
    if probability:
        if found.probability is None:
            raise CubeError(f"{method!r} gives no probability: leave probability=True out.")
        attrs = {"long_name": "probability of cloud", "units": "1"}
        arrays[PROBABILITY] = schema.variable(found.probability, attrs)
    result = xr.Dataset(arrays, cube.coords, cube.attrs)
    if found.told is not None:
        options = dict(found.told)
    return schema.record(result, "cloud_mask", method=method, **options, **{"buffer": buffer, **told})


def check_mask_method(method: str, options: Iterable[str]) -> Callable[..., Detected]:
    """Return what detects by a method, if there is such a method and it has these options.

    Raises
    ------
    CubeError
        There is none, or it has other options.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise CubeError(f"Unknown mask method {method!r}; known: {', '.join(METHODS)}.")
    detect: Callable[..., Detected] = import_module(f"s2cube.masks.{METHODS[method].module}").detect
    known = list(inspect.signature(detect).parameters)[1:]
    if unknown := [name for name in options if name not in known]:
        has = f"its options are {', '.join(known)}" if known else "it has no options"
        raise CubeError(f"{method!r} has no option {', '.join(unknown)}; {has}.")
    return detect


def _radius(cube: xr.Dataset, words: str, metres: float) -> tuple[float, float]:
    """Return a distance in pixels along y and x."""
    if isinstance(metres, bool) or not isinstance(metres, (int, float, np.number)):
        raise CubeError(f"{words} is a distance in metres, 0 or more; got {metres!r}.")
    if not 0 <= metres <= FARTHEST:
        raise CubeError(
            f"{words} is a distance in metres, 0 or more; got {metres!r} (at most {FARTHEST})."
        )
    down, across = schema.pixel_metres(schema.geobox_of(cube))
    return metres / down, metres / across
