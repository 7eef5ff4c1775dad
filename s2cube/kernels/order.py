"""Order statistics of series: any percentiles and the number of values, in one pass, exactly.

Series are sorted by a network (Batcher 1968): a fixed list of comparators, each of which swaps two dates
where they are in the wrong order. The list depends on the length of the series only, so a comparator is
one minimum and one maximum over many neighbouring pixels. Missing values go to the end.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.engine import compiled

__all__ = ["percentiles", "ranks", "sorted_percentiles", "sorting_network"]

LANES: Final = 256
"""Pixels side by side in a tile."""
NUMPY_LANES: Final = 4096


@lru_cache(maxsize=64)
def sorting_network(length: int, upto: int | None = None) -> NDArray[np.int32]:
    """Return the comparators that sort `length` values, shape ``(comparators, 2)``.

    Batcher's odd-even merge sort, K. E. Batcher (1968), Sorting networks and their applications. With
    `upto`, only the first so many ranks come out right, and comparators that do not matter to them are
    left out.

    >>> sorting_network(3).tolist()
    [[0, 1], [0, 2], [1, 2]]
    """
    pairs = []
    run = 1
    while run < length:
        apart = run
        while apart:
            for first in range(apart % run, length - apart, 2 * apart):
                pairs += [
                    (i, i + apart)
                    for i in range(first, min(first + apart, length - apart))
                    if i // (2 * run) == (i + apart) // (2 * run)
                ]
            apart //= 2
        run *= 2
    if upto is not None:
        pairs = _needed(pairs, upto)
    network = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    network.setflags(write=False)
    return network


def _needed(pairs: list[tuple[int, int]], upto: int) -> list[tuple[int, int]]:
    """Return the comparators of `pairs` on which the first `upto` values depend."""
    matter = set(range(upto))
    kept = []
    for pair in reversed(pairs):
        if not matter.isdisjoint(pair):
            matter.update(pair)
            kept.append(pair)
    return kept[::-1]


@lru_cache(maxsize=64)
def ranks(q: tuple[float, ...], length: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return where percentiles lie among sorted values, for each number of values up to `length`.

    Returns
    -------
    tuple of numpy.ndarray
        The rank below and the part of the way to the next one, each of shape ``(q, length + 1)``:
        numpy's method "linear".
    """
    exact = np.array(q)[:, None] / 100 * np.maximum(np.arange(length + 1) - 1, 0)
    low = np.floor(exact)
    return low.astype(np.int32), (exact - low).astype(np.float32)


def _sort(rows: Any, network: NDArray[np.int32], xp: Any = np) -> None:
    """Sort `rows`, shape ``(time, ...)``, in place, with numpy or torch; NaN not allowed."""
    for upper, lower in network.tolist():
        less = xp.minimum(rows[upper], rows[lower])
        rows[lower] = xp.maximum(rows[upper], rows[lower])
        rows[upper] = less


def percentiles(
    values: NDArray[np.float32], q: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Return percentiles along the first axis, and how many values they rest on.

    Parameters
    ----------
    values
        Shape ``(time, ...)``, NaN where missing.
    q
        Percentiles, 0 to 100.

    Returns
    -------
    tuple of numpy.ndarray
        Percentiles, ``float32``, shape ``(q, ...)``: those of ``numpy.nanpercentile`` (method "linear")
        to the rounding of float32, NaN where there is no value. Counts, ``int16``, shape ``(...)``.

    Examples
    --------
    >>> series = np.array([0.3, np.nan, 0.1, 0.2], dtype="float32")
    >>> values, count = percentiles(series[:, None], (0, 50))
    >>> values.ravel().tolist(), count.item()
    ([0.10000000149011612, 0.20000000298023224], 3)
    """
    steps = len(values)
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(steps, prod(values.shape[1:]))
    low, part = ranks(tuple(q), steps)
    network = sorting_network(steps, min(int(low.max(initial=0)) + 2, steps))
    out = np.full((len(q), flat.shape[1]), np.nan, np.float32)
    seen = np.zeros(flat.shape[1], np.int16)
    if not steps:
        pass
    elif fast := compiled():
        fast.percentiles(flat, network, low, part, LANES, out, seen)
    else:
        for start in range(0, flat.shape[1], NUMPY_LANES):
            tile = slice(start, start + NUMPY_LANES)
            out[:, tile], seen[tile] = sorted_percentiles(flat[:, tile], network, low, part)
    return out.reshape(len(q), *values.shape[1:]), seen.reshape(values.shape[1:])


def sorted_percentiles(
    values: Any, network: NDArray[np.int32], low: Any, part: Any, xp: Any = np
) -> tuple[Any, Any]:
    """Return percentiles and counts of one tile, shape ``(time, pixel)``, with numpy or torch."""
    missing = xp.isnan(values)
    seen = len(values) - missing.sum(0)
    # To the end, where there are others; without any, NaN is what comes out.
    rows = xp.where(missing & (seen > 0), np.inf, values)
    _sort(rows, network, xp)
    last = (seen - 1).clip(0)
    pixels = xp.arange(rows.shape[1], device=rows.device)
    out = []
    for at, way in zip(low, part, strict=True):
        below = at[seen]
        a = rows[below, pixels]
        b = rows[xp.minimum(below + 1, last), pixels]
        out.append(a + (b - a) * way[seen])
    return xp.stack(out), seen
