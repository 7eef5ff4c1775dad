"""``evaluate_masks``: masks against a truth, class by class."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import count_values, is_lazy, map_halo, map_pixels, progress_bar
from s2cube.errors import CubeError
from s2cube.kernels.confusion import SIDE, common_looks, near_edges, pair_codes, pair_counts
from s2cube.masks.given import Mask, status_of_mask
from s2cube.schema import Status

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Mask", "evaluate_masks", "statuses_of"]

CLASSES: Final[dict[str, tuple[int, ...]]] = {
    "cloud": (Status.THIN_CLOUD, Status.CLOUD),
    "shadow": (Status.SHADOW,),
    "snow": (Status.SNOW,),
    "clear_water": (Status.CLEAR_WATER,),
}
"""Which states each class has."""
DROPPED: Final = "cloud_or_shadow"
COLUMNS: Final = (
    "mask", "class", "erode", "n", "tp", "fp", "fn", "precision", "recall", "f1", "iou",
)  # fmt: skip
FARTHEST: Final = 10_000
"""Metres: a distance beyond it is a slip."""


def evaluate_masks(
    predicted: Mask | Mapping[str, Mask],
    truth: Mask,
    *,
    classes: str | Iterable[str] = ("cloud", "shadow", "snow"),
    thin: bool = True,
    erode: float | None = None,
    progress: bool = True,
) -> "pd.DataFrame":
    """Compare masks with a truth, class by class. Computes, in one pass over the pixels.

    Parameters
    ----------
    predicted
        A mask, or several by name: what :func:`~s2cube.cloud_mask` returned, a ``status`` array, or a
        boolean array (dims ``time, y, x``) that is True where there is cloud.
    truth
        The same, on the same dates and grid: labels, or what
        :func:`s2cube.testing.add_clouds` returned.
    classes
        Classes to report, among ``cloud``, ``shadow``, ``snow`` and ``clear_water``. All that would be
        dropped, ``cloud_or_shadow``, is reported always. A class that the truth does not tell (snow, in
        simulated clouds) makes false ones of all that a mask finds: leave it out.
    thin
        Thin cloud counts as cloud, in masks always. False leaves out looks where the truth is thin
        cloud: they count neither for nor against a mask.
    erode
        Metres: rows are added without the looks that lie at most so far from another class of the truth,
        where labels and soft edges tell little.
    progress
        Whether to show how far computing is.

    Returns
    -------
    pandas.DataFrame
        One row a mask, class and distance of erosion (0 for none): ``mask``, ``class``, ``erode``, ``n``
        (looks compared), ``tp``, ``fp``, ``fn`` (looks rightly, falsely and not found in the class,
        whole numbers), ``precision``, ``recall``, ``f1`` and ``iou``, NaN where there is none of it.

    Raises
    ------
    CubeError
        A mask is none, or lies on other dates or another grid than the truth; a class is unknown;
        `erode` is no distance.

    Notes
    -----
    Only looks count where the truth and *all* masks have one (not saturated, missing or unread), so that
    all rows are of the same looks. Numbers tell of the places and dates compared: clouds over snow or
    bright sand are another matter than over forest. Never judge a method by labels that it was trained
    on.

    Examples
    --------
    >>> import s2cube
    >>> clear = s2cube.testing.simulate_cube(seed=1, cloud_cover=0)
    >>> cloudy, truth = s2cube.testing.add_clouds(clear, seed=2)
    >>> table = s2cube.evaluate_masks({"blue": cloudy["B02"] > 0.2}, truth, classes=["cloud"])
    >>> table[["class", "precision", "recall"]].round(1).values.tolist()
    [['cloud', 1.0, 0.8], ['cloud_or_shadow', 1.0, 0.5]]
    """
    import pandas as pd

    members = _members(classes)
    if not isinstance(truth, (xr.Dataset, xr.DataArray)):
        raise CubeError(f"The truth is one mask, a Dataset or DataArray; got {type(truth).__name__}.")
    (true,) = statuses_of({"truth": truth}, like=truth).values()
    named = statuses_of(predicted, like=truth)
    left_out = () if thin else (int(Status.THIN_CLOUD),)
    common = map_pixels(common_looks, true, *named.values(), dtype=np.uint8, left_out=left_out)
    near = [] if erode is None else [_near(true, truth, erode)]
    rows = []
    with progress_bar(progress):
        counted = _counted(common, named, near)
    for name, counts in counted.items():
        far, close = pair_counts(counts)
        for distance, pairs in [(0.0, far + close)] + ([] if erode is None else [(float(erode), far)]):
            for word, states in members.items():
                rows.append((name, word, distance, *_scores(pairs, states)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _members(classes: str | Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the states of each class to report."""
    asked = [classes] if isinstance(classes, str) else list(classes)
    if unknown := [name for name in asked if name not in CLASSES]:
        raise CubeError(f"Unknown classes {unknown}; known: {', '.join(CLASSES)}.")
    dropped = (*CLASSES["cloud"], *CLASSES["shadow"])
    return {**{name: CLASSES[name] for name in asked}, DROPPED: dropped}


def _counted(common: Any, named: Mapping[str, Any], near: list[Any]) -> dict[str, NDArray[np.int64]]:
    """Return how often each code occurs, by mask; all are computed together."""
    counts = {
        name: count_values(map_pixels(pair_codes, common, status, *near, dtype=np.uint8))
        for name, status in named.items()
    }
    if any(is_lazy(count) for count in counts.values()):
        from dask.base import compute

        counts = dict(zip(counts, compute(*counts.values()), strict=True))
    return counts


def _near(status: Any, truth: Mask, erode: float) -> Any:
    """Return where another class of the truth is near, lazily."""
    if isinstance(erode, bool) or not isinstance(erode, (int, float, np.number)):
        raise CubeError(f"erode is a distance in metres; got {erode!r}.")
    if not 0 < erode <= FARTHEST:
        raise CubeError(f"erode is a distance in metres, above 0, at most {FARTHEST}; got {erode!r}.")
    down, across = schema.pixel_metres(schema.geobox_of(truth.coords.to_dataset()))
    radius = (erode / down, erode / across)
    depth = (math.floor(radius[0] + 1e-9), math.floor(radius[1] + 1e-9))
    return map_halo(near_edges, status, depth=depth, dtype=np.bool_, radius=radius)


def _scores(pairs: NDArray[np.int64], states: tuple[int, ...]) -> tuple[float, ...]:
    """Return n, tp, fp, fn, precision, recall, F1 and IoU of a class, from counts of (truth, mask)."""
    member = np.isin(np.arange(SIDE), states)
    found = int(pairs[member][:, member].sum())
    false = int(pairs[~member][:, member].sum())
    missed = int(pairs[member][:, ~member].sum())
    return (
        int(pairs.sum()),
        found,
        false,
        missed,
        _share(found, found + false),
        _share(found, found + missed),
        _share(2 * found, 2 * found + false + missed),
        _share(found, found + false + missed),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def statuses_of(masks: Mask | Mapping[str, Mask], *, like: Mask | xr.Dataset) -> dict[str, Any]:
    """Return the ``status`` of each mask, lazily where it is: arrays of shape ``(time, y, x)``.

    Parameters
    ----------
    masks
        One, or several by name; booleans are cloud where they are True.
    like
        Whose dates and grid they must have.
    """
    if isinstance(masks, (xr.Dataset, xr.DataArray)):
        masks = {"mask": masks}
    if not isinstance(masks, Mapping) or not masks:
        raise CubeError(
            "Masks are a Dataset with 'status', as cloud_mask() makes it, a DataArray, or a dict of "
            f"such by name; got {type(masks).__name__ if masks else 'none'}."
        )
    return {
        str(name): status_of_mask(mask, like=like, name=repr(str(name))) for name, mask in masks.items()
    }
