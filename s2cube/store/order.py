"""From regions that are to be done to a finished store: what both writers share."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from s2cube.errors import StoreMismatchError
from s2cube.plan import Region
from s2cube.store.appending.plan import ADDED, refuse_appending
from s2cube.store.layout import ATTRIBUTE, differences, files_of, regions_in, skeleton, token_of
from s2cube.store.ledger import Claims, Ledger, Mark, put_item
from s2cube.store.report import WriteReport
from s2cube.store.run import Job, Progress, Source, as_store_errors, failure_of, work_through

__all__ = ["Order", "carry_out"]


@dataclass(frozen=True)
class Order:
    """What is to be written, and how."""

    name: str
    """Of the store, as its user wrote it."""
    ledger: Ledger
    cube: xr.Dataset
    """The whole: grid, days, names, types and attributes of its variables; its values are not looked
    at."""
    layout: Mapping[str, Any]
    recipe: Mapping[str, str]
    source: Source
    items: Callable[[Region], tuple[str, ...]]
    """Ids of the items that a region is made of, where they are known."""
    resume: bool
    overwrite: bool
    progress: bool
    fraction: float
    """Share of regions that may fail."""
    retries: int = 0
    """How often a region is tried again that failed by what may pass."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """What a worker must have."""


def carry_out(order: Order) -> WriteReport:
    """Do every region that is not there, and publish the store.

    Raises
    ------
    StoreMismatchError
        There is something else, or a store with another layout or recipe.
    StoreError
        More regions failed than may, or the file system or service refuses.
    """
    ledger, layout = order.ledger, order.layout
    regions = regions_in(layout)
    # What is known of a region's items decides whether it is done again.
    token = token_of(layout, order.recipe)
    jobs = {
        name: Job(ledger, layout, token, region, order.items(region)) for name, region in regions.items()
    }
    with as_store_errors(ledger), Claims(ledger.work, progress=order.progress) as claims:
        with claims.whole():
            if order.overwrite and ledger.ours:
                claims.refuse_others("overwrite=True")
            _prepare(order)
            known = ledger.marks()
            marks = _sound(known, jobs)
            todo = {name: job for name, job in jobs.items() if name not in marks}
            if todo:
                ledger.forget(name for name in known if name in todo)  # failed, damaged, of other work
                ledger.reopen()
        days = layout["shape"][0]
        with Progress(len(regions), days, kept=len(marks), wanted=order.progress) as shown:
            done = work_through(
                order.source,
                todo,
                claims,
                shown=shown,
                retries=order.retries,
                resources=order.resources,
            )
        marks |= done.marks
        failed = {name: mark for name, mark in marks.items() if not mark.there}
        if len(failed) > order.fraction * len(regions):
            raise failure_of(_told(ledger, len(marks), len(failed)), failed, done.errors)
        with claims.whole():
            if not ledger.published:  # nor has another run been quicker
                lost = [file for name in failed for file in files_of(layout, regions[name])]
                ledger.publish([marks[name] for name in regions], lost)
                put_item(ledger, layout, order.recipe)
            claims.clear_dead()
            ledger.clear()
    total: Counter[str] = Counter()
    for mark in marks.values():
        total.update(mark.counts)
    new = sum(mark.there for mark in done.written.values())
    return WriteReport(
        order.name,
        days,
        new,
        len(marks) - new - len(failed),
        dict(total),
        {name: mark.error for name, mark in failed.items()},
    )


def _sound(known: Mapping[str, Mark], jobs: Mapping[str, Job]) -> dict[str, Mark]:
    """Return the marks of regions that need not be done: of the same work, their files as they were."""
    marks = [
        mark
        for name, mark in known.items()
        if name in jobs
        and mark.there
        and jobs[name].made(mark)
        and set(mark.files) == set(files_of(jobs[name].layout, jobs[name].region))
    ]
    if not marks:
        return {}
    ledger = jobs[marks[0].region].ledger
    sizes = ledger.store.sizes()
    return {mark.region: mark for mark in marks if ledger.holds(mark, sizes)}


def _told(ledger: Ledger, every: int, failed: int) -> str:
    old = f" The store that was there is kept in {ledger.replaced.name} until then."
    return (
        f"{failed} of {every} regions of {ledger.store.name} could not be written; {every - failed} "
        "are safe on disk, and the same call (without overwrite=True) does the rest. The store stays "
        "closed until then (max_failed_fraction= opens it without them)."
        f"{'' if ledger.replaced.vacant else old}"
    )


def _prepare(order: Order) -> None:
    """Begin a store, or make sure that the one that is there is the one that is meant.

    Regions that are there are kept in either case, by their marks.
    """
    ledger, layout, recipe = order.ledger, order.layout, order.recipe
    name = ledger.store.name
    if not (ledger.ours or ledger.store.vacant):
        raise StoreMismatchError(
            f"{name} exists and was not made by s2cube: choose another path, or remove it yourself."
        )
    if ledger.ours and order.overwrite:
        ledger.set_aside()
    made = (ledger.attributes() or {}).get(ATTRIBUTE)
    if ledger.store.vacant or not isinstance(made, dict) or not {"layout", "recipe"} <= set(made):
        # New, or a run was killed, or the root damaged, before there was anything to compare with.
        ledger.begin(*skeleton(order.cube, layout, recipe))
        return
    refuse_appending(ledger)
    remedy = "pass overwrite=True to replace it, or choose another path."
    if ADDED in made["recipe"]:
        raise StoreMismatchError(
            f"{name} has had days appended since it was begun: append_daily() adds more, and with "
            f"revise=True redoes those that are there. Or {remedy}"
        )
    if not order.resume:
        raise StoreMismatchError(f"{name} exists and resume=False: {remedy}")
    if differ := differences(made["layout"], layout):
        raise StoreMismatchError(f"{name} was made with another layout ({'; '.join(differ)}): {remedy}")
    if made["recipe"] != recipe:
        same = made["recipe"].get("history") == recipe["history"]
        told = (
            "the same verbs, but other data, chunks or steps in between"
            if same
            else f"made by\n{made['recipe'].get('history')}\nnow\n{recipe['history']}\n"
        )
        raise StoreMismatchError(f"{name} was made with other settings ({told}): {remedy}")
    if not ledger.has_objects(layout["variables"]):
        ledger.begin(*skeleton(order.cube, layout, recipe))
