"""Gap filling: from clear looks to a value every day."""

from s2cube.gapfill.fill import fill_gaps
from s2cube.gapfill.methods import METHODS, check_method

__all__ = ["METHODS", "check_method", "fill_gaps"]
