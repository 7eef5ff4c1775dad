"""From the deviations that a method tells to intervals that hold what they promise.

Errors have heavy tails, and a deviation is right on average only: how many of them hold 68 or 95 % of
the errors was counted on hidden looks, by what was leant on and by days. Nothing of the cube at hand
goes in, so intervals depend on no other pixel.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError
from s2cube.schema import Provenance

__all__ = ["half_width", "interval_attrs", "levels_of", "name_of"]

NAMES: Final = {68: "{}_uncertainty", 95: "{}_uncertainty95"}
"""Variables by percent."""
EDGES: Final = (5, 10, 20, 40)
"""Days to the nearest clear look up to which a factor holds; the last holds beyond."""

_Factors = dict[Provenance, tuple[float, float, float, float, float]]
FACTORS: Final[dict[tuple[int, bool], _Factors]] = {
    (68, False): {
        Provenance.INTERPOLATED: (0.87, 0.88, 0.97, 0.96, 0.80),
        Provenance.EXTRAPOLATED: (1.60, 1.60, 1.60, 1.60, 1.60),
        Provenance.SAME_DATE: (0.96, 0.94, 0.96, 1.02, 1.02),
    },
    (95, False): {
        Provenance.INTERPOLATED: (2.55, 3.05, 3.30, 3.50, 3.50),
        Provenance.EXTRAPOLATED: (8.00, 8.00, 8.00, 8.00, 8.00),
        Provenance.SAME_DATE: (2.65, 2.50, 2.65, 2.75, 2.75),
    },
    (68, True): {
        Provenance.EXTRAPOLATED: (0.78, 0.77, 0.77, 0.76, 0.82),
        Provenance.SAME_DATE: (0.93, 0.90, 0.89, 1.00, 0.93),
    },
    (95, True): {
        Provenance.EXTRAPOLATED: (2.75, 2.35, 3.10, 2.40, 3.70),
        Provenance.SAME_DATE: (3.00, 2.75, 2.35, 3.00, 2.85),
    },
}
"""Deviations that hold a percentage of the errors: by it and whether causal; provenance; days."""


def levels_of(uncertainty: bool | int | Iterable[int]) -> tuple[int, ...]:
    """Return the percents that are asked for.

    Parameters
    ----------
    uncertainty
        See :func:`~s2cube.fill_gaps`.
    """
    if isinstance(uncertainty, (bool, np.bool_)):
        return (68,) if uncertainty else ()
    asked = tuple(uncertainty) if isinstance(uncertainty, Iterable) else (uncertainty,)
    if unknown := [level for level in asked if level not in NAMES]:
        known = " and ".join(map(str, NAMES))
        raise CubeError(f"uncertainty is True, False, or percents out of {known}; got {unknown[0]!r}.")
    return tuple(dict.fromkeys(int(level) for level in asked))


def name_of(band: str, level: int) -> str:
    """Return the name of the variable with the intervals of a band."""
    return NAMES[level].format(band)


def interval_attrs(band: str, level: int) -> dict[str, str]:
    """Return the CF attributes of that variable."""
    return {
        "long_name": f"half-width of the {level} % interval of {band} where it was filled",
        "units": "1",
        "comment": "0 where the value is a clear look itself, whose own noise is not told",
    }


def half_width(
    deviation: NDArray[np.float32],
    source: NDArray[np.uint8],
    age: NDArray[np.int16],
    *,
    level: int,
    causal: bool,
) -> NDArray[np.float32]:
    """Return half of the width of the interval that holds `level` percent of the errors.

    Parameters
    ----------
    deviation
        As the method tells it, in reflectance.
    source
        Provenance.
    age
        Days to the nearest clear look, as in ``clear_age``.
    level
        Percent.
    causal
        Whether the method leans on the past only.

    Returns
    -------
    numpy.ndarray
        ``float32``, of the shape of `deviation`; 0 where observed, NaN where never observed.
    """
    table = np.full((256, len(EDGES) + 1), np.nan, np.float32)
    for kind, factors in FACTORS[level, causal].items():
        table[kind] = factors
    # What other sensors moved has the intervals of time alone, which are no narrower.
    table[Provenance.OTHER_SENSOR] = table[
        Provenance.EXTRAPOLATED if causal else Provenance.INTERPOLATED
    ]
    table[Provenance.OBSERVED] = 0
    factor = table[source, np.searchsorted(EDGES, age)]
    # A look has no deviation, whatever the method says there.
    wide: NDArray[np.float32] = np.where(source == Provenance.OBSERVED, 0, deviation * factor)
    return wide
