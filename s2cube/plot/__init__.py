"""Pictures of cubes: frames, masks beside them, the series of a pixel; and the errors of filling."""

from s2cube.plot.canvas import MISSING, pyplot
from s2cube.plot.frames import plot_true_color
from s2cube.plot.masks import COLOURS, plot_masks
from s2cube.plot.scores import plot_gap_filling
from s2cube.plot.series import plot_series

__all__ = [
    "COLOURS",
    "MISSING",
    "plot_gap_filling",
    "plot_masks",
    "plot_series",
    "plot_true_color",
    "pyplot",
]
