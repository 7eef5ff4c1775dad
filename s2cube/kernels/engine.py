"""Whether compiled loops are there."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

__all__ = ["compiled"]


@cache
def compiled(name: str = "loops") -> ModuleType | None:
    """Return a module of compiled loops, or None without numba (the extra ``fast``).

    The numbers are the same with and without, to the rounding of float32; only time differs.
    """
    if find_spec("numba") is None:
        return None
    return import_module(f"s2cube.kernels.{name}")
