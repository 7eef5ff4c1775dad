"""Whether compiled loops are there."""

from functools import cache
from importlib.util import find_spec
from types import ModuleType

__all__ = ["compiled"]


@cache
def compiled() -> ModuleType | None:
    """Return the module of compiled loops, or None without numba (the extra ``fast``).

    The numbers are the same with and without, to the rounding of float32; only time differs.
    """
    if find_spec("numba") is None:
        return None
    from s2cube.kernels import loops

    return loops
