"""Downloads: which file holds one, and bringing what no file holds."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from s2cube.errors import ReadError, ServiceError, StoreError
from s2cube.sources.clearsky.cache import Cache, Note
from s2cube.sources.clearsky.client import (
    LostError,
    MissingError,
    NoCreditError,
    Service,
    TooMuchError,
)
from s2cube.sources.clearsky.request import CompositePlan, Download, Plan
from s2cube.sources.clearsky.tiff import damage

__all__ = ["Found", "bring", "files_of", "parts_of"]

_SPLIT: Final = ("area", "bands")


@dataclass(frozen=True)
class Found:
    """A download, and the file that holds it."""

    asked: Download
    held: Download
    """What the file was asked for: the same, or more."""
    path: Path


def parts_of(cache: Cache, plan: Plan, download: Download) -> Iterator[tuple[Download, Found | None]]:
    """Yield the downloads that one was split into before, else itself, each with what holds it."""
    if found := _find(cache, plan, download):
        yield download, found
        return
    note = cache.note(download.key)
    if note is None or note.kind not in _SPLIT:
        yield download, None
        return
    for half in plan.halves(download, note.kind):
        yield from parts_of(cache, plan, half)


def files_of(cache: Cache, plan: Plan, download: Download) -> list[Found]:
    """Return what holds a download that was brought; nothing where there is no imagery.

    Raises
    ------
    StoreError
        It is not here: it was brought into a folder that this process does not see.
    """
    files = []
    for part, found in parts_of(cache, plan, download):
        if found:
            files.append(found)
            continue
        note = cache.note(part.key)
        if note is None or note.kind != "missing":
            raise StoreError(
                f"The image of {part.date} was downloaded, and is not in {cache.folder} as this worker "
                "sees it: the cache is not shared by the workers, or was emptied meanwhile. Give a "
                "folder that all see as cache=. It was not downloaded again."
            )
    return files


def bring(service: Service, cache: Cache, plan: Plan, download: Download) -> None:
    """Download what no file holds, once; that there is no imagery counts as brought.

    Raises
    ------
    ServiceError
        The service refuses.
    ReadError
        It does not deliver, or did not lately and may have counted it.
    StoreError
        The cache cannot be written.
    """
    for part, found in parts_of(cache, plan, download):
        if found is None:
            _bring(service, cache, plan, part)


def _bring(service: Service, cache: Cache, plan: Plan, download: Download) -> None:
    key = download.key
    note = cache.note(key)
    if note is None or not note.holds(service.account):
        with cache.lock(key):
            # Who held the lock before has perhaps brought it.
            if _find(cache, plan, download):
                return
            note = cache.note(key)
            if note is None or not note.holds(service.account):
                note = _download(service, cache, plan, download)
    if note is None or note.kind == "missing":
        return
    if note.kind in _SPLIT:
        bring(service, cache, plan, download)
        return
    said = (
        f"{note.text} For a day it is not asked for again; to have it asked for, and perhaps counted, "
        f"before that, remove {cache.note_file(key)}."
    )
    raise StoreError(said) if note.kind == "unwritten" else ReadError(said)


def _download(service: Service, cache: Cache, plan: Plan, download: Download) -> Note | None:
    """Download into the cache; return, and keep, a note of why there is nothing, None if there is."""
    body = plan.body(download)
    note: Note | None = None
    refusal = ""
    with cache.slot() as slot:
        asked = False
        cache.check_room(download.size)

        def write(file: Any, path: Path) -> None:
            nonlocal asked

            def check() -> str:
                return damage(path)

            asked = True
            if body is None:
                service.save_link(download.path, file, check)
            else:
                service.save(download.path, body, file, check, slot.narrow)

        try:
            cache.put(key := download.key, download.identity, write)
        except MissingError:
            note = Note("missing", service.account)
        except TooMuchError as error:
            note = Note(error.what)
        except LostError as error:
            note = Note("failed", str(error))
        except NoCreditError as error:
            refusal = str(error)
        except StoreError as error:
            if not asked:
                raise
            # A small file may still find room.
            note = Note("unwritten", f"{error} The download was made, and may have been counted.")
            with contextlib.suppress(StoreError):
                cache.write_note(key, note)
            return note
    if refusal:
        raise ServiceError(f"{refusal}. {_price(service, plan, download)}")
    if note:
        cache.write_note(key, note)
    return note


def _find(cache: Cache, plan: Plan, download: Download) -> Found | None:
    """Return the file that holds a download: its own, or one of more bands or a larger area."""
    path = cache.path(download.key)
    if path.exists():
        return Found(download, download, path)
    for told, other in cache.kin(download.key):
        if held := plan.holder(told, download):
            return Found(download, held, other)
    return None


def _price(service: Service, plan: Plan, download: Download) -> str:
    """Tell what a download costs, as the service estimates it."""
    if not isinstance(plan, CompositePlan):
        return "Buy credits, or open less."
    price, area = service.ask(
        f"{download.path}/estimate",
        plan.body(download),
        lambda told: (float(told["CreditEstimate"]), float(told["AreaEstimateKm2"])),
    )
    return (
        f"This download of {download.date} is estimated at {price} credits for {area} km²: buy "
        "credits, or open less."
    )
