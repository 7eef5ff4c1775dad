"""Believable cubes and stand-in services: for documentation, tests and benchmarks, yours too."""

from s2cube.testing.simulate import simulate_cube

__all__ = ["simulate_cube"]
