"""Dask's own bar, which draws itself in a terminal and in a notebook alike."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(wanted: bool, *, minimum: float = 0.5) -> AbstractContextManager[Any]:
    """Return what shows how far computing is, where that takes longer than `minimum` seconds."""
    from dask.diagnostics.progress import ProgressBar

    return ProgressBar(minimum=minimum) if wanted else nullcontext()
