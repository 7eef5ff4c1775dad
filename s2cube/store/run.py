"""Running regions: one after another on threads, or one a worker on a cluster."""

import os
import secrets
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import count_blocks, map_pixels
from s2cube.errors import StoreError
from s2cube.kernels.counts import clamped, encode
from s2cube.plan import Region
from s2cube.schema import FAILED_LOOKS, PROVENANCE, Provenance
from s2cube.store.layout import encoding_of, files_of, shard_of
from s2cube.store.ledger import BlockStatus, Facts, Ledger, Mark

__all__ = ["Cut", "Job", "Make", "Outcome", "Source", "run", "store_blocks", "version"]

PATIENCE: float = 60.0
"""Seconds without any worker after which none is waited for: one that died may be started again."""
LOOK: Final = 2.0
"""Seconds between two looks at which workers are there, while no region gets done."""


@dataclass(frozen=True)
class Job:
    """What one region task needs besides its piece of the cube."""

    ledger: Ledger
    layout: Mapping[str, Any]
    token: str
    """Of layout and recipe, for the mark."""
    region: Region
    items: tuple[str, ...] = ()
    """Ids of the items that it is made of, where they are known."""


Make = Callable[[], xr.Dataset | None]
"""Returns the piece of a region, None where there is nothing. Called where the region is computed."""


class Source(Protocol):
    """Where the pieces come from."""

    def ship(self, job: Job, /) -> Make:
        """Return what makes a piece; it is pickled with the job."""
        ...


@dataclass(frozen=True)
class Cut:
    """Pieces of a cube that is there."""

    cube: xr.Dataset

    def ship(self, job: Job) -> Make:
        """Return the piece, its graph culled to it."""
        from dask.base import optimize

        piece = self.cube[list(job.layout["variables"])].isel(y=job.region.y, x=job.region.x)
        (culled,) = optimize(piece)
        return partial(_itself, culled)


def _itself(piece: xr.Dataset) -> xr.Dataset:
    return piece


Outcome = Mark | BaseException


def run(
    source: Source,
    jobs: Iterable[Job],
    *,
    bar: bool = False,
    resources: Mapping[str, float] | None = None,
) -> Iterator[tuple[Region, Outcome]]:
    """Yield the outcome of each job: on the ambient client where there is one, else on threads.

    A job is asked for when there is a worker for it, so that it may be claimed then.

    Parameters
    ----------
    source
        Where pieces come from.
    jobs
        What is to be done.
    bar
        Whether to show, without a client, how far a region is: Dask's own bar.
    resources
        What a worker must have.
    """
    client = _ambient_client()
    if client is not None:
        yield from _run_on(client, source, jobs, resources or {})
        return
    if resources:
        raise StoreError(
            f"resources={dict(resources)!r} are of the workers of a cluster: connect a Dask client, or "
            "leave them out."
        )
    for job in jobs:
        with _bar(bar):
            yield job.region, _write_region(source.ship(job), job)


def _bar(wanted: bool) -> AbstractContextManager[Any]:
    from dask.diagnostics.progress import ProgressBar

    # Dask's own bar, which draws itself in a terminal and in a notebook alike.
    return ProgressBar(minimum=0.5) if wanted else nullcontext()


def _ambient_client() -> Any:
    """Return the client that the user has made, if any; `distributed` is not loaded to ask."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    return client if client.status == "running" else None


def _run_on(
    client: Any, source: Source, jobs: Iterable[Job], resources: Mapping[str, float]
) -> Iterator[tuple[Region, Outcome]]:
    """Yield outcomes from a cluster: one task a region, one region a worker at a time."""
    import dask.config

    may_die = int(dask.config.get("distributed.scheduler.allowed-failures", 3))
    running: dict[Any, tuple[Job, str | None]] = {}
    deaths: Counter[str] = Counter()
    again: list[Job] = []
    waiting = iter(jobs)
    met, seen = False, time.monotonic()
    try:
        while True:
            # Asked anew each time: workers come, and go, and come back under another name.
            there = _workers(client, resources)
            for future, job in _orphans(running, there):
                client.cancel([future])
                del running[future]
                deaths[job.region.id] += 1
                if deaths[job.region.id] <= may_die:
                    again.append(job)
                else:
                    yield job.region, _given_up(deaths[job.region.id])
            busy = {worker for _, worker in running.values()}
            free: list[str | None] = [worker for worker in there if worker not in busy]
            if _adapts(client):
                # It sees that it is too small by what waits; no worker is bound to do these.
                free += [None] * (max(1, len(there) // 2) - sum(worker is None for worker in busy))
            for worker in free:
                if (next_job := again.pop() if again else next(waiting, None)) is None:
                    break
                future = _submit(client, source.ship(next_job), next_job, worker, resources)
                running[future] = (next_job, worker)
            if not (running or again):
                if free or (next_job := next(waiting, None)) is None:
                    return
                again.append(next_job)
            if there or _adapts(client):
                met, seen = True, time.monotonic()
            elif time.monotonic() - seen > (PATIENCE if met else 5 * LOOK):
                raise StoreError(
                    "All Dask workers are gone; the same call does the rest."
                    if met
                    else _nobody(resources)
                )
            done = _finished(list(running))
            for future in done:
                try:
                    outcome = future.exception(timeout=LOOK) or future.result(timeout=LOOK)
                except TimeoutError:
                    continue  # its worker died with the outcome
                job, _ = running.pop(future)
                yield job.region, outcome
    finally:
        client.cancel(list(running))


def _finished(futures: list[Any]) -> Collection[Any]:
    """Wait a moment for one of some tasks; return those that are done."""
    from distributed import wait

    if not futures:
        time.sleep(LOOK)
        return ()
    try:
        done: Collection[Any] = wait(futures, timeout=LOOK, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return ()
    return done


def _orphans(
    running: Mapping[Any, tuple[Job, str | None]], there: Collection[str]
) -> list[tuple[Any, Job]]:
    """Return what was given to workers that are gone.

    Not left to Dask, which may give such a task to another worker, but forgets it where there is none at
    that moment.
    """
    return [
        (future, job)
        for future, (job, worker) in running.items()
        if worker is not None and worker not in there and not future.done()
    ]


def _given_up(times: int) -> MemoryError:
    return MemoryError(
        f"Its worker died {times} times, most likely for want of memory: give workers more memory or "
        "fewer threads, or choose a smaller region_size (explain_regions() tells what a region needs)."
    )


def _workers(client: Any, resources: Mapping[str, float]) -> list[str]:
    """Return the addresses of the workers that have some resources."""
    if not resources:
        return list(client.nthreads())  # a number each; what follows is kilobytes each
    known = client.scheduler_info(n_workers=-1)["workers"]
    return [
        address
        for address, facts in known.items()
        if all(facts.get("resources", {}).get(name, 0) >= least for name, least in resources.items())
    ]


def _adapts(client: Any) -> bool:
    """Return whether workers come when there is work: after ``adapt()`` of a cluster made here."""
    return getattr(getattr(client, "cluster", None), "_adaptive", None) is not None


def _nobody(resources: Mapping[str, float]) -> str:
    if resources:
        return (
            f"No Dask worker has resources {dict(resources)!r}: start some with them (dask worker "
            "--resources 'GPU=1'), or leave resources= out."
        )
    return "The Dask client has no workers: start some, or close the client."


@dataclass(frozen=True)
class _Piece:
    """A region, pickled. Dask logs the arguments of a task that dies: this one may hold credentials."""

    content: bytes = field(repr=False)


def _submit(
    client: Any, make: Make, job: Job, worker: str | None, resources: Mapping[str, float]
) -> Any:
    import cloudpickle

    # Bytes, not a collection: the scheduler must see a region, never its inner tasks.
    piece = _Piece(cloudpickle.dumps((make, job)))
    where = {} if worker is None else {"workers": [worker]}
    with warnings.catch_warnings():
        # A cube in memory has to travel; a lazy one is small.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return client.submit(
            _write_pickled,
            piece,
            # A region that is tried again is another task.
            key=f"s2cube-region-{job.region.id}-{job.token[:12]}-{secrets.token_hex(4)}",
            pure=False,
            resources=dict(resources) or None,
            **where,
        )


_ONE_AT_A_TIME: Final = threading.Lock()
"""Of a process: a region takes the memory and the threads of its worker. Regions that are bound to no
worker, for those that come when there is work, go where there may be one already."""


def _write_pickled(piece: _Piece) -> Outcome:
    import cloudpickle

    with _ONE_AT_A_TIME:
        return _write_region(*cloudpickle.loads(piece.content))


def _write_region(make: Make, job: Job) -> Outcome:
    """Compute and write one region, then mark it. Failures are returned: others go on."""
    import dask.config

    try:
        # Threads of this process, whatever the default is: on a worker the default would send the
        # region's inner tasks back to the scheduler.
        with dask.config.set(scheduler="threads", num_workers=_threads()):
            piece = make()
            written = _leave_empty(job) if piece is None else store_blocks(piece, job)
        counts, files, has_data = written
        status = BlockStatus.WRITTEN if has_data else BlockStatus.NO_DATA
        mark = Mark(job.region.id, job.token, files, counts, version(), status=status, items=job.items)
        return job.ledger.mark(mark)
    except Exception as error:  # noqa: BLE001 - whatever it was, the report tells it
        return error


def _leave_empty(job: Job) -> tuple[dict[str, int], dict[str, Facts | None], bool]:
    """Make sure that nothing lies where there is nothing: what is not there reads as never observed."""
    files = files_of(job.layout, job.region)
    job.ledger.store.delete(name for name, size in job.ledger.store.sizes_of(files).items() if size)
    days, pixels = job.layout["shape"][0], job.region.pixels
    counts = {Provenance.NEVER_OBSERVED.name.lower(): days * pixels, "clamped": 0}
    return counts, dict.fromkeys(files), False


def version() -> str:
    """Return the version of s2cube, for the record."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("s2cube-ard")
    except PackageNotFoundError:
        return "unknown"


def store_blocks(piece: xr.Dataset, job: Job) -> tuple[dict[str, int], dict[str, Facts | None], bool]:
    """Write every variable of a region, whole shards at a time.

    Returns
    -------
    counts, files, has_data
        What was counted; size and checksum of each file of the region, as it went out; whether any
        band has a value.
    """
    import dask.array as da
    from dask.base import compute

    from s2cube.store.bridge import Recorder

    whole = (slice(0, job.layout["shape"][0]), job.region.y, job.region.x)
    recorder = Recorder(job.ledger.store)
    sources: list[Any] = []
    targets: list[Any] = []
    places: list[Any] = []
    data: list[Any] = []
    counts: dict[str, Any] = {}
    for name, dims in job.layout["variables"].items():
        shard = shard_of(job.layout, name)
        for part, side in zip(whole[-dims:], shard, strict=True):
            if part.start % side:
                raise StoreError(
                    f"Region {job.region.id} does not start on a shard of {side}: two owners of one "
                    "shard would lose each other's data."
                )
        array = da.asarray(piece[name].data)
        held = encoding_of(name)
        if held.scaled:
            how = {"unsigned": held.dtype == "uint16"}
            counts[name] = count_blocks(clamped, array, **how)
            array = map_pixels(encode, array, dtype=held.dtype, **how)
        # Dask cuts at the shards' edges, so that each is written once, by one task.
        array = array.rechunk(shard)
        data.append(count_blocks(_other_than, array, by_block=True, value=held.fill))
        sources.append(array)
        places.append(whole[-dims:])
        targets.append(_opened(recorder, job, name))
    writing = da.store(sources, targets, regions=places, lock=False, compute=False)
    for kind in Provenance:
        where = piece[PROVENANCE].data
        counts[kind.name.lower()] = count_blocks(_equals, da.asarray(where), value=int(kind))
    if FAILED_LOOKS in piece:
        counts[FAILED_LOOKS] = da.asarray(piece[FAILED_LOOKS].data).sum(dtype=np.int64)
    _, found, filled = compute(writing, counts, data)
    lost = sum(int(found.pop(name)) for name in job.layout["variables"] if encoding_of(name).scaled)
    kept = {name: int(count) for name, count in found.items() if count}
    of_bands = zip(job.layout["variables"], filled, strict=True)
    has_data = any(blocks.any() for name, blocks in of_bands if name in schema.BANDS)
    full = [bool(count) for blocks in filled for count in blocks.ravel()]
    files = dict(zip(files_of(job.layout, job.region), full, strict=True))
    return {**kept, "clamped": lost}, _accounted(recorder.facts, files, job), has_data


def _opened(recorder: Any, job: Job, name: str) -> Any:
    """Return the array of a variable, to be written."""
    import zarr

    array = zarr.open_array(recorder, path=name, mode="r+", config={"write_empty_chunks": True})
    wanted = encoding_of(name).dtype, tuple(shard_of(job.layout, name))
    if (array.dtype.name, array.shards) != wanted:
        raise StoreError(
            f"{name} of {job.ledger.store.name} is {array.dtype} in shards of {array.shards}, it was "
            f"made as {wanted[0]} in {wanted[1]}: another program has changed the store. Pass "
            "overwrite=True, or choose another path."
        )
    return array


def _accounted(
    facts: Mapping[str, Facts | None], files: Mapping[str, bool], job: Job
) -> dict[str, Facts | None]:
    """Return what was noted of each file; `files` says of each whether there are data in it.

    Zarr keeps no file of a shard at the array's edge that holds only fill.
    """
    if lost := [name for name, full in files.items() if facts.get(name) is None and full]:
        raise StoreError(f"{lost[0]} of {job.ledger.store.name} has data, and Zarr has not written it.")
    if extra := [name for name in facts if name not in files]:
        raise StoreError(f"{extra[0]} of {job.ledger.store.name} was written by region {job.region.id}.")
    return {name: facts.get(name) for name in files}


def _other_than(block: NDArray, *, value: int) -> int:
    return int((block != value).sum())


def _equals(block: NDArray[np.uint8], *, value: int) -> int:
    return int((block == value).sum())


def _threads() -> int:
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        try:
            return int(distributed.get_worker().state.nthreads)
        except ValueError:
            pass
    return os.cpu_count() or 1
