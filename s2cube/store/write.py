"""``write_daily``: a filled cube to a Zarr store, region by region, resumable."""

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError, StoreError, StoreMismatchError
from s2cube.plan import regions_of
from s2cube.schema import PROVENANCE, Provenance
from s2cube.store.layout import ATTRIBUTE, Profile, layout_of, recipe_of, skeleton, token_of
from s2cube.store.ledger import Ledger, Mark
from s2cube.store.read import local_path, opened_from
from s2cube.store.run import Job, run

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
    """Values (pixels × days) by provenance; looks at a pixel that could not be read
    (``failed_looks``); band values that were ``clamped`` on encoding."""

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
        total = sum(self.counts.get(kind.name.lower(), 0) for kind in Provenance)
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
        if failed := self.counts.get("failed_looks"):
            lines.append(f"  unread     {failed} looks at a pixel, filled like clouds: see failed_looks")
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
        Whether to replace a store that exists. It is kept beside the new one until that is finished,
        and only stores made by s2cube are ever replaced.
    progress
        Whether to show it.

    Returns
    -------
    WriteReport
        Regions written and kept, shares observed and filled.

    Raises
    ------
    CubeError
        The cube is not filled, or an argument is wrong.
    StoreMismatchError
        The store exists with another grid, other days, variables or settings, or is not ours.
    StoreError
        Another run is writing the store, or something could not be computed or written (disk full,
        unreadable source, ...). What was written stays; the same call does the rest.

    Notes
    -----
    Reflectance is int16 with ``scale_factor`` 1e-4 and missing -32768, both as CF ``_FillValue`` and
    as Zarr's ``fill_value``. ``provenance``, ``clear_age`` and ``failed_looks`` are kept as they are.

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
    ledger = Ledger(local_path(store))
    if str(ledger.store) in opened_from(cube):
        raise CubeError(
            f"The cube was opened from {ledger.store}: written there it would read what it overwrites. "
            "Choose another path."
        )
    layout = layout_of(cube, profile)
    cut = regions_of(tuple(layout["shape"][1:]), _whole(region_size), tuple(layout["shards"][1:]))
    regions = {region.id: region for region in cut}
    # As it comes out, not as it was asked for: sizes that cut the same regions are the same.
    layout["region"] = [cut[0].y.stop, cut[0].x.stop]
    recipe = recipe_of(cube, layout["variables"])
    token = token_of(layout, recipe)
    with _as_store_errors(ledger), ledger.lock():
        begun = _prepare(ledger, cube, layout, recipe, resume=resume, overwrite=overwrite)
        marks = {
            name: mark
            for name, mark in ledger.marks().items()
            if name in regions and mark.recipe == token and ledger.holds(mark)
        }
        todo = [region for name, region in regions.items() if name not in marks]
        kept = len(marks)
        if todo:
            ledger.reopen()
        failed: dict[str, BaseException] = {}
        jobs = [Job(ledger, layout, token, region) for region in todo]
        for region, outcome in run(cube, jobs, progress=progress):
            if isinstance(outcome, Mark):
                marks[region.id] = outcome
            else:
                failed[region.id] = outcome
        if failed:
            raise _failure(ledger, len(regions), len(marks), failed)
        if todo or begun or not ledger.published:
            ledger.publish(marks[name] for name in regions)
    total: Counter[str] = Counter()
    for mark in marks.values():
        total.update(mark.counts)
    return WriteReport(str(store), len(times), len(todo), kept, dict(total))


def _whole(region_size: Any) -> int:
    if isinstance(region_size, bool) or not hasattr(region_size, "__index__"):
        raise CubeError(f"region_size is a whole number of pixels, got {region_size!r}.")
    return int(region_size)


@contextlib.contextmanager
def _as_store_errors(ledger: Ledger) -> Any:
    """Let what the file system says about metadata come out as what is documented."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{ledger.store} could not be written: {error}. What is there stays; the same call goes on."
        ) from error


def _failure(ledger: Ledger, regions: int, safe: int, failed: Mapping[str, BaseException]) -> StoreError:
    name, error = next(iter(failed.items()))
    old = f" The store that was there is kept in {ledger.replaced} until then."
    failure = StoreError(
        f"{len(failed)} of {regions} regions of {ledger.store} could not be written; {safe} are safe on "
        f"disk, and the same call (without overwrite=True) does the rest. The store stays closed until "
        f"then.{old if ledger.replaced.exists() else ''} First failure ({name}): "
        f"{type(error).__name__}: {error}"
    )
    failure.__cause__ = error
    return failure


def _prepare(
    ledger: Ledger,
    cube: xr.Dataset,
    layout: Mapping[str, Any],
    recipe: Mapping[str, str],
    *,
    resume: bool,
    overwrite: bool,
) -> bool:
    """Begin a store, or make sure that the one that is there is the one that is meant.

    Returns whether metadata were put anew. Regions that are there are kept in either case, by their
    marks.
    """
    if not (ledger.ours or ledger.vacant):
        raise StoreMismatchError(
            f"{ledger.store} exists and was not made by s2cube: choose another path, or remove it "
            "yourself."
        )
    if ledger.ours and overwrite:
        ledger.set_aside()
    made = (ledger.attributes() or {}).get(ATTRIBUTE)
    if ledger.vacant or not isinstance(made, dict) or not {"layout", "recipe"} <= set(made):
        # New, or a run was killed, or the root damaged, before there was anything to compare with.
        ledger.begin(*skeleton(cube, layout, recipe))
        return True
    remedy = "pass overwrite=True to replace it, or choose another path."
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
    if all((ledger.store / name / "zarr.json").exists() for name in layout["variables"]):
        return False
    ledger.begin(*skeleton(cube, layout, recipe))
    return True
