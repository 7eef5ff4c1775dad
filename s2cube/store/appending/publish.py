"""How the days of an append become visible, all at once.

The marks are put beside those that hold (``coming``); then days and arrays' metadata; then the root,
whole or not at all; then the marks alone. Which marks hold is told by the root's checksum. What was
begun of this is finished by the next call, whoever makes it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from s2cube.errors import StoreError
from s2cube.store.appending.plan import PLAN, Plan, pending
from s2cube.store.layout import ATTRIBUTE, token_of
from s2cube.store.ledger import (
    APPEND,
    COMING,
    GROUP,
    LEDGER,
    OBJECTS,
    WAITING,
    Ledger,
    Mark,
    put_item,
)
from s2cube.store.target import ROOT, facts_of

__all__ = ["finish", "grown", "publish", "root_token"]


def grown(ledger: Ledger, plan: Plan) -> tuple[dict[str, bytes], bytes]:
    """Return days, arrays' metadata and the root as they will be: what was there, with more days."""
    import zarr

    from s2cube.store.target.bridge import in_memory

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
        LEDGER: ledger.put_packed(plan.layout, marks),
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
    ledger.sweep_packed()
    left = [key for key in ledger.work.sizes(APPEND) if key != PLAN]
    ledger.work.delete([*left, WAITING])
    ledger.work.delete([PLAN])
    ledger.work.tidy()


def _dumped(content: Any) -> bytes:
    return json.dumps(content, indent=2).encode()
