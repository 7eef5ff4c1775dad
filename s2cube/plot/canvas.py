"""What all pictures are drawn on."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MISSING", "pyplot", "show"]

MISSING = (0.80, 0.80, 0.84)
"""Colour of missing pixels: a grey that no landscape has."""


def pyplot() -> Any:
    """Return ``matplotlib.pyplot``, or say how to get it."""
    try:
        import matplotlib.pyplot
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Pictures need matplotlib: install the extra, s2cube-ard[plot]."
        ) from error
    return matplotlib.pyplot


def show(axis: "Axes", image: np.ndarray) -> None:
    """Draw an image pixel by pixel, without ticks."""
    axis.imshow(image, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
