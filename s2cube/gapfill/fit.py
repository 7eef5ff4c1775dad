"""``fit_gap_filler``: teach a network whom to believe, on hidden looks of your own cubes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill.cells import PATCH
from s2cube.gapfill.lessons import Place, places_of, teach
from s2cube.gapfill.methods import NETWORK
from s2cube.gapfill.network import ARCHITECTURE
from s2cube.gapfill.quantiles import count_quantiles
from s2cube.kernels.bootstrap import draws, middle
from s2cube.kernels.experts import OWN, SHARED
from s2cube.masks.needs import level_of
from s2cube.models.run import AUTO, check_run, here, network_of
from s2cube.models.spec import ModelSpec
from s2cube.models.train_gate import Cell, corrections, train_gate

__all__ = ["fit_gap_filler"]

FEWEST: Final = 4
"""Cubes from which on whole ones are held out, not dates."""
EXPERTS: Final = ("similar", *OWN[:4])
"""The best one, and those that the network chooses from."""
WORSE: Final = 0.01
"""Share by which no family may get worse."""
DATES: Final = 8
"""Dates held out, at least: of fewer, no interval is worth its name."""
MOST: Final = 2**31
"""Bytes of lessons in memory, about."""


def fit_gap_filler(
    cubes: xr.Dataset | Sequence[xr.Dataset],
    method: str = NETWORK,
    *,
    causal: bool = False,
    bands: Sequence[str] | None = None,
    until: str | None = None,
    epochs: int = 12,
    rounds: int = 5,
    held_out: float = 0.3,
    places: int = 8,
    width: int = 32,
    seed: int = 0,
    device: str = AUTO,
    name: str = NETWORK,
    licence: str = "",
    notes: str = "",
    progress: bool = True,
) -> ModelSpec:
    """Fit a network that fills gaps to your own masked cubes, at once.

    Clear pixels are hidden as :func:`~s2cube.evaluate_gap_filling` does it (under the clouds of other
    dates, whole dates, weeks without a look), the gaps are filled by the experts, and the network learns
    what of them to believe. It starts as ``"similar"``, and is returned only if it does better on dates,
    or at places, from which it did not learn.

    Parameters
    ----------
    cubes
        One masked cube or several places. A lazy one is read once.
    method
        ``"network"``.
    causal
        Whether it is for ``fill_gaps(causal=True)``; each way has a network of its own.
    bands
        To learn from, by id or common name; all that each cube has by default. A cube that is filled may
        have any of them.
    until
        Last solar day to learn from (``"2020-12-31"``). What is filled causally must come after it.
    epochs
        At most; it ends when what is held out is filled no better.
    rounds
        How often other dates are hidden. Five hide each date once of each kind.
    held_out
        Share of the cubes, or of the dates where there are less than four cubes, from which nothing is
        learnt: one half says when it is over, the other whether the result is better.
    places
        Windows of 192 × 192 px that are learnt from, drawn by chance where the cubes have more.
    width
        Channels of the network's layers: 32 make 32 thousand weights.
    seed
        The same seed gives the same weights on the same machine; on a GPU nearly so.
    device
        One of PyTorch's, to train on; ``"auto"``: a GPU where there is one.
    name, licence, notes
        Written into the model.
    progress
        Whether to print what is done.

    Returns
    -------
    ModelSpec
        With the weights inside; ``spec.save(path)`` writes one file, ``fill_gaps(method=spec)`` uses it.
        ``fitted_until`` is the last day learnt from, ``notes`` the errors on what was held out.

    Raises
    ------
    CubeError
        It is no better than its experts: the message has the numbers, and ``"similar"`` does as well. Or
        too few dates can be hidden, cubes do not fit together, an argument is out of range.
    ImportError
        The extra ``torch`` is not installed.
    """
    check_run(device, AUTO, "fit_gap_filler()")
    _check(method, epochs, rounds, held_out, places)
    given = [schema.validate(cube) for cube in ([cubes] if isinstance(cubes, xr.Dataset) else cubes)]
    asked = None if bands is None else schema.band_ids(bands)
    learnt = [_until(cube, until) for cube in given]
    for cube in learnt if asked else ():
        schema.pick_bands(cube, asked or [])
    tell: Callable[[str], None] = partial(print, flush=True) if progress else lambda _: None
    rng = np.random.default_rng(seed)
    windows = places_of(learnt, asked, places, rng)
    cells = _cells(windows, rng, causal=causal, rounds=rounds, seed=seed, tell=tell)
    taught, stop, judge = _split(cells, held_out, rng)
    parameters = {"width": width, "causal": bool(causal)}
    shape = (len(OWN) + len(SHARED), 2)
    found = train_gate(
        taught, stop, parameters=parameters, shape=shape, epochs=epochs, seed=seed, device=here(device),
        tell=tell,
    )  # fmt: skip
    used = sorted({band for cube in learnt for band in asked or schema.bands_of(cube)})
    facts: dict[str, Any] = {
        "name": name,
        "architecture": ARCHITECTURE,
        "bands": used,
        "side": PATCH,
        "levels": sorted({level_of(cube) for cube in given} - {""}) or list(schema.LEVELS),
        "parameters": parameters,
        "fitted_until": max(
            str(schema.solar_days(cube).max().astype("datetime64[D]")) for cube in learnt
        ),
        "licence": licence,
    }
    if not found.epoch:
        raise CubeError(_refusal("Nothing was learnt: what was held out was never filled better."))
    spec = ModelSpec.of(found.weights, **facts)
    score = _score(spec, judge, here(device))
    if not score.better:
        raise CubeError(_refusal(f"The network is not better than its experts: {score.words}."))
    weights = {**found.weights, "quantiles": _quantiles(spec, [*stop, *judge], here(device))}
    how = f"seed {seed}, epoch {found.epoch}; held out, {score.words}"
    return ModelSpec.of(weights, **facts, notes=f"{notes} ({how})" if notes else how)


def _refusal(why: str) -> str:
    return f"{why} So it is not returned: 'similar' does as well. More dates or places may change that."


def _check(method: str, epochs: int, rounds: int, held_out: float, places: int) -> None:
    if method != NETWORK:
        raise CubeError(f"What can be fitted is {NETWORK!r}; got {method!r}.")
    if not 0 < held_out < 1 or min(epochs, rounds, places) < 1:
        raise CubeError(
            "held_out is a share between 0 and 1, epochs, rounds and places are from 1; got "
            f"{held_out!r}, {epochs!r}, {rounds!r}, {places!r}."
        )


def _until(cube: xr.Dataset, until: str | None) -> xr.Dataset:
    """Return the looks up to a solar day."""
    if until is None:
        return cube
    try:
        last = np.datetime64(until, "D").astype(np.int64)
    except ValueError:
        raise CubeError(f"until is a day such as '2020-12-31'; got {until!r}.") from None
    days = schema.solar_days(cube)
    if not (days <= last).any():
        raise CubeError(f"No look until {until}: the first is of {np.datetime64(int(days[0]), 'D')}.")
    return cube.isel(time=np.flatnonzero(days <= last))


def _cells(windows: Sequence[Sequence[Place]], rng: np.random.Generator, **how: Any) -> list[list[Cell]]:
    """Return the cells of each cube; of too many, some by chance."""
    found: list[list[Cell]] = [[] for _ in windows]
    count = sum(map(len, windows))
    number = 0
    for of_cube, some in zip(found, windows, strict=True):
        for place in some:
            cells = list(teach(place, number, **how))
            each = (
                sum(array.nbytes for array in cells[0] if isinstance(array, np.ndarray)) if cells else 1
            )
            kept = sorted(rng.permutation(len(cells))[: max(MOST // count // each, 1)].tolist())
            of_cube += [cells[k] for k in kept]
            number += 1
    return found


def _split(
    cells: Sequence[Sequence[Cell]], held_out: float, rng: np.random.Generator
) -> tuple[list[Cell], list[Cell], list[Cell]]:
    """Return what to learn from, what says when it is over, and what judges."""
    if len(cells) >= FEWEST:
        order = rng.permutation(len(cells)).tolist()
        away = max(round(held_out * len(cells)), 2)
        kinds = (order[away:], order[: away // 2], order[away // 2 : away])
        taught, stop, judge = ([cell for k in kind for cell in cells[k]] for kind in kinds)
    else:
        dates = sorted({cell.date for cube in cells for cell in cube})
        away = round(held_out * len(dates) / 2)
        mixed = [dates[k] for k in rng.permutation(len(dates)).tolist()]
        days = (set(mixed[2 * away :]), set(mixed[:away]), set(mixed[away : 2 * away]))
        taught, stop, judge = (
            [cell for cube in cells for cell in cube if cell.date in kind] for kind in days
        )
    for part, words in ((stop, "that say when it is over"), (judge, "that judge")):
        if (count := len({cell.date for cell in part})) < DATES:
            raise CubeError(
                f"There are {count} dates held out {words}, {DATES} are needed: a longer period, more "
                f"places, or a larger held_out than {held_out} give more."
            )
    if not taught:
        raise CubeError("Nothing is left to learn from: held_out is too large.")
    return taught, stop, judge


@dataclass(frozen=True)
class _Score:
    """How a network does on what was held out."""

    better: bool
    words: str


def _score(spec: ModelSpec, cells: Sequence[Cell], device: str) -> _Score:
    """Compare a network with its experts on dates that it did not see.

    Errors are multiples of the best expert's in the same family and place, so that none rules. The
    network is better if the mean is, for 95 % of all draws of dates; if the median date is; and if no
    family gets worse anywhere by more than a little, or by more than chance.
    """
    groups, dates = sorted({cell.group for cell in cells}), sorted({cell.date for cell in cells})
    sums, counts = _sums(spec, cells, (groups, dates), device)
    relative = sums.sum(axis=1) / np.maximum(sums[:, :, 1].sum(axis=1), 1e-9)[:, None]
    usual = sums[:, :, 1].sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    by_date = (sums / np.maximum(usual, 1e-9)[:, None, None]).sum(axis=0)
    drawn = draws(len(dates))
    low, high = middle((drawn @ by_date[:, 0]) / (drawn @ by_date[:, 1]))
    no_worse = True
    for own, one in zip(relative[:, 0], sums, strict=True):
        some = one[one[:, 1] > 0]
        weights = draws(len(some))
        certain = middle(weights @ (some[:, 0] - some[:, 1]))[0] > 0
        no_worse &= bool(own <= 1 + WORSE and not certain)
    mean = relative.mean(axis=0)
    median = float(np.median(by_date[:, 0] / np.maximum(by_date[:, 1], 1e-9)))
    words = ", ".join(
        f"{family} {relative[[group[0] == family for group in groups], 0].mean():.3f}"
        for family in sorted({group[0] for group in groups})
    )
    others = ", ".join(f"{e} {one:.2f}" for e, one in zip(EXPERTS[1:], mean[2:], strict=True))
    return _Score(
        bool(high < 1 and median < 1 and mean[0] < mean[1:].min() and no_worse),
        f"{len(dates)} dates: {mean[0]:.3f} of the error of 'similar' (95 %: {low:.3f} to {high:.3f}), "
        f"{words}, worst {relative[:, 0].max():.3f}; other experts {others}",
    )


def _sums(
    spec: ModelSpec, cells: Sequence[Cell], keys: tuple[list[Any], list[Any]], device: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums of errors by group, date, and who made them; and how many values there are."""
    network = network_of(spec, device)
    sums, counts = np.zeros((*map(len, keys), 1 + len(EXPERTS))), np.zeros([len(key) for key in keys])
    for cell in cells:
        at = keys[0].index(cell.group), keys[1].index(cell.date)
        margin = (PATCH - cell.off.shape[-1]) // 2
        inner = cell.own[..., margin:-margin, margin:-margin].astype(np.float32)
        said = [corrections(network, cell, device)[:, 0], np.zeros_like(cell.off)]
        said += [inner[:, k] for k in range(len(EXPERTS) - 1)]
        for k, one in enumerate(said):
            error = np.abs(cell.off - one) * cell.unit[:, None, None]
            sums[(*at, k)] += np.nansum(error, dtype=np.float64)
        counts[at] += np.isfinite(cell.off).sum()
    return sums, counts


def _quantiles(spec: ModelSpec, cells: Sequence[Cell], device: str) -> NDArray[np.float32]:
    """Return how many deviations hold so many of the errors on what was held out."""
    network = network_of(spec, device)
    multiples, ages = [], []
    for cell in cells:
        off, wider = np.moveaxis(corrections(network, cell, device), 1, 0)
        margin = (PATCH - off.shape[-1]) // 2
        deviation = cell.own[:, OWN.index("deviation"), margin:-margin, margin:-margin] * np.exp(wider)
        known = np.isfinite(cell.off)
        error = np.abs(cell.off - off)[known] / np.maximum(deviation[known], 1e-6)
        multiples.append(error)
        ages.append(np.broadcast_to(cell.age, known.shape)[known])
    return count_quantiles(np.concatenate(multiples), np.concatenate(ages))
