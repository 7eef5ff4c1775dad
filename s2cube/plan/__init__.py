"""What will be done, before it is done: pure functions of shapes and settings."""

from s2cube.plan.regions import Region, regions_of

__all__ = ["Region", "regions_of"]
