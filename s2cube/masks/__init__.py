"""Cloud, shadow and snow masks: one face, several methods."""

from s2cube.masks.apply import mask_clouds
from s2cube.masks.combine import combine_masks, mask_agreement
from s2cube.masks.fit import fit_segmentation
from s2cube.masks.method import cloud_mask
from s2cube.masks.segmentation import Segmenter
from s2cube.masks.share import clear_share

__all__ = [
    "Segmenter",
    "clear_share",
    "cloud_mask",
    "combine_masks",
    "fit_segmentation",
    "mask_agreement",
    "mask_clouds",
]
