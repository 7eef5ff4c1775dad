"""From level 1C to level 2A: what air and light have done to the ground's reflectance, undone."""

from s2cube.emulate.fit import fit_l2a
from s2cube.emulate.spec import L2ASpec
from s2cube.emulate.verb import to_l2a

__all__ = ["L2ASpec", "fit_l2a", "to_l2a"]
