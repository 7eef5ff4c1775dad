"""Downloads on disk: each is made once, by one thread of one process, and kept.

Locks are the system's (``flock``): they vanish with the process that holds them, however it ends, so
nothing that is left behind blocks anyone. On Windows they hold within one process.
"""

import contextlib
import json
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from s2cube.errors import ReadError, ServiceError, StoreError

__all__ = ["Cache", "Note", "Slot", "default_folder"]

LIFETIMES: Final = {"missing": 3600.0, "failed": 86400.0, "unwritten": 86400.0}
"""Seconds for which a note is believed. That there is no imagery costs nothing to hear again, and
imagery comes later; but within one computation each date should be missing everywhere or nowhere. What
may have been counted and did not come is not to be paid again by whatever runs over it."""
_POLL: Final = 0.05
_windows = threading.RLock()


def default_folder() -> Path:
    """Return the folder for downloads of this user, as the system wants it."""
    home = Path.home()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or home / ".cache"
    return Path(base) / "s2cube" / "clearsky"


@dataclass(frozen=True)
class Note:
    """Why there is no file."""

    kind: str
    """``"missing"`` (no imagery), ``"area"`` or ``"bands"`` (split by them), ``"failed"`` (counted,
    perhaps, and not come), ``"unwritten"`` (come, and not written)."""
    text: str = ""
    """The account that has no imagery, or how it failed."""
    age: float = 0.0
    """Seconds since then."""

    def holds(self, account: str) -> bool:
        """Return whether nothing is to be asked because of it."""
        mine = self.kind != "missing" or self.text == account
        return mine and 0 <= self.age < LIFETIMES.get(self.kind, float("inf"))


class Slot:
    """One of the requests that may be in flight at a time."""

    def __init__(self, cache: "Cache", held: contextlib.ExitStack) -> None:
        self._cache = cache
        self._held = held
        self._width = 1

    def narrow(self) -> None:
        """Hold twice as many slots, all in the end: then nothing else is in flight.

        What it holds is let go first, and slots are taken in one order: so two that want several wait
        for each other in turn, and not for ever.
        """
        self._held.close()
        slots = self._cache.slot_files()
        self._width = min(2 * self._width, len(slots))
        for path in slots[: self._width]:
            self._held.enter_context(_locked(path))


@dataclass(frozen=True)
class Cache:
    """The downloads from one service."""

    folder: Path
    connections: int
    """Requests in flight at most, of all processes that share the folder."""

    def path(self, key: str) -> Path:
        """Return where the download `key` is, once it is there."""
        return self.folder / f"{key}.tif"

    def kin(self, key: str) -> Iterator[tuple[Any, Path]]:
        """Yield what differs from `key` in area and bands only: what was asked for, and its file."""
        for told in sorted(self.path(key).parent.glob("*.json")):
            if (path := told.with_suffix(".tif")).exists():
                # Else somebody wrote, or removed, it meanwhile.
                with contextlib.suppress(OSError, ValueError):
                    yield json.loads(told.read_bytes()), path

    def note(self, key: str) -> Note | None:
        """Return why there is no download `key`, of whatever age; None if nothing is known."""
        path = self.note_file(key)
        try:
            told = json.loads(path.read_bytes())
            return Note(str(told["kind"]), str(told["text"]), time.time() - path.stat().st_mtime)
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def write_note(self, key: str, note: Note) -> None:
        """Note why there is no download `key`."""
        words = json.dumps({"kind": note.kind, "text": note.text}, indent=1).encode()
        _put(self.note_file(key), lambda file: file.write(words))

    def note_file(self, key: str) -> Path:
        """Return where such a note is."""
        return self.path(key).with_suffix(".note")

    def check_room(self, size: int) -> None:
        """Raise where the disk has no room for a download of at most `size` bytes."""
        with _ours(self.folder):
            free = shutil.disk_usage(self.folder).free
        if free < size:
            raise StoreError(
                f"A download may take {size / 1e6:.0f} MB, and the folder for ClearSKY's downloads, "
                f"{self.folder}, has room for {free / 1e6:.0f} MB. It was not asked for: make room, or "
                "give another folder as cache=."
            )

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Let one thread of one process at a time deal with the download `key`."""
        with _locked((self.folder / "locks" / key).with_suffix(".lock")):
            yield

    @contextlib.contextmanager
    def slot(self) -> Iterator[Slot]:
        """Wait until a request may be in flight."""
        with contextlib.ExitStack() as held:
            while True:
                for path in self.slot_files():
                    if (file := _try_lock(path)) is not None:
                        held.callback(_unlock, file)
                        yield Slot(self, held)
                        return
                time.sleep(_POLL * random.uniform(0.5, 1.5))  # noqa: S311

    def slot_files(self) -> list[Path]:
        """Return the lock files of the slots."""
        return [self.folder / "slots" / str(number) for number in range(self.connections)]

    def put(self, key: str, identity: str, write: Callable[[IO[bytes], Path], None]) -> None:
        """Put the download `key`, whole or not at all; its lock must be held.

        Parameters
        ----------
        identity
            What was asked for, kept beside it for who looks into the folder.
        write
            ``write(file, path)`` brings the bytes; what it raises leaves nothing behind.
        """
        path = self.path(key)
        # Who left these was killed: the lock is ours.
        with _ours(path):
            for partial in path.parent.glob(f".{path.stem}.*.partial"):
                partial.unlink(missing_ok=True)
        words = json.dumps(json.loads(identity), indent=1).encode()
        _put(path.with_suffix(".json"), lambda file: file.write(words))
        _put(path, lambda file: write(file, Path(file.name)))
        with _ours(path):
            self.note_file(key).unlink(missing_ok=True)


@contextlib.contextmanager
def _ours(path: Path) -> Iterator[None]:
    """Let what fails on our own disk come out as such: no fault of the service's, and not repeated."""
    try:
        yield
    except (ReadError, ServiceError, StoreError):
        raise  # of what is done meanwhile; these are OSErrors too
    except OSError as error:
        raise StoreError(
            f"The folder for ClearSKY's downloads cannot be used: {path} ({error.strerror or error}). "
            "Give one that can be written, with room, on a disk that knows file locks, as cache=."
        ) from None


def _put(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Put a file so that it is there whole or not at all, and stays when power fails."""
    with _ours(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
        try:
            with open(partial, "w+b") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        if os.name != "nt":  # Windows cannot open folders, and needs no such call
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if os.name == "nt":
        with _windows:
            yield
        return
    import fcntl

    # Lock files stay: one that is removed can be locked twice, under its old and its new inode.
    with _ours(path):
        file = _opened(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            file.close()
            raise
    try:
        yield
    finally:
        _unlock(file)


def _try_lock(path: Path) -> IO[bytes] | None:
    """Return a file that holds the lock until it is unlocked; None where another holds it."""
    with _ours(path):
        file = _opened(path)
        if os.name != "nt":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.close()
                if isinstance(error, BlockingIOError):
                    return None
                raise
        return file


def _opened(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return open(path, "ab")


def _unlock(file: IO[bytes]) -> None:
    if os.name != "nt":
        import fcntl

        # Closing is not enough: a process forked meanwhile would go on holding the lock.
        fcntl.flock(file, fcntl.LOCK_UN)
    file.close()
