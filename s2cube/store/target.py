"""Where a store can be: what the ledger needs of a folder, or of an object store."""

import contextlib
import os
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from s2cube.errors import StoreError

__all__ = ["LocalTarget", "Target", "is_safe", "open_target"]

AT_ONCE: Final = 16
"""Requests at a time: they wait for a disk or a network, not for a core."""

Content = bytes | bytearray | memoryview


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
        from s2cube.store.s3 import S3Target

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


@dataclass(frozen=True)
class LocalTarget(Target):
    """A folder on a disk, or mounted like one."""

    root: Path

    @property
    def name(self) -> str:
        """The absolute path."""
        return str(self.root)

    def beside(self, suffix: str) -> "LocalTarget":  # noqa: D102
        return LocalTarget(Path(f"{self.root}{suffix}"))

    def alone(self) -> tuple["LocalTarget", str]:  # noqa: D102
        return LocalTarget(self.root.parent), self.root.name

    def _path(self, key: str) -> Path:
        if not is_safe(key):
            raise StoreError(f"{key!r} leads out of {self.root}: what names it is damaged or forged.")
        return self.root / key

    def put(self, key: str, content: Content, *, settle: bool = True) -> None:  # noqa: D102
        path = self._path(key)

        def replace() -> None:
            with self._beside_first(path, content) as partial:
                os.replace(partial, path)
            if settle:
                _sync_folder(path.parent)

        _insisting(replace)

    @contextlib.contextmanager
    def _beside_first(self, path: Path, content: Content) -> Iterator[Path]:
        """Write under another name, on the disk for good; what is left of it at the end is removed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not the process's number, which another machine on the same disk may have too.
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def create(self, key: str, content: bytes) -> bool:  # noqa: D102
        path = self._path(key)

        def link() -> bool:
            with self._beside_first(path, content) as partial:
                try:
                    os.link(partial, path)
                except FileExistsError:
                    return False
                except OSError as error:
                    if isinstance(error, FileNotFoundError):
                        raise
                    # No links on this file system: for a moment the file is there without content.
                    try:
                        with open(path, "xb") as file:
                            file.write(content)
                    except FileExistsError:
                        return False
            _sync_folder(path.parent)
            return True

        return _insisting(link)

    def swap(self, key: str, seen: bytes, content: bytes) -> bool:  # noqa: D102
        path = self._path(key)
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            os.rename(path, aside)  # of several that try, one gets it
        except FileNotFoundError:
            return False
        found = aside.read_bytes()
        if found != seen:
            self.create(key, found)  # back again: it was another's, and newer
        aside.unlink()
        return found == seen and self.create(key, content)

    def settle(self, keys: Iterable[str]) -> None:  # noqa: D102
        folders = {above for key in keys for above in self._path(key).parents}
        for folder in sorted(folders):
            if folder.is_relative_to(self.root):
                _sync_folder(folder)

    def get(self, key: str) -> bytes | None:  # noqa: D102
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def size(self, key: str) -> int | None:  # noqa: D102
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

    def modified(self, key: str) -> float | None:  # noqa: D102
        try:
            return self._path(key).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sizes(self, prefix: str = "") -> dict[str, int]:  # noqa: D102
        found = {}
        for folder, _, files in os.walk(self.root / prefix):
            for file in files:
                path = Path(folder, file)
                with contextlib.suppress(FileNotFoundError):
                    found[path.relative_to(self.root).as_posix()] = path.stat().st_size
        return {key: size for key, size in found.items() if is_safe(key)}

    def sizes_of(self, keys: Iterable[str]) -> dict[str, int | None]:  # noqa: D102
        return {key: self.size(key) for key in keys}

    def delete(self, keys: Iterable[str]) -> None:  # noqa: D102
        folders = set()
        for key in keys:
            path = self._path(key)
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in sorted(folder for folder in folders if folder.is_dir()):
            _sync_folder(folder)

    def delete_tree(self) -> None:  # noqa: D102
        shutil.rmtree(self.root, ignore_errors=True)

    def carry_to(self, other: Target) -> bool:  # noqa: D102
        assert isinstance(other, LocalTarget)
        other.root.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.root, other.root)
        return True

    @property
    def vacant(self) -> bool:
        """Whether there is nothing at the path, or an empty folder."""
        if not os.path.lexists(self.root):
            return True
        return self.root.is_dir() and not any(self.root.iterdir())

    def array_store(self, *, read_only: bool) -> Any:  # noqa: D102
        from zarr.storage import LocalStore

        return LocalStore(self.root, read_only=read_only)

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:  # noqa: D102
        path = self._path(key)

        def opened() -> BinaryIO:
            path.parent.mkdir(parents=True, exist_ok=True)
            return open(path, "wb")

        with _insisting(opened) as file:
            if os.name != "nt":
                import fcntl

                with contextlib.suppress(OSError):  # a file system without locks: held() cannot tell
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def held(self, key: str) -> bool | None:  # noqa: D102
        if os.name == "nt":
            return None
        import fcntl

        try:
            with open(self._path(key), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        return False

    def sweep(self) -> None:  # noqa: D102
        for partial in self.root.rglob("*.partial"):
            partial.unlink(missing_ok=True)

    def tidy(self) -> None:  # noqa: D102
        for folder, _, _ in os.walk(self.root, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)  # unless something is in it


T = TypeVar("T")


def _insisting(action: Callable[[], T]) -> T:
    """Do it again where another run has cleared away the folder at this moment."""
    for _ in range(5):
        with contextlib.suppress(FileNotFoundError):
            return action()
    return action()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders, and needs no such call
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
