"""What an append does in a region: new days behind those that a shard has already.

Each published shard that is replaced is first noted in the work folder: what it was and what it will
be, so that until the new days are published both are sound.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import StoreError
from s2cube.schema import PROVENANCE, Provenance
from s2cube.store.appending.plan import pending
from s2cube.store.layout import encoding_of, files_of
from s2cube.store.ledger import APPEND, BlockStatus, Ledger, Mark
from s2cube.store.run import Job
from s2cube.store.target import ROOT, Facts, facts_of

if TYPE_CHECKING:
    from s2cube.store.target.bridge import Recorder

__all__ = ["CHANGED", "REPLACED", "AppendJob", "lasting", "note_of"]

CHANGED: Final = "changed"
"""Name of a mark's count of published values that a revision has changed."""
REPLACED: Final[Mapping[int, str]] = {int(kind): f"replaced_{kind.name.lower()}" for kind in Provenance}
"""Names of a mark's counts of published values that were replaced, by provenance."""
_NOTES: Final = f"{APPEND}notes/"


@dataclass(frozen=True)
class Note:
    """What is known of a published shard that is rewritten, from before that happens."""

    token: str
    """Of the append that does it."""
    facts: tuple[Facts | None, ...]
    """What the file may be, besides what the ledger says: several where appends were given up."""
    tally: Mapping[str, int]
    """What is replaced in it."""


def note_of(ledger: Ledger, file: str) -> Note | None:
    """Return the note of a file of the store, None where it is as published."""
    content = ledger.work.get(f"{_NOTES}{file}.json")
    try:
        found = json.loads(content or b"")
        facts = [None if one is None else (int(one[0]), int(one[1])) for one in found["facts"]]
        tally = {str(name): int(value) for name, value in found["tally"].items()}
        return Note(str(found["token"]), tuple(facts), tally)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def put_note(ledger: Ledger, file: str, note: Note) -> None:
    """Note what a file will be, before it is."""
    ledger.work.put(f"{_NOTES}{file}.json", json.dumps(asdict(note)).encode(), settle=False)


@dataclass(frozen=True)
class AppendJob(Job):
    """What the task of a region needs to add days to it."""

    had: int = 0
    """Days that the store has."""
    old: Mark = field(default_factory=lambda: Mark("", "", {}))
    """Of the region, as it is published."""
    objects: Mapping[str, bytes] = field(default_factory=dict)
    """Metadata of the arrays, as they will be."""
    tallies: dict[str, Counter[str]] = field(default_factory=dict, compare=False)
    """By file, what is replaced in it."""

    def made(self, mark: Mark) -> bool:
        """Return whether a mark is of this append."""
        return mark.recipe == self.token

    def recorder(self) -> "Recorder":
        """Return what puts the region's shards, each after a note of it."""
        from s2cube.store.target.bridge import Recorder

        return Recorder(self.ledger.store, objects=self.objects, before=self._before)

    def target(self, recorder: "Recorder", name: str) -> Any:
        """Return what takes the blocks of a variable and completes them to shards."""
        array = super().target(recorder, name)
        return _Joined(self, name, array) if self.layout["variables"][name] == 3 else array

    def _before(self, file: str, facts: Facts | None) -> None:
        self._check_under_way()
        if file not in self.old.files:
            return
        known = note_of(self.ledger, file)
        may_be = known.facts if known else ()
        note = Note(self.token, tuple(dict.fromkeys((*may_be, facts))), dict(self.tallies.get(file, {})))
        if note != known:
            put_note(self.ledger, file, note)

    def _check_under_way(self) -> None:
        # A run that was suspended while others did its work, and more, must not undo that.
        plan = pending(self.ledger)
        if plan is None or plan.token != self.token:
            raise StoreError(
                f"The append to {self.ledger.store.name} was finished or given up by another run "
                "meanwhile."
            )

    def earlier(self, name: str, file: str, part: tuple[slice, ...], *, needed: bool) -> NDArray | None:
        """Return what a published shard holds, read whole and compared with what it is to be.

        Parameters
        ----------
        name, file
            Variable and path within the store.
        part
            Which part of the array.
        needed
            Whether to raise where the file is damaged; else None is returned.
        """
        content = self.ledger.store.get(file)
        found = None if content is None else facts_of(content)
        note = note_of(self.ledger, file)
        if found != self.old.files.get(file) and found not in (note.facts if note else ()):
            self._check_under_way()
            if not needed:
                return None
            raise StoreError(
                f"{file} of {self.ledger.store.name} is damaged, and its days are needed: "
                "append_daily(revise=True) with a cube that begins with the first day of this shard, "
                f"day {part[0].start} of the store, or before, writes it anew."
            )
        if content is None:
            held = encoding_of(name)
            shape = [side.stop - side.start for side in part]
            return np.full(shape, held.fill, held.dtype)
        import zarr

        from s2cube.store.target.bridge import in_memory

        key = f"{name}/{ROOT}"
        store, _ = in_memory({key: self.objects[key], file: content})
        return np.asarray(zarr.open_array(store, path=name, mode="r")[part])

    def replaced(self, name: str, file: str, old: NDArray | None, new: NDArray) -> None:
        """Count what is replaced in a file; once for all, as it may be replaced already on a rerun."""
        note = note_of(self.ledger, file)
        if note is not None and note.token == self.token:
            self.tallies[file] = Counter(note.tally)
            return
        tally = Counter({CHANGED: new.size if old is None else int((old != new).sum())})
        if name == PROVENANCE and old is not None:
            kinds = np.bincount(old.ravel(), minlength=256)
            tally.update({told: int(kinds[kind]) for kind, told in REPLACED.items() if kinds[kind]})
        self.tallies[file] = tally

    def marked(
        self, counts: Mapping[str, int], files: Mapping[str, Facts | None], *, has_data: bool
    ) -> Mark:
        """Return the mark of the region as it is now: what stays of the old one, and what is new."""
        new = super().marked(counts, files, has_data=has_data)
        if not self.begin:
            kept, total = {}, Counter(counts)
        else:
            rewritten = set(files_of(self.layout, self.region, self.begin))
            kept = {file: facts for file, facts in self.old.files.items() if file not in rewritten}
            total = Counter(lasting(self.old.counts))
            total.update(counts)
        replaced: Counter[str] = Counter()
        for tally in self.tallies.values():
            replaced.update(tally)
        for kind, told in REPLACED.items():
            if self.begin:
                total[Provenance(kind).name.lower()] -= replaced[told]
        total.update(replaced)
        there = has_data or (self.begin > 0 and self.old.status == BlockStatus.WRITTEN)
        # In the layout's order, as if all had been written at once.
        every = {**kept, **files}
        return Mark(
            new.region,
            new.recipe,
            {file: every[file] for file in files_of(self.layout, self.region)},
            {name: count for name, count in total.items() if count or name == "clamped"},
            new.version,
            BlockStatus.WRITTEN if there else BlockStatus.NO_DATA,
            items=tuple(dict.fromkeys((*self.old.items, *new.items))),
        )


def lasting(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts of a mark without what only one append counts."""
    passing = {CHANGED, *REPLACED.values()}
    return {name: count for name, count in counts.items() if name not in passing}


@dataclass(frozen=True)
class _Joined:
    """An array of the store that takes new days, and writes the shards they belong to whole."""

    job: AppendJob
    name: str
    array: Any

    def __setitem__(self, place: tuple[slice, ...], block: NDArray) -> None:
        days, *rest = place
        side, *sides = self.job.layout["shards"]
        start = days.start // side * side
        file = "/".join(
            [self.name, "c", str(days.start // side)]
            + [str(part.start // each) for part, each in zip(rest, sides, strict=True)]
        )
        kept = max(self.job.begin - start, 0)
        there = min(self.job.had, start + side) - start
        if file in self.job.old.files and there > 0:
            part = (slice(start, start + there), *rest)
            old = self.job.earlier(self.name, file, part, needed=kept > 0)
            if there > kept:
                again = None if old is None else old[kept:]
                self.job.replaced(self.name, file, again, block[: there - kept])
            if kept and old is not None:
                block = np.concatenate([old[:kept], block])
        self.array[(slice(start, days.stop), *rest)] = block
