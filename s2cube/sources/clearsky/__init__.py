"""Cloudless daily imagery of ClearSKY Vision, which costs: each download is made once."""

from s2cube.sources.clearsky.cube import open_clearsky
from s2cube.sources.clearsky.estimate import ClearSkyEstimate, estimate_clearsky

__all__ = ["ClearSkyEstimate", "estimate_clearsky", "open_clearsky"]
