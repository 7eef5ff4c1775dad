"""``Dataset.s2``: the verbs, bound to a cube. A method *is* the function of the same name."""

from collections.abc import Callable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import xarray as xr

from s2cube.composites import count, geomedian, median, percentile
from s2cube.emulate import to_l2a
from s2cube.evaluate import check_masks, check_offsets, evaluate_gap_filling
from s2cube.export import write_cogs
from s2cube.gapfill import fill_gaps
from s2cube.masks import clear_share, cloud_mask, mask_clouds
from s2cube.plan import explain
from s2cube.plot import plot_masks, plot_series, plot_true_color
from s2cube.report import report
from s2cube.schema import items, validate
from s2cube.store import append_daily, write_daily

P = ParamSpec("P")
R = TypeVar("R")


class _Verb(Generic[P, R]):
    """Binds a function to the cube of the accessor."""

    def __init__(self, function: Callable[Concatenate[xr.Dataset, P], R]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, accessor: None, owner: type) -> Callable[Concatenate[xr.Dataset, P], R]: ...
    @overload
    def __get__(self, accessor: "S2Accessor", owner: type) -> Callable[P, R]: ...
    def __get__(self, accessor: Any, owner: type) -> Any:
        if accessor is None:
            return self._function
        return MethodType(self._function, accessor._cube)


@xr.register_dataset_accessor("s2")
class S2Accessor:
    """The verbs of s2cube as methods of a cube."""

    def __init__(self, cube: xr.Dataset) -> None:
        self._cube = cube

    validate = _Verb(validate)
    items = _Verb(items)
    check_offsets = _Verb(check_offsets)
    check_masks = _Verb(check_masks)
    explain = _Verb(explain)
    clear_share = _Verb(clear_share)
    # Their **options could be called "cube", says mypy; no method has such an option.
    cloud_mask = _Verb(cloud_mask)  # type: ignore[arg-type]
    mask_clouds = _Verb(mask_clouds)  # type: ignore[arg-type]
    to_l2a = _Verb(to_l2a)
    percentile = _Verb(percentile)
    median = _Verb(median)
    geomedian = _Verb(geomedian)
    count = _Verb(count)
    fill_gaps = _Verb(fill_gaps)  # type: ignore[arg-type]
    evaluate_gap_filling = _Verb(evaluate_gap_filling)
    write_daily = _Verb(write_daily)
    append_daily = _Verb(append_daily)
    write_cogs = _Verb(write_cogs)
    report = _Verb(report)
    plot_true_color = _Verb(plot_true_color)
    plot_masks = _Verb(plot_masks)
    plot_series = _Verb(plot_series)
