"""``combine_masks`` and ``mask_agreement``: several masks of one cube, put together or compared."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.errors import CubeError
from s2cube.masks.apply import CLASSES, dropped_states
from s2cube.masks.given import Mask, status_of_mask
from s2cube.schema import STATUS, Status

__all__ = ["combine_masks", "mask_agreement"]

Masks = Sequence[Mask] | Mapping[str, Mask]
_FEWEST: Final = 2


def combine_masks(
    masks: Masks,
    *,
    votes: int | Literal["any", "most", "all"] = "any",
    classes: Iterable[str] = CLASSES,
) -> xr.Dataset:
    """Put several masks of one cube together, lazily.

    Parameters
    ----------
    masks
        At least two, of one cube: what :func:`cloud_mask` returned, a ``status`` array, or a boolean
        array that is True where there is cloud.
    votes
        How many of them must call a look not clear: ``"any"`` (their union), ``"most"`` (more than
        half), ``"all"``, or a number.
    classes
        States that are not clear, by name, as in :func:`mask_clouds`.

    Returns
    -------
    xarray.Dataset
        ``status``: with enough votes the highest state of those that voted, else the highest of the
        others (clear, water, snow). Where any mask has no measurement (saturated, missing, unread),
        there is none.

    Raises
    ------
    CubeError
        There are less than two masks, they are not of one cube, or `votes` is none.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> narrow, wide = (s2cube.cloud_mask(cube, buffer=metres) for metres in (0, 60))
    >>> both = s2cube.combine_masks([narrow, wide], votes="all")
    >>> bool(((both["status"] >= 3) == (narrow["status"] >= 3)).all())
    True
    """
    named, like = _named(masks)
    number = len(named)
    words = {"any": 1, "most": number // 2 + 1, "all": number}
    needed = words.get(votes, 0) if isinstance(votes, str) else votes
    if isinstance(needed, bool) or not isinstance(needed, int) or not 1 <= needed <= number:
        raise CubeError(
            f"votes are 'any', 'most', 'all', or a number from 1 to {number}; got {votes!r}."
        )
    states = _dropped(classes)
    status = map_pixels(_vote, *named.values(), dtype=np.uint8, states=states, needed=needed)
    result = like.assign({STATUS: schema.variable(status, schema.status_attrs())})
    return schema.record(result, "combine_masks", masks=list(named), votes=needed)


def mask_agreement(masks: Masks, *, classes: Iterable[str] = CLASSES) -> xr.Dataset:
    """Tell which share of several masks calls a look not clear, lazily.

    Parameters
    ----------
    masks, classes
        As for :func:`combine_masks`.

    Returns
    -------
    xarray.Dataset
        ``masked_share``, float32 from 0 to 1, dims ``(time, y, x)``: 0 and 1 where all agree, NaN where
        there is no measurement.

    Raises
    ------
    CubeError
        As for :func:`combine_masks`.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> masks = {metres: s2cube.cloud_mask(cube, buffer=metres) for metres in (0, 60)}
    >>> sorted(set(s2cube.mask_agreement(masks)["masked_share"].values.ravel().tolist()))
    [0.0, 0.5, 1.0]
    """
    named, like = _named(masks)
    states = _dropped(classes)
    share = map_pixels(_share, *named.values(), dtype=np.float32, states=states)
    attrs = {"long_name": "share of masks that call the look not clear", "units": "1"}
    result = like.assign({"masked_share": schema.variable(share, attrs)})
    return schema.record(result, "mask_agreement", masks=list(named))


def _named(masks: Masks) -> tuple[dict[str, Any], xr.Dataset]:
    """Return the status of each mask by name, and what they lie on: coordinates and attributes alone."""
    given: dict[Any, Any] = dict(masks) if isinstance(masks, Mapping) else dict(enumerate(masks))
    if len(given) < _FEWEST:
        raise CubeError(f"Masks are compared with each other: at least two, got {len(given)}.")
    # Of the first that tells what it was made by, as others may be plain arrays.
    told = [mask for mask in given.values() if isinstance(mask, xr.Dataset)]
    first = next(iter([*told, *given.values()]))
    status = {
        str(name): status_of_mask(mask, like=first, name=f"Mask {name!r}")
        for name, mask in given.items()
    }
    like = first.coords.to_dataset()
    return status, like.assign_attrs(first.attrs) if told else like


def _dropped(classes: Iterable[str]) -> tuple[int, ...]:
    """Return the states of `classes` alone: what is no measurement is told apart."""
    return tuple(state for state in dropped_states(classes) if state < Status.SATURATED)


def _vote(*masks: NDArray[np.uint8], states: tuple[int, ...], needed: int) -> NDArray[np.uint8]:
    votes = np.zeros(masks[0].shape, np.uint8)
    against = np.zeros(masks[0].shape, np.uint8)  # the highest state of those that voted
    other = np.zeros(masks[0].shape, np.uint8)
    none = np.zeros(masks[0].shape, np.uint8)
    for mask in masks:
        dropped = np.isin(mask, states)
        votes += dropped
        np.maximum(against, mask, out=against, where=dropped)
        looked = mask < Status.SATURATED
        np.maximum(other, mask, out=other, where=looked & ~dropped)
        np.maximum(none, mask, out=none, where=~looked)
    status = np.where(votes >= needed, against, other)
    return np.where(none > 0, none, status).astype(np.uint8)


def _share(*masks: NDArray[np.uint8], states: tuple[int, ...]) -> NDArray[np.float32]:
    votes = np.zeros(masks[0].shape, np.float32)
    looked = np.ones(masks[0].shape, bool)
    for mask in masks:
        votes += np.isin(mask, states)
        looked &= mask < Status.SATURATED
    return np.where(looked, votes / np.float32(len(masks)), np.float32(np.nan))
