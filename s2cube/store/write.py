"""``write_daily``: a filled cube to a Zarr store, region by region, resumable."""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import count_blocks, map_pixels
from s2cube.errors import CubeError, StoreError, StoreMismatchError
from s2cube.kernels.counts import clamped, encode
from s2cube.plan import Region, regions_of
from s2cube.schema import PROVENANCE, Provenance
from s2cube.store.layout import ATTRIBUTE, Profile, layout_of, recipe_of, skeleton
from s2cube.store.ledger import Ledger, Mark, shard_files

__all__ = ["WriteReport", "write_daily"]

REGION: Final = 1024
"""Side of a region, px: smaller ones would read every source block several times."""


@dataclass(frozen=True)
class WriteReport:
    """What a run of :func:`write_daily` did."""

    store: str
    days: int
    written: int
    """Regions computed and written by this run."""
    kept: int
    """Regions that were there already, checked by size."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Values (pixels × days) by provenance, and how many band values were clamped on encoding."""

    @property
    def observed(self) -> float:
        """Share of all values that were seen clear on their day."""
        return self._share("observed")

    @property
    def never_observed(self) -> float:
        """Share of all values without any clear look to lean on; they are missing in the store."""
        return self._share("never_observed")

    @property
    def filled(self) -> float:
        """Share of all values that were filled."""
        return 1 - self.observed - self.never_observed

    def _share(self, name: str) -> float:
        total = sum(value for key, value in self.counts.items() if key != "clamped")
        return self.counts.get(name, 0) / total if total else float("nan")

    def __str__(self) -> str:
        lines = [
            f"{self.store}: {self.days} days",
            f"  regions    {self.written} written, {self.kept} kept from before",
        ]
        if self.counts:
            lines.append(
                f"  values     {self.observed:.1%} observed, {self.filled:.1%} filled, "
                f"{self.never_observed:.1%} never observed"
            )
        if self.counts.get("clamped"):
            lines.append(f"  clamped    {self.counts['clamped']} values beyond ±3.2767 reflectance")
        return "\n".join(lines)


def write_daily(
    cube: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    region_size: int = REGION,
    profile: Profile = "series",
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> WriteReport:
    """Compute a filled cube and write it as a Zarr store; go on where an earlier run stopped.

    The work is cut into regions. Each is computed, written, brought to the disk and only then marked
    as done. Until all are, the store does not open; when a run is interrupted, the same call does
    the rest. Runs on Dask's ambient client where there is one (one task a region), else on threads.

    Parameters
    ----------
    cube
        A cube in whole days, as :func:`s2cube.fill_gaps` returns it.
    store
        Path of the store, a folder.
    region_size
        Side of a region, px; rounded up to whole shards. Memory grows with its square.
    profile
        ``"series"``: chunks for reading a pixel's series; ``"balanced"``: for maps as well.
    resume
        Whether to go on with a store that was begun with the same settings, or to refuse it.
    overwrite
        Whether to delete a store that exists, first. Only stores made by s2cube are deleted.
    progress
        Whether to show it.

    Returns
    -------
    WriteReport
        Regions written and kept, shares observed and filled.

    Raises
    ------
    CubeError
        The cube has times of day, or an argument is wrong.
    StoreMismatchError
        The store exists with another grid, other days, variables or settings, or is not ours.
    StoreError
        Regions could not be computed or written (disk full, unreadable source, ...). What was
        written stays; the same call does the rest.

    Notes
    -----
    Reflectance is int16 with ``scale_factor`` 1e-4 and missing -32768, both as CF ``_FillValue`` and
    as Zarr's ``fill_value``. ``provenance`` and ``clear_age`` are kept as they are.

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
    times = cube["time"].values
    if (times != times.astype("datetime64[D]")).any():
        raise CubeError(
            "A daily series has dates at 00:00, this cube has times of day: run fill_gaps() first."
        )
    ledger = Ledger(_local(store))
    layout = {**layout_of(cube, profile), "region_size": region_size}
    recipe = recipe_of(cube)
    regions = regions_of(
        (layout["shape"][1], layout["shape"][2]),
        region_size,
        (layout["shards"][1], layout["shards"][2]),
    )
    _prepare(ledger, cube, layout, recipe, resume=resume, overwrite=overwrite)
    marks = {
        name: mark
        for name, mark in ledger.marks().items()
        if mark.recipe == recipe["token"] and ledger.holds(mark)
    }
    todo = [region for region in regions if region.id not in marks]
    kept = len(regions) - len(todo)
    failed: dict[str, BaseException] = {}
    jobs = [_Job(ledger, layout, recipe["token"], region) for region in todo]
    for region, outcome in _run(cube, jobs, progress=progress):
        if isinstance(outcome, Mark):
            marks[region.id] = outcome
        else:
            failed[region.id] = outcome
    if failed:
        name, error = next(iter(failed.items()))
        raise StoreError(
            f"{len(failed)} of {len(regions)} regions of {ledger.store} could not be written; "
            f"{len(marks)} are safe on disk, and the same call does the rest. The store stays "
            f"closed until then. First failure ({name}): {type(error).__name__}: {error}"
        ) from error
    if todo or not ledger.published:
        ledger.publish(marks[region.id] for region in regions)
    total: Counter[str] = Counter()
    for mark in marks.values():
        total.update(mark.counts)
    return WriteReport(str(store), len(times), len(todo), kept, dict(total))


def _local(store: str | os.PathLike[str]) -> Path:
    text = os.fspath(store)
    if "://" in text:
        raise StoreError(f"This version writes to local folders, not to {text.split('://')[0]}://.")
    return Path(text).absolute()


def _prepare(
    ledger: Ledger,
    cube: xr.Dataset,
    layout: Mapping[str, Any],
    recipe: Mapping[str, str],
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    """Begin a store, or make sure that the one that is there is the one that is meant."""
    attributes = ledger.attributes()
    ours = attributes is not None and ATTRIBUTE in attributes
    # A run that was killed before its root waited has left metadata and the work folder, no data.
    begun = ours or ledger.folder.is_dir()
    if not begun and ledger.store.exists() and not _is_empty(ledger.store):
        raise StoreMismatchError(
            f"{ledger.store} exists and was not made by s2cube: choose another path, or remove it "
            "yourself."
        )
    if ours and overwrite:
        ledger.remove()
        ours = False
    if not ours:
        ledger.folder.mkdir(parents=True, exist_ok=True)
        ledger.begin(*skeleton(cube, layout, recipe))
        return
    assert attributes is not None
    made = attributes[ATTRIBUTE]
    remedy = "pass overwrite=True to make it anew, or choose another path."
    if not resume:
        raise StoreMismatchError(f"{ledger.store} exists and resume=False: {remedy}")
    if differ := [key for key, value in layout.items() if made["layout"].get(key) != value]:
        told = "; ".join(f"{key} {made['layout'].get(key)!r}, now {layout[key]!r}" for key in differ)
        raise StoreMismatchError(f"{ledger.store} was made with another layout ({told}): {remedy}")
    if made["recipe"] != recipe:
        same = made["recipe"].get("history") == recipe["history"]
        told = (
            "the same verbs, but other data, chunks or steps in between"
            if same
            else f"made by\n{made['recipe'].get('history')}\nnow\n{recipe['history']}\n"
        )
        raise StoreMismatchError(f"{ledger.store} was made with other settings ({told}): {remedy}")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


@dataclass(frozen=True)
class _Job:
    """What one region task needs besides its piece of the cube."""

    ledger: Ledger
    layout: Mapping[str, Any]
    token: str
    region: Region

    def cut(self, cube: xr.Dataset) -> xr.Dataset:
        """Return the piece of `cube` that is computed, its graph culled to it."""
        from dask.base import optimize

        piece = cube[self.layout["variables"]].isel(y=self.region.y, x=self.region.x)
        (culled,) = optimize(piece)
        result: xr.Dataset = culled
        return result


def _run(
    cube: xr.Dataset, jobs: Sequence[_Job], *, progress: bool
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
    client: Any, cube: xr.Dataset, jobs: Sequence[_Job], *, progress: bool
) -> Iterator[tuple[Region, "Mark | BaseException"]]:
    """Yield outcomes from a cluster: one task a region, one region a worker at a time."""
    import cloudpickle
    from distributed import as_completed

    idle = list(client.scheduler_info(n_workers=-1)["workers"])
    if not idle:
        raise StoreError("The Dask client has no workers: start some, or close the client.")
    running: dict[Any, tuple[Region, str]] = {}
    done = as_completed()
    waiting = iter(jobs)
    finished = 0
    while True:
        while idle and (job := next(waiting, None)) is not None:
            worker = idle.pop()
            # Bytes, not a collection: the scheduler must see a region, never its inner tasks.
            piece = cloudpickle.dumps((job.cut(cube), job))
            with warnings.catch_warnings():
                # A cube in memory has to travel; a lazy one is small.
                warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
                future = client.submit(
                    _write_pickled,
                    piece,
                    key=f"s2cube-region-{job.region.id}-{job.token[:12]}",
                    workers=[worker],
                    allow_other_workers=True,
                    pure=False,
                )
            running[future] = (job.region, worker)
            done.add(future)
        if not running:
            return
        future = next(done)
        region, worker = running.pop(future)
        idle.append(worker)
        finished += 1
        if progress:
            print(f"region {finished} of {len(jobs)}", file=sys.stderr)
        error = future.exception()
        yield region, error if error is not None else future.result()


def _write_pickled(piece: bytes) -> "Mark | BaseException":
    import cloudpickle

    return _write_region(*cloudpickle.loads(piece))


def _write_region(piece: xr.Dataset, job: _Job) -> "Mark | BaseException":
    """Compute and write one region, then mark it. Failures are returned: others go on."""
    files = shard_files(job.region, job.layout)
    try:
        job.ledger.clear(files)
        counts = _store_blocks(piece, job)
        return job.ledger.mark(
            job.region,
            files,
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


def _store_blocks(piece: xr.Dataset, job: _Job) -> dict[str, int]:
    """Write every variable of a region, whole shards at a time; return what was counted."""
    import dask.array as da
    import dask.config
    import zarr
    from dask.base import compute

    shards = job.layout["shards"]
    whole = (slice(0, job.layout["shape"][0]), job.region.y, job.region.x)
    for axis, part in enumerate(whole):
        if part.start % shards[axis]:
            raise StoreError(
                f"Region {job.region.id} does not start on a shard of {shards[axis]} px: two "
                "owners of one shard would lose each other's data."
            )
    sources: list[Any] = []
    targets: list[Any] = []
    lost: list[Any] = []
    for name in job.layout["variables"]:
        data = piece[name].data
        if name in schema.BANDS:
            lost.append(count_blocks(clamped, data))
            data = map_pixels(encode, data, dtype=np.int16)
        # Dask cuts at the shards' edges, so that each is written once, by one task.
        sources.append(da.asarray(data).rechunk(tuple(shards)))
        targets.append(
            zarr.open_array(job.ledger.store / name, mode="r+", config={"write_empty_chunks": True})
        )
    writing = da.store(sources, targets, regions=[whole] * len(sources), lock=False, compute=False)
    kinds = {}
    if PROVENANCE in piece:
        kinds = {
            kind.name.lower(): count_blocks(_equals, piece[PROVENANCE].data, value=int(kind))
            for kind in Provenance
        }
    # Threads of this process, whatever the default is: on a worker the default would send the
    # region's inner tasks back to the scheduler.
    with dask.config.set(scheduler="threads", num_workers=_threads()):
        _, found, clamps = compute(writing, kinds, lost)
    counts = {name: int(count) for name, count in found.items() if count}
    return {**counts, "clamped": int(sum(clamps))}


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
