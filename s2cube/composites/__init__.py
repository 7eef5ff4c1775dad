"""Composites: one image from the looks of a period."""

from s2cube.composites.images import COUNT, check_q, percentile_images
from s2cube.composites.periods import SEASONS, Period, find_periods
from s2cube.composites.verbs import count, geomedian, median, percentile, percentile_planes

__all__ = [
    "COUNT",
    "SEASONS",
    "Period",
    "check_q",
    "count",
    "find_periods",
    "geomedian",
    "median",
    "percentile",
    "percentile_images",
    "percentile_planes",
]
