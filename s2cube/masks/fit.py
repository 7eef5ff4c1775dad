"""``fit_segmentation``: train a network for masks on cubes of your own."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.masks.given import Mask, status_of_mask
from s2cube.masks.method import cloud_mask
from s2cube.masks.needs import level_of
from s2cube.masks.segmentation import states_of
from s2cube.models.architectures import ARCHITECTURES
from s2cube.models.run import AUTO, check_run, here
from s2cube.models.spec import ModelSpec
from s2cube.models.train import UNLABELLED, Lessons, train_classifier
from s2cube.schema import STATUS, Status

__all__ = ["fit_segmentation"]

ARCHITECTURE: Final = "unet"
CLEAR_DATE: Final = 0.01
"""Share of cloud and shadow up to which a date is clear enough to put simulated ones over it."""
SEEN: Final = 0.1
"""Share of a window that must have a label."""
FEWEST: Final = 4
"""Cubes from which on whole ones are held out, not dates."""
Clouds = Callable[..., tuple[xr.Dataset, xr.Dataset]]


def fit_segmentation(
    cubes: xr.Dataset | Sequence[xr.Dataset],
    labels: str | Mask | Sequence[Mask] = "scl",
    *,
    bands: Sequence[str] = ("B02", "B03", "B04", "B08"),
    classes: Sequence[str] = ("clear", "thin_cloud", "shadow", "cloud"),
    clouds: Clouds | None = None,
    side: int = 128,
    epochs: int = 40,
    held_out: float = 0.2,
    most: int = 2000,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = AUTO,
    name: str = "segmentation",
    licence: str = "",
    notes: str = "",
    progress: bool = True,
) -> ModelSpec:
    """Train a small U-Net that tells clouds and shadows, at once.

    Parameters
    ----------
    cubes
        One cube or several places, all of one processing level and pixel size.
    labels
        A method of :func:`~s2cube.cloud_mask` that needs no options, or for each cube its ``status``:
        what :func:`~s2cube.cloud_mask` returned, hand-made labels of the same states, or booleans that
        are True where there is cloud. Of missing,
        saturated and unread pixels nothing is learnt.
    bands
        What the network looks at, by id or common name.
    classes
        States that it tells apart. Water and snow are clear where they are not among them, thin cloud is
        cloud; shadow that is not among them is left out.
    clouds
        Function ``(clear cube, seed=)`` → ``(cloudy cube, truth)`` that puts clouds over the dates that
        the labels call clear, such as :func:`s2cube.testing.add_clouds`. None: no such lessons.
    side
        Pixels of a window, a multiple of 8. Smaller cubes are mirrored.
    epochs
        At most; it ends when what is held out is told no better.
    held_out
        Share of the cubes, or of the dates where there are less than four cubes, from which nothing is
        learnt: they decide when it is over.
    most
        Windows that are used at most, drawn by chance. In memory each takes ``4 side² bands`` bytes.
    parameters
        Of the network: ``widths``, the channels of each floor, four numbers.
    seed
        The same seed gives the same weights on the same machine with the same number of threads; on a
        GPU nearly so.
    device
        One of PyTorch's; ``"auto"``: a GPU where there is one.
    name, licence, notes
        Written into the model. The labels' licence may bind the weights: say it.
    progress
        Whether to print a line an epoch.

    Returns
    -------
    ModelSpec
        With the weights inside; ``spec.save(path)`` writes one file. ``notes`` tells the mean F1 on what
        was held out: against these labels, so it is no measure of truth. For that, judge the mask at
        places that were not used, by other labels (:func:`~s2cube.evaluate_masks`).

    Raises
    ------
    CubeError
        Cubes and labels do not fit, a class is never seen, or an argument is out of range.
    ImportError
        The extra ``torch`` is not installed.

    Notes
    -----
    A network learns its labels' mistakes. Trained on the scene classification alone it imitates it;
    simulated clouds add truth, of clouds made by a formula.
    """
    check_run(device, AUTO, "fit_segmentation()")
    states = states_of(classes)
    multiple = ARCHITECTURES[ARCHITECTURE].multiple
    if isinstance(side, bool) or side < 2 * multiple or side % multiple:
        raise CubeError(f"side is a multiple of {multiple} from {2 * multiple}; got {side!r}.")
    if not 0 < held_out < 1 or epochs < 1 or most < 1:
        raise CubeError(
            f"held_out is a share between 0 and 1, epochs and most are from 1; got {held_out!r}, "
            f"{epochs!r}, {most!r}."
        )
    places = [schema.validate(cube) for cube in ([cubes] if isinstance(cubes, xr.Dataset) else cubes)]
    asked = schema.band_ids(bands)
    for place in places:
        schema.pick_bands(place, asked)
    level = _level(places)
    rng = np.random.default_rng(seed)
    pairs = list(zip(places, _statuses(places, labels), strict=True))
    kept = _split(pairs, held_out, rng)
    table = _table(states)
    lessons = []
    for some, share in zip(kept, (1 - held_out, held_out), strict=True):
        with_clouds = [*some, *_clouded(some, asked, clouds, seed)]
        most_here = max(int(most * share), 1)
        lessons.append(_lessons(with_clouds, asked, table, side, most_here, rng))
    if absent := [
        name for number, name in enumerate(classes) if not (lessons[0].labels == number).any()
    ]:
        raise CubeError(f"The labels never show {', '.join(absent)}: leave that out of `classes`.")
    told = dict(parameters or {})
    found = train_classifier(
        *lessons,
        architecture=ARCHITECTURE,
        classes=len(states),
        parameters=told,
        epochs=epochs,
        seed=seed,
        device=here(device),
        tell=print if progress else lambda _: None,
    )
    how = (
        f"{len(lessons[0].looks)} windows of {len(places)} cubes, labels "
        f"{labels if isinstance(labels, str) else 'given'}, "
        f"simulated clouds {'yes' if clouds else 'no'}, seed {seed}, epoch {found.epoch}; held out "
        f"{len(lessons[1].looks)} windows: mean F1 {found.f1:.3f}, loss {found.loss:.3f}"
    )
    return ModelSpec.of(
        found.weights,
        name=name,
        architecture=ARCHITECTURE,
        bands=asked,
        side=side,
        classes=list(classes),
        levels=[level],
        parameters=told,
        licence=licence,
        notes=f"{notes} ({how})" if notes else how,
    )


def _level(places: Sequence[xr.Dataset]) -> str:
    levels = {level_of(place) for place in places}
    if len(levels) != 1 or not levels <= set(schema.LEVELS):
        raise CubeError(
            f"Cubes to learn from are of one level, said by as_cube(level=); got {sorted(levels)}."
        )
    return levels.pop()


def _statuses(places: Sequence[xr.Dataset], labels: Any) -> list[xr.DataArray]:
    """Return the status of each cube."""
    if isinstance(labels, str):
        return [cloud_mask(place, labels)[STATUS] for place in places]
    given = [labels] if isinstance(labels, (xr.Dataset, xr.DataArray)) else list(labels)
    if len(given) != len(places):
        raise CubeError(f"Labels are one for each cube; got {len(given)} for {len(places)} cubes.")
    return [
        xr.DataArray(
            status_of_mask(label, like=place, name=f"Labels {number}"),
            {dim: place[dim] for dim in schema.DIMS},
            schema.DIMS,
        )
        for number, (place, label) in enumerate(zip(places, given, strict=True))
    ]


_Pair = tuple[xr.Dataset, xr.DataArray]


def _split(
    pairs: Sequence[_Pair], held_out: float, rng: np.random.Generator
) -> tuple[list[_Pair], list[_Pair]]:
    """Return what to learn from and what to hold out: places, or dates where there are few."""
    if len(pairs) >= FEWEST:
        order = rng.permutation(len(pairs)).tolist()
        away = max(round(held_out * len(pairs)), 1)
        return [pairs[k] for k in order[away:]], [pairs[k] for k in order[:away]]
    taught: list[_Pair] = []
    held: list[_Pair] = []
    for place, status in pairs:
        steps = place.sizes["time"]
        if steps < 2:
            raise CubeError("A cube to learn from has two dates at least: one of them is held out.")
        out = np.zeros(steps, bool)
        out[rng.permutation(steps)[: min(max(round(held_out * steps), 1), steps - 1)]] = True
        for where, into in ((~out, taught), (out, held)):
            dates = np.flatnonzero(where)
            into.append((place.isel(time=dates), status.isel(time=dates)))
    return taught, held


def _clouded(
    pairs: Sequence[_Pair], bands: Sequence[str], clouds: Clouds | None, seed: int
) -> list[_Pair]:
    """Return the dates that the labels call clear, under simulated clouds."""
    if clouds is None:
        return []
    made = []
    for number, (place, status) in enumerate(pairs):
        known = status < Status.SATURATED
        bad = known & (status >= Status.THIN_CLOUD)
        seen = known.sum(("y", "x"))
        share = (bad.sum(("y", "x")) / seen.where(seen > 0)).values
        dates = np.flatnonzero(share <= CLEAR_DATE)
        if len(dates):
            cloudy, truth = clouds(place[list(bands)].isel(time=dates), seed=seed + number)
            below = status.isel(time=dates).values
            both = np.maximum(truth[STATUS].values, below)
            made.append((cloudy, status.isel(time=dates).copy(data=both)))
    return made


def _table(states: Sequence[int]) -> NDArray[np.int8]:
    """Return the number of the class of each state."""
    at = {state: number for number, state in enumerate(states)}
    table = np.full(max(Status) + 1, UNLABELLED, np.int8)
    for state in Status:
        if state in at:
            table[state] = at[state]
        elif state in (Status.CLEAR_WATER, Status.SNOW):
            table[state] = at.get(Status.CLEAR, UNLABELLED)
        elif state == Status.THIN_CLOUD:
            table[state] = at[Status.CLOUD]
    return table


def _lessons(
    pairs: Sequence[_Pair],
    bands: Sequence[str],
    table: NDArray[np.int8],
    side: int,
    most: int,
    rng: np.random.Generator,
) -> Lessons:
    """Return windows that lie side by side, of dates by chance where there are more than `most`."""
    places = [
        (number, date, top, left)
        for number, (place, _) in enumerate(pairs)
        for date in range(place.sizes["time"])
        for top in range(0, place.sizes["y"], side)
        for left in range(0, place.sizes["x"], side)
    ]
    chosen = sorted(places[k] for k in rng.permutation(len(places))[:most])
    looks, labels = [], []
    for (number, date), some in groupby(chosen, key=lambda place: place[:2]):
        # A date at once: what is lazy is read once.
        cube, status = pairs[number]
        frame = cube[list(bands)].isel(time=date).compute()
        image = np.stack([frame[band].values for band in bands])
        classes = table[np.minimum(status.isel(time=date).values, max(Status))]
        classes[np.isnan(image).any(axis=0)] = UNLABELLED
        for _, _, top, left in some:
            window = (slice(top, top + side), slice(left, left + side))
            more = [(0, side - length) for length in classes[window].shape]
            label = np.pad(classes[window], more, mode="symmetric")
            if (label != UNLABELLED).mean() >= SEEN:
                looks.append(np.pad(image[:, *window], [(0, 0), *more], mode="symmetric"))
                labels.append(label)
    if not looks:
        raise CubeError("There is nothing to learn from, or nothing to hold out: no window has labels.")
    return Lessons(np.stack(looks), np.stack(labels))
