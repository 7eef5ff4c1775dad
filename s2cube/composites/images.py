"""Images as Datasets: what reductions made, with names, coordinates and attributes."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.composites.periods import Periods
from s2cube.errors import CubeError

__all__ = ["COUNT", "check_q", "count_variable", "image", "images", "percentile_images"]

COUNT: Final = "count"


def check_q(q: float | Sequence[float]) -> tuple[float, ...]:
    """Return percentiles as numbers from 0 to 100, each once."""
    try:
        asked = tuple(float(value) for value in np.atleast_1d(np.asarray(q, dtype=np.float64)))
    except (TypeError, ValueError):
        asked = ()
    if not asked or len(set(asked)) < len(asked) or not all(0 <= value <= 100 for value in asked):
        raise CubeError(
            f"q are different percentiles from 0 to 100, such as 50 or (25, 50, 75); got {q!r}."
        )
    if 0 < max(asked) < 1:
        raise CubeError(
            "q are percentiles from 0 to 100, not quantiles from 0 to 1: say "
            f"{[100 * value for value in asked]} for {q!r}."
        )
    return asked


def image(data: Any, periods: Periods, attrs: dict[str, Any], *inner: str) -> xr.Variable:
    """Return an array of an image a period as a variable; without ``time`` where it is one image of all.

    Parameters
    ----------
    data
        Shape ``(periods, ..., y, x)``.
    inner
        Dimensions between.
    """
    dims = ("time", *inner, "y", "x")
    if not periods.coords:
        data, dims = data[0], dims[1:]
    return xr.Variable(dims, data, attrs, {"grid_mapping": schema.SPATIAL_REF})


def count_variable(data: Sequence[Any], periods: Periods, long_name: str) -> xr.Variable:
    """Return the fewest of some counts, ``int16``; each of shape ``(periods, y, x)``."""
    attrs = {"long_name": long_name, "standard_name": "number_of_observations", "units": "1"}
    return image(map_pixels(_fewest, *data, dtype=np.int16), periods, attrs)


def _fewest(*counts: NDArray[np.float32]) -> NDArray[np.int16]:
    fewest = counts[0]
    for other in counts[1:]:
        fewest = np.minimum(fewest, other)
    return fewest.astype(np.int16)


def images(
    arrays: Mapping[Hashable, xr.Variable],
    periods: Periods,
    coords: Mapping[Hashable, Any],
    attrs: Mapping[Hashable, Any],
) -> xr.Dataset:
    """Return images as a Dataset; of `coords`, those without ``time``."""
    still = {name: value for name, value in coords.items() if "time" not in value.dims}
    covered = dict(zip(("time_coverage_start", "time_coverage_end"), periods.span, strict=True))
    return xr.Dataset(dict(arrays), {**still, **periods.coords}, {**attrs, **covered})


def percentile_images(
    found: Mapping[str, Any],
    q: float | Sequence[float],
    periods: Periods,
    coords: Mapping[Hashable, Any],
    attrs: Mapping[Hashable, Any],
) -> xr.Dataset:
    """Return percentiles as a Dataset with ``count``.

    Parameters
    ----------
    found
        By band, shape ``(periods, q + 1, y, x)``: the percentiles, and last how many looks there were.
    q
        As the user gave it: a number gives no dimension.
    """
    asked, scalar = check_q(q), np.ndim(q) == 0
    arrays: dict[Hashable, xr.Variable] = {}
    for band, data in found.items():
        words = schema.band_attrs(band)
        if scalar:
            words["long_name"] = f"{_word(asked[0])} of {words['long_name']}"
        if asked == (50.0,):
            words["cell_methods"] = "time: median"
        inner = () if scalar else ("percentile",)
        arrays[band] = image(data[:, 0] if scalar else data[:, : len(asked)], periods, words, *inner)
    counts = [data[:, len(asked)] for data in found.values()]
    arrays[COUNT] = count_variable(counts, periods, "dates behind the values: of the bands, the fewest")
    made = images(arrays, periods, coords, attrs)
    if scalar:
        return made.assign_coords(percentile=np.float32(asked[0]))
    words = {"long_name": "percentile", "units": "percent"}
    ranks = xr.Variable("percentile", np.array(asked, np.float32), words)
    return made.assign_coords(percentile=ranks)


def _word(q: float) -> str:
    return "median" if q == 50 else f"percentile {q:g}"
