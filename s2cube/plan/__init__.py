"""What will be done, before it is done: pure functions of shapes, settings and graphs."""

from s2cube.plan.explain import Explanation, explain
from s2cube.plan.regions import Region, regions_of

__all__ = ["Explanation", "Region", "explain", "regions_of"]
