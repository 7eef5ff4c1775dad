"""The ledger: what is on disk for sure.

While a store is being written, ``<store>.s2cube/`` beside it holds the future root and one mark a
region, each put after the region's bytes have reached the disk. On publication the marks move into
the store's own ``ledger/`` group, and the root is put last: an unfinished store does not open.
"""

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from s2cube.errors import StoreError

__all__ = ["LEDGER", "Ledger", "Mark"]

LEDGER: Final = "ledger"
"""Name of the subgroup of a store that holds the marks, and that tells our stores from others."""


@dataclass(frozen=True)
class Mark:
    """One region is on disk."""

    region: str
    recipe: str
    """Token of what made it."""
    files: Mapping[str, tuple[int, int] | None]
    """Size and CRC-32 of every file, by path within the store; None where there is nothing but fill,
    of which Zarr keeps no file."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Values by provenance, looks that could not be read, values clamped on encoding."""
    version: str = ""
    """Of s2cube; recorded, never compared."""

    @classmethod
    def parse(cls, content: Any) -> "Mark | None":
        """Return the mark that JSON holds, None where it is damaged: its region is then redone."""
        try:
            files = {
                str(name): None if facts is None else (int(facts[0]), int(facts[1]))
                for name, facts in content["files"].items()
            }
            counts = {str(name): int(value) for name, value in content["counts"].items()}
            return cls(
                str(content["region"]), str(content["recipe"]), files, counts, str(content["version"])
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return None


def put(path: Path, content: bytes) -> None:
    """Put a file so that it is there whole or not at all, and stays there when power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders, and needs no such call
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _json(path: Path) -> Any:
    """Return what a JSON file holds, None where there is none or it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


@dataclass(frozen=True)
class Ledger:
    """The ledger of the store at `store`."""

    store: Path

    @property
    def folder(self) -> Path:
        """Where marks and the future root are while the store is unfinished."""
        return self.store.with_name(f"{self.store.name}.s2cube")

    @property
    def replaced(self) -> Path:
        """Where the store that is being overwritten waits until the new one is finished."""
        return self.folder / "replaced"

    @property
    def _root(self) -> Path:
        return self.store / "zarr.json"

    @property
    def _waiting(self) -> Path:
        return self.folder / "root.json"

    @property
    def _group(self) -> Path:
        return self.store / LEDGER / "zarr.json"

    @property
    def published(self) -> bool:
        """Whether the store is finished."""
        return self._root.exists()

    @property
    def ours(self) -> bool:
        """Whether a store that we have begun or finished is there; what others made has no ledger."""
        content = _json(self._group)
        return isinstance(content, dict) and LEDGER in content.get("attributes", {})

    @property
    def vacant(self) -> bool:
        """Whether there is nothing at the store's path that could be lost."""
        if not os.path.lexists(self.store):
            return True
        return self.store.is_dir() and not any(self.store.iterdir())

    def attributes(self) -> dict[str, Any] | None:
        """Return the attributes of the root, or of the future one; None where there is neither."""
        content = _json(self._root if self.published else self._waiting)
        attributes = content.get("attributes") if isinstance(content, dict) else None
        return attributes if isinstance(attributes, dict) else None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs on this machine out; a run that dies lets go of it.

        Raises
        ------
        StoreError
            Another run is writing this store.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "wb") as file:
            if os.name != "nt":
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise StoreError(
                        f"Another run is writing {self.store}: wait for it, or choose another path."
                    ) from None
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    (self.folder / "lock").unlink()
                    self.folder.rmdir()  # unless something is left to resume from

    def begin(self, objects: Mapping[str, bytes], root: bytes) -> None:
        """Put the arrays' metadata and coordinates, then the future root."""
        self._root.unlink(missing_ok=True)  # a damaged one
        # The ledger first: from now on this folder is known to be ours.
        for name in sorted(objects, key=lambda name: not name.startswith(LEDGER)):
            put(self.store / name, objects[name])
        put(self._waiting, root)

    def set_aside(self) -> None:
        """Move the store that is there out of the way; it is deleted when its successor is finished."""
        shutil.rmtree(self.folder / "marks", ignore_errors=True)
        self._waiting.unlink(missing_ok=True)
        # Of several that were replaced in a row, the one that was finished is worth keeping.
        if self.published or not self.replaced.exists():
            shutil.rmtree(self.replaced, ignore_errors=True)
            os.replace(self.store, self.replaced)
        else:
            shutil.rmtree(self.store)

    def reopen(self) -> None:
        """Take the root of a finished store away before parts of it are redone."""
        if self.published:
            put(self._waiting, self._root.read_bytes())
            self._root.unlink()
            _sync_folder(self.store)

    def marks(self) -> dict[str, Mark]:
        """Return the marks by region, those of a finished store included."""
        group = _json(self._group) or {}
        found = list(group.get("attributes", {}).get(LEDGER, []))
        found += [_json(path) for path in sorted(self.folder.glob("marks/*.json"))]
        marks = [mark for mark in map(Mark.parse, found) if mark is not None]
        return {mark.region: mark for mark in marks}

    def holds(self, mark: Mark) -> bool:
        """Return whether every file of `mark` is there with its size."""
        for name, facts in mark.files.items():
            path = self.store / name
            size = path.stat().st_size if path.is_file() else None
            if size != (facts[0] if facts else None):
                return False
        return True

    def clear(self, files: Iterable[str]) -> None:
        """Remove what an interrupted or damaged run has left of a region.

        Zarr would read a shard at the array's edge before it writes it, and fail on a torn one. It
        writes under a temporary name first, which a killed run leaves behind.
        """
        for name in files:
            path = self.store / name
            path.unlink(missing_ok=True)
            for partial in path.parent.glob(f"{path.name}.*.partial"):
                partial.unlink(missing_ok=True)

    def mark(self, region: str, files: Mapping[str, bool], **facts: Any) -> Mark:
        """Bring the files of a region to the disk for good, then put its mark.

        `files` says of each whether there are data in it. Zarr keeps no file of a shard at the
        array's edge that holds only fill; that one with data is missing is an error.
        """
        sums: dict[str, tuple[int, int] | None] = {}
        folders = set()
        for name, has_data in files.items():
            path = self.store / name
            if not path.exists():
                if has_data:
                    raise StoreError(
                        f"{path} was written and is gone: does another program delete here?"
                    )
                sums[name] = None
                continue
            with open(path, "rb") as file:
                content = file.read()
                os.fsync(file.fileno())
            sums[name] = (len(content), zlib.crc32(content))
            folders.add(path.parent)
        for folder in sorted(folders):
            _sync_folder(folder)
        mark = Mark(region=region, files=sums, **facts)
        put(self.folder / "marks" / f"{region}.json", json.dumps(asdict(mark)).encode())
        return mark

    def publish(self, marks: Iterable[Mark]) -> None:
        """Move the marks into the store, put its root last, and clear the work folder away."""
        for depth in ("", "*/"):
            for partial in self.store.glob(f"{depth}.*.partial"):  # of put(), in a killed run
                partial.unlink(missing_ok=True)
        group = json.loads(self._group.read_bytes())
        group["attributes"][LEDGER] = [asdict(mark) for mark in marks]
        put(self._group, json.dumps(group).encode())
        if self._waiting.exists():
            put(self._root, self._waiting.read_bytes())
        shutil.rmtree(self.folder, ignore_errors=True)
