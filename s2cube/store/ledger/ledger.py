"""The ledger: what is there for sure.

While a store is being written, ``<store>.s2cube/`` beside it holds the future root and one mark a
region, each put after the region's files have settled. On publication the marks are packed into one
array of the store's own ``ledger/`` group, and the root is put last: an unfinished store does not open.
The group itself stays small. It names that array and the regions that are not there, which is all that
a reader needs.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from s2cube.errors import StoreError
from s2cube.store.layout import ATTRIBUTE, LEDGER
from s2cube.store.ledger.marks import Mark, pack, unpack
from s2cube.store.target import ROOT, Facts, Target, facts_of, is_safe

__all__ = ["APPEND", "COMING", "GROUP", "LEDGER", "OBJECTS", "WAITING", "Ledger"]

OBJECTS: Final = "objects"
"""Name of the group's attribute with size and CRC-32 of metadata and coordinates."""
GROUP: Final = f"{LEDGER}/{ROOT}"
WAITING: Final = "root.json"
COMING: Final = "coming"
"""Name of the group's attribute with marks and objects for the root that is about to be put."""
APPEND: Final = "append/"
"""Where in the work folder all is that an append needs."""
_MARKS: Final = "marks"
"""What the group says of the marks: which array of the group they are in, ..."""
_FACTS: Final = "facts"
"""... its size and CRC-32, ..."""
_GAPS: Final = "gaps"
"""... and which regions are not there: failed, or found to be damaged since."""


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
        marks = (self._group() or {}).get(LEDGER, {})
        group["attributes"] = {LEDGER: marks, OBJECTS: {**facts, ROOT: facts_of(root)}}
        # The ledger first: from now on this store is known to be ours.
        self.store.put(GROUP, _dumped(group))
        for name in facts:
            self.store.put(name, objects[name])
        self.work.put(WAITING, root)

    def objects(self) -> dict[str, Facts]:
        """Return size and CRC-32 of metadata, coordinates and packed marks, by path within the store."""
        return _objects_in(self._group())

    def coming_objects(self) -> dict[str, Facts]:
        """Return the same of what is about to be published: in between, either may be there."""
        return _objects_in((self._group() or {}).get(COMING))

    def has_objects(self, arrays: Iterable[str]) -> bool:
        """Return whether metadata and coordinates are all there, with their sizes."""
        known = {name: facts[0] for name, facts in self.objects().items() if name != ROOT}
        names = [*known, *(f"{array}/{ROOT}" for array in arrays)]
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
        return {**self._packed_marks(), **self.fresh_marks()}

    def _packed_marks(self) -> dict[str, Mark]:
        told = _told(self._group())
        while name := _packed_in(told):
            content = self.store.get(name)
            again = told if content is not None else _told(self._group())
            if _packed_in(again) == name:
                found = unpack(content or b"")
                return {key: one for key, one in found.items() if not (one.there and key in told[_GAPS])}
            told = again  # published anew at this moment
        return {}

    def gaps(self, regions: Iterable[str]) -> list[str]:
        """Return which of the regions are not there in a finished store, without reading marks."""
        told = _told(self._group())
        return [name for name in regions if not told or name in told[_GAPS]]

    def put_packed(self, layout: Mapping[str, Any], marks: Iterable[Mark]) -> dict[str, Any]:
        """Put all marks of a store as one array; return what the group is to say of them."""
        marks = list(marks)
        chunk, metadata = pack(layout, marks)
        facts = facts_of(chunk)
        name = f"marks-{facts[1]:08x}"
        self.store.put(_chunk_of(name), chunk)
        self.store.put(f"{LEDGER}/{name}/{ROOT}", metadata)
        return {_MARKS: name, _FACTS: facts, _GAPS: [mark.region for mark in marks if not mark.there]}

    def sweep_packed(self) -> None:
        """Delete packed marks that the group does not name any more."""
        group = _json(self.store.get(GROUP))["attributes"]
        named = {_told(one).get(_MARKS) for one in (group, group.get(COMING))}
        there = {key.split("/")[1] for key in self.store.sizes(f"{LEDGER}/")}
        for name in there - named - {ROOT}:
            self.store.beside(f"/{LEDGER}/{name}").delete_tree()

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
        group = content["attributes"]
        told = [one for one in map(_told, (group, group.get(COMING))) if one]
        if any(regions - {*one[_GAPS]} for one in told):
            for one in told:
                one[_GAPS] = sorted({*one[_GAPS], *regions})
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
        root = self.work.get(WAITING)
        made = (_json(root) or {}).get("attributes", {}).get(ATTRIBUTE)
        if root is None or made is None:
            raise StoreError(
                f"{self.work.name} was removed or damaged while {self.store.name} was written: the same "
                "call does the rest."
            )
        self.store.sweep()
        self.store.delete(failed)
        content = _json(self.store.get(GROUP))
        content["attributes"][LEDGER] = self.put_packed(made["layout"], marks)
        self.store.put(GROUP, _dumped(content))
        self.sweep_packed()
        self.store.put(ROOT, root)

    def clear(self) -> None:
        """Remove what only an unfinished store needs; others who are at work keep their claims."""
        self.work.delete([*self.work.sizes(self.marks_in), WAITING])
        self.replaced.delete_tree()
        self.work.tidy()


def _told(group: Any) -> dict[str, Any]:
    """Return what the group says of the marks, nothing where they are not packed or it is damaged."""
    told = group.get(LEDGER) if isinstance(group, dict) else None
    if not isinstance(told, dict) or not isinstance(told.get(_GAPS), list):
        return {}
    return told if isinstance(told.get(_MARKS), str) else {}


def _packed_in(told: Mapping[str, Any]) -> str | None:
    """Return the path of the chunk with all marks; None where there is none, or it leads out."""
    path = _chunk_of(told.get(_MARKS, ""))
    return path if is_safe(path) else None


def _chunk_of(name: str) -> str:
    return f"{LEDGER}/{name}/c/0"


def _objects_in(group: Any) -> dict[str, Facts]:
    try:
        known = dict(group[OBJECTS])
        if packed := _packed_in(_told(group)):
            known[packed] = _told(group)[_FACTS]
        facts = {str(name): (int(one[0]), int(one[1])) for name, one in known.items()}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return {}
    return facts if all(map(is_safe, facts)) else {}
