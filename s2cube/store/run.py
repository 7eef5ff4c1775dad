"""Running regions: one after another on threads, or one a worker on a cluster."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from s2cube.store.bridge import Recorder

__all__ = ["Job", "run", "store_blocks", "version"]

PATIENCE: Final = 10
"""Seconds after which it is asked whether there are still workers."""


@dataclass(frozen=True)
class Job:
    """What one region task needs besides its piece of the cube."""

    ledger: Ledger
    layout: Mapping[str, Any]
    token: str
    """Of layout and recipe, for the mark."""
    region: Region
    items: tuple[str, ...] = ()
    """Ids of the items that the cube was made of, where they are known."""
    begin: int = 0
    """Index in the store of the cube's first day; what has no days is only written with the first."""

    @property
    def names(self) -> list[str]:
        """The variables that are written."""
        return [name for name, dims in self.layout["variables"].items() if dims == 3 or not self.begin]

    def recorder(self) -> "Recorder":
        """Return what puts the region's shards."""
        from s2cube.store.bridge import Recorder

        return Recorder(self.ledger.store)

    def target(self, recorder: "Recorder", name: str) -> Any:
        """Return what takes the blocks of a variable, at their place in the store."""
        return _opened(recorder, self, name)

    def marked(
        self, counts: Mapping[str, int], files: Mapping[str, Facts | None], *, has_data: bool
    ) -> Mark:
        """Return the mark of the region that was written."""
        status = BlockStatus.WRITTEN if has_data else BlockStatus.NO_DATA
        return Mark(
            self.region.id, self.token, files, counts, version(), status=status, items=self.items
        )

    def cut(self, cube: xr.Dataset) -> xr.Dataset:
        """Return the piece of `cube` that is computed, its graph culled to it."""
        from dask.base import optimize

        piece = cube[list(self.layout["variables"])].isel(y=self.region.y, x=self.region.x)
        (culled,) = optimize(piece)
        result: xr.Dataset = culled
        return result


def run(
    cube: xr.Dataset, jobs: Iterable[Job], *, total: int, progress: bool
) -> Iterator[tuple[Region, "Mark | BaseException"]]:
    """Yield the outcome of each job: on the ambient client where there is one, else on threads.

    A job is asked for when there is a worker for it, so that it may be claimed then. `total` is the
    most there can be.
    """
    client = _ambient_client()
    if client is not None:
        yield from _run_on(client, cube, jobs, total=total, progress=progress)
        return
    for number, job in enumerate(jobs, start=1):
        if progress and total > 1:
            print(f"region {number} of {total}", file=sys.stderr)
        with _bar(progress):
            yield job.region, _write_region(job.cut(cube), job)


def _bar(progress: bool) -> AbstractContextManager[Any]:
    from dask.diagnostics.progress import ProgressBar

    # Dask's own bar, which draws itself in a terminal and in a notebook alike.
    return ProgressBar(minimum=0.5) if progress else nullcontext()


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
    client: Any, cube: xr.Dataset, jobs: Iterable[Job], *, total: int, progress: bool
) -> Iterator[tuple[Region, "Mark | BaseException"]]:
    """Yield outcomes from a cluster: one task a region, one region a worker at a time."""
    import cloudpickle
    from distributed import wait

    idle = _workers(client)
    if not idle:
        raise StoreError("The Dask client has no workers: start some, or close the client.")
    running: dict[Any, tuple[Region, str]] = {}
    waiting = iter(jobs)
    finished = 0
    try:
        while True:
            while idle and (job := next(waiting, None)) is not None:
                # Bytes, not a collection: the scheduler must see a region, never its inner tasks.
                piece = _Piece(cloudpickle.dumps((job.cut(cube), job)))
                worker = idle.pop()
                running[_submit(client, piece, job, worker)] = (job.region, worker)
            if not running:
                return
            try:
                done = wait(list(running), timeout=PATIENCE, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if not _workers(client):
                    raise StoreError("All Dask workers are gone; the same call does the rest.") from None
                continue
            for future in done:
                region, worker = running.pop(future)
                idle.append(worker)
                finished += 1
                if progress:
                    print(f"region {finished} of {total}", file=sys.stderr)
                error = future.exception()
                yield region, error if error is not None else future.result()
    finally:
        client.cancel(list(running))


def _workers(client: Any) -> list[str]:
    return list(client.scheduler_info(n_workers=-1)["workers"])


@dataclass(frozen=True)
class _Piece:
    """A region, pickled. Dask logs the arguments of a task that dies: this one may hold credentials."""

    content: bytes = field(repr=False)


def _submit(client: Any, piece: _Piece, job: Job, worker: str) -> Any:
    with warnings.catch_warnings():
        # A cube in memory has to travel; a lazy one is small.
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return client.submit(
            _write_pickled,
            piece,
            key=f"s2cube-region-{job.region.id}-{job.token[:12]}",
            workers=[worker],
            allow_other_workers=True,
            pure=False,
        )


def _write_pickled(piece: _Piece) -> "Mark | BaseException":
    import cloudpickle

    return _write_region(*cloudpickle.loads(piece.content))


def _write_region(piece: xr.Dataset, job: Job) -> "Mark | BaseException":
    """Compute and write one region, then mark it. Failures are returned: others go on."""
    try:
        counts, files, has_data = store_blocks(piece, job)
        return job.ledger.mark(job.marked(counts, files, has_data=has_data), files)
    except Exception as error:  # noqa: BLE001 - whatever it was, the report tells it
        return error


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
    import dask.config
    from dask.base import compute

    whole = (slice(job.begin, job.layout["shape"][0]), job.region.y, job.region.x)
    recorder = job.recorder()
    sources: list[Any] = []
    targets: list[Any] = []
    places: list[Any] = []
    data: list[Any] = []
    counts: dict[str, Any] = {}
    for name in job.names:
        shard = shard_of(job.layout, name)
        place = whole[-len(shard) :]
        for part, side in zip(place[-2:], shard[-2:], strict=True):
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
        array = array.rechunk(tuple(_cut(part, side) for part, side in zip(place, shard, strict=True)))
        data.append(count_blocks(_other_than, array, by_block=True, value=held.fill))
        sources.append(array)
        places.append(place)
        targets.append(job.target(recorder, name))
    writing = da.store(sources, targets, regions=places, lock=False, compute=False)
    for kind in Provenance:
        where = piece[PROVENANCE].data
        counts[kind.name.lower()] = count_blocks(_equals, da.asarray(where), value=int(kind))
    if FAILED_LOOKS in piece:
        counts[FAILED_LOOKS] = da.asarray(piece[FAILED_LOOKS].data).sum(dtype=np.int64)
    # Threads of this process, whatever the default is: on a worker the default would send the
    # region's inner tasks back to the scheduler.
    with dask.config.set(scheduler="threads", num_workers=_threads()):
        _, found, filled = compute(writing, counts, data)
    lost = sum(int(found.pop(name)) for name in job.names if encoding_of(name).scaled)
    kept = {name: int(count) for name, count in found.items() if count}
    of_bands = zip(job.names, filled, strict=True)
    has_data = any(blocks.any() for name, blocks in of_bands if name in schema.BANDS)
    full = [bool(count) for blocks in filled for count in blocks.ravel()]
    files = dict(zip(files_of(job.layout, job.region, job.begin), full, strict=True))
    return {**kept, "clamped": lost}, _accounted(recorder.facts, files, job), has_data


def _cut(part: slice, side: int) -> tuple[int, ...]:
    """Return the sizes of what lies in `part` of each shard."""
    edges = [part.start, *range((part.start // side + 1) * side, part.stop, side), part.stop]
    return tuple(np.diff(edges).tolist())


def _opened(recorder: "Recorder", job: Job, name: str) -> Any:
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
