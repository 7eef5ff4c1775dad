"""Measuring: how far from the truth the results are, and whether what metadata say is true."""

from s2cube.evaluate.filling import evaluate_gap_filling
from s2cube.evaluate.offsets import check_offsets

__all__ = ["check_offsets", "evaluate_gap_filling"]
