"""The geometric median of complete looks, and how far the looks lie from it.

The geomedian of D. Roberts, N. Mueller and A. McIntyre (2017), High-dimensional pixel composites from
Earth observation time series, IEEE TGRS 55(11); the deviations of D. Roberts, B. Dunn and N. Mueller
(2018), Open Data Cube products using high-dimensional statistics of time series, IGARSS.

Weiszfeld's iteration, accelerated: successive steps tell how steps shrink, and with that where they lead
(the method of D. G. Anderson 1965, with a memory of two steps). How much they shrink also tells how far
the minimum still is, which a short step alone does not: where looks lie almost on a line, many short
steps make a long way. Looks that lie on the centre are treated as Y. Vardi and C.-H. Zhang (2000) did.
What has not converged after 20 iterations, a few pixels in a thousand, is finished by Newton's method in
double precision.
"""

from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s2cube.kernels.engine import compiled
from s2cube.kernels.order import ranks, sorted_percentiles, sorting_network

__all__ = ["DEVIATIONS", "TOLERANCE", "deviations", "geomedian"]

DEVIATIONS: Final = ("emad", "smad", "bcmad")
TOLERANCE: Final = 2e-6
"""The estimated distance to the minimum at which an iteration ends, reflectance: 0.02 counts."""
DOUBT: Final = 30.0
"""The estimate before must not have been more than so many times that: a single one may err."""
NEAR: Final = 2e-6
"""A look closer than this to the centre lies on it, reflectance."""
MOST: Final = 20
LANES: Final = 128
"""Pixels side by side in a tile of compiled loops: 73 looks of 10 bands are 370 kB."""
ARRAY_LANES: Final = 4096
NEWTON_MOST: Final = 60
SLOW: Final = LANES // 16
"""So many slow pixels do not keep a tile: the slow ones of all tiles are put together."""


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    bands, steps, *space = values.shape
    return np.ascontiguousarray(values, dtype=np.float32).reshape(bands, steps, prod(space))


def _weights(weights: ArrayLike | None, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return weights as ``(time, pixel)``, or ``(time, 1)`` where they are the same for all pixels."""
    steps = values.shape[1]
    if weights is None:
        return np.ones((steps, 1), np.float32)
    given = np.asarray(weights, dtype=np.float32)
    if given.shape not in {(steps,), values.shape[1:]}:
        raise ValueError(
            f"Weights must have the shape {(steps,)} or {values.shape[1:]}, one for each look; "
            f"got {given.shape}."
        )
    # A copy: loops would be compiled once more for an array that cannot be written.
    return np.array(given.reshape(steps, prod(given.shape[1:])), order="C")


def _chosen(weights: NDArray[np.float32], pixels: Any) -> NDArray[np.float32]:
    """Return the weights of some pixels."""
    chosen: NDArray[np.float32] = weights if weights.shape[1] == 1 else weights[:, pixels]
    return np.ascontiguousarray(chosen)


def geomedian(
    values: NDArray[np.float32], weights: ArrayLike | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Return the geometric median of looks, and how many complete looks there were.

    Parameters
    ----------
    values
        Reflectance, shape ``(band, time, ...)``. A look with any band missing is left out.
    weights
        Not negative, shape ``(time,)`` or ``(time, ...)``; looks of weight 0 are left out.

    Returns
    -------
    tuple of numpy.ndarray
        The median, ``float32``, shape ``(band, ...)``, NaN where no look is complete: within about 2e-6
        of the minimum. Two looks of the same weight have their mean. Counts, ``int16``.

    Examples
    --------
    >>> looks = np.array([[0.1, 0.1, 0.9], [0.2, 0.2, 0.8]], dtype="float32")  # (band, time)
    >>> median, count = geomedian(looks[:, :, None])
    >>> [round(float(value), 4) for value in median.ravel()], count.item()
    ([0.1, 0.2], 3)
    """
    flat, by_look = _flat(values), _weights(weights, values)
    bands, _, pixels = flat.shape
    out = np.empty((bands, pixels), np.float32)
    seen = np.empty(pixels, np.int16)
    left = np.empty(pixels, np.bool_)
    if fast := compiled():
        limits = TOLERANCE, DOUBT, NEAR, MOST
        fast.geomedian(flat, by_look, *limits, SLOW, LANES, out, seen, left)
        if slow := np.count_nonzero(left):
            # The slow ones of all tiles together, anew: so neighbours do not change a pixel's result.
            some, own = np.ascontiguousarray(flat[:, :, left]), _chosen(by_look, left)
            medians, still = np.empty((bands, slow), np.float32), np.empty(slow, np.bool_)
            fast.geomedian(some, own, *limits, 0, LANES, medians, seen[left], still)
            out[:, left] = medians
            left[left] = still
    else:
        for start in range(0, pixels, ARRAY_LANES):
            tile = slice(start, start + ARRAY_LANES)
            looks, own = flat[:, :, tile], _chosen(by_look, tile)
            out[:, tile], seen[tile], left[tile] = weiszfeld(looks, own)
    if left.any():
        out[:, left] = newton(flat[:, :, left], _chosen(by_look, left), out[:, left])
    return out.reshape(bands, *values.shape[2:]), seen.reshape(values.shape[2:])


def complete_looks(values: Any, weights: Any, xp: Any = np) -> tuple[Any, Any]:
    """Return looks ``(time, band, pixel)`` without NaN, and their weights: 0 where one is incomplete."""
    looks = xp.swapaxes(values, 0, 1)
    complete = ~xp.isnan(looks).any(1)
    weight = xp.where(complete, weights, 0 * weights)
    return xp.where((weight > 0)[:, None], looks, 0.0), weight


def weiszfeld(values: Any, weights: Any, xp: Any = np) -> tuple[Any, Any, Any]:
    """Return medians, counts, and where they have not converged, of one tile, with numpy or torch."""
    looks, weight = complete_looks(values, weights, xp)
    seen = (weight > 0).sum(0)
    sum_ = weight.sum(0)
    origin = (looks * weight[:, None]).sum(0) / xp.where(sum_ > 0, sum_, 1.0)
    # Looks as seen from their mean: small numbers, whose sums round less.
    looks, centre = looks - origin, 0 * origin
    # Between two looks of the same weight all places are as good: their mean it is.
    pair = (seen == 2) & (((weight == 0) | (2 * weight == sum_)).all(0))
    live, near, on_look = (seen > 0) & ~pair, seen < 0, seen < 0
    past: list[tuple[Any, Any]] = []  # where the last two steps began, and what they were
    for _ in range(MOST):
        step, held = _step(looks, weight, centre, xp)
        length = (step * step).sum(0)
        there = length == 0
        mixed = step if past else 2 * step  # from the mean it is about twice as far
        if past:
            mixed, far2 = _mixed(centre, step, past, xp)
            there |= near & (length < TOLERANCE**2) & (far2 < TOLERANCE**2) & (held == 0)
            near = far2 < (DOUBT * TOLERANCE) ** 2
        past = [(centre, step), *past[:1]]
        # The last step of those that are there is the plain one.
        centre = xp.where(live, centre + xp.where(there, step, mixed), centre)
        on_look |= live & there & (held > 0)
        live = live & ~there
        if not live.any():
            break
    centre = _put_on_look(looks, weight, centre, on_look, xp)
    return xp.where(seen > 0, origin + centre, np.nan), seen, live


def _put_on_look(looks: Any, weight: Any, centre: Any, ends: Any, xp: Any) -> Any:
    """Return centres, those in `ends`, which looks hold, moved onto the look nearest to them."""
    if not ends.any():
        return centre
    off = looks - centre
    nearest = xp.where(weight > 0, (off * off).sum(1), np.inf).argmin(0)
    on = looks[nearest, :, xp.arange(len(nearest), device=nearest.device)]
    return xp.where(ends, xp.swapaxes(on, 0, 1), centre)


def _mixed(centre: Any, step: Any, past: list[tuple[Any, Any]], xp: Any) -> tuple[Any, Any]:
    """Return the accelerated step, and the square of the estimated distance to the minimum."""
    (at1, step1), *rest = past
    by1, gone1 = step - step1, centre - at1
    along1, change1 = (step * by1).sum(0), (by1 * by1).sum(0)
    far2 = (step * step).sum(0) * (gone1 * gone1).sum(0) / change1.clip(1e-30)
    first = (along1 / change1.clip(1e-20)).clip(-8, 0.9)
    if not rest:
        return step - first * (gone1 + by1), far2
    at2, step2 = rest[0]
    by2, gone2 = step - step2, centre - at2
    along2, change2, change12 = (step * by2).sum(0), (by2 * by2).sum(0), (by1 * by2).sum(0)
    area = change1 * change2 - change12 * change12
    two = area > 1e-3 * change1 * change2
    area = xp.where(two, area, 1.0)
    # The mixture of the last steps that would have been the shortest.
    first = xp.where(two, (along1 * change2 - along2 * change12) / area, first)
    second = xp.where(two, (along2 * change1 - along1 * change12) / area, 0.0)
    return step - first * (gone1 + by1) - second * (gone2 + by2), far2


def _step(looks: Any, weight: Any, centre: Any, xp: Any) -> tuple[Any, Any]:
    """Return Weiszfeld's step from `centre`, and the weight of the looks that lie on it."""
    off = looks - centre
    distance2 = (off * off).sum(1)
    on = distance2 < NEAR**2
    by = xp.where(on, 0.0, weight / xp.sqrt(distance2.clip(NEAR**2)))
    held = xp.where(on, weight, 0.0).sum(0)
    pull = (off * by[:, None]).sum(0)
    strength = xp.sqrt((pull * pull).sum(0))
    free = (strength - held).clip(0) / strength.clip(1e-20)
    return pull * (free / by.sum(0).clip(1e-20)), held


def newton(
    values: NDArray[np.float32], weights: NDArray[np.float32], start: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return medians of a few pixels from `start`, by damped Newton steps in double precision.

    Parameters
    ----------
    values
        Shape ``(band, time, pixel)``.
    weights
        Shape ``(time, pixel)`` or ``(time, 1)``.
    start
        Shape ``(band, pixel)``.
    """
    looks, weight = complete_looks(values.astype(np.float64), weights.astype(np.float64))
    looks = np.ascontiguousarray(looks.transpose(2, 0, 1))  # (pixel, time, band)
    weight = np.ascontiguousarray(np.broadcast_to(weight, (looks.shape[1], len(looks))).T)
    centre = start.T.astype(np.float64)
    bands = centre.shape[1]
    centre = _best_look(looks, weight, centre)
    cost = _cost(looks, weight, centre)
    damping = np.full(len(centre), 1e-6)
    live = np.ones(len(centre), bool)
    for _ in range(NEWTON_MOST):
        at = np.flatnonzero(live)
        if not len(at):
            break
        off = looks[at] - centre[at, None]
        distance = np.sqrt((off * off).sum(2))
        on = distance < 1e-12
        by = np.where(on, 0.0, weight[at] / np.where(on, 1.0, distance))
        held = np.where(on, weight[at], 0.0).sum(1)
        pull = np.einsum("pt,ptb->pb", by, off)
        strength = np.sqrt((pull * pull).sum(1))
        # A look on the centre pulls back with its weight: what is left decides, and leads away.
        pull *= (np.maximum(strength - held, 0) / np.maximum(strength, 1e-300))[:, None]
        total = by.sum(1)
        unit = off / np.where(on, 1.0, distance)[..., None]
        curve = total[:, None, None] * np.eye(bands) - np.swapaxes(unit * by[..., None], 1, 2) @ unit
        # Where a look holds the centre there is no curvature to trust: Weiszfeld's step.
        curve = np.where((held > 0)[:, None, None], total[:, None, None] * np.eye(bands), curve)
        curve += (damping[at] * np.maximum(total, 1e-300))[:, None, None] * np.eye(bands)
        step = np.linalg.solve(curve, pull[..., None])[..., 0]
        new_cost = _cost(looks[at], weight[at], centre[at] + step)
        better = new_cost <= cost[at]
        centre[at[better]] += step[better]
        cost[at[better]] = new_cost[better]
        damping[at] = np.where(better, damping[at] / 8, damping[at] * 16).clip(1e-9, 1e6)
        length = np.sqrt((step * step).sum(1))
        live[at] = length > np.where(better, 0.01, 1e-4) * TOLERANCE
    result: NDArray[np.float32] = centre.T.astype(np.float32)
    return result


def _cost(looks: NDArray, weight: NDArray, centre: NDArray) -> NDArray:
    off = looks - centre[:, None]
    cost: NDArray = (weight * np.sqrt((off * off).sum(2))).sum(1)
    return cost


def _best_look(looks: NDArray, weight: NDArray, centre: NDArray) -> NDArray:
    """Return the look nearest to each `centre` where that is better, else `centre`."""
    off = looks - centre[:, None]
    distance = np.where(weight > 0, (off * off).sum(2), np.inf)
    nearest = looks[np.arange(len(looks)), distance.argmin(1)]
    # Where many places are as good, between looks on a line, rounding must not decide.
    better = _cost(looks, weight, nearest) < _cost(looks, weight, centre) * (1 - 1e-13)
    return np.where(better[:, None], nearest, centre)


def deviations(
    values: NDArray[np.float32], centres: NDArray[np.float32], weights: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Return the medians over time of three distances of the looks to their geomedian.

    Parameters
    ----------
    values, weights
        As for :func:`geomedian`. Weights decide which looks count, not by how much.
    centres
        The geomedian, shape ``(band, ...)``.

    Returns
    -------
    numpy.ndarray
        ``float32``, shape ``(3, ...)``, by :data:`DEVIATIONS`: the Euclidean distance (reflectance), one
        minus the cosine, and the Bray-Curtis distance ``sum|x - m| / sum|x + m|``. NaN where no look is
        complete; a look does not count where a distance is not defined, its denominator being 0.
    """
    flat, by_look = _flat(values), _weights(weights, values)
    _, steps, pixels = flat.shape
    middle = np.ascontiguousarray(centres, dtype=np.float32).reshape(len(flat), -1)
    low, part = ranks((50.0,), steps)
    network = sorting_network(steps, steps // 2 + 1)
    out = np.full((3, pixels), np.nan, np.float32)
    if not steps:
        pass
    elif fast := compiled():
        fast.deviations(flat, by_look, middle, network, low, part, LANES, out)
    else:
        for start in range(0, pixels, ARRAY_LANES):
            tile = slice(start, start + ARRAY_LANES)
            looks, own = flat[:, :, tile], _chosen(by_look, tile)
            out[:, tile] = deviations_of_tile(looks, own, middle[:, tile], network, low, part)
    return out.reshape(3, *values.shape[2:])


def deviations_of_tile(
    values: Any, weights: Any, centre: Any, network: NDArray[np.int32], low: Any, part: Any, xp: Any = np
) -> Any:
    """Return the deviations of one tile, shape ``(3, pixel)``, with numpy or torch."""
    looks, weight = complete_looks(values, weights, xp)
    complete = weight > 0
    off = looks - centre
    both = abs(looks + centre).sum(1)
    norms = (looks * looks).sum(1), (centre * centre).sum(0)
    unit = looks / xp.sqrt(xp.where(norms[0] > 0, norms[0], 1.0))[:, None]
    turn = unit - centre / xp.sqrt(xp.where(norms[1] > 0, norms[1], 1.0))
    pointed = (norms[0] > 0) & (norms[1] > 0)
    distances = (
        xp.where(complete, xp.sqrt((off * off).sum(1)), np.nan),
        # Half the squared distance of unit vectors: one minus the cosine, without its cancellation.
        xp.where(complete & pointed, (turn * turn).sum(1) / 2, np.nan),
        xp.where(complete & (both > 0), abs(off).sum(1) / xp.where(both > 0, both, 1.0), np.nan),
    )
    return xp.stack([sorted_percentiles(far, network, low, part, xp)[0][0] for far in distances])
