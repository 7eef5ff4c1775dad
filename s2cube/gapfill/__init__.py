"""Gap filling: from clear looks to a value every day."""

from s2cube.gapfill.fill import fill_gaps
from s2cube.gapfill.fit import fit_gap_filler
from s2cube.gapfill.methods import DEFAULT, METHODS, check_method
from s2cube.gapfill.module import Filler

__all__ = ["DEFAULT", "METHODS", "Filler", "check_method", "fill_gaps", "fit_gap_filler"]
