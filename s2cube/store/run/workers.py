"""Where regions run: one after another on threads, or one a worker on a cluster."""

import secrets
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import xarray as xr

from s2cube.blocks import progress_bar
from s2cube.errors import StoreError
from s2cube.plan import Region
from s2cube.store.run.region import Job, Make, Outcome, write_region

__all__ = ["Cut", "Source", "run"]

PATIENCE: float = 60.0
"""Seconds without any worker after which none is waited for: one that died may be started again."""
LOOK: Final = 2.0
"""Seconds between two looks at which workers are there, while no region gets done."""


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
        with progress_bar(bar):
            yield job.region, write_region(source.ship(job), job)


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
        return write_region(*cloudpickle.loads(piece.content))
