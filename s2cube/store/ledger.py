"""The ledger: what is on disk for sure.

While a store is being written, ``<store>.s2cube/`` beside it holds the future root and one mark a
region, each put after the region's bytes have reached the disk. On publication the marks move into
the store's own ``ledger/`` group, and the root is put last: an unfinished store does not open.
"""

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from s2cube.errors import StoreError
from s2cube.plan import Region

__all__ = ["Ledger", "Mark", "shard_files"]


@dataclass(frozen=True)
class Mark:
    """One region is on disk."""

    region: str
    recipe: str
    """Token of the recipe that made it."""
    files: Mapping[str, tuple[int, int] | None]
    """Size and CRC-32 of every file, by path within the store; None where zarr keeps no file because
    nothing but fill is in it."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Values by provenance, and how many were clamped on encoding."""
    version: str = ""
    """Of s2cube; recorded, never compared."""


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


def shard_files(region: Region, layout: Mapping[str, Any]) -> list[str]:
    """Return the files of a region, by path within the store."""
    days, (_, ny, nx) = layout["shape"][0], layout["shards"]
    nt = layout["shards"][0]
    return [
        f"{name}/c/{t}/{y}/{x}"
        for name in layout["variables"]
        for t in range(-(-days // nt))
        for y in range(region.y.start // ny, -(-region.y.stop // ny))
        for x in range(region.x.start // nx, -(-region.x.stop // nx))
    ]


@dataclass(frozen=True)
class Ledger:
    """The ledger of the store at `store`."""

    store: Path

    @property
    def folder(self) -> Path:
        """Where marks and the future root are while the store is unfinished."""
        return self.store.with_name(f"{self.store.name}.s2cube")

    @property
    def _root(self) -> Path:
        return self.store / "zarr.json"

    @property
    def published(self) -> bool:
        """Whether the store is finished."""
        return self._root.exists()

    def attributes(self) -> dict[str, Any] | None:
        """Return what the (future) root says of layout and recipe, None where there is no store."""
        for place in (self._root, self.folder / "root.json"):
            if place.exists():
                try:
                    content = json.loads(place.read_bytes())
                    return dict(content["attributes"])
                except (ValueError, KeyError, TypeError) as error:
                    raise StoreError(errno.EINVAL, f"{place} is not a Zarr root: {error}") from error
        return None

    def begin(self, objects: Mapping[str, bytes], root: bytes) -> None:
        """Put the arrays' metadata and coordinates, then the future root."""
        for name, content in objects.items():
            put(self.store / name, content)
        put(self.folder / "root.json", root)

    def marks(self) -> dict[str, Mark]:
        """Return the marks by region, those of a finished store included."""
        found: list[dict[str, Any]] = []
        if self.published:
            group = json.loads((self.store / "ledger" / "zarr.json").read_bytes())
            found = group["attributes"].get("marks", [])
        for path in sorted(self.folder.glob("marks/*.json")):
            found.append(json.loads(path.read_bytes()))
        return {
            mark["region"]: Mark(
                **{
                    **mark,
                    "files": {
                        name: tuple(facts) if facts else None for name, facts in mark["files"].items()
                    },
                }
            )
            for mark in found
        }

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

        Zarr would read a shard at the array's edge before it writes it, and fail on a torn one.
        """
        for name in files:
            (self.store / name).unlink(missing_ok=True)

    def mark(self, region: Region, files: Iterable[str], **facts: Any) -> Mark:
        """Bring the files of a region to the disk for good, then put its mark."""
        sums: dict[str, tuple[int, int] | None] = {}
        folders = set()
        for name in files:
            path = self.store / name
            if not path.exists():
                # A shard at the array's edge without any data: zarr keeps no file of it, whatever
                # `write_empty_chunks` says. The mark tells it apart from one that was lost.
                sums[name] = None
                continue
            with open(path, "rb") as file:
                content = file.read()
                os.fsync(file.fileno())
            sums[name] = (len(content), zlib.crc32(content))
            folders.add(path.parent)
        for folder in sorted(folders):
            _sync_folder(folder)
        mark = Mark(region=region.id, files=sums, **facts)
        put(self.folder / "marks" / f"{region.id}.json", json.dumps(asdict(mark)).encode())
        return mark

    def publish(self, marks: Iterable[Mark]) -> None:
        """Move the marks into the store, put its root last, and clear the work folder away."""
        group = json.loads((self.store / "ledger" / "zarr.json").read_bytes())
        group["attributes"]["marks"] = [asdict(mark) for mark in marks]
        put(self.store / "ledger" / "zarr.json", json.dumps(group).encode())
        waiting = self.folder / "root.json"
        if waiting.exists():
            put(self._root, waiting.read_bytes())
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove(self) -> None:
        """Delete the store and its work folder, the root first: half-deleted must not open."""
        self._root.unlink(missing_ok=True)
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
