"""The methods of filling by name, and whether one can do what is asked."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from s2cube.errors import CubeError
from s2cube.gapfill import classical, windows
from s2cube.gapfill.intervals import levels_of
from s2cube.gapfill.module import Filler, check_filler, fill_by_module
from s2cube.gapfill.network import check_spec, fill_by_network
from s2cube.gapfill.series import Filled
from s2cube.models import ModelSpec

__all__ = ["DEFAULT", "METHODS", "NETWORK", "Method", "check_method", "find_method"]

DEFAULT: Final = "similar"
NETWORK: Final = "network"


@dataclass(frozen=True)
class Method:
    """One way to fill series."""

    fill: Callable[..., Filled]
    """``fill(series, **options)``, with a :class:`~s2cube.gapfill.series.Series`."""
    instead: str | None = None
    """What to use for causal filling, where this cannot be causal."""
    smooths: bool = False
    """Whether it has something else to give than a clear look where there is one."""
    deviates: bool = False
    """Whether it knows how far it may be off."""
    fuses: bool = False
    """Whether it can use other sensors."""

    @property
    def options(self) -> list[str]:
        """Names of its options."""
        given = getattr(self.fill, "keywords", {})
        names = list(inspect.signature(self.fill).parameters)[1:]
        return [name for name in names if name not in given]


METHODS: Final = {
    "linear": Method(classical.linear, instead="last"),
    "last": Method(classical.last),
    "closest": Method(classical.closest, instead="last"),
    "median": Method(classical.median, smooths=True),
    "whittaker": Method(classical.whittaker, smooths=True),
    "harmonic": Method(classical.harmonic, smooths=True),
    "seasonal": Method(windows.seasonal, smooths=True, deviates=True, fuses=True),
    "similar": Method(windows.similar, smooths=True, deviates=True, fuses=True),
}


def find_method(method: Any, *, causal: bool) -> tuple[str, Method]:
    """Return the name of a method, and what it is.

    Parameters
    ----------
    method
        A name of :data:`METHODS`, the spec of a fitted network, or a callable
        (:class:`~s2cube.gapfill.module.Filler`); None for the default.
    causal
        Whether it is to be.
    """
    if isinstance(method, ModelSpec) or (isinstance(method, str) and method == NETWORK):
        spec = check_spec(method, causal=causal)
        return NETWORK, Method(partial(fill_by_network, spec=spec), smooths=True, deviates=True)
    if callable(method):
        told = check_filler(method)
        return told.name, Method(partial(fill_by_module, told=told), smooths=True, deviates=True)
    name = DEFAULT if method is None else method
    if not isinstance(name, str) or name not in METHODS:
        raise CubeError(
            f"Unknown filling method {name!r}; known: {', '.join(METHODS)}, a network that "
            "fit_gap_filler() returned, or a callable of your own."
        )
    return name, METHODS[name]


def check_method(
    method: str | ModelSpec | Filler | None,
    *,
    causal: bool,
    smooth: bool = False,
    uncertainty: Any = False,
    extra: Any = None,
    **options: Any,
) -> tuple[str, Method]:
    """Return the name of a method that can do what is asked, the default's for None, and the method.

    Parameters
    ----------
    method
        See :func:`find_method`.
    causal, smooth, uncertainty
        What is asked of it.
    extra
        What it is given of other sensors, if anything.
    options
        Of the method; their names only are looked at.
    """
    for word, value in (("causal", causal), ("smooth", smooth)):
        if not isinstance(value, (bool, np.bool_)):
            raise CubeError(f"{word} is True or False, got {value!r}.")
    name, chosen = find_method(method, causal=causal)
    if causal and chosen.instead:
        raise CubeError(
            f"{name!r} needs the look after each gap, so it cannot be causal: use "
            f"method={chosen.instead!r}, or causal=False."
        )
    if smooth and not chosen.smooths:
        able = ", ".join(other for other, one in METHODS.items() if one.smooths)
        raise CubeError(f"{name!r} has only the looks themselves: smooth=True goes with {able}.")
    if levels_of(uncertainty) and not chosen.deviates:
        able = ", ".join(other for other, one in METHODS.items() if one.deviates)
        raise CubeError(f"{name!r} does not know how far it is off: uncertainty= goes with {able}.")
    if extra is not None and not chosen.fuses:
        able = ", ".join(other for other, one in METHODS.items() if one.fuses)
        raise CubeError(f"{name!r} has no use for other sensors: extra= goes with {able}.")
    if unknown := [option for option in options if option not in chosen.options]:
        has = f"its options are {', '.join(chosen.options)}" if chosen.options else "it has no options"
        raise CubeError(f"{name!r} has no option {', '.join(unknown)}; {has}.")
    return name, chosen
