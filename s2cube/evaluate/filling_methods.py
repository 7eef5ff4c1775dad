"""The methods that are measured: names, options, functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill import check_method, fill_gaps
from s2cube.models import ModelSpec

__all__ = ["Contender", "contenders"]


@dataclass(frozen=True)
class Contender:
    """A method as it takes part: one way, with its options."""

    label: str
    causal: bool
    method: Any
    """As :func:`~s2cube.fill_gaps` takes it; or, if `own`, a function that takes its place."""
    own: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return words for it."""
        return f"{self.label}, {'past only' if self.causal else 'two-sided'}"

    def fill(self, cube: xr.Dataset, days: NDArray[np.int32]) -> xr.Dataset:
        """Return `cube` filled at some days, held against what is needed of it."""
        dates = days.astype("datetime64[D]").astype("datetime64[ns]")
        if not self.own:
            return fill_gaps(cube, self.method, dates=dates, causal=self.causal, **self.options)
        filled = self.method(cube, dates=dates, causal=self.causal)
        if not isinstance(filled, xr.Dataset):
            raise CubeError(f"Method {self.label!r} returned a {type(filled).__name__}, not a Dataset.")
        wanted = {"time": len(days), "y": cube.sizes["y"], "x": cube.sizes["x"]}
        for band in schema.bands_of(cube):
            if band not in filled or dict(filled[band].sizes) != wanted:
                got = dict(filled[band].sizes) if band in filled else "nothing"
                raise CubeError(
                    f"Method {self.label!r} must return {band} with {wanted}, at the dates it is "
                    f"given; got {got}."
                )
        if not np.array_equal(filled["time"].values, dates):
            raise CubeError(f"Method {self.label!r} returned other dates than it was asked for.")
        return filled


def contenders(methods: Any, ways: Sequence[bool]) -> list[Contender]:
    """Return the methods to run, each in the ways that it can.

    Parameters
    ----------
    methods
        See :func:`~s2cube.evaluate_gap_filling`.
    ways
        Values of `causal` asked for.
    """
    if not ways:
        raise CubeError("causal is True, False or both; got none.")
    found = [one for label, given in _named(methods) for one in _ways(label, given, ways)]
    if not found:
        raise CubeError("No method to measure: methods is empty.")
    if len({(one.label, one.causal) for one in found}) < len(found):
        raise CubeError("Two methods have the same label: give them as a dict from labels.")
    return found


def _named(methods: Any) -> list[tuple[str, Any]]:
    if isinstance(methods, str) or callable(methods):
        methods = [methods]
    if isinstance(methods, Mapping):
        return [(str(label), given) for label, given in methods.items()]
    if not isinstance(methods, Iterable):
        raise CubeError(f"methods are names, functions, or a dict of them; got {methods!r}.")
    named = []
    for given in methods:
        if callable(given):
            named.append((str(getattr(given, "__name__", type(given).__name__)), given))
        elif isinstance(given, ModelSpec):
            named.append((given.name, given))
        else:
            named.append((given, None))
    return named


def _ways(label: Any, given: Any, ways: Sequence[bool]) -> list[Contender]:
    if callable(given):
        return [Contender(label, way, given, own=True) for way in ways]
    if isinstance(given, ModelSpec):
        given = {"method": given}
    options = dict(given or {})
    name = options.pop("method", label)
    can, cannot = [], []
    for way in ways:
        try:
            check_method(name, causal=way, **options)
        except CubeError as error:
            cannot.append((way, error))
        else:
            can.append(Contender(label, way, name, options=options))
    # What only cannot be causal is left out of that half; all else is a slip.
    if cannot and (not can or not all(way for way, _ in cannot)):
        raise cannot[0][1]
    return can
