"""Gap filling: from clear looks to a value every day."""

from s2cube.gapfill.fill import check_method, fill_gaps

__all__ = ["check_method", "fill_gaps"]
