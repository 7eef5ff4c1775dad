"""From the name of a store to its target."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2cube.errors import StoreError
from s2cube.store.target.base import Target
from s2cube.store.target.folder import LocalTarget
from s2cube.store.target.s3 import S3Target

__all__ = ["open_target"]


def open_target(
    store: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
) -> Target:
    """Return the target that a user names.

    Parameters
    ----------
    store
        A path, or ``s3://bucket/prefix``.
    storage_options
        For object stores: see :func:`s2cube.write_daily`.

    Raises
    ------
    StoreError
        It is neither.
    """
    if not isinstance(store, (str, os.PathLike)) or not isinstance(os.fspath(store), str):
        raise StoreError(f"A store is a path or an address like s3://bucket/name, got {store!r}.")
    text = os.fspath(store)
    if text.startswith("s3://"):
        return S3Target.parse(text, storage_options or {})
    if "://" in text:
        kind = text.partition("://")[0]
        raise StoreError(
            f"Stores are in folders and at s3://bucket/name (any service that speaks S3), not at {kind}://."
        )
    if storage_options:
        raise StoreError(f"storage_options are for stores at s3://, {text} is a folder: leave them out.")
    path = Path(text).expanduser().absolute()
    if not path.name:
        raise StoreError(f"{path} cannot be a store: name a folder in it.")
    return LocalTarget(path)
