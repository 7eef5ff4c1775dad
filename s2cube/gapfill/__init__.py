"""Gap filling: from clear looks to a value every day."""

from s2cube.gapfill.fill import fill_gaps

__all__ = ["fill_gaps"]
