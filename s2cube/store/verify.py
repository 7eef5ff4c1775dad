"""``verify``: a store held against its ledger, byte by byte."""

import os
import sys
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

from s2cube.errors import CubeError
from s2cube.store.appending.plan import ADDED
from s2cube.store.appending.publish import root_token
from s2cube.store.appending.region import note_of
from s2cube.store.layout import files_of, regions_in, token_of
from s2cube.store.ledger import WAITING, Claims, Ledger
from s2cube.store.read import known_store
from s2cube.store.report import as_html, listed
from s2cube.store.target import ROOT, Facts

__all__ = ["Damage", "VerifyReport", "verify"]

AT_ONCE: Final = 8
"""Files read at a time; each is held in memory whole."""

What = Literal["missing", "truncated", "changed", "unexpected", "mark"]


@dataclass(frozen=True)
class Damage:
    """One file that is not as it was written."""

    file: str
    """Path within the store."""
    what: What
    """``"missing"``, ``"truncated"`` (another size), ``"changed"`` (another checksum), ``"unexpected"``
    (there should be none), or ``"mark"``: the region's mark does not fit the store, or is forged."""
    region: str = ""
    """The region it belongs to; empty for metadata and coordinates."""


@dataclass(frozen=True)
class VerifyReport:
    """What :func:`verify` found. It prints."""

    store: str
    regions: int
    """Regions whose files were read."""
    files: int
    size: int
    """Bytes read."""
    damage: tuple[Damage, ...] = ()
    not_there: tuple[str, ...] = ()
    """Regions that failed or are not written yet: nothing to read."""
    repaired: bool = False
    """Whether the marks of damaged regions were taken away."""
    appended: bool = False
    """Whether days were appended since the store was made: then another call mends it."""

    @property
    def ok(self) -> bool:
        """Whether every file is as it was written, and every region there."""
        return not self.damage and not self.not_there

    @property
    def damaged(self) -> tuple[str, ...]:
        """Regions with a damaged file."""
        return tuple(dict.fromkeys(one.region for one in self.damage if one.region))

    def _rows(self) -> list[tuple[str, str]]:
        read = f"{self.files} files of {self.regions} regions, {self.size / 1e6:.1f} MB"
        rows = [("read", read), ("sound", "yes" if self.ok else "no")]
        if self.damage:
            found = [f"{one.file} ({one.what})" for one in self.damage]
            rows.append(("damaged", f"{len(found)} files: {listed(found, 10)}"))
            rows.append(("regions", listed(self.damaged) or "none, metadata only"))
        if self.not_there:
            rows.append(("not there", f"{len(self.not_there)} regions: {listed(self.not_there)}"))
        remedy = "the write_daily() call that made the store: it does just these"
        if self.appended:
            remedy = "append_daily(revise=True) with a cube of all the store's days"
        if self.damage and not self.repaired:
            rows.append(("to mend", f"verify(store, repair=True), then {remedy}"))
        elif self.damage or self.not_there:
            rows.append(("to mend", f"run {remedy}"))
        return rows

    def __str__(self) -> str:
        return "\n".join([self.store, *(f"  {name:10} {text}" for name, text in self._rows())])

    def _repr_html_(self) -> str:
        return as_html(self.store, self._rows())


def verify(
    store: str | os.PathLike[str],
    *,
    regions: Iterable[str] | None = None,
    repair: bool = False,
    progress: bool = True,
    storage_options: Mapping[str, Any] | None = None,
) -> VerifyReport:
    """Read every file of a store again, and compare size and checksum with those it was written with.

    Finds files that were deleted, truncated or changed, be it by one bit; metadata and coordinates too.
    Unfinished stores can be verified as well.

    Parameters
    ----------
    store
        Its path, or ``s3://bucket/name``.
    regions
        Ids of the regions to read (``"y0-1024_x0-1024"``); all by default. Metadata are always read.
    repair
        Whether to take away the marks of regions with damaged files, and delete damaged metadata, so
        that the same :func:`write_daily` call makes them anew. Nothing else is deleted.
    progress
        Whether to show it.
    storage_options
        For ``s3://``, as in :func:`write_daily`.

    Returns
    -------
    VerifyReport
        What was damaged. ``report.ok`` is true where nothing was.

    Raises
    ------
    StoreError
        There is no store of ours, it cannot be reached, or it is to be repaired while another run
        writes it.
    CubeError
        The store has no such region.

    Notes
    -----
    The checksum is CRC-32: made for accidents, not against forgery.

    Examples
    --------
    >>> import s2cube, tempfile
    >>> cube = s2cube.testing.simulate_cube(seed=1, shape=(20, 20), bands=["red"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = cube.s2.fill_gaps().s2.write_daily(f"{folder}/daily.zarr", progress=False)
    ...     s2cube.verify(f"{folder}/daily.zarr", progress=False).ok
    True
    """
    ledger, made = known_store(store, storage_options)
    cut = regions_in(made["layout"])
    asked = list(cut) if regions is None else _asked(regions, cut)
    token = token_of(made["layout"], made.get("recipe", {}))
    marks = ledger.marks()
    damage = _metadata(ledger)
    files = size = read = 0
    not_there = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, name in enumerate(asked, start=1):
            if progress and len(asked) > 1:
                print(f"region {number} of {len(asked)}", file=sys.stderr)
            mark = marks.get(name)
            if mark is None or not mark.there:
                not_there.append(name)
                continue
            if mark.recipe != token or set(mark.files) != set(files_of(made["layout"], cut[name])):
                damage.append(Damage(f"mark of {name}", "mark", name))
                continue
            checked = list(pool.map(lambda one: _check(ledger, *one), mark.files.items()))
            damage += [Damage(file, what, name) for file, what, _ in checked if what]
            read += 1
            files += len(checked)
            size += sum(length for _, _, length in checked)
    if damage and root_token(ledger) != token:  # days were appended meanwhile
        return verify(
            store, regions=asked, repair=repair, progress=progress, storage_options=storage_options
        )
    bad = {one.region for one in damage if one.region}
    if repair and damage:
        with Claims(ledger.work) as claims:
            claims.refuse_others("repair=True")
            with claims.whole():
                ledger.forget(bad, [one.file for one in damage if not one.region])
    return VerifyReport(
        ledger.store.name,
        read,
        files,
        size,
        tuple(damage),
        tuple(not_there),
        repair and bool(damage),
        ADDED in made.get("recipe", {}),
    )


def _asked(regions: Iterable[str], cut: Mapping[str, Any]) -> list[str]:
    names = [regions] if isinstance(regions, str) else list(regions)
    if unknown := [name for name in names if name not in cut]:
        raise CubeError(f"The store has no region {unknown[0]!r}; it has {listed(list(cut))}.")
    return names


def _metadata(ledger: Ledger) -> list[Damage]:
    """Hold metadata and coordinates against what was noted when the store was begun."""
    found = []
    coming = ledger.coming_objects()
    for name, facts in ledger.objects().items():
        content = ledger.store.get(name)
        if content is None and name == ROOT:
            content = ledger.work.get(WAITING)
        if (what := _judged(content, facts)) and (name not in coming or _judged(content, coming[name])):
            found.append(Damage(name, what))
    return found


def _check(ledger: Ledger, file: str, facts: Facts | None) -> tuple[str, What | None, int]:
    content = ledger.store.get(file)
    what = _judged(content, facts)
    if what and (note := note_of(ledger, file)):
        # An append rewrites it, with the same old days.
        what = what if all(_judged(content, one) for one in note.facts) else None
    return file, what, len(content or b"")


def _judged(content: bytes | None, facts: Facts | None) -> What | None:
    """Return what is wrong with a file."""
    if content is None:
        return "missing" if facts else None
    if facts is None:
        return "unexpected"
    if len(content) != facts[0]:
        return "truncated"
    return "changed" if zlib.crc32(content) != facts[1] else None
