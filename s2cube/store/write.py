"""``write_daily``: a filled cube to a Zarr store, region by region, resumable."""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError, StoreError, StoreMismatchError
from s2cube.plan import regions_of
from s2cube.schema import PROVENANCE
from s2cube.store.claims import Claims
from s2cube.store.item import put_item
from s2cube.store.layout import (
    ATTRIBUTE,
    Profile,
    files_of,
    layout_of,
    recipe_of,
    regions_in,
    skeleton,
    token_of,
)
from s2cube.store.ledger import Ledger, Mark
from s2cube.store.read import opened_from
from s2cube.store.report import WriteReport
from s2cube.store.run import Job, run, version
from s2cube.store.target import open_target

__all__ = ["write_daily"]

REGION: Final = 1024
"""Side of a region, px: smaller ones would read every source block several times."""


def write_daily(
    cube: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    region_size: int = REGION,
    profile: Profile = "series",
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
    max_failed_fraction: float = 0.0,
    storage_options: Mapping[str, Any] | None = None,
) -> WriteReport:
    """Compute a filled cube and write it as a Zarr store; go on where an earlier run stopped.

    The work is cut into regions. Each is computed, written, brought to the disk and only then marked
    as done. Until all are, the store does not open; when a run is interrupted, the same call does
    the rest. Several runs may write one store at once, also on different machines: each region is
    done by one of them. Runs on Dask's ambient client where there is one (one task a region), else on
    threads.

    Parameters
    ----------
    cube
        A cube in whole days, as :func:`s2cube.fill_gaps` returns it.
    store
        Path of the store, a folder; or ``s3://bucket/name``, on any service that speaks S3.
    region_size
        Side of a region, px; rounded up to whole shards. Memory grows with its square.
    profile
        ``"series"``: chunks for reading a pixel's series; ``"balanced"``: for maps as well.
    resume
        Whether to go on with a store that was begun with the same settings, or to refuse it.
    overwrite
        Whether to replace a store that exists. It is kept beside the new one until that is finished,
        and only stores made by s2cube are ever replaced.
    progress
        Whether to show it.
    max_failed_fraction
        Share of regions, 0 to 1, that may fail and the store be finished all the same. They are empty
        in the store and named in the report, ``open_daily`` warns of them, and the same call tries them
        again.
    storage_options
        For ``s3://``: options of obstore's ``S3Store``, such as ``endpoint``, ``region``,
        ``access_key_id``, ``secret_access_key``, ``session_token``. What is not given comes from the
        environment (``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``, ...). Nothing of it is
        kept in the store.

    Returns
    -------
    WriteReport
        Regions written, kept and failed, shares observed and filled. It prints.

    Raises
    ------
    CubeError
        The cube is not filled, or an argument is wrong.
    StoreMismatchError
        The store exists with another grid, other days, variables or settings, or is not ours.
    StoreError
        Something could not be computed or written (disk full, network gone, unreadable source, ...), or
        the store is to be replaced while another run writes it. What was written stays; the same call
        does the rest.
    ImportError
        The store is at ``s3://`` and obstore is not installed.

    Notes
    -----
    Reflectance is int16 with ``scale_factor`` 1e-4 and missing -32768, half-widths of intervals
    (``<band>_uncertainty``) are uint16 of the same scale and missing 65535, both as CF ``_FillValue``
    and as Zarr's ``fill_value``. ``provenance``, ``clear_age`` and ``failed_looks`` are kept as
    they are. Other variables are not written. A STAC item of the store is put beside it,
    ``<store>.item.json``.

    Examples
    --------
    >>> import s2cube, tempfile
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = daily.s2.write_daily(f"{folder}/daily.zarr", progress=False)
    ...     again = daily.s2.write_daily(f"{folder}/daily.zarr", progress=False)
    >>> report.written, again.written, again.kept
    (1, 0, 1)
    """
    cube = schema.validate(cube)
    if PROVENANCE not in cube:
        raise CubeError("The cube is not filled (it has no 'provenance'): run fill_gaps() first.")
    times = cube["time"].values
    if (times != times.astype("datetime64[D]")).any():
        raise CubeError("A daily series has dates at 00:00, this cube has times of day.")
    fraction = _fraction(max_failed_fraction)
    ledger = Ledger(open_target(store, storage_options))
    if ledger.store.name in opened_from(cube):
        raise CubeError(
            f"The cube was opened from {ledger.store.name}: written there it would read what it "
            "overwrites. Choose another path."
        )
    layout = layout_of(cube, profile)
    cut = regions_of(tuple(layout["shape"][1:]), _whole(region_size), tuple(layout["shards"][1:]))
    # As it comes out, not as it was asked for: sizes that cut the same regions are the same.
    layout["region"] = [cut[0].y.stop, cut[0].x.stop]
    regions = regions_in(layout)
    recipe = recipe_of(cube, layout["variables"])
    token = token_of(layout, recipe)
    with _as_store_errors(ledger), Claims(ledger.work, progress=progress) as claims:
        with claims.whole():
            if overwrite and ledger.ours:
                claims.refuse_others("overwrite=True")
            _prepare(ledger, cube, layout, recipe, resume=resume, overwrite=overwrite)
            known = ledger.marks()
            marks = _sound(ledger, known, layout, token)
            todo = {name: region for name, region in regions.items() if name not in marks}
            if todo:
                ledger.forget(name for name in known if name in todo)  # failed, damaged, of other work
                ledger.reopen()
        jobs = {name: Job(ledger, layout, token, todo[name], _items(cube)) for name in todo}
        written, by_others, errors = _work(cube, jobs, claims, progress=progress)
        marks |= by_others | written
        failed = {name: mark for name, mark in marks.items() if not mark.there}
        if len(failed) > fraction * len(regions):
            raise _failure(ledger, marks, failed, errors)
        with claims.whole():
            if not ledger.published:  # nor has another run been quicker
                lost = [file for name in failed for file in files_of(layout, regions[name])]
                ledger.publish([marks[name] for name in regions], lost)
                put_item(ledger, cube)
            claims.clear_dead()
            ledger.clear()
    total: Counter[str] = Counter()
    for mark in marks.values():
        total.update(mark.counts)
    done = sum(mark.there for mark in written.values())
    return WriteReport(
        str(store),
        len(times),
        done,
        len(marks) - done - len(failed),
        dict(total),
        {name: mark.error for name, mark in failed.items()},
    )


def _fraction(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise CubeError(f"max_failed_fraction is a share of the regions, 0 to 1, got {value!r}.")
    return float(value)


def _whole(region_size: Any) -> int:
    if isinstance(region_size, bool) or not hasattr(region_size, "__index__"):
        raise CubeError(f"region_size is a whole number of pixels, got {region_size!r}.")
    return int(region_size)


def _items(cube: xr.Dataset) -> tuple[str, ...]:
    if schema.ITEMS not in cube.coords:
        return ()
    ids = [str(record.get("id")) for step in schema.records_of(cube) for record in step]
    return tuple(dict.fromkeys(ids))


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


def _sound(
    ledger: Ledger, known: Mapping[str, Mark], layout: Mapping[str, Any], token: str
) -> dict[str, Mark]:
    """Return the marks of regions that need not be done: of the same work, their files as they were."""
    regions = regions_in(layout)
    marks = [
        mark
        for name, mark in known.items()
        if name in regions
        and mark.there
        and mark.recipe == token
        and set(mark.files) == set(files_of(layout, regions[name]))
    ]
    sizes = ledger.store.sizes() if marks else {}
    return {mark.region: mark for mark in marks if ledger.holds(mark, sizes)}


def _work(
    cube: xr.Dataset, jobs: Mapping[str, Job], claims: Claims, *, progress: bool
) -> tuple[dict[str, Mark], dict[str, Mark], dict[str, BaseException]]:
    """Do every region that no other run does, and wait for those; take over from runs that die.

    Returns
    -------
    written, by_others, errors
        Marks by region, failed ones included, and the errors of this run's.
    """
    left = dict(jobs)
    written: dict[str, Mark] = {}
    by_others: dict[str, Mark] = {}
    errors: dict[str, BaseException] = {}

    def look() -> None:
        """See what others have done meanwhile."""
        job = next(iter(left.values()))
        for name, mark in job.ledger.marks_of(left).items():
            if mark.recipe == job.token:
                by_others[name] = mark
                del left[name]

    def claimed() -> Iterator[Job]:
        for name, job in list(left.items()):
            if name not in left or not claims.take(name):
                continue
            # Only now is it certain that nobody marks it behind our back.
            mark = job.ledger.marks_of([name]).get(name)
            if mark is not None and mark.recipe == job.token:
                by_others[name] = mark
                del left[name]
                claims.drop(name)
                continue
            yield job

    while left:
        for region, outcome in run(cube, claimed(), total=len(left), progress=progress):
            job = left.pop(region.id)
            if isinstance(outcome, Mark):
                written[region.id] = outcome
            else:
                errors[region.id] = outcome
                written[region.id] = _failed(job, outcome)
            claims.drop(region.id)
        if left:
            look()
        if left:
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


def _prepare(
    ledger: Ledger,
    cube: xr.Dataset,
    layout: Mapping[str, Any],
    recipe: Mapping[str, str],
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    """Begin a store, or make sure that the one that is there is the one that is meant.

    Regions that are there are kept in either case, by their marks.
    """
    name = ledger.store.name
    if not (ledger.ours or ledger.store.vacant):
        raise StoreMismatchError(
            f"{name} exists and was not made by s2cube: choose another path, or remove it yourself."
        )
    if ledger.ours and overwrite:
        ledger.set_aside()
    made = (ledger.attributes() or {}).get(ATTRIBUTE)
    if ledger.store.vacant or not isinstance(made, dict) or not {"layout", "recipe"} <= set(made):
        # New, or a run was killed, or the root damaged, before there was anything to compare with.
        ledger.begin(*skeleton(cube, layout, recipe))
        return
    remedy = "pass overwrite=True to replace it, or choose another path."
    if not resume:
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
        ledger.begin(*skeleton(cube, layout, recipe))
