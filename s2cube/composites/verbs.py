"""``percentile``, ``median``, ``geomedian``, ``count``: one image from the looks of a period."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from s2cube import schema
from s2cube.blocks import reduce_time
from s2cube.composites.images import (
    COUNT,
    check_q,
    count_variable,
    image,
    images,
    percentile_images,
)
from s2cube.composites.periods import Period, find_periods
from s2cube.errors import CubeError
from s2cube.kernels import geomedian as geomedians
from s2cube.kernels import order
from s2cube.kernels.fill import observed
from s2cube.models import torch_kernels
from s2cube.models.device import check_device

__all__ = ["count", "geomedian", "median", "percentile", "percentile_planes"]

_DEVIATION_NAMES: Final = {
    "emad": "median Euclidean distance to the geomedian",
    "smad": "median spectral distance (1 - cosine) to the geomedian",
    "bcmad": "median Bray-Curtis distance to the geomedian",
}


def percentile(
    cube: xr.Dataset,
    q: float | Sequence[float] = (25, 50, 75),
    *,
    bands: str | Iterable[str] | None = None,
    period: Period = None,
    months: Iterable[int] | None = None,
    device: str | None = None,
) -> xr.Dataset:
    """Return percentiles of the looks, over all of them or by period, lazily.

    Parameters
    ----------
    cube
        A cube, its clouds masked (:func:`s2cube.mask_clouds`).
    q
        Percentiles, 0 to 100. A single number gives images without the dimension ``percentile``.
    bands
        Ids or common names; all by default.
    period
        None: one image. Else one for each period: a pandas offset (``"MS"``, ``"QS-DEC"`` for
        meteorological seasons, ``"YS"``), ``"pan-european"`` (:data:`s2cube.composites.SEASONS`), or
        ``{"label": (first day, last day)}``. Looks belong to periods by their solar day.
    months
        Only looks of these months: ``months=(6, 7, 8)`` is the summers of all years.
    device
        None: the processor, by compiled loops (extra ``fast``) or numpy. ``"cuda"`` or another of
        PyTorch's devices: the same numbers by PyTorch (extra ``torch``). No ``"auto"``, as networks have
        it: these kernels need no PyTorch, and a default does not depend on what is installed.

    Returns
    -------
    xarray.Dataset
        Bands of dims ``([time,] [percentile,] y, x)``, float32: along each pixel's valid looks exactly
        as ``numpy.nanpercentile`` (method "linear"), NaN where there is none. ``count`` (int16, dims
        ``([time,] y, x)``): on how many looks they rest, of the bands the fewest.
        A period without looks has an image without values, and count 0.

    Raises
    ------
    CubeError
        A percentile, band, period or month is none.

    Notes
    -----
    A task takes all dates of a period of one block and band: dates × block × 4 bytes. Open the cube with
    smaller ``chunks`` if :func:`s2cube.explain` says that it is too much.

    Examples
    --------
    >>> import s2cube
    >>> clear = s2cube.testing.simulate_cube(seed=1, bands=["red"]).s2.mask_clouds()
    >>> image = clear.s2.percentile((25, 75), period="MS")
    >>> image["B04"].dims, image.sizes["time"]
    (('time', 'percentile', 'y', 'x'), 12)
    >>> bool(image["B04"].diff("percentile").min() >= 0)
    True
    """
    asked = check_q(q)
    cube = schema.validate(cube)
    names = schema.pick_bands(cube, bands)
    periods = find_periods(schema.solar_days(cube), period, months)
    found = {
        band: percentile_planes(cube[band].data, asked, periods.groups, device=device) for band in names
    }
    made = percentile_images(found, q, periods, cube.coords, cube.attrs)
    return schema.record(made, "percentile", q=list(asked), bands=names, **periods.told)


def percentile_planes(
    looks: Any, q: tuple[float, ...], groups: list[NDArray[np.intp]], *, device: str | None
) -> Any:
    """Return percentiles of one band and, last, how many looks there were: ``(groups, q + 1, y, x)``."""
    kernel = _percentiles if device is None else torch_kernels.percentiles
    how: dict[str, Any] = (
        {} if device is None else {"device": check_device(device, f"device={device!r}")}
    )
    return reduce_time(kernel, looks, groups=groups, made=len(q) + 1, q=q, **how)


def median(
    cube: xr.Dataset,
    *,
    bands: str | Iterable[str] | None = None,
    period: Period = None,
    months: Iterable[int] | None = None,
    device: str | None = None,
) -> xr.Dataset:
    """Return the median of the looks, band by band: :func:`percentile` of 50.

    See there for parameters, result and errors. The bands of a pixel may come from different looks;
    :func:`geomedian` keeps them together.

    Examples
    --------
    >>> import s2cube
    >>> clear = s2cube.testing.simulate_cube(seed=1, bands=["red"]).s2.mask_clouds()
    >>> clear.s2.median(months=(6, 7, 8))["B04"].dims
    ('y', 'x')
    """
    return percentile(cube, 50, bands=bands, period=period, months=months, device=device).drop_vars(
        "percentile"
    )


def geomedian(
    cube: xr.Dataset,
    *,
    bands: str | Iterable[str] | None = None,
    period: Period = None,
    months: Iterable[int] | None = None,
    weights: ArrayLike | xr.DataArray | None = None,
    deviations: bool = True,
    device: str | None = None,
) -> xr.Dataset:
    """Return the geometric median of the looks, and how far they lie from it, lazily.

    The spectrum with the smallest sum of distances to all looks: it keeps the relations between bands,
    which medians band by band do not. Looks with any band missing are left out.

    Parameters
    ----------
    cube
        A cube, its clouds masked (:func:`s2cube.mask_clouds`).
    bands, period, months, device
        As for :func:`percentile`.
    weights
        One for each look, not negative, along ``time``; a look of weight 0 is left out.
    deviations
        Whether to compute them too.

    Returns
    -------
    xarray.Dataset
        Bands of dims ``([time,] y, x)``, float32, within 2e-6 of the minimum by the iteration's own
        estimate; the medians over the looks of three distances to it: ``emad`` (Euclidean, reflectance),
        ``smad`` (one minus the cosine), ``bcmad`` (Bray-Curtis); and ``count`` (int16), the complete
        looks.

    Raises
    ------
    CubeError
        A band, period, month or weight is none.

    Notes
    -----
    D. Roberts, N. Mueller, A. McIntyre (2017), IEEE TGRS 55(11), 6254-6264, and D. Roberts, B. Dunn,
    N. Mueller (2018), IGARSS 2018, 8200-8203. The iteration is described in
    :mod:`s2cube.kernels.geomedian`. A task takes all dates of a period and all bands of one block:
    dates × bands × block × 4 bytes.

    Examples
    --------
    >>> import s2cube
    >>> clear = s2cube.testing.simulate_cube(seed=1, bands=["red", "nir"]).s2.mask_clouds()
    >>> sorted(clear.s2.geomedian().data_vars)
    ['B04', 'B08', 'bcmad', 'count', 'emad', 'smad']
    """
    cube = schema.validate(cube)
    names = schema.pick_bands(cube, bands)
    periods = find_periods(schema.solar_days(cube), period, months)
    extra = list(geomedians.DEVIATIONS) if deviations else []
    how: dict[str, Any] = {"groups": periods.groups, "made": len(names) + len(extra) + 1}
    kernel = _geomedian if device is None else torch_kernels.geomedian
    if device is not None:
        how["device"] = check_device(device, f"device={device!r}")
    looks = [cube[band].data for band in names]
    if weights is not None:
        how["by_date"] = {"weights": _weights(cube, weights)}
    found = reduce_time(kernel, *looks, **how, deviations=deviations)
    arrays: dict[Hashable, xr.Variable] = {}
    for number, name in enumerate([*names, *extra]):
        if name in _DEVIATION_NAMES:
            attrs = {"long_name": _DEVIATION_NAMES[name], "units": "1"}
        else:
            attrs = schema.band_attrs(name)
            attrs["long_name"] = f"geomedian of {attrs['long_name']}"
        arrays[name] = image(found[:, number], periods, attrs)
    complete = found[:, len(names) + len(extra)]
    arrays[COUNT] = count_variable([complete], periods, "dates with all bands")
    made = images(arrays, periods, cube.coords, cube.attrs)
    told = {**periods.told, **({} if weights is None else {"weights": "given"})}
    return schema.record(made, "geomedian", bands=names, deviations=deviations, **told)


def count(
    cube: xr.Dataset,
    *,
    bands: str | Iterable[str] | None = None,
    period: Period = None,
    months: Iterable[int] | None = None,
) -> xr.Dataset:
    """Return how many looks each pixel has, lazily: those with all bands.

    Parameters
    ----------
    cube, bands, period, months
        As for :func:`percentile`.

    Returns
    -------
    xarray.Dataset
        ``count``, int16, dims ``([time,] y, x)``.

    Examples
    --------
    >>> import s2cube
    >>> clear = s2cube.testing.simulate_cube(seed=1, bands=["red"]).s2.mask_clouds()
    >>> clear.s2.count(period="MS")["count"].dims
    ('time', 'y', 'x')
    """
    cube = schema.validate(cube)
    names = schema.pick_bands(cube, bands)
    periods = find_periods(schema.solar_days(cube), period, months)
    found = reduce_time(_complete, *(cube[band].data for band in names), groups=periods.groups, made=1)
    complete = count_variable([found[:, 0]], periods, "dates with all bands")
    made = images({COUNT: complete}, periods, cube.coords, cube.attrs)
    return schema.record(made, "count", bands=names, **periods.told)


def _percentiles(values: NDArray[np.float32], *, q: tuple[float, ...]) -> NDArray[np.float32]:
    found, seen = order.percentiles(values, q)
    return np.concatenate([found, seen[None].astype(np.float32)])


def _geomedian(
    *looks: NDArray[np.float32],
    deviations: bool,
    weights: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    values = np.stack(looks)
    found, seen = geomedians.geomedian(values, weights)
    parts = [found, seen[None].astype(np.float32)]
    if deviations:
        parts.insert(1, geomedians.deviations(values, found, weights))
    return np.concatenate(parts)


def _complete(*looks: NDArray[np.float32]) -> NDArray[np.float32]:
    number: NDArray[np.float32] = observed(*looks).sum(0, dtype=np.float32)[None]
    return number


def _weights(cube: xr.Dataset, weights: ArrayLike | xr.DataArray) -> NDArray[np.float32]:
    """Return one weight a look; a DataArray with times tells itself which look each is of."""
    steps = cube.sizes["time"]
    if isinstance(weights, xr.DataArray) and "time" in weights.indexes:
        try:
            weights = weights.sel(time=cube["time"])
        except KeyError:
            raise CubeError(
                "weights have other times than the cube: one is needed for each look."
            ) from None
    try:
        given = np.asarray(weights, dtype=np.float32)
    except (TypeError, ValueError):
        given = np.empty(0, np.float32)
    if given.shape != (steps,) or not np.isfinite(given).all() or (given < 0).any():
        raise CubeError(
            f"weights are {steps} finite numbers, one for each look and none negative; got {weights!r}."
        )
    return given
