"""What runs on PyTorch: the only room that imports it, and only when something is computed."""

from s2cube.models.spec import ModelSpec

__all__ = ["ModelSpec"]
