"""What a builder keeps beside a store, so that workers and later runs find it."""

import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from s2cube.store.target import LocalTarget, Target

__all__ = ["Kept"]


@dataclass(frozen=True)
class Kept:
    """A file beside a store, ``<store>.<name>``; it pickles, and finds the file on any worker."""

    store: Target
    name: str = ""

    def named(self, name: str) -> "Kept | None":
        """Return the file whose name begins so, None where there is none."""
        place, store = self.store.alone()
        for ending in (".parquet", ".json"):
            if place.size(f"{store}.{name}{ending}") is not None:
                return replace(self, name=name + ending)
        return None

    def put(self, path: Path, name: str) -> "Kept":
        """Keep a file under a name, with the ending that it has."""
        place, store = self.store.alone()
        place.put(f"{store}.{name}{path.suffix}", path.read_bytes())
        return replace(self, name=name + path.suffix)

    def here(self) -> Path:
        """Return the file as one of this machine: itself, or a copy that goes with the process."""
        place, store = self.store.alone()
        key = f"{store}.{self.name}"
        if isinstance(place, LocalTarget):
            return place.root / key
        content = place.get(key)
        if content is None:
            raise FileNotFoundError(f"{place.name}/{key} is gone: pass overwrite=True to begin anew.")
        copy = Path(_folder().name) / key
        copy.write_bytes(content)
        return copy


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="s2cube-")
