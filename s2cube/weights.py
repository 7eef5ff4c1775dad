"""Weights in the package: files of plain arrays, known by their checksum."""

import hashlib
import threading
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import ReadError

__all__ = ["pack", "read"]

_LOCK: Final = threading.Lock()


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the file that holds some arrays: ``.npz``, no code."""
    out = BytesIO()
    # NumPy 2.0 would take allow_pickle= for an array; numbers are never pickled.
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


@cache
def read(package: str, file: str, sha256: str) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a file in a package; read once a process.

    Raises
    ------
    ReadError
        It is another file than the one that `sha256` names.
    """
    data = files(package).joinpath(file).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ReadError(
            f"{file} of {package} is not the file that the work was begun with (sha256 {found}, not "
            f"{sha256}): install one version of s2cube-ard on all machines."
        )
    # Tasks begin together, and numpy parses each array's header as Python: of two threads doing so at
    # once, one may fail in CPython 3.11 ("AST constructor recursion depth mismatch").
    with _LOCK, np.load(BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)
