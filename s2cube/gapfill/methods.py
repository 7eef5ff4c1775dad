"""The methods of filling by name, and whether one can do what is asked."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from s2cube.errors import CubeError
from s2cube.gapfill import classical, windows
from s2cube.gapfill.intervals import levels_of
from s2cube.gapfill.series import Filled

__all__ = ["DEFAULT", "METHODS", "Method", "check_method"]

DEFAULT: Final = "linear"


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

    @property
    def options(self) -> list[str]:
        """Names of its options."""
        return list(inspect.signature(self.fill).parameters)[1:]


METHODS: Final = {
    "linear": Method(classical.linear, instead="last"),
    "last": Method(classical.last),
    "closest": Method(classical.closest, instead="last"),
    "median": Method(classical.median, smooths=True),
    "whittaker": Method(classical.whittaker, smooths=True),
    "harmonic": Method(classical.harmonic, smooths=True),
    "seasonal": Method(windows.seasonal, smooths=True, deviates=True),
    "similar": Method(windows.similar, smooths=True, deviates=True),
}


def check_method(
    method: str | None,
    *,
    causal: bool,
    smooth: bool = False,
    uncertainty: Any = False,
    **options: Any,
) -> str:
    """Return the name of a method that can do what is asked, the default's for None.

    Parameters
    ----------
    method
        A name of :data:`METHODS`.
    causal, smooth, uncertainty
        What is asked of it.
    options
        Of the method; their names only are looked at.
    """
    name = DEFAULT if method is None else method
    if not isinstance(name, str) or name not in METHODS:
        raise CubeError(f"Unknown filling method {name!r}; known: {', '.join(METHODS)}.")
    chosen = METHODS[name]
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
    if unknown := [option for option in options if option not in chosen.options]:
        has = f"its options are {', '.join(chosen.options)}" if chosen.options else "it has no options"
        raise CubeError(f"{name!r} has no option {', '.join(unknown)}; {has}.")
    return name
