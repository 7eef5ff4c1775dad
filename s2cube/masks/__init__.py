"""Cloud, shadow and snow masks: one face, several methods."""

from s2cube.masks.apply import mask_clouds
from s2cube.masks.method import cloud_mask

__all__ = ["cloud_mask", "mask_clouds"]
