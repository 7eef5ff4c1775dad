"""From regions that are to be done to a finished store: what all writers share."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from s2cube.errors import StoreError, StoreMismatchError
from s2cube.plan import Region
from s2cube.store.claims import Claims
from s2cube.store.item import put_item
from s2cube.store.layout import ATTRIBUTE, files_of, regions_in, skeleton, token_of
from s2cube.store.ledger import Ledger, Mark
from s2cube.store.progress import Progress
from s2cube.store.report import WriteReport
from s2cube.store.run import Job, Source, run, version

__all__ = ["Order", "finish"]


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


def finish(order: Order) -> WriteReport:
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
    jobs = {name: _job(order, region) for name, region in regions.items()}
    with _as_store_errors(ledger), Claims(ledger.work, progress=order.progress) as claims:
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
            written, by_others, errors = _work(order, todo, claims, shown)
        marks |= by_others | written
        failed = {name: mark for name, mark in marks.items() if not mark.there}
        if len(failed) > order.fraction * len(regions):
            raise _failure(ledger, marks, failed, errors)
        with claims.whole():
            if not ledger.published:  # nor has another run been quicker
                lost = [file for name in failed for file in files_of(layout, regions[name])]
                ledger.publish([marks[name] for name in regions], lost)
                put_item(ledger, order.cube)
            claims.clear_dead()
            ledger.clear()
    total: Counter[str] = Counter()
    for mark in marks.values():
        total.update(mark.counts)
    done = sum(mark.there for mark in written.values())
    return WriteReport(
        order.name,
        days,
        done,
        len(marks) - done - len(failed),
        dict(total),
        {name: mark.error for name, mark in failed.items()},
    )


def _job(order: Order, region: Region) -> Job:
    items = order.items(region)
    return Job(order.ledger, order.layout, token_of(order.layout, order.recipe, items), region, items)


@contextlib.contextmanager
def _as_store_errors(ledger: Ledger) -> Iterator[None]:
    """Let what the file system says about metadata come out as what is documented."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{ledger.store.name} could not be written: {error}. What is there stays; the same call "
            "goes on."
        ) from error


def _sound(known: Mapping[str, Mark], jobs: Mapping[str, Job]) -> dict[str, Mark]:
    """Return the marks of regions that need not be done: of the same work, their files as they were."""
    marks = [
        mark
        for name, mark in known.items()
        if name in jobs
        and mark.there
        and mark.recipe == jobs[name].token
        and set(mark.files) == set(files_of(jobs[name].layout, jobs[name].region))
    ]
    if not marks:
        return {}
    ledger = jobs[marks[0].region].ledger
    sizes = ledger.store.sizes()
    return {mark.region: mark for mark in marks if ledger.holds(mark, sizes)}


def _work(
    order: Order, jobs: Mapping[str, Job], claims: Claims, shown: Progress
) -> tuple[dict[str, Mark], dict[str, Mark], dict[str, BaseException]]:
    """Do every region that no other run does, and wait for those; take over from runs that die.

    What failed and may pass is tried again when all others are done.

    Returns
    -------
    written, by_others, errors
        Marks by region, failed ones included, and the errors of this run's.
    """
    left = dict(jobs)
    written: dict[str, Mark] = {}
    by_others: dict[str, Mark] = {}
    errors: dict[str, BaseException] = {}
    tried: Counter[str] = Counter()

    def theirs(marks: Mapping[str, Mark]) -> None:
        """See what others have done meanwhile."""
        for name, mark in marks.items():
            # A failure of our own that is tried again is none of theirs.
            if mark.recipe == jobs[name].token and (mark.there or not tried[name]):
                by_others[name] = mark
                shown.done(mark)
                del left[name]

    def claimed() -> Iterator[Job]:
        for name, job in list(left.items()):
            if name not in left or not claims.take(name):
                continue
            # Only now is it certain that nobody marks it behind our back.
            theirs(order.ledger.marks_of([name]))
            if name in left:
                yield job
            else:
                claims.drop(name)

    while left:
        alone = len(jobs) == 1 and order.progress
        idle = True
        for region, outcome in run(order.source, claimed(), bar=alone, resources=order.resources):
            name, idle = region.id, False
            if isinstance(outcome, Mark):
                written[name] = outcome
                errors.pop(name, None)
                del left[name]
            else:
                errors[name] = outcome
                written[name] = _failed(jobs[name], outcome)
                tried[name] += 1
                if tried[name] > order.retries or not isinstance(outcome, OSError):
                    del left[name]
            if name not in left:
                shown.done(written[name])
            claims.drop(name)
        if left:
            theirs(order.ledger.marks_of(left))
        if left and idle:
            claims.wait(f"{len(left)} regions")
    return written, by_others, errors


def _failed(job: Job, error: BaseException) -> Mark:
    """Note that a region failed, where that can be noted: on a full disk it cannot."""
    # What comes after a link's "?" may be a signature.
    told = re.sub(r"(https?://[^\s?]+)\?[^\s'\"]+", r"\1?...", f"{type(error).__name__}: {error}")[:1000]
    mark = Mark.of_failure(job.region.id, job.token, told, version())
    with contextlib.suppress(OSError):
        job.ledger.mark(mark)
    return mark


def _failure(
    ledger: Ledger,
    marks: Mapping[str, Mark],
    failed: Mapping[str, Mark],
    errors: Mapping[str, BaseException],
) -> StoreError:
    name = next(iter(errors or failed))
    old = f" The store that was there is kept in {ledger.replaced.name} until then."
    failure = StoreError(
        f"{len(failed)} of {len(marks)} regions of {ledger.store.name} could not be written; "
        f"{len(marks) - len(failed)} are safe on disk, and the same call (without overwrite=True) does "
        f"the rest. The store stays closed until then (max_failed_fraction= opens it without them)."
        f"{'' if ledger.replaced.vacant else old} First failure ({name}): {failed[name].error}"
    )
    failure.__cause__ = errors.get(name)
    return failure


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
    remedy = "pass overwrite=True to replace it, or choose another path."
    if not order.resume:
        raise StoreMismatchError(f"{name} exists and resume=False: {remedy}")
    if differ := [key for key, value in layout.items() if made["layout"].get(key) != value]:
        told = "; ".join(f"{key} {made['layout'].get(key)!r}, now {layout[key]!r}" for key in differ)
        raise StoreMismatchError(f"{name} was made with another layout ({told}): {remedy}")
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
