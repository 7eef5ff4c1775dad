"""Running regions: one after another on threads, or one a worker on a cluster."""

import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import count_blocks, map_pixels
from s2cube.errors import StoreError
from s2cube.kernels.counts import clamped, encode
from s2cube.plan import Region
from s2cube.schema import FAILED_LOOKS, NODATA, PROVENANCE, Provenance
from s2cube.store.layout import FILL, shard_of, shards_in
from s2cube.store.ledger import Ledger, Mark

__all__ = ["Job", "run", "store_blocks"]

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

    def files(self, name: str) -> list[str]:
        """Return the files of a variable in the region, in C order of its shards."""
        return shards_in(self.layout, name, self.region)

    def cut(self, cube: xr.Dataset) -> xr.Dataset:
        """Return the piece of `cube` that is computed, its graph culled to it."""
        from dask.base import optimize

        piece = cube[list(self.layout["variables"])].isel(y=self.region.y, x=self.region.x)
        (culled,) = optimize(piece)
        result: xr.Dataset = culled
        return result


def run(
    cube: xr.Dataset, jobs: Sequence[Job], *, progress: bool
) -> Iterator[tuple[Region, "Mark | BaseException"]]:
    """Yield the outcome of each job: on the ambient client where there is one, else on threads."""
    client = _ambient_client()
    if client is not None:
        yield from _run_on(client, cube, jobs, progress=progress)
        return
    for number, job in enumerate(jobs, start=1):
        if progress and len(jobs) > 1:
            print(f"region {number} of {len(jobs)}", file=sys.stderr)
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
    client: Any, cube: xr.Dataset, jobs: Sequence[Job], *, progress: bool
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
                piece = cloudpickle.dumps((job.cut(cube), job))
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
                    print(f"region {finished} of {len(jobs)}", file=sys.stderr)
                error = future.exception()
                yield region, error if error is not None else future.result()
    finally:
        client.cancel(list(running))


def _workers(client: Any) -> list[str]:
    return list(client.scheduler_info(n_workers=-1)["workers"])


def _submit(client: Any, piece: bytes, job: Job, worker: str) -> Any:
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


def _write_pickled(piece: bytes) -> "Mark | BaseException":
    import cloudpickle

    return _write_region(*cloudpickle.loads(piece))


def _write_region(piece: xr.Dataset, job: Job) -> "Mark | BaseException":
    """Compute and write one region, then mark it. Failures are returned: others go on."""
    try:
        files = [name for band in job.layout["variables"] for name in job.files(band)]
        job.ledger.clear(files)
        counts, has_data = store_blocks(piece, job)
        return job.ledger.mark(
            job.region.id,
            dict(zip(files, has_data, strict=True)),
            recipe=job.token,
            counts=counts,
            version=_version(),
        )
    except Exception as error:  # noqa: BLE001 - whatever it was, the report tells it
        return error


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("s2cube-ard")
    except PackageNotFoundError:
        return "unknown"


def store_blocks(piece: xr.Dataset, job: Job) -> tuple[dict[str, int], list[bool]]:
    """Write every variable of a region, whole shards at a time.

    Returns what was counted, and for each file of the region whether there are data in it.
    """
    import dask.array as da
    import dask.config
    import zarr
    from dask.base import compute

    whole = (slice(0, job.layout["shape"][0]), job.region.y, job.region.x)
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
        if name in schema.BANDS:
            counts[name] = count_blocks(clamped, array)
            array = map_pixels(encode, array, dtype=np.int16)
        # Dask cuts at the shards' edges, so that each is written once, by one task.
        array = array.rechunk(shard)
        data.append(count_blocks(_other_than, array, by_block=True, value=FILL.get(name, NODATA)))
        sources.append(array)
        places.append(whole[-dims:])
        path = job.ledger.store / name
        targets.append(zarr.open_array(path, mode="r+", config={"write_empty_chunks": True}))
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
    lost = sum(int(found.pop(name)) for name in list(found) if name in schema.BANDS)
    kept = {name: int(count) for name, count in found.items() if count}
    return {**kept, "clamped": lost}, [bool(count) for blocks in filled for count in blocks.ravel()]


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
