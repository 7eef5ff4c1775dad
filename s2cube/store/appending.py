"""What is kept of an append while it is under way, and how its days become visible.

The work folder's ``append/`` holds the plan, a mark for each region that is done, and a note for each
shard that is rewritten: what it was and what it will be. The store is open meanwhile. Its files may be
as they were published or as a note says, with the same old days in either case.

Publication: the marks, beside those that hold (``coming``); days and arrays' metadata; the root, whole
or not at all; the marks alone. What was begun of it is finished by the next call, whoever makes it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from s2cube.errors import StoreError
from s2cube.store.item import put_item
from s2cube.store.layout import ATTRIBUTE, token_of
from s2cube.store.ledger import (
    APPEND,
    COMING,
    GROUP,
    LEDGER,
    OBJECTS,
    ROOT,
    WAITING,
    Facts,
    Ledger,
    Mark,
    facts_of,
)

__all__ = [
    "ADDED",
    "MARKS",
    "Note",
    "Plan",
    "finish",
    "grown",
    "keep_plan",
    "note_of",
    "pending",
    "publish",
    "put_note",
    "refuse_appending",
    "root_token",
    "under_way",
]

ADDED: Final = "added"
"""In a store's recipe: what its last append added."""
MARKS: Final = f"{APPEND}marks/"
_PLAN: Final = f"{APPEND}plan.json"
_NOTES: Final = f"{APPEND}notes/"


@dataclass(frozen=True)
class Plan:
    """What an append makes of a store."""

    layout: Mapping[str, Any]
    recipe: Mapping[str, str]
    days: tuple[int, ...]
    """All days of the store as it will be, since 1970."""
    begin: int
    """Index of the first day that is written."""
    revise: bool

    @property
    def token(self) -> str:
        """Of layout and recipe, for the marks."""
        return token_of(self.layout, self.recipe)


def pending(ledger: Ledger) -> Plan | None:
    """Return the plan of the append that was begun and is not finished; None where there is none."""
    content = ledger.work.get(_PLAN)
    if content is None:
        return None
    try:
        found = json.loads(content)
        plan = Plan(
            found["layout"], found["recipe"], tuple(found["days"]), found["begin"], found["revise"]
        )
        return plan if plan.token == found["token"] else None
    except (ValueError, KeyError, TypeError):
        return None


def under_way(ledger: Ledger, token: str) -> bool:
    """Return whether the append with that token is the one that is to be finished."""
    try:
        return bool(json.loads(ledger.work.get(_PLAN) or b"{}")["token"] == token)
    except (ValueError, KeyError, TypeError):
        return False


def keep_plan(ledger: Ledger, plan: Plan) -> None:
    """Note what is going to be done."""
    ledger.work.put(_PLAN, json.dumps({**asdict(plan), "token": plan.token}).encode())


def refuse_appending(ledger: Ledger) -> None:
    """Raise where an append was begun and is not finished.

    Raises
    ------
    StoreError
        It says what to do.
    """
    if pending(ledger) is not None:
        raise StoreError(
            f"An append to {ledger.store.name} is under way or was interrupted: wait for it, or run the "
            "same append_daily() again; overwrite=True replaces the store."
        )


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


def grown(ledger: Ledger, plan: Plan) -> tuple[dict[str, bytes], bytes]:
    """Return days, arrays' metadata and the root as they will be: what was there, with more days."""
    import zarr

    from s2cube.store.bridge import in_memory

    root = json.loads(ledger.root() or b"{}")
    arrays = root["consolidated_metadata"]["metadata"]
    names = [name for name, dims in plan.layout["variables"].items() if dims == 3]
    for name in (*names, "time"):
        arrays[name]["shape"][0] = len(plan.days)
    root["attributes"] |= {
        "history": plan.recipe["history"],
        ATTRIBUTE: {"layout": dict(plan.layout), "recipe": dict(plan.recipe)},
    }
    objects = {f"{name}/{ROOT}": _dumped(arrays[name]) for name in (*names, "time")}
    store, held = in_memory({key: objects[key] for key in (f"time/{ROOT}",)})
    zarr.open_array(store, path="time", mode="r+")[:] = np.array(plan.days, dtype=np.int32)
    stamps = {key: buffer.to_bytes() for key, buffer in held.items() if key not in objects}
    # Days before the metadata that say how many there are.
    return {**stamps, **objects}, _dumped(root)


def publish(ledger: Ledger, plan: Plan, marks: Iterable[Mark]) -> None:
    """Make the days visible whose regions are all marked."""
    ledger.store.sweep()
    objects, root = grown(ledger, plan)
    content = json.loads(ledger.store.get(GROUP) or b"{}")
    attributes = content["attributes"]
    facts = {name: list(facts_of(one)) for name, one in {**objects, ROOT: root}.items()}
    attributes[COMING] = {
        LEDGER: [mark.as_json() for mark in marks],
        OBJECTS: {**attributes[OBJECTS], **facts},
    }
    ledger.store.put(GROUP, _dumped(content))
    _show(ledger, plan, content, objects, root)


def finish(ledger: Ledger) -> None:
    """Bring to its end what was begun of a publication; else do nothing."""
    plan = pending(ledger)
    content = json.loads(ledger.store.get(GROUP) or b"{}")
    coming = content.get("attributes", {}).get(COMING)
    if coming is not None:
        if plan is None:
            raise StoreError(
                f"{ledger.store.name} was being appended to, and {ledger.work.name} is lost or damaged, "
                "which held what is to be done: the store can be read as it is, and no more be added to."
            )
        _show(ledger, plan, content, *grown(ledger, plan))
    elif plan is not None and ledger.published and root_token(ledger) == plan.token:
        put_item(ledger, plan.layout, plan.recipe)
        _clear(ledger)


def _show(
    ledger: Ledger, plan: Plan, content: dict[str, Any], objects: Mapping[str, bytes], root: bytes
) -> None:
    attributes = content["attributes"]
    for name, one in objects.items():
        if attributes[OBJECTS].get(name) != list(facts_of(one)):
            ledger.store.put(name, one)
    ledger.store.put(ROOT, root)
    content["attributes"] = attributes[COMING]
    ledger.store.put(GROUP, _dumped(content))
    put_item(ledger, plan.layout, plan.recipe)
    _clear(ledger)


def root_token(ledger: Ledger) -> str:
    """Return the token of what is published."""
    made = (ledger.attributes() or {}).get(ATTRIBUTE, {})
    return token_of(made.get("layout", {}), made.get("recipe", {}))


def _clear(ledger: Ledger) -> None:
    """Remove what only an unfinished append needs; the plan last, which tells of the rest."""
    left = [key for key in ledger.work.sizes(APPEND) if key != _PLAN]
    ledger.work.delete([*left, WAITING])
    ledger.work.delete([_PLAN])
    ledger.work.tidy()


def _dumped(content: Any) -> bytes:
    return json.dumps(content, indent=2).encode()
