"""Measuring: how far from the truth the results are."""

from s2cube.evaluate.filling import evaluate_gap_filling

__all__ = ["evaluate_gap_filling"]
