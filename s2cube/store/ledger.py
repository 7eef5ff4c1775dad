"""The ledger: what is there for sure.

While a store is being written, ``<store>.s2cube/`` beside it holds the future root and one mark a
region, each put after the region's files have settled. On publication the marks move into the store's
own ``ledger/`` group, and the root is put last: an unfinished store does not open.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Final

from s2cube.errors import StoreError
from s2cube.store.target import Target, is_safe

__all__ = ["LEDGER", "BlockStatus", "Facts", "Ledger", "Mark", "facts_of"]

LEDGER: Final = "ledger"
"""Name of the subgroup of a store that holds the marks, and that tells our stores from others."""
OBJECTS: Final = "objects"
"""Name of the group's attribute with size and CRC-32 of metadata and coordinates."""
ROOT: Final = "zarr.json"
GROUP: Final = f"{LEDGER}/zarr.json"
WAITING: Final = "root.json"
COMING: Final = "coming"
"""Name of the group's attribute with marks and objects for the root that is about to be put."""
APPEND: Final = "append/"
"""Where in the work folder all is that an append needs."""

Facts = tuple[int, int]
"""Size and CRC-32 of a file."""


class BlockStatus(IntEnum):
    """What a store holds of a region."""

    WRITTEN = 0
    NO_DATA = 1
    """Written, and no band has a value there."""
    FAILED = 2
    MISSING = 3


@dataclass(frozen=True)
class Mark:
    """What is known of one region: it is there, or it failed."""

    region: str
    recipe: str
    """Token of what made it."""
    files: Mapping[str, Facts | None]
    """Size and CRC-32 of every file, by path within the store; None where there is nothing but fill,
    of which Zarr keeps no file."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Values by provenance, looks that could not be read, values clamped on encoding."""
    version: str = ""
    """Of s2cube; recorded, never compared."""
    status: BlockStatus = BlockStatus.WRITTEN
    error: str = ""
    """Why it failed."""
    items: tuple[str, ...] = ()
    """Ids of the items it was made of, where they are known."""

    @classmethod
    def of_failure(cls, region: str, recipe: str, error: str, version: str) -> "Mark":
        """Return the mark of a region that could not be computed or written."""
        return cls(region, recipe, {}, {}, version, BlockStatus.FAILED, error)

    @property
    def there(self) -> bool:
        """Whether the region's files are to be there."""
        return self.status in (BlockStatus.WRITTEN, BlockStatus.NO_DATA)

    def as_json(self) -> dict[str, Any]:
        """Return the mark as plain JSON."""
        return {**asdict(self), "status": self.status.name.lower()}

    @classmethod
    def parse(cls, content: Any) -> "Mark | None":
        """Return the mark that JSON holds, None where it is damaged: its region is then redone.

        One whose files lie elsewhere than in the store is forged, and none.
        """
        try:
            files = {
                str(name): None if facts is None else (int(facts[0]), int(facts[1]))
                for name, facts in content["files"].items()
            }
            if not all(map(is_safe, files)) or not is_safe(content["region"]):
                return None
            return cls(
                content["region"],
                str(content["recipe"]),
                files,
                {str(name): int(value) for name, value in content["counts"].items()},
                str(content["version"]),
                BlockStatus[str(content.get("status", "written")).upper()],
                str(content.get("error", "")),
                tuple(map(str, content.get("items", ()))),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return None


def _json(content: bytes | None) -> Any:
    """Return what JSON says, None where there is none or it is damaged."""
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None


def _parsed(marks: Iterable[Any]) -> dict[str, Mark]:
    """Return what is sound of marks in JSON, by region; the last of several counts."""
    found = (Mark.parse(mark) for mark in marks)
    return {mark.region: mark for mark in found if mark is not None}


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


@dataclass(frozen=True)
class Ledger:
    """The ledger of the store at `store`."""

    store: Target
    marks_in: str = "marks/"
    """Where in the work folder the marks are of regions that are not published yet."""

    @property
    def work(self) -> Target:
        """Where marks, claims and the future root are while the store is unfinished."""
        return self.store.beside(".s2cube")

    @property
    def replaced(self) -> Target:
        """Where the store that is being overwritten waits until the new one is finished."""
        return self.store.beside(".s2cube/replaced")

    @property
    def published(self) -> bool:
        """Whether the store is finished."""
        return self.store.size(ROOT) is not None

    def _group(self) -> dict[str, Any] | None:
        """Return the attributes of the ledger's group, as they are for the root that is there."""
        content = _json(self.store.get(GROUP))
        attributes = content.get("attributes") if isinstance(content, dict) else None
        if not isinstance(attributes, dict):
            return None
        coming = attributes.get(COMING)
        if isinstance(coming, dict) and (root := self.store.get(ROOT)) is not None:
            known = coming.get(OBJECTS)
            if isinstance(known, dict) and known.get(ROOT) == list(facts_of(root)):
                return coming
        return attributes

    @property
    def ours(self) -> bool:
        """Whether a store that we have begun or finished is there; what others made has no ledger."""
        return LEDGER in (self._group() or {})

    def root(self) -> bytes | None:
        """Return the root, or the future one; None where there is neither."""
        return self.store.get(ROOT) or self.work.get(WAITING)

    def attributes(self) -> dict[str, Any] | None:
        """Return the attributes of the root, or of the future one; None where they cannot be had."""
        content = _json(self.root())
        attributes = content.get("attributes") if isinstance(content, dict) else None
        return attributes if isinstance(attributes, dict) else None

    def begin(self, objects: Mapping[str, bytes], root: bytes) -> None:
        """Put the arrays' metadata and coordinates, then the future root. Marks stay."""
        self.store.delete([ROOT])  # a damaged one
        facts = {name: facts_of(content) for name, content in objects.items() if name != GROUP}
        group = _json(objects[GROUP])
        marks = (self._group() or {}).get(LEDGER, [])
        group["attributes"] = {LEDGER: marks, OBJECTS: {**facts, ROOT: facts_of(root)}}
        # The ledger first: from now on this store is known to be ours.
        self.store.put(GROUP, _dumped(group))
        for name in facts:
            self.store.put(name, objects[name])
        self.work.put(WAITING, root)

    def objects(self) -> dict[str, Facts]:
        """Return size and CRC-32 of metadata and coordinates, by path within the store."""
        return _objects_in(self._group())

    def coming_objects(self) -> dict[str, Facts]:
        """Return the same of what is about to be published: in between, either may be there."""
        return _objects_in((self._group() or {}).get(COMING))

    def has_objects(self, arrays: Iterable[str]) -> bool:
        """Return whether metadata and coordinates are all there, with their sizes."""
        known = {name: facts[0] for name, facts in self.objects().items() if name != ROOT}
        names = [*known, *(f"{array}/zarr.json" for array in arrays)]
        sizes = self.store.sizes_of(dict.fromkeys(names))
        return all(size is not None and known.get(name, size) == size for name, size in sizes.items())

    def set_aside(self) -> None:
        """Move the store that is there out of the way; it is deleted when its successor is finished."""
        self.work.delete([*self.work.sizes(self.marks_in), *self.work.sizes(APPEND), WAITING])
        # Of several that were replaced in a row, the one that was finished is worth keeping.
        if self.published or self.replaced.vacant:
            self.replaced.delete_tree()
            if self.store.carry_to(self.replaced):
                return
        # Metadata first, so that half of it is not taken for a store; the ledger last, by which it is
        # known to be ours.
        files = sorted(self.store.sizes(), key=lambda name: (not name.endswith(ROOT), name))
        self.store.delete(name for name in files if name != GROUP)
        self.store.delete_tree()

    def reopen(self) -> None:
        """Take the root of a finished store away before parts of it are redone."""
        root = self.store.get(ROOT)
        if root is not None:
            self.work.put(WAITING, root)
            self.store.delete([ROOT])

    def marks(self) -> dict[str, Mark]:
        """Return the marks by region, those of a finished store included."""
        group = (self._group() or {}).get(LEDGER, [])
        return {**_parsed(group if isinstance(group, list) else []), **self.fresh_marks()}

    def fresh_marks(self) -> dict[str, Mark]:
        """Return the marks by region that are not published yet."""
        keys = [key for key in self.work.sizes(self.marks_in) if key.endswith(".json")]
        return _parsed(map(_json, self.work.get_all(keys).values()))

    def marks_of(self, regions: Iterable[str]) -> dict[str, Mark]:
        """Return the marks of some regions, for one who waits for them."""
        keys = {self._mark_key(region): region for region in regions}
        there = keys if len(keys) == 1 else self.work.sizes(self.marks_in)
        asked = [key for key in there if key in keys]
        found = _parsed(map(_json, self.work.get_all(asked).values()))
        if len(found) < len(keys) and self.published:  # then they have moved there
            return {name: mark for name, mark in self.marks().items() if self._mark_key(name) in keys}
        return found

    def _mark_key(self, region: str) -> str:
        return f"{self.marks_in}{region}.json"

    def holds(self, mark: Mark, sizes: Mapping[str, int | None] | None = None) -> bool:
        """Return whether every file of `mark` is there with its size.

        Parameters
        ----------
        mark
            Of a region that is written.
        sizes
            Of all files of the store; asked for where not given.
        """
        return self.has(mark.files, sizes)

    def has(
        self, files: Mapping[str, Facts | None], sizes: Mapping[str, int | None] | None = None
    ) -> bool:
        """Return the same of some files."""
        there = self.store.sizes_of(files) if sizes is None else sizes
        return all(there.get(name) == (facts[0] if facts else None) for name, facts in files.items())

    def mark(self, mark: Mark, written: Mapping[str, Facts | None] | None = None) -> Mark:
        """Make sure that the files of a region are there for good, then put its mark.

        Parameters
        ----------
        mark
            Of the region.
        written
            The files to be made sure of; by default all.

        Raises
        ------
        StoreError
            A file is not there any more, or has another size.
        """
        files = mark.files if written is None else written
        self.store.settle(name for name, facts in files.items() if facts)
        if not self.has(files):
            raise StoreError(
                f"Region {mark.region} of {self.store.name} was written and is gone, or has changed: "
                "does another program write or delete here?"
            )
        self.work.put(self._mark_key(mark.region), _dumped(mark.as_json()))
        return mark

    def forget(self, regions: Iterable[str], objects: Iterable[str] = ()) -> None:
        """Take marks away, so that their regions are redone; delete metadata that is damaged."""
        regions, objects = set(regions), list(objects)
        self.work.delete([self._mark_key(region) for region in regions])
        content = _json(self.store.get(GROUP))
        attributes = content["attributes"]
        lists = [attributes, *([attributes[COMING]] if COMING in attributes else [])]
        before = sum(len(one[LEDGER]) for one in lists)
        for one in lists:
            one[LEDGER] = [
                mark
                for mark in one[LEDGER]
                if not isinstance(mark, dict) or mark.get("region") not in regions
            ]
        if sum(len(one[LEDGER]) for one in lists) < before:
            self.store.put(GROUP, _dumped(content))
        self.store.delete([name for name in objects if name != ROOT])
        if ROOT in objects:
            self.store.delete([ROOT])
            self.work.delete([WAITING])

    def publish(self, marks: Iterable[Mark], failed: Iterable[str]) -> None:
        """Move the marks into the store, and put its root last.

        Parameters
        ----------
        marks
            Of all regions.
        failed
            Files of regions that failed: what is there of them is deleted, so that nothing is left but
            fill.
        """
        self.store.sweep()
        self.store.delete(failed)
        content = _json(self.store.get(GROUP))
        content["attributes"][LEDGER] = [mark.as_json() for mark in marks]
        self.store.put(GROUP, _dumped(content))
        if (root := self.work.get(WAITING)) is not None:
            self.store.put(ROOT, root)

    def clear(self) -> None:
        """Remove what only an unfinished store needs; others who are at work keep their claims."""
        self.work.delete([*self.work.sizes(self.marks_in), WAITING])
        self.replaced.delete_tree()
        self.work.tidy()


def facts_of(content: bytes) -> Facts:
    """Return size and CRC-32 of a file."""
    return len(content), zlib.crc32(content)


def _objects_in(group: Any) -> dict[str, Facts]:
    try:
        facts = {str(name): (int(one[0]), int(one[1])) for name, one in group[OBJECTS].items()}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return {}
    return facts if all(map(is_safe, facts)) else {}
