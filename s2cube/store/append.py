"""``append_daily``: more days for a store that is open and stays so.

What happens, in order. All that is not published yet is in ``append/`` in the work folder.

1. The plan (``appending/plan.py``). Under the claim on the whole store, a publication that was begun is
   finished, the cube is compared with the store, and the plan is kept: days, layout, recipe. The same
   call makes the same plan, so that reruns and other runs go on with it. Another plan takes its place:
   then marks of the old one, and shards where the store has no days, are deleted.
2. The regions (``appending/region.py``), each by one run. New days are computed. A shard that has days
   already is read whole, held against the ledger and notes, noted as what it will be, and replaced:
   old days as they were, new ones behind. The region is marked when its shards are there for good. The
   store's metadata stay, so its readers see the old days, from old shards or new.
3. Publication (``appending/publish.py``), under the claim again: the new marks beside those that hold,
   days and arrays' metadata, the root, the new marks alone.

So at any instant what the root says is there, with old days that do not change; each file is as the
ledger or a note says, or damaged; and whatever was begun is finished by the same call. A revision does
the same with the root away, as old days do change. Before a shard is replaced the plan is read once
more: a run that was suspended, while others went on, stops.
"""

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import xarray as xr

from s2cube.errors import CubeError, StoreError
from s2cube.schema import Provenance
from s2cube.store.appending.plan import Plan, keep_plan, pending, planned
from s2cube.store.appending.publish import finish, grown, publish, root_token
from s2cube.store.appending.region import CHANGED, REPLACED, AppendJob, lasting
from s2cube.store.layout import ATTRIBUTE, files_of, regions_in
from s2cube.store.ledger import APPEND, Claims, Ledger, Mark
from s2cube.store.read import known_store, opened_from
from s2cube.store.report import WriteReport
from s2cube.store.run import Cut, Progress, as_store_errors, failure_of, work_through
from s2cube.store.target import ROOT
from s2cube.store.write import check_filled, items_of

__all__ = ["MARKS", "append_daily"]

MARKS: Final = f"{APPEND}marks/"
"""Where in the work folder the marks of an append are."""


def append_daily(
    cube: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    revise: bool = False,
    progress: bool = True,
    storage_options: Mapping[str, Any] | None = None,
) -> WriteReport:
    """Add days to a store that was made with ``write_daily(..., append_every=N)``.

    Days that the store has are kept as they are. Who reads it meanwhile sees the days that were there
    before, and all new ones at once when all regions are done. When a run is interrupted, the store
    stays as it was, and the same call does the rest. Several runs may make the same append at once.

    Parameters
    ----------
    cube
        A cube in whole days, as :func:`s2cube.fill_gaps` returns it, on the store's grid, made by the
        same verbs. It begins with the day after the store's last, or before: days that the store has
        are then skipped.
    store
        Its path, or ``s3://bucket/name``.
    revise
        Whether to replace published values: all days of the store from the cube's first day on. The
        store does not open while this is done. For filling that looks at both sides of a gap, and so
        knows better afterwards.
    progress
        Whether to show it.
    storage_options
        For ``s3://``, as in :func:`s2cube.write_daily`.

    Returns
    -------
    WriteReport
        Days added (and revised), their shares observed and filled; with `revise`,
        ``report.counts["changed"]`` values were replaced by others.

    Raises
    ------
    StoreMismatchError
        The store was not made for appending, or the cube has another grid, other variables or verbs, or
        leaves days out.
    UnfinishedStoreError
        The store is not finished, or regions of it are missing.
    StoreError
        Something could not be computed, read or written, or another run appends other days at this
        moment. Days that are there stay; the same call does the rest.
    CubeError
        The cube is not filled, or was opened from this very store.

    Notes
    -----
    The time shard that is not full yet is read back and written whole, with its old days bit for bit as
    they were. Variables without days (``failed_looks``) stay as the store has them, unless all its
    days are revised.

    Examples
    --------
    >>> import s2cube, tempfile
    >>> cube = s2cube.testing.simulate_cube(seed=1, shape=(20, 20), bands=["red"])
    >>> daily = cube.s2.mask_clouds("scl").s2.fill_gaps("last", causal=True)
    >>> june = daily.sel(time=slice("2021-06-01", "2021-06-30"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = june.s2.write_daily(f"{folder}/daily.zarr", append_every=30, progress=False)
    ...     report = s2cube.append_daily(
    ...         daily.sel(time=["2021-07-01"]), f"{folder}/daily.zarr", progress=False
    ...     )
    ...     days = s2cube.open_daily(f"{folder}/daily.zarr").sizes["time"]
    >>> report.days, days
    (1, 31)
    """
    cube = check_filled(cube)
    revise = bool(revise)
    known, _ = known_store(store, storage_options)
    ledger = Ledger(known.store, MARKS)
    if ledger.store.name in opened_from(cube):
        raise CubeError(
            f"The cube was opened from {ledger.store.name}: its days are there already. Append a "
            "cube that was made of new images."
        )
    with as_store_errors(ledger), Claims(ledger.work, progress=progress) as claims:
        with claims.whole():
            finish(ledger)
            old = Ledger(ledger.store).marks()  # of what is published
            plan = planned(ledger, cube, old, revise=revise)
            if plan is None:
                return WriteReport(str(store), 0, 0, len(old), {})
            _begin(ledger, plan, claims)
            marks = _done(ledger, plan)
            jobs = _jobs(ledger, plan, items_of(cube), old, marks)
        added = cube.isel(time=slice(len(cube["time"]) - (len(plan.days) - plan.begin), None))
        days = added.sizes["time"]
        with Progress(len(jobs) + len(marks), days, kept=len(marks), wanted=progress) as shown:
            made = work_through(Cut(added), jobs, claims, shown=shown)
        marks |= made.marks
        if failed := {name: mark for name, mark in marks.items() if not mark.there}:
            state = "is as it was before" if ledger.published else "stays closed, as it is being revised"
            told = (
                f"{len(failed)} of {len(marks)} regions of {ledger.store.name} could not be appended "
                f"to; the store {state}, and the same call does the rest."
            )
            raise failure_of(told, failed, made.errors)
        with claims.whole():
            if pending(ledger) == plan:
                publish(ledger, plan, [marks[name] for name in regions_in(plan.layout)])
            elif root_token(ledger) != plan.token:  # nor has another run been quicker
                raise StoreError(
                    f"This run was suspended, and another one has gone on with {ledger.store.name} "
                    "since: the same call appends what is not there."
                )
            claims.clear_dead()
            ledger.work.tidy()
    done = len(made.written)
    counts = _new_counts(marks, old, plan.begin)
    return WriteReport(str(store), len(plan.days) - plan.begin, done, len(marks) - done, counts)


def _begin(ledger: Ledger, plan: Plan, claims: Claims) -> None:
    """Make sure that this append is the one that is under way."""
    begun = pending(ledger)
    if begun != plan:
        if ledger.work.sizes(APPEND):
            # Another one was given up. Its notes stay: they tell what files may be. Its marks are none
            # of this plan's, see _done().
            claims.refuse_others("appending other days")
            if begun is not None:
                _delete_beyond(ledger, begun)
        keep_plan(ledger, plan)
    if plan.revise:
        ledger.reopen()


def _length(ledger: Ledger) -> int:
    return int((ledger.attributes() or {})[ATTRIBUTE]["layout"]["shape"][0])


def _delete_beyond(ledger: Ledger, begun: Plan) -> None:
    """Delete shards of an append that was given up, where the store has no days."""
    layout = begun.layout
    beyond = -(-_length(ledger) // layout["shards"][0]) * layout["shards"][0]
    if beyond < layout["shape"][0]:
        for region in regions_in(layout).values():
            ledger.store.delete(files_of(layout, region, beyond))


def _done(ledger: Ledger, plan: Plan) -> dict[str, Mark]:
    """Return the marks of regions that need not be done; those that failed are taken away."""
    known = ledger.fresh_marks()
    regions = regions_in(plan.layout)
    sound = {}
    for name, mark in known.items():
        if mark.there and mark.recipe == plan.token:
            written = files_of(plan.layout, regions[name], plan.begin)
            if ledger.has({file: mark.files[file] for file in written}):
                sound[name] = mark
    ledger.work.delete([f"{MARKS}{name}.json" for name in known if name not in sound])
    return sound


def _jobs(
    ledger: Ledger,
    plan: Plan,
    items: tuple[str, ...],
    old: Mapping[str, Mark],
    done: Mapping[str, Mark],
) -> dict[str, AppendJob]:
    objects, _ = grown(ledger, plan)
    metadata = {key: content for key, content in objects.items() if key.endswith(ROOT)}
    had = _length(ledger)
    return {
        name: AppendJob(
            ledger,
            plan.layout,
            plan.token,
            region,
            items,
            begin=plan.begin,
            had=had,
            old=old.get(name, Mark(name, "", {})),
            objects=metadata,
        )
        for name, region in regions_in(plan.layout).items()
        if name not in done
    }


def _new_counts(marks: Mapping[str, Mark], old: Mapping[str, Mark], begin: int) -> dict[str, int]:
    """Return what was counted of the days that were written."""
    total: Counter[str] = Counter()
    for mark in marks.values():
        total.update(mark.counts)
    if begin:
        for mark in old.values():
            total.subtract(lasting(mark.counts))
        for kind, told in REPLACED.items():
            total[Provenance(kind).name.lower()] += total[told]
    changed = {CHANGED: total[CHANGED]} if total[CHANGED] else {}
    return {**lasting({name: count for name, count in total.items() if count}), **changed}
