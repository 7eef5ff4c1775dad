"""What is hidden from methods of gap filling, to judge and to teach them; what of it is truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import count_steps, is_lazy, map_halo, map_pixels
from s2cube.errors import CubeError
from s2cube.kernels.fill import observed
from s2cube.kernels.hide import both_true, draw, hide, under, without
from s2cube.kernels.morphology import grow_status
from s2cube.schema import Status

__all__ = ["GAPS", "MASKS", "Looks", "Trial", "looks_of", "trials"]

MASKS: Final = ("random", "clouds", "frame", "gap")
GAPS: Final = (30, 45, 90)
"""Days of the blocks that ``gap`` hides."""
SHARE: Final = 0.2
"""Of the dates that are clear enough, how many are hidden at once: few, so that the series that is
left stays like the real one."""
CLEAR_ENOUGH: Final = 0.3
FEWEST: Final = 5
"""Dates that could be hidden, at least."""
RANDOM_SHARE: Final = 0.5
"""Of the clear pixels of a date that ``random`` hides."""
CLOUDY: Final = (0.1, 0.9)
"""Share of the area that a date has masked whose clouds are moved to another one."""
BLOCK: Final = 256
"""Side of the blocks, with all dates, that a lazy cube is measured in, px: as in filling."""
EDGE: Final = 2.0
"""Pixels around a masked one that are no truth: clouds have edges that masks miss."""


@dataclass(frozen=True)
class Looks:
    """A cube and what is known of its looks. Arrays are lazy where the cube is."""

    cube: xr.Dataset
    """Its bands and nothing else: scene classification and status would tell what is hidden."""
    days: NDArray[np.int32]
    valid: Any
    """Where all bands have a value, ``(time, y, x)``."""
    truth: Any
    """The same without what lies near something masked."""
    clear: NDArray[np.float64]
    """Share of the area that is truth, by step."""
    cover: NDArray[np.float64]
    """Share of the area that has no value, by step."""

    @property
    def pixels(self) -> int:
        """Pixels of the area."""
        return int(self.cube.sizes["y"] * self.cube.sizes["x"])

    @property
    def clear_days(self) -> NDArray[np.int32]:
        """Days that are clear enough to be scored."""
        return np.unique(self.days[self.clear >= CLEAR_ENOUGH])

    @property
    def usable(self) -> NDArray[np.int32]:
        """The same without the first and the last, which nothing surrounds."""
        return self.clear_days[1:-1]

    def pick(self, array: Any, steps: NDArray[np.intp]) -> Any:
        """Return some steps of an array of the cube's shape."""
        return xr.Variable(schema.DIMS, array).isel(time=steps).data


@dataclass(frozen=True)
class Trial:
    """One way to hide looks."""

    mask: str
    """``"clouds"``, ``"gap45"``, ..."""
    steps: NDArray[np.intp]
    """Steps that are scored."""
    hidden: Any
    """``bool``, ``(time, y, x)``."""

    def gappy(self, looks: Looks) -> xr.Dataset:
        """Return the cube as the methods see it."""
        arrays = {
            band: schema.variable(
                map_pixels(hide, array.data, self.hidden, dtype=np.float32), array.attrs
            )
            for band, array in looks.cube.data_vars.items()
        }
        return looks.cube.assign(arrays)

    def visible(self, looks: Looks) -> Any:
        """Return where the methods see a clear look."""
        return map_pixels(without, looks.valid, self.hidden, dtype=np.bool_)

    def scored(self, looks: Looks) -> Any:
        """Return which pixels of the scored steps are hidden truth."""
        return map_pixels(
            both_true,
            looks.pick(self.hidden, self.steps),
            looks.pick(looks.truth, self.steps),
            dtype=np.bool_,
        )


def looks_of(cube: xr.Dataset) -> Looks:
    """Look over a cube: one pass over its pixels, to find out how clear each date is."""
    cube = schema.validate(cube)
    bands = schema.bands_of(cube)
    cube = cube[bands]
    if lazy := [cube[band].data for band in bands if is_lazy(cube[band].data)]:
        # Whole series at once: what follows has a task a block, not a block and date. Each band may have
        # chunks of its own, and coordinates too, as xarray opens them.
        sides = {dim: min(BLOCK, max(lazy[0].chunks[axis])) for axis, dim in ((1, "y"), (2, "x"))}
        cube = cube.chunk({"time": -1, **sides})
    valid = map_pixels(observed, *(cube[band].data for band in bands), dtype=np.bool_)
    depth = (int(EDGE), int(EDGE))
    truth = map_halo(_away_from_masked, valid, depth=depth, dtype=np.bool_)
    counts = (count_steps(truth), count_steps(valid))
    if is_lazy(counts[0]):
        from dask.base import compute

        counts = compute(*counts)
    pixels = cube.sizes["y"] * cube.sizes["x"]
    clear, seen = (np.asarray(count) / pixels for count in counts)
    return Looks(cube, schema.solar_days(cube), valid, truth, clear, 1 - seen)


def _away_from_masked(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    masked = (~valid).astype(np.uint8) * np.uint8(Status.CLOUD)
    grown = grow_status(masked, radius=(EDGE, EDGE), states=(int(Status.CLOUD),))
    away: NDArray[np.bool_] = grown == Status.CLEAR
    return away


def trials(
    looks: Looks, masks: Sequence[str], *, gaps: Sequence[int] | None, rounds: int, seed: int
) -> Iterator[Trial]:
    """Yield what is hidden, mask by mask and round by round.

    Parameters
    ----------
    looks
        The cube.
    masks
        Names among :data:`MASKS`.
    gaps
        Days of the blocks of ``gap``; None for those of :data:`GAPS` that fit into the series.
    rounds
        How often other dates are hidden.
    seed
        Of all that is chance.
    """
    usable = looks.usable
    if len(usable) < FEWEST:
        raise CubeError(
            f"Only {len(usable)} dates between the first and the last are at least {CLEAR_ENOUGH:.0%} "
            f"clear, {FEWEST} are needed: too few to hide some and still fill from the rest. Open a "
            "longer period, or a smaller area."
        )
    if "clouds" in masks and not len(_donors(looks)):
        raise CubeError(
            "No date is partly cloudy, so there is no cloud to move: leave 'clouds' out of masks."
        )
    folds = _folds(usable, rounds, seed)
    for mask in masks:
        if mask == "gap":
            yield from _gaps(looks, gaps, rounds, seed)
            continue
        for number, chosen in enumerate(folds):
            yield _hide_dates(looks, mask, chosen, np.random.SeedSequence([seed, number]))


def _folds(usable: NDArray[np.int32], rounds: int, seed: int) -> list[NDArray[np.int32]]:
    """Return the days that each round hides: others in each, as long as there are any."""
    size = max(1, round(SHARE * len(usable)))
    most = -(-len(usable) // size)
    if not 1 <= rounds <= most:
        raise CubeError(
            f"rounds={rounds}: in {most} rounds every one of the {len(usable)} dates that are clear "
            "enough has been hidden once; ask for 1 or more, and at most so many."
        )
    mixed = np.random.default_rng(seed).permutation(usable)
    return [np.sort(mixed[k * size : (k + 1) * size]) for k in range(rounds)]


def _hide_dates(
    looks: Looks, mask: str, chosen: NDArray[np.int32], sequence: np.random.SeedSequence
) -> Trial:
    """Hide some dates, or parts of them, in every look of those days."""
    among = np.isin(looks.days, chosen)
    steps = np.flatnonzero(among)
    if mask == "frame":
        hidden = map_pixels(both_true, looks.valid, among[:, None, None], dtype=np.bool_)
    elif mask == "random":
        height, width = looks.cube.sizes["y"], looks.cube.sizes["x"]
        hidden = map_pixels(
            draw,
            looks.valid,
            np.where(among, looks.days, -1)[:, None, None],
            np.arange(height, dtype=np.int32)[None, :, None],
            np.arange(width, dtype=np.int32)[None, None, :],
            dtype=np.bool_,
            share=RANDOM_SHARE,
            seed=int(sequence.generate_state(1, np.uint64)[0]),
        )
    else:
        moved = _moved_clouds(looks, chosen, np.random.default_rng(sequence))
        hidden = map_pixels(under, looks.valid, moved, dtype=np.bool_)
    return Trial(mask, steps, hidden)


def _donors(looks: Looks) -> NDArray[np.intp]:
    return np.flatnonzero((looks.cover >= CLOUDY[0]) & (looks.cover <= CLOUDY[1]))


def _moved_clouds(looks: Looks, chosen: NDArray[np.int32], rng: np.random.Generator) -> Any:
    """Return ``valid`` with the chosen days replaced by another date, mirrored and turned."""
    valid = xr.Variable(schema.DIMS, looks.valid)
    donors, square = _donors(looks), valid.sizes["y"] == valid.sizes["x"]
    by_day = {day: (int(rng.choice(donors)), rng.random(3) < 0.5) for day in np.asarray(chosen).tolist()}
    parts, start = [], 0
    for step, day in enumerate(looks.days.tolist()):
        if day not in by_day:
            continue
        donor, turns = by_day[day]
        back = {dim: slice(None, None, -1) for dim, turn in zip("yx", turns[:2], strict=True) if turn}
        other = valid.isel(time=slice(donor, donor + 1)).isel(back)
        if square and turns[2]:
            other = xr.Variable(schema.DIMS, other.transpose("time", "x", "y").data)
        parts += [valid.isel(time=slice(start, step)), other]
        start = step + 1
    parts.append(valid.isel(time=slice(start, None)))
    return xr.Variable.concat([part for part in parts if part.sizes["time"]], "time").data


def _gaps(looks: Looks, gaps: Sequence[int] | None, rounds: int, seed: int) -> Iterator[Trial]:
    """Hide everything within blocks of days."""
    held = False
    for length in GAPS if gaps is None else gaps:
        placed = [
            _places(looks, length, np.random.default_rng([seed, number, length]))
            for number in range(rounds)
        ]
        if not placed[0] and gaps is not None:
            raise CubeError(
                f"gaps={length}: no block of so many days has clear dates in it, before it and after "
                "it. Open a longer period, or ask for shorter ones."
            )
        for starts in filter(None, placed):
            held = True
            within = np.zeros(len(looks.days), bool)
            for start in starts:
                within |= (looks.days >= start) & (looks.days < start + length)
            hidden = map_pixels(both_true, looks.valid, within[:, None, None], dtype=np.bool_)
            steps = np.flatnonzero(within & np.isin(looks.days, looks.clear_days))
            yield Trial(f"gap{length}", steps, hidden)
    if not held:
        raise CubeError(
            f"No block of {min(GAPS)} days has clear dates in it, before it and after it. Open a "
            "longer period, ask for shorter gaps=, or leave 'gap' out of masks."
        )


def _places(looks: Looks, length: int, rng: np.random.Generator) -> list[int]:
    """Return where blocks of days begin: few, far from each other, with clear dates on all sides."""
    clear = looks.clear_days
    most = max(1, round(SHARE * int(clear[-1] - clear[0]) / length))
    found: list[int] = []
    for day in rng.permutation(looks.usable).tolist():
        # A block that holds that day, anywhere in it.
        for start in (day - rng.permutation(length)).tolist():
            surrounded = clear[0] < start and start + length <= clear[-1]
            if surrounded and all(abs(start - other) >= 2 * length for other in found):
                found.append(start)
                break
        if len(found) == most:
            break
    return sorted(found)
