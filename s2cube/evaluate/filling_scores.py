"""What is measured of one method under one mask: pieces that are computed together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import count_steps, map_halo, map_pixels, map_time, sum_blocks
from s2cube.evaluate.filling_methods import Contender
from s2cube.evaluate.filling_tables import (
    ANGLE,
    DAILY,
    FLOOR,
    INDEX,
    LOOK_STEP,
    SIMILARITY,
    STEP,
    daily_record,
    records,
)
from s2cube.gapfill.hidden import Looks, Trial
from s2cube.kernels import fill, score
from s2cube.schema import Provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Piece", "daily_pieces", "floor_pieces", "trial_pieces"]

NEAR: Final = 3
"""Days that two looks may lie apart whose difference is noise."""
RED, NIR = "B04", ("B08", "B8A")
INTERVALS: Final = ("{}_uncertainty", "{}_uncertainty95")


@dataclass(frozen=True)
class Piece:
    """Arrays, lazy or not, and what makes a table of them once they are computed."""

    arrays: tuple[Any, ...]
    finish: Callable[..., "pd.DataFrame"]


class Shown:
    """A trial as all methods meet it."""

    def __init__(self, looks: Looks, trial: Trial) -> None:
        self.looks, self.trial = looks, trial
        self.gappy = trial.gappy(looks)
        """The cube that they are shown."""
        self.visible = trial.visible(looks)
        """Where it is clear."""
        self.scored = trial.scored(looks)
        """Which pixels of the scored steps count."""
        self.seen: Any = count_steps(looks.pick(self.visible, trial.steps))
        """Clear pixels that are left, by scored step."""

    def before(self, band: str, dates: NDArray[np.int32]) -> Any:
        """Return the last look that is left before each of some dates, all of which are hidden."""
        return map_time(
            fill.fill_last,
            self.looks.cube[band].data,
            self.visible,
            length=len(dates),
            dtype=np.float32,
            days=self.looks.days,
            targets=dates,
            reach="past",
        )


def trial_pieces(shown: Shown, runner: Contender) -> list[Piece]:
    """Fill what is hidden and measure it."""
    looks, trial = shown.looks, shown.trial
    days = looks.days[trial.steps]
    dates, row = np.unique(days, return_inverse=True)
    filled = runner.fill(shown.gappy, dates)
    if len(dates) < len(days):
        filled = filled.isel(time=row)
    age = map_time(
        fill.clear_age,
        shown.visible,
        length=len(dates),
        dtype=np.int16,
        days=looks.days,
        targets=dates,
        reach="past" if runner.causal else "both",
        between=int(Provenance.INTERPOLATED),
    )
    if len(dates) < len(days):
        age = looks.pick(age, row)
    values = {band: filled[band].data for band in schema.bands_of(looks.cube)}
    halves = {
        band: tuple(filled[name].data for form in INTERVALS if (name := form.format(band)) in filled)
        for band in values
    }
    key = {"mask": trial.mask, "causal": runner.causal, "method": runner.label}
    before = {band: looks.pick(shown.before(band, dates), row) for band in values}
    return _pieces(looks, key, trial.steps, values, shown.scored, age, halves, shown.seen, before)


def floor_pieces(looks: Looks) -> list[Piece]:
    """Measure how much clear looks differ that lie at most three days apart."""
    days = looks.days
    steps = np.flatnonzero(np.diff(days) <= NEAR) + 1
    if len(steps) == 0:
        return []
    near = {
        band: looks.pick(
            map_time(
                score.near_look,
                array.data,
                looks.truth,
                length=len(days),
                dtype=np.float32,
                days=days,
                within=NEAR,
            ),
            steps,
        )
        for band, array in looks.cube.data_vars.items()
    }
    truth = looks.pick(looks.truth, steps)
    scored = map_pixels(score.known_look, truth, next(iter(near.values())), dtype=np.bool_)
    age = map_pixels(score.same_age, scored, dtype=np.int16, age=NEAR)
    key = {"mask": FLOOR, "causal": False, "method": FLOOR}
    seen = np.zeros(len(steps))
    return _pieces(looks, key, steps, near, scored, age, {}, seen)


def _pieces(
    looks: Looks,
    key: dict[str, Any],
    steps: NDArray[np.intp],
    values: dict[Any, Any],
    scored: Any,
    age: Any,
    halves: dict[Any, tuple[Any, ...]],
    seen: Any,
    before: dict[Any, Any] | None = None,
) -> list[Piece]:
    """Compare values at some steps with the looks there: bands, index, angle, similarity.

    Also how far both are from the looks `before` them.
    """
    truth = {band: looks.pick(looks.cube[band].data, steps) for band in values}
    errors: dict[str, tuple[Any, ...]] = {
        band: (
            map_pixels(np.subtract, values[band], truth[band], dtype=np.float32),
            *halves.get(band, ()),
        )
        for band in values
    }
    nir = next((band for band in NIR if band in values), None)
    if RED in values and nir is not None:
        both = (values[RED], values[nir], truth[RED], truth[nir])
        errors[INDEX] = (map_pixels(score.index_errors, *both, dtype=np.float32),)
    if len(values) > 1:
        parts = (*values.values(), *truth.values())
        errors[ANGLE] = (map_pixels(score.angles, *parts, dtype=np.float32),)
    dates = looks.days[steps].astype("datetime64[D]").astype("datetime64[ns]")
    length = len(steps) * len(score.BINS) * len(score.SUMS)
    pieces = []

    def add(band: str, error: Any, *more: Any) -> None:
        sums = sum_blocks(score.tally, error, scored, age, *more, length=length)
        pieces.append(Piece((sums, seen), partial(records, {**key, "band": band}, dates, looks.pixels)))

    for band, arrays in errors.items():
        add(band, *arrays)
    for band, look in (before or {}).items():
        for kind, array in ((STEP, values[band]), (LOOK_STEP, truth[band])):
            add(kind, map_pixels(np.subtract, array, look, dtype=np.float32))
    depth = (score.SIDE // 2, score.SIDE // 2)
    for band in values:
        both = map_pixels(score.pair, values[band], truth[band], dtype=np.complex64)
        add(SIMILARITY, map_halo(score.similarity, both, depth=depth, dtype=np.float32))
    return pieces


def daily_pieces(looks: Looks, runners: Sequence[Contender]) -> Iterator[tuple[str, list[Piece]]]:
    """Fill every day with nothing hidden, and measure how rough the series are, and seams.

    Yields, by method, words for it and its pieces.
    """
    targets = np.arange(looks.days[0], looks.days[-1] + 1, dtype=np.int32)
    shape = (looks.cube.sizes["y"], looks.cube.sizes["x"])
    clear = {
        band: map_pixels(score.only, array.data, looks.valid, dtype=np.float32)
        for band, array in looks.cube.data_vars.items()
    }
    beside = {band: _edges(array, shape) for band, array in clear.items()}
    how = {"looks": len(looks.days), "days": looks.days, "targets": targets}
    for runner in runners:
        filled = runner.fill(looks.cube, targets)
        key = {"mask": DAILY, "causal": runner.causal, "method": runner.label}
        pieces = []
        for band, array in clear.items():
            data = filled[band].data
            both = [xr.Variable(schema.DIMS, part) for part in (array, data)]
            joined = xr.Variable.concat(both, "time").data
            varied = sum_blocks(score.variation, joined, length=2, **how)
            finish = partial(daily_record, {**key, "band": band})
            pieces.append(Piece((varied, _edges(data, shape), beside[band]), finish))
        yield f"daily: {runner}", pieces


def _edges(array: Any, shape: tuple[int, int]) -> Any:
    """Return counts and sums of the steps between neighbouring rows and columns."""
    steps = map_halo(score.jumps, array, depth=(1, 1), dtype=np.complex64)
    rows = np.arange(shape[0], dtype=np.int32)[None, :, None]
    columns = np.arange(shape[1], dtype=np.int32)[None, None, :]
    return sum_blocks(score.profile, steps, rows, columns, length=2 * sum(shape), shape=shape)
