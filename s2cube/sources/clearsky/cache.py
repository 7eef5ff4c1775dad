"""Downloads on disk: each is made once, by one thread of one process, and kept.

Locks are the system's (``flock``): they vanish with the process that holds them, however it ends, so
nothing that is left behind blocks anyone. On Windows they hold within one process.
"""

import contextlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

__all__ = ["Cache", "Slot", "default_folder"]

STALE: Final = 3600.0
"""Seconds for which "there is no imagery" is believed. It costs nothing to hear again, and imagery
comes later; but within one computation each date should be missing everywhere or nowhere."""
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


class Slot:
    """One of the requests that may be in flight at a time."""

    def __init__(self, cache: "Cache", held: contextlib.ExitStack) -> None:
        self._cache = cache
        self._held = held

    def narrow(self) -> None:
        """Hold one slot more, if one is free, so that fewer requests are in flight."""
        for path in self._cache.slot_files():
            if (file := _try_lock(path)) is not None:
                self._held.callback(_unlock, file)
                return


@dataclass(frozen=True)
class Cache:
    """The downloads from one host."""

    folder: Path
    connections: int
    """Requests in flight at most, of all processes that share the folder."""

    def path(self, key: str) -> Path:
        """Return where the download `key` is, once it is there."""
        return self.folder / key[:2] / f"{key}.tif"

    def note(self, key: str) -> str:
        """Return why there is no download `key`: ``"missing"``, ``"area"``, ``"bands"``, else empty."""
        path = self._note(key)
        try:
            told = path.read_text()
            age = time.time() - path.stat().st_mtime
        except OSError:
            return ""
        return "" if told == "missing" and not 0 <= age < STALE else told

    def write_note(self, key: str, told: str) -> None:
        """Note why there is no download `key`: nothing is there, or it was split."""
        _put(self._note(key), lambda file: file.write(told.encode()))

    def _note(self, key: str) -> Path:
        return self.path(key).with_suffix(".note")

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Let one thread of one process at a time deal with the download `key`."""
        with _locked(self.folder / "locks" / key):
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
        for partial in path.parent.glob(f".{key}.*.partial"):
            partial.unlink(missing_ok=True)
        words = json.dumps(json.loads(identity), indent=1).encode()
        _put(path.with_suffix(".json"), lambda file: file.write(words))
        _put(path, lambda file: write(file, Path(file.name)))
        self._note(key).unlink(missing_ok=True)


def _put(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Put a file so that it is there whole or not at all, and stays when power fails."""
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

    path.parent.mkdir(parents=True, exist_ok=True)
    # Lock files stay: one that is removed can be locked twice, under its old and its new inode.
    file = open(path, "ab")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        _unlock(file)


def _try_lock(path: Path) -> IO[bytes] | None:
    """Return a file that holds the lock until it is unlocked; None where another holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "ab")  # noqa: SIM115
    if os.name != "nt":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
    return file


def _unlock(file: IO[bytes]) -> None:
    if os.name != "nt":
        import fcntl

        # Closing is not enough: a process forked meanwhile would go on holding the lock.
        fcntl.flock(file, fcntl.LOCK_UN)
    file.close()
