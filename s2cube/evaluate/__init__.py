"""Measuring: how far from the truth the results are, and whether what metadata say is true."""

from s2cube.evaluate.consistency import check_masks
from s2cube.evaluate.filling import evaluate_gap_filling
from s2cube.evaluate.filling_tables import compare_gap_filling, summarize_gap_filling
from s2cube.evaluate.ground import evaluate_l2a
from s2cube.evaluate.masks import evaluate_masks
from s2cube.evaluate.offsets import check_offsets
from s2cube.evaluate.seams import seam_score

__all__ = [
    "check_masks",
    "check_offsets",
    "compare_gap_filling",
    "evaluate_gap_filling",
    "evaluate_l2a",
    "evaluate_masks",
    "seam_score",
    "summarize_gap_filling",
]
