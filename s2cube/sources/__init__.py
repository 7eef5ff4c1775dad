"""Where cubes come from."""

from s2cube.sources.period import period
from s2cube.sources.stac import open_stac

__all__ = ["open_stac", "period"]
