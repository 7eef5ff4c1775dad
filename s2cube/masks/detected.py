"""What a method of masking returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Detected"]


@dataclass(frozen=True)
class Detected:
    """Arrays of shape ``(time, y, x)``, lazy where the cube is."""

    status: Any
    """``uint8``, flags of :class:`~s2cube.schema.Status`."""
    probability: Any | None = None
    """Of cloud, ``float32`` from 0 to 1, NaN where there is no look; None where the method has none."""
    told: Mapping[str, Any] | None = None
    """Options as ``history`` tells them; None where as they were given."""
