"""Where a store can be: what the ledger needs of a folder, or of an object store."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

__all__ = ["AT_ONCE", "ROOT", "Content", "Facts", "Target", "facts_of", "is_safe"]

ROOT: Final = "zarr.json"
"""Zarr's metadata: of a store, and at the end of the paths of its arrays' and groups'."""

AT_ONCE: Final = 16
"""Requests at a time: they wait for a disk or a network, not for a core."""

Content = bytes | bytearray | memoryview
Facts = tuple[int, int]
"""Size and CRC-32 of a file."""


def facts_of(content: bytes) -> Facts:
    """Return size and CRC-32 of a file."""
    return len(content), zlib.crc32(content)


def is_safe(key: str) -> bool:
    """Return whether a key stays below the root that it is relative to."""
    return not {"", ".", ".."} & set(key.split("/")) and not set("\\:\0") & set(key)


class Target(ABC):
    """A tree of files or objects, by keys: paths with ``/``, relative to its root.

    It is pickled with the work, so it holds no connection. What fails raises StoreError, or an OSError
    of the file system.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Path or address, as it is shown to people and kept in ``history``."""

    @abstractmethod
    def beside(self, suffix: str) -> "Target":
        """Return the tree next to this one whose name has `suffix` at its end."""

    @abstractmethod
    def alone(self) -> tuple["Target", str]:
        """Return the tree that this one lies in, and its name there."""

    @abstractmethod
    def put(self, key: str, content: Content, *, settle: bool = True) -> None:
        """Put an object, whole or not at all; with `settle`, for good, also when power fails."""

    @abstractmethod
    def create(self, key: str, content: bytes) -> bool:
        """Put an object where there is none; return whether there was none."""

    @abstractmethod
    def swap(self, key: str, seen: bytes, content: bytes) -> bool:
        """Replace an object if it still holds what was `seen`; of several that try, one succeeds."""

    @abstractmethod
    def settle(self, keys: Iterable[str]) -> None:
        """Make sure that objects put without `settle` stay when power fails."""

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the size of an object, None where there is none."""

    @abstractmethod
    def modified(self, key: str) -> float | None:
        """Return when an object was put, in seconds by the clock of whoever keeps it."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the sizes of all objects, or of those in one folder (``"marks/"``)."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are none."""

    @abstractmethod
    def delete_tree(self) -> None:
        """Delete everything below the root, and the root."""

    @abstractmethod
    def carry_to(self, other: "Target") -> bool:
        """Bring everything to another root of the same kind, where there is nothing.

        Returns whether it has left here; an object store can only copy.
        """

    @property
    @abstractmethod
    def vacant(self) -> bool:
        """Whether there is nothing at the root that could be lost."""

    @abstractmethod
    def array_store(self, *, read_only: bool) -> Any:
        """Return Zarr's store for this tree."""

    def hold(self, key: str) -> AbstractContextManager[None]:
        """Show :meth:`held` that this process lives, until the end of the block or of the process."""
        del key
        return nullcontext()

    def held(self, key: str) -> bool | None:
        """Return whether the process that holds `key` lives; None where this cannot be told."""
        del key
        return None

    def sweep(self) -> None:  # noqa: B027 - a service has nothing to sweep
        """Remove what writers that were killed have left half-written, where there is such a thing."""

    def tidy(self) -> None:  # noqa: B027
        """Remove what is empty, where there is such a thing."""

    def sizes_of(self, keys: Iterable[str]) -> dict[str, int | None]:
        """Return the sizes of some objects."""
        return _gathered(self.size, keys)

    def get_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return some objects; one that is not there, or vanishes meanwhile, is left out."""
        found = _gathered(self.get, keys)
        return {key: content for key, content in found.items() if content is not None}


def _gathered(function: Any, keys: Iterable[str]) -> dict[str, Any]:
    keys = list(keys)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(keys, pool.map(function, keys), strict=True))
