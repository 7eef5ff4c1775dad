"""What one task does: a region of the store computed, encoded, written and marked."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from s2cube.store.ledger import BlockStatus, Ledger, Mark
from s2cube.store.target import Facts

if TYPE_CHECKING:
    from s2cube.store.target.bridge import Recorder

__all__ = ["Job", "Make", "Outcome", "store_blocks", "version", "write_region"]


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

    def made(self, mark: Mark) -> bool:
        """Return whether a mark is of this very work, also of the same items."""
        return mark.recipe == self.token and (not mark.there or tuple(mark.items) == self.items)

    def recorder(self) -> "Recorder":
        """Return what puts the region's shards."""
        from s2cube.store.target.bridge import Recorder

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


Make = Callable[[], xr.Dataset | None]
"""Returns the piece of a region, None where there is nothing. Called where the region is computed."""
Outcome = Mark | BaseException


def write_region(make: Make, job: Job) -> Outcome:
    """Compute and write one region, then mark it. Failures are returned: others go on."""
    import dask.config

    try:
        # Threads of this process, whatever the default is: on a worker the default would send the
        # region's inner tasks back to the scheduler.
        with dask.config.set(scheduler="threads", num_workers=_threads()):
            piece = make()
            counts, files, has_data = _leave_empty(job) if piece is None else store_blocks(piece, job)
        return job.ledger.mark(job.marked(counts, files, has_data=has_data), files)
    except Exception as error:  # noqa: BLE001 - whatever it was, the report tells it
        return error


def _leave_empty(job: Job) -> tuple[dict[str, int], dict[str, Facts | None], bool]:
    """Make sure that nothing lies where there is nothing: what is not there reads as never observed."""
    files = files_of(job.layout, job.region, job.begin)
    job.ledger.store.delete(name for name, size in job.ledger.store.sizes_of(files).items() if size)
    days, pixels = job.layout["shape"][0] - job.begin, job.region.pixels
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
