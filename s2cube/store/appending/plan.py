"""What an append is to do: whether a cube goes on where a store ends, and with which days."""

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.errors import StoreError, StoreMismatchError, UnfinishedStoreError
from s2cube.store.layout import (
    ATTRIBUTE,
    days_in,
    differences,
    files_of,
    layout_of,
    recipe_of,
    regions_in,
    token_of,
)
from s2cube.store.ledger import APPEND, Ledger, Mark
from s2cube.store.report import listed

__all__ = ["ADDED", "PLAN", "Plan", "keep_plan", "pending", "planned", "refuse_appending"]

ADDED: Final = "added"
"""In a store's recipe: what its last append added."""
PLAN: Final = f"{APPEND}plan.json"
"""Where in the work folder the plan is kept."""
_VERB: Final = "append_daily"
_DATES: Final = {"items", "datetime", "dates"}
"""Arguments in ``history`` that say which days, not what was done to them."""

Days = NDArray[np.datetime64]


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
    content = ledger.work.get(PLAN)
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


def keep_plan(ledger: Ledger, plan: Plan) -> None:
    """Note what is going to be done."""
    ledger.work.put(PLAN, json.dumps({**asdict(plan), "token": plan.token}).encode())


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


def planned(ledger: Ledger, cube: xr.Dataset, old: Mapping[str, Mark], *, revise: bool) -> Plan | None:
    """Return what is to be done, None where nothing is.

    Raises
    ------
    StoreError
        It cannot be done, in the words of :func:`append_daily`.
    """
    name, made = ledger.store.name, (ledger.attributes() or {})
    layout, recipe = made[ATTRIBUTE]["layout"], made[ATTRIBUTE]["recipe"]
    begun = pending(ledger)
    if not ledger.published and not (begun and begun.revise):
        raise UnfinishedStoreError(
            f"{name} is unfinished: run the write_daily() call that made it again, then append."
        )
    if "append_every" not in layout:
        raise StoreMismatchError(
            f"{name} was not made for appending: its shards hold {layout['shards'][0]} days, however "
            "many there are. Write it anew with write_daily(..., append_every=30)."
        )
    if begun and begun.revise and not revise:
        raise StoreError(
            f"A revision of {name} was interrupted, and the store is closed until it is finished: run "
            "it again with revise=True."
        )
    _compare(name, cube, made)
    there = _days_of(ledger, layout)
    begin = _first_written(name, cube["time"].values.astype("datetime64[D]"), there, revise=revise)
    if begun and begun.revise and begin > begun.begin:
        raise StoreError(
            f"A revision of {name} from {_day(there[begun.begin])} on was interrupted: the one that "
            f"finishes it begins there or before, this cube at {_day(there[begin])}."
        )
    days = np.concatenate([there[:begin], _from(cube, there, begin)])
    if len(days) == begin:
        return None
    plan = _plan(cube, layout, recipe, days, begin, revise=revise and begin < len(there))
    gaps = [
        name
        for name, region in regions_in(layout).items()
        if name not in old or not old[name].there or {*old[name].files} != {*files_of(layout, region)}
    ]
    if gaps and begin:
        raise UnfinishedStoreError(
            f"{len(gaps)} regions of {name} are missing ({listed(gaps)}): run the write_daily() call "
            "that made it again; where days were appended since, append_daily(revise=True) with a cube "
            "of all its days."
        )
    if revise and not gaps and begun is None and recipe.get(ADDED) == plan.recipe[ADDED]:
        return None  # that very revision was the last that was done
    return plan


def _from(cube: xr.Dataset, there: Days, begin: int) -> Days:
    """Return the days that are written."""
    days: Days = cube["time"].values.astype("datetime64[D]")
    return days if begin < len(there) else days[days > there[-1]]


def _compare(name: str, cube: xr.Dataset, made: Mapping[str, Any]) -> None:
    """Raise where the cube is not of the same kind as what the store holds."""
    layout, recipe = made[ATTRIBUTE]["layout"], made[ATTRIBUTE]["recipe"]
    ours = layout_of(cube, layout["profile"], layout["append_every"])
    theirs = {**layout}
    for one in (ours, theirs):
        del one["days"]
        one["shape"] = one["shape"][1:]
    differ = differences(theirs, ours)
    for key in ("sensor", "processing_level"):
        word = str(cube.coords[key].item()) if key in cube.coords else None
        if word != made.get(key):
            differ.append(f"{key} {made.get(key)!r}, now {word!r}")
    if differ:
        raise StoreMismatchError(
            f"{name} holds something else than this cube ({'; '.join(differ)}): append a cube on the "
            "same grid, with the same variables."
        )
    was, now = (_verbs(one) for one in (recipe["history"], str(cube.attrs.get("history", ""))))
    if was != now:
        told = [f"{a}\nnow\n{b}" for a, b in zip(was, now, strict=False) if a != b]
        told += [f"{len(was)} verbs, now {len(now)}"] if len(was) != len(now) else []
        raise StoreMismatchError(
            f"{name} was made by other verbs or arguments ({told[0]}): append what the same verbs make, "
            "or write another store."
        )


def _verbs(history: str) -> list[str]:
    """Return the lines of a history without what says which days."""
    return [_undated(line) for line in history.splitlines() if not line.startswith(f"{_VERB}(")]


def _undated(line: str) -> str:
    try:
        call = ast.parse(line, mode="eval").body
    except SyntaxError:  # not a line of ours
        return line
    if not isinstance(call, ast.Call):
        return line
    call.keywords = [word for word in call.keywords if word.arg not in _DATES]
    return ast.unparse(call)


def _days_of(ledger: Ledger, layout: Mapping[str, Any]) -> Days:
    """Return the days that the store has."""
    import zarr

    stamps = zarr.open_array(ledger.store.array_store(read_only=True), path="time", mode="r")[:]
    days = np.asarray(stamps).astype("datetime64[D]")
    if len(days) != layout["shape"][0] or days_in(days) != layout["days"]:
        raise StoreError(
            f"The days of {ledger.store.name} are not those that it was written with: verify() tells "
            "more."
        )
    return days


def _first_written(name: str, days: Days, there: Days, *, revise: bool) -> int:
    """Return the index in the store of the first day that is written; check that none is left out."""
    known = days[days <= there[-1]]
    if len(strange := np.setdiff1d(known, there)):
        raise StoreMismatchError(
            f"{name} has the days from {there[0]} to {there[-1]}, and not {strange[0]}: days are added "
            f"after its last. Begin with {there[0]} or later, in its steps."
        )
    begin = int(np.searchsorted(there, days[0])) if revise and len(known) else len(there)
    if revise and not np.array_equal(known, there[begin:]):
        left = np.setdiff1d(there[begin:], known)[0]
        raise StoreMismatchError(
            f"A revision replaces all days of {name} from the cube's first on, and this cube has not "
            f"{left}: let it reach to {there[-1]} or beyond."
        )
    new = days[len(known) :]
    steps = np.unique(np.diff(there)) if len(there) > 1 else np.unique(np.diff(new))[:1]
    if len(new) and len(steps) <= 1:
        step = steps[0] if len(steps) else np.timedelta64(1, "D")
        wanted = there[-1] + step * np.arange(1, len(new) + 1)
        if (off := new != wanted).any():
            raise StoreMismatchError(
                f"{name} ends with {there[-1]}, in steps of {step}, and this cube leaves out or adds to "
                f"{wanted[off][0]} (it has {new[off][0]}): fill from {wanted[off][0]} on, "
                f"fill_gaps(dates=...)."
            )
    return begin


def _day(day: np.datetime64) -> str:
    return str(day.astype("datetime64[D]"))


def _plan(
    cube: xr.Dataset,
    layout: Mapping[str, Any],
    recipe: Mapping[str, str],
    days: Days,
    begin: int,
    *,
    revise: bool,
) -> Plan:
    """Return the plan; it is the same for the same call, also in another process."""
    new = cube.isel(time=slice(len(cube["time"]) - (len(days) - begin), None))
    made = [recipe_of(new, layout["variables"])["token"], days_in(days), begin]
    added = hashlib.sha256(json.dumps(made).encode()).hexdigest()
    token = hashlib.sha256(f"{recipe['token']}{added}".encode()).hexdigest()
    lines = recipe["history"].splitlines()
    first = _day(days[begin])
    if lines and lines[-1].startswith(f"{_VERB}("):
        call = ast.parse(lines.pop(), mode="eval").body
        words = call.keywords if isinstance(call, ast.Call) else []
        first = min(
            [first, *(str(ast.literal_eval(word.value)) for word in words if word.arg == "first")]
        )
    history = "\n".join([*lines, f"{_VERB}(first={first!r}, last={_day(days[-1])!r})"])
    return Plan(
        {**layout, "shape": [len(days), *layout["shape"][1:]], "days": days_in(days)},
        {"history": history, "token": token, ADDED: added},
        tuple(days.astype(np.int64).tolist()),
        begin,
        revise,
    )
