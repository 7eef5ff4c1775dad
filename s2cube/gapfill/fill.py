"""``fill_gaps``: a value every day, with where it comes from."""

import warnings
from collections.abc import Hashable, Iterable
from typing import Any, Final

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.blocks import cut_alike, map_pixels, map_time
from s2cube.errors import CubeError
from s2cube.gapfill.dates import target_days
from s2cube.gapfill.extra import read_extra
from s2cube.gapfill.intervals import half_width, interval_attrs, levels_of, name_of
from s2cube.gapfill.methods import check_method
from s2cube.gapfill.module import Filler
from s2cube.gapfill.quantiles import width
from s2cube.gapfill.series import Filled, Series
from s2cube.kernels import fill
from s2cube.masks.needs import level_of
from s2cube.models import ModelSpec
from s2cube.models.run import AUTO, BatchSize
from s2cube.schema import CLEAR_AGE, FAILED_LOOKS, PROVENANCE, STATUS, Provenance

__all__ = ["fill_gaps"]

_OPENERS: Final = ("open_stac", "open_local")
"""Verbs whose cubes have their clouds."""


def fill_gaps(
    cube: xr.Dataset,
    method: str | ModelSpec | Filler | None = None,
    *,
    freq: str = "1D",
    dates: Any = None,
    causal: bool = False,
    smooth: bool = False,
    uncertainty: bool | int | Iterable[int] = False,
    extra: xr.Dataset | Iterable[xr.Dataset] | None = None,
    device: str = AUTO,
    batch_size: BatchSize = AUTO,
    **options: Any,
) -> xr.Dataset:
    """Fill the gaps of a masked cube, lazily: one value a pixel for every date asked for.

    A look counts where all bands of the cube have a value. Clear looks pass through untouched, unless
    `smooth`; of several on one solar day, the last. Pixels that were never seen clear stay missing.

    Parameters
    ----------
    cube
        A cube whose clouds are masked (:func:`s2cube.mask_clouds`).
    method
        ``"linear"``, in days between clear looks; ``"last"``, the last clear look; ``"closest"``, the
        nearest one; ``"median"`` of the clear looks around a day; ``"whittaker"``, Whittaker's smoother;
        ``"harmonic"``, a mean and annual harmonics; ``"seasonal"``, a Gaussian process around the
        seasons of the pixels around; ``"similar"``, the same corrected by the clear pixels of the date.
        A network that :func:`~s2cube.fit_gap_filler` returned (``ModelSpec.load(path)``), or one of your
        own: any callable, or ``torch.nn.Module``, that is a :class:`~s2cube.gapfill.Filler`.
        None is the library's choice, now ``"similar"``.
    freq
        Spacing of the dates, a pandas offset (``"1D"``, ``"5D"``, ``"MS"``), from the first to the
        last solar day of the cube.
    dates
        The very dates instead: anything :class:`pandas.DatetimeIndex` takes. At most 366 days before
        the first or after the last look. Looks outside of them still help to fill, so open the cube
        some weeks longer at both ends than the period you want.
    causal
        Whether a value may lean only on looks up to its date: nothing that happens later changes
        it. Before its first clear look a pixel is then missing. ``"linear"`` and ``"closest"``
        cannot be.
    smooth
        Whether estimates replace clear looks too; not for ``"linear"``, ``"last"`` and ``"closest"``.
    uncertainty
        Whether to tell how far filled values may be off: ``<band>_uncertainty``, half of the width of
        the interval that holds 68 % of the errors. ``(68, 95)`` gives ``<band>_uncertainty95`` too. For
        ``"seasonal"`` and ``"similar"``, networks, and callables that tell it.
    extra
        What other sensors saw: a Dataset, or several, on the cube's grid, with dimensions
        ``(time, y, x)``, any dates, and variables of any units, float with NaN where missing: radar (in
        dB or linear), another camera with its clouds masked. It changes values in gaps, within 15 days
        of its looks, and only where it lowered the errors of looks that were hidden in the same window.
        For ``"seasonal"`` and ``"similar"``.
    device
        For a network: one of PyTorch's; ``"auto"``: a GPU where the process that computes has one.
    batch_size
        For a network: windows that go at once; ``"auto"``: what fits the device's memory, on the
        processor and for a callable one.
    options
        Of the method. ``"median"``: ``window`` (days on each side, 25). ``"whittaker"``: ``order`` (2;
        1 when causal), ``smoothness`` (1000; 3 for order 1), ``slope_days`` (25; order 2 only: how long
        a slope lasts in a gap, None for ever), ``robust`` (looks far off get less weight; not when
        causal). ``"harmonic"``: ``harmonics`` (3 waves a year), ``ridge`` (1 look).

    Returns
    -------
    xarray.Dataset
        The bands at 00:00 of the dates; ``provenance`` (uint8,
        :class:`~s2cube.schema.Provenance`: observed, interpolated between two clear looks,
        extrapolated beyond the last one the method leans on, predicted from other pixels of the same
        date, moved by 0.005 or more by another sensor, never observed) and ``clear_age`` (int16, days to
        the nearest clear look of the pixel leant on, -32768 for none); with `uncertainty`, half-widths
        of intervals by band (float32, 0 where observed). Where the cube has ``status``, also
        ``failed_looks`` (uint16, dims ``(y, x)``): looks that could not be read, and were filled like
        clouds.

    Raises
    ------
    CubeError
        Unknown method, option or frequency, dates unsorted, empty or far outside, `causal` or `smooth`
        with a method that cannot, `uncertainty` of a method that does not know it, `extra` with a method
        that has no use for it, on another grid, or no series of floats; a cube that is filled already; a
        network that was fitted for other bands, another level or the other way, or when causal one that
        learnt from looks after the first date.
    ImportError
        A network without the extra ``torch``.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear", freq="1D")
    >>> bool(daily["B04"].notnull().all())
    True
    """
    levels = levels_of(uncertainty)
    asked = {"device": device, "batch_size": batch_size}
    run = {key: value for key, value in asked.items() if value != AUTO}
    name, chosen = check_method(
        method, causal=causal, smooth=smooth, uncertainty=levels, extra=extra, **options, **run
    )
    cube = schema.validate(cube)
    if PROVENANCE in cube:
        raise CubeError(
            "The cube is filled already (it has 'provenance'): filling it again would call filled "
            "values observed. Fill the masked cube."
        )
    past = str(cube.attrs.get("history", ""))
    if any(f"{verb}(" in past for verb in _OPENERS) and "mask_clouds(" not in past:
        warnings.warn(
            "The cube was opened and its clouds were not masked: they are filled as if they were clear "
            "looks. Call mask_clouds() first, with a method or with a mask of your own.",
            UserWarning,
            stacklevel=2,
        )
    days = schema.solar_days(cube)
    targets = target_days(days, freq, dates)
    bands = {band: cube[band].data for band in schema.bands_of(cube)}
    valid = map_pixels(fill.observed, *bands.values(), dtype=np.bool_)
    origin = schema.first_pixel(schema.geobox_of(cube))
    sensors = read_extra(extra, cube)
    series = Series(
        bands, valid, days, targets, bool(causal), bool(smooth), bool(levels), origin, level_of(cube),
        sensors,
    )  # fmt: skip
    filled = chosen.fill(series, **options, **run)
    arrays = _variables(cube, series, filled, levels)
    coords = {key: value for key, value in cube.coords.items() if "time" not in value.dims}
    times = targets.astype("datetime64[D]").astype("datetime64[ns]")
    result = xr.Dataset(arrays, {**coords, "time": ("time", times)}, cube.attrs)
    first, last = (time.astype("datetime64[D]") for time in (times[0], times[-1]))
    how = {**options, **({"smooth": True} if smooth else {})}
    if sensors:
        how["extra"] = [list(one.names) for one in sensors]
    if isinstance(method, ModelSpec):
        how["model"] = method.described()
    return schema.record(
        result,
        "fill_gaps",
        method=name,
        causal=causal,
        dates=f"{len(targets)} from {first} to {last}",
        **how,
    )


def _variables(
    cube: xr.Dataset, series: Series, filled: Filled, levels: tuple[int, ...]
) -> dict[Hashable, xr.Variable]:
    """Return the variables of the filled cube."""
    arrays: dict[Hashable, xr.Variable] = {
        band: schema.variable(data, cube[band].attrs) for band, data in filled.bands.items()
    }
    source, age = _whence(series, filled)
    arrays[PROVENANCE] = schema.variable(
        source, schema.flag_attrs(Provenance, "where the value comes from")
    )
    arrays[CLEAR_AGE] = schema.variable(
        age,
        # No `units` and no `missing_value`: xarray would decode them to timedelta and to float.
        {"long_name": "days to the nearest clear look", "comment": "-32768 where there is none"},
    )
    if STATUS in cube:
        failed = map_time(fill.failed_looks, cube[STATUS].data, length=1, dtype=np.uint16)
        attrs = {"long_name": "looks at the pixel that could not be read"}
        arrays[FAILED_LOOKS] = schema.variable(cut_alike(failed, source), attrs)[0]
    for band, deviation in (filled.deviation or {}).items():
        told = (deviation, source, age)
        for level in levels:
            if filled.factors is None:
                wide = map_pixels(half_width, *told, dtype=np.float32, level=level, causal=series.causal)
            else:
                wide = map_pixels(width, *told, dtype=np.float32, factors=filled.factors[level])
            arrays[name_of(band, level)] = schema.variable(wide, interval_attrs(band, level))
    return arrays


def _whence(series: Series, filled: Filled) -> tuple[Any, Any]:
    """Return where each value comes from, and the days to the nearest clear look that it leans on."""
    told: dict[str, Any] = {
        "length": len(series.targets),
        "days": series.days,
        "targets": series.targets,
        "reach": series.reach,
        "between": int(filled.between),
    }
    source = filled.source
    if source is None:
        on_look = filled.between if series.smooth else Provenance.OBSERVED
        source = map_time(fill.provenance, series.valid, dtype=np.uint8, **told, on_look=int(on_look))
    age = map_time(fill.clear_age, series.valid, dtype=np.int16, **told)
    # Methods have blocks of their own, and those of one cube must fit together.
    return source, cut_alike(age, source)
