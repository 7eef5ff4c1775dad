"""What a network is taught on: clear pixels that were hidden, and what the experts say of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill import hidden, windows
from s2cube.gapfill.cells import CELL, Cells
from s2cube.kernels.experts import ask
from s2cube.kernels.fill import clear_age
from s2cube.models.train_gate import Cell
from s2cube.schema import Provenance

__all__ = ["FAMILIES", "Place", "places_of", "teach"]

FAMILIES: Final = ("clouds", "frame", "gap")
SIDE: Final = windows.SIDE + 2 * windows.HALO
"""Pixels of a place, as of a window."""
LEAST: Final = 0.005
"""Share of a cell that must be hidden truth."""


@dataclass(frozen=True)
class Place:
    """A window of a cube, in memory: what is hidden there is hidden from all experts."""

    cube: xr.Dataset
    origin: tuple[int, int]


def places_of(
    cubes: Sequence[xr.Dataset], bands: Sequence[str] | None, most: int, rng: np.random.Generator
) -> list[list[Place]]:
    """Return windows of each cube, by chance where there are more than `most` in all."""
    corners = [
        (number, top, left)
        for number, cube in enumerate(cubes)
        for top, left in np.ndindex(*(-(-cube.sizes[dim] // SIDE) for dim in ("y", "x")))
    ]
    chosen = sorted(corners[k] for k in rng.permutation(len(corners))[:most])
    found: list[list[Place]] = [[] for _ in cubes]
    for number, top, left in chosen:
        cube = cubes[number]
        # As many pixels each, not a sliver at the end.
        cut = {
            dim: slice(*(cube.sizes[dim] * (k + step) // -(-cube.sizes[dim] // SIDE) for step in (0, 1)))
            for dim, k in (("y", top), ("x", left))
        }
        part = cube[list(bands) if bands else schema.bands_of(cube)].isel(cut).compute()
        found[number].append(Place(part, schema.first_pixel(schema.geobox_of(part))))
    return found


def teach(
    place: Place,
    number: int,
    *,
    causal: bool,
    rounds: int,
    seed: int,
    tell: Callable[[str], None],
) -> Iterator[Cell]:
    """Yield the cells of a place, family by family.

    Parameters
    ----------
    place
        The window.
    number
        Of the place.
    causal
        Whether experts may lean only on the past.
    rounds
        How often other dates are hidden; fewer where that hides each once.
    seed
        Of all that is chance.
    tell
        Called with a line a trial.
    """
    looks = hidden.looks_of(place.cube)
    values = np.stack([place.cube[band].values for band in schema.bands_of(place.cube)], axis=1)
    families = 0
    for family in FAMILIES:
        try:
            for trial in _trials(looks, family, rounds, seed):
                tell(f"place {number}: {trial.mask}")
                yield from _cells(looks, trial, values, place.origin, number, causal, family)
            families += 1
        except CubeError as error:
            tell(f"place {number}: no {family}: {error}")
    if not families:
        raise CubeError(f"There is nothing to learn from at place {number}: no date can be hidden.")


def _trials(looks: hidden.Looks, family: str, rounds: int, seed: int) -> Iterator[hidden.Trial]:
    count = len(looks.usable)
    most = -(-count // max(1, round(hidden.SHARE * count))) if count else 1
    yield from hidden.trials(looks, [family], gaps=None, rounds=min(rounds, most), seed=seed)


def _cells(
    looks: hidden.Looks,
    trial: hidden.Trial,
    values: NDArray[np.float32],
    origin: tuple[int, int],
    number: int,
    causal: bool,
    family: str,
) -> Iterator[Cell]:
    """Yield what the experts say of what a trial hides."""
    seen, scored = trial.visible(looks), trial.scored(looks)
    targets, row = np.unique(looks.days[trial.steps], return_inverse=True)
    everything = (slice(0, values.shape[2]), slice(0, values.shape[3]))
    # Not those of the grid: few that are full, where the place is small.
    cells = Cells.of((0, 0), values.shape[2:], everything)
    experts = ask(
        values, seen, days=looks.days, targets=targets, origin=origin, causal=causal, smooth=False,
        inside=cells.area,
    )  # fmt: skip
    if experts is None:
        return
    age = clear_age(
        seen, days=looks.days, targets=targets, reach="past" if causal else "both",
        between=Provenance.INTERPOLATED,
    )  # fmt: skip
    for step, target, truth in zip(trial.steps.tolist(), row.tolist(), scored, strict=True):
        unit = experts.unit(target)
        similar = experts.bands[target].reshape(-1, *cells.shape)
        off = np.where(truth & np.isfinite(similar), values[step] - similar, np.float32(np.nan))
        off /= unit[:, None, None]
        told = None
        for place, corner in enumerate(cells.corners):
            if np.isfinite(cells.pick(off[0], corner)).sum() < LEAST * CELL**2:
                continue
            told = told or cells.tell(experts, target)
            yield Cell(
                told[0][place].copy(),
                told[1][place].copy(),
                _whole(cells, off, corner, np.float32(np.nan)),
                unit,
                _whole(cells, age[target], corner, np.int16(0)),
                family,
                (number, int(targets[target])),
            )


def _whole(cells: Cells, array: NDArray[Any], corner: tuple[int, int], fill: Any) -> NDArray[Any]:
    """Return a cell in full, with `fill` where it lies beyond the area."""
    whole = np.full((*array.shape[:-2], CELL, CELL), fill, array.dtype)
    cells.fit(whole, corner)[...] = cells.pick(array, corner)
    return whole
