"""Cloud, shadow and snow masks: one face, several methods."""

from s2cube.masks.apply import mask_clouds
from s2cube.masks.combine import combine_masks, mask_agreement
from s2cube.masks.method import cloud_mask
from s2cube.masks.share import clear_share

__all__ = ["clear_share", "cloud_mask", "combine_masks", "mask_agreement", "mask_clouds"]
