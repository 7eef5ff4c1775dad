"""Stores in folders: whole files or none, also when power fails."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from s2cube.errors import StoreError
from s2cube.store.target.base import Content, Target, is_safe

__all__ = ["LocalTarget"]

T = TypeVar("T")


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
