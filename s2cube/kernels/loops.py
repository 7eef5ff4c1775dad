"""Loops that numba compiles, for where it is installed (the extra ``fast``).

They work on tiles of neighbouring pixels, which are the lanes of SIMD instructions: each row of a tile
is one date (of one band), and every lane does the same. Tiles are always full, so that a pixel goes
through the same instructions wherever it lies, and results do not depend on chunks. All of them let go
of the GIL. :mod:`~s2cube.kernels.order` and :mod:`~s2cube.kernels.geomedian` have the same in numpy.
"""

from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["deviations", "exact", "geomedian", "percentiles"]

F = np.float32
_MODES: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"}


def _compile(**more: Any) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **_MODES, **more)(function)
        except RuntimeError:  # nowhere to keep what was compiled: no writable folder at all
            return numba.njit(**_MODES, **more)(function)

    return decorate


# Said in so many words: a function that says nothing is compiled like the first one that calls it.
_exact = _compile(fastmath=False)
# Sums may be fused with products; NaN keeps its meaning.
exact = _exact
_sums = _compile(fastmath={"contract", "reassoc", "nsz", "arcp"})


@_exact
def _sort(rows: NDArray, network: NDArray[np.int32]) -> None:
    """Sort each lane of `rows`, shape ``(time, lanes)``, by a network of comparators."""
    lanes = rows.shape[1]
    for pair in range(network.shape[0]):
        upper, lower = rows[network[pair, 0]], rows[network[pair, 1]]
        for i in range(lanes):
            a, b = upper[i], lower[i]
            upper[i] = min(a, b)
            lower[i] = max(a, b)


@_exact
def _load_counts(values: NDArray, start: int, n: int, rows: NDArray, seen: NDArray) -> bool:
    """Fill `rows` with reflectance in counts of 1e-4; return whether that is exact for all of it."""
    rows[:] = 32767
    seen[:] = 0
    off_grid = 0
    for t in range(rows.shape[0]):
        row, series = rows[t], values[t, start : start + n]
        for i in range(n):
            value = series[i]
            clear = value == value
            count = np.rint(value * F(1e4)) if clear else F(32767)
            off_grid |= clear & ((count / F(1e4) != value) | (abs(count) > F(32766)))
            row[i] = np.int16(np.int32(count))
            seen[i] += np.int16(clear)
    return off_grid == 0


@_exact
def _load(values: NDArray, start: int, n: int, rows: NDArray, seen: NDArray) -> None:
    """Fill `rows` with values; those that are missing go to the end."""
    rows[:] = np.inf
    seen[:] = 0
    for t in range(rows.shape[0]):
        row, series = rows[t], values[t, start : start + n]
        for i in range(n):
            clear = series[i] == series[i]
            row[i] = series[i] if clear else F(np.inf)
            seen[i] += np.int16(clear)


@_exact
def _pick(
    rows: NDArray,
    unit: float,
    seen: NDArray,
    low: NDArray,
    part: NDArray,
    out: NDArray,
    start: int,
    n: int,
) -> None:
    """Interpolate between the ranks of sorted lanes, by how many values each lane has."""
    for q in range(low.shape[0]):
        for i in range(n):
            count = seen[i]
            if count == 0:
                out[q, start + i] = np.nan
            else:
                rank = low[q, count]
                a = F(rows[rank, i]) / F(unit)
                b = F(rows[min(rank + 1, count - 1), i]) / F(unit)
                out[q, start + i] = a + (b - a) * part[q, count]


@_exact
def percentiles(
    values: NDArray,
    network: NDArray,
    low: NDArray,
    part: NDArray,
    lanes: int,
    out: NDArray,
    seen: NDArray,
) -> None:
    """See :func:`s2cube.kernels.order.percentiles`; `values` is ``(time, pixel)``."""
    steps, pixels = values.shape
    counts = np.empty((steps, lanes), np.int16)
    floats = np.empty((steps, lanes), np.float32)
    clear = np.empty(lanes, np.int16)
    for start in range(0, pixels, lanes):
        n = min(lanes, pixels - start)
        # Sorting half as many bytes takes half as long; what comes out is the same to the last bit.
        if _load_counts(values, start, n, counts, clear):
            _sort(counts, network)
            _pick(counts, 1e4, clear, low, part, out, start, n)
        else:
            _load(values, start, n, floats, clear)
            _sort(floats, network)
            _pick(floats, 1.0, clear, low, part, out, start, n)
        seen[start : start + n] = clear[:n]


@_sums
def _load_looks(
    values: NDArray, weights: NDArray, start: int, n: int, looks: NDArray, weight: NDArray
) -> int:
    """Fill `looks` ``(time, band, lane)`` without NaN; `weight` is 0 where a look is not complete.

    Return the number of dates: those on which no pixel of the tile has a look are left out.
    """
    bands, steps, _ = values.shape
    if n < weight.shape[1]:
        weight[:] = 0
        looks[:] = 0
    each = weights.shape[1] > 1
    kept = 0
    for t in range(steps):
        own = weight[kept]
        for i in range(n):
            own[i] = weights[t, start + i] if each else weights[t, 0]
        for b in range(bands):
            series, row = values[b, t, start : start + n], looks[kept, b]
            for i in range(n):
                clear = series[i] == series[i]
                row[i] = series[i] if clear else F(0)
                own[i] = own[i] if clear else F(0)
        seen = F(0)
        for i in range(n):
            seen = max(seen, own[i])
        kept += 1 if seen > 0 else 0
    return kept


@_sums
def _pull(
    looks: NDArray, weight: NDArray, centre: NDArray, near2: float, pull: NDArray, total: NDArray,
    held: NDArray, distance: NDArray,
) -> None:  # fmt: skip
    """Add up the unit vectors from `centre` to the looks; `held` is the weight of looks on it."""
    steps, bands, lanes = looks.shape
    pull[:] = 0
    total[:] = 0
    held[:] = 0
    for t in range(steps):
        distance[:] = 0
        for b in range(bands):
            row, middle = looks[t, b], centre[b]
            for i in range(lanes):
                off = row[i] - middle[i]
                distance[i] += off * off
        own = weight[t]
        for i in range(lanes):
            on = distance[i] < F(near2)
            by = own[i] / np.sqrt(max(distance[i], F(near2)))
            held[i] += own[i] if on else F(0)
            by = F(0) if on else by
            total[i] += by
            distance[i] = by
        for b in range(bands):
            row, sum_ = looks[t, b], pull[b]
            for i in range(lanes):
                sum_[i] += distance[i] * row[i]
    for b in range(bands):
        for i in range(lanes):
            pull[b, i] -= total[i] * centre[b, i]


@_sums
def _put_on_look(looks: NDArray, weight: NDArray, centre: NDArray, ends: NDArray) -> None:
    """Move the centres of the lanes in `ends`, which looks hold, onto the look nearest to them."""
    steps, bands, lanes = looks.shape
    for i in range(lanes):
        if ends[i] == 0:
            continue
        nearest, least = 0, F(np.inf)
        for t in range(steps):
            distance = F(0) if weight[t, i] > 0 else F(np.inf)
            for b in range(bands):
                off = looks[t, b, i] - centre[b, i]
                distance += off * off
            if distance < least:
                nearest, least = t, distance
        for b in range(bands):
            centre[b, i] = looks[nearest, b, i]


@_sums
def geomedian(
    values: NDArray, weights: NDArray, tolerance: float, doubt: float, near: float, most: int,
    enough: int, lanes: int,
    out: NDArray, seen: NDArray, left: NDArray,
) -> None:  # fmt: skip
    """See :func:`s2cube.kernels.geomedian.geomedian`; `values` is ``(band, time, pixel)``.

    A tile ends when not more than `enough` of its pixels have not converged; there `left` becomes True.
    """
    bands, steps, pixels = values.shape
    tile = np.empty((steps, bands, lanes), np.float32)
    loads = np.empty((steps, lanes), np.float32)
    centre, step = np.empty((bands, lanes), np.float32), np.empty((bands, lanes), np.float32)
    origin = np.empty((bands, lanes), np.float32)
    # Where the last two steps began, and what they were.
    at1, at2 = np.empty((bands, lanes), np.float32), np.empty((bands, lanes), np.float32)
    step1, step2 = np.empty((bands, lanes), np.float32), np.empty((bands, lanes), np.float32)
    total, held, scratch = np.empty(lanes, F), np.empty(lanes, F), np.empty(lanes, F)
    length, moved = np.empty(lanes, F), np.empty(lanes, F)
    along1, along2 = np.empty(lanes, F), np.empty(lanes, F)
    change1, change2, change12 = np.empty(lanes, F), np.empty(lanes, F), np.empty(lanes, F)
    live, on_look = np.empty(lanes, F), np.empty(lanes, F)
    tolerance2, near2, doubt2 = F(tolerance * tolerance), near * near, F(doubt * doubt)
    doubted = np.empty(lanes, F)
    for start in range(0, pixels, lanes):
        n = min(lanes, pixels - start)
        kept = _load_looks(values, weights, start, n, tile, loads)
        looks, weight = tile[:kept], loads[:kept]
        total[:] = 0
        centre[:] = 0
        held[:] = 0
        length[:] = 0
        for t in range(kept):
            own = weight[t]
            for i in range(lanes):
                total[i] += own[i]
                held[i] = max(held[i], own[i])
                length[i] += F(1) if own[i] > 0 else F(0)
            for b in range(bands):
                row, middle = looks[t, b], centre[b]
                for i in range(lanes):
                    middle[i] += own[i] * row[i]
        for i in range(lanes):
            # Between two looks of the same weight all places are as good: their mean it is.
            pair = (length[i] == 2) & (F(2) * held[i] == total[i])
            live[i] = F(0) if (total[i] == 0) | pair else F(1)
        # Looks as seen from their mean: small numbers, whose sums round less.
        for b in range(bands):
            for i in range(lanes):
                origin[b, i] = centre[b, i] / total[i] if total[i] > 0 else F(0)
                centre[b, i] = 0
        for t in range(kept):
            for b in range(bands):
                row, middle = looks[t, b], origin[b]
                for i in range(lanes):
                    row[i] -= middle[i]
        doubted[:] = 1
        on_look[:] = 0
        at1[:] = 0
        at2[:] = 0
        step1[:] = 0
        step2[:] = 0
        for iteration in range(most):
            _pull(looks, weight, centre, near2, step, total, held, scratch)
            length[:] = 0
            for b in range(bands):
                for i in range(lanes):
                    length[i] += step[b, i] * step[b, i]
            for i in range(lanes):
                # Vardi and Zhang (2000): looks that lie on the centre hold it with all their weight.
                strength = np.sqrt(length[i])
                free = max(strength - held[i], F(0))
                scratch[i] = free / max(strength, F(1e-20)) / max(total[i], F(1e-20))
            length[:] = 0
            moved[:] = 0
            along1[:] = 0
            along2[:] = 0
            change1[:] = 0
            change2[:] = 0
            change12[:] = 0
            for b in range(bands):
                for i in range(lanes):
                    now = step[b, i] * scratch[i]
                    step[b, i] = now
                    by1, by2, gone = now - step1[b, i], now - step2[b, i], centre[b, i] - at1[b, i]
                    length[i] += now * now
                    moved[i] += gone * gone
                    along1[i] += now * by1
                    along2[i] += now * by2
                    change1[i] += by1 * by1
                    change2[i] += by2 * by2
                    change12[i] += by1 * by2
            busy = F(0)
            for i in range(lanes):
                # How far the minimum is: the step, by how steps have shrunk on the way here.
                far2 = length[i] * moved[i] / max(change1[i], F(1e-30))
                there = (length[i] < tolerance2) & (far2 < tolerance2) & (doubted[i] == 0)
                there = (there & (held[i] == 0)) | (length[i] == 0)
                far2 = far2 if iteration > 0 else F(np.inf)
                doubted[i] = F(0) if far2 < doubt2 * tolerance2 else F(1)
                scratch[i] = live[i]
                on_look[i] = F(1) if there & (live[i] > 0) & (held[i] > 0) else on_look[i]
                live[i] = F(0) if there else live[i]
                busy += live[i]
                # The mixture of the last steps that would have been the shortest.
                both = change1[i] * change2[i]
                area = both - change12[i] * change12[i]
                two = (area > F(1e-3) * both) & (iteration > 1)
                single = min(max(along1[i] / max(change1[i], F(1e-20)), F(-8)), F(0.9))
                area = area if two else F(1)
                first = (along1[i] * change2[i] - along2[i] * change12[i]) / area
                second = (along2[i] * change1[i] - along1[i] * change12[i]) / area
                # The last step of those that are there is the plain one.
                one = live[i] if iteration > 0 else F(0)
                along1[i] = one * (first if two else single)
                along2[i] = one * (second if two else F(0))
            for b in range(bands):
                for i in range(lanes):
                    now, at = step[b, i], centre[b, i]
                    back1 = (at - at1[b, i]) + (now - step1[b, i])
                    back2 = (at - at2[b, i]) + (now - step2[b, i])
                    mixed = now - along1[i] * back1 - along2[i] * back2
                    # From the mean it is about twice as far as the first step goes.
                    mixed = F(2) * now if iteration == 0 else mixed
                    centre[b, i] = at + mixed if scratch[i] > 0 else at
                    at2[b, i] = at1[b, i]
                    step2[b, i] = step1[b, i]
                    at1[b, i] = at
                    step1[b, i] = now
            if busy <= enough:
                break
        _put_on_look(looks, weight, centre, on_look)
        for i in range(n):
            count = 0
            for t in range(kept):
                count += weight[t, i] > 0
            seen[start + i] = count
            left[start + i] = live[i] > 0
            for b in range(bands):
                out[b, start + i] = origin[b, i] + centre[b, i] if count > 0 else np.nan


@_sums
def deviations(
    values: NDArray, weights: NDArray, centres: NDArray, network: NDArray, low: NDArray, part: NDArray,
    lanes: int, out: NDArray,
) -> None:  # fmt: skip
    """See :func:`s2cube.kernels.geomedian.deviations`; `out` is ``(3, pixel)``."""
    bands, steps, pixels = values.shape
    tile = np.empty((steps, bands, lanes), np.float32)
    loads = np.empty((steps, lanes), np.float32)
    centre = np.empty((bands, lanes), np.float32)
    far = np.empty((3, steps, lanes), np.float32)
    seen = np.empty((3, lanes), np.int16)
    norm, own, off, turn = np.empty(lanes, F), np.empty(lanes, F), np.empty(lanes, F), np.empty(lanes, F)
    apart, both = np.empty(lanes, F), np.empty(lanes, F)
    for start in range(0, pixels, lanes):
        n = min(lanes, pixels - start)
        kept = _load_looks(values, weights, start, n, tile, loads)
        looks, weight = tile[:kept], loads[:kept]
        seen[:] = 0
        norm[:] = 0
        centre[:] = 0
        for b in range(bands):
            for i in range(n):
                centre[b, i] = centres[b, start + i]
                norm[i] += centre[b, i] * centre[b, i]
        for i in range(lanes):
            norm[i] = F(1) / np.sqrt(norm[i])
        far[:] = np.inf
        for t in range(kept):
            own[:] = 0
            off[:] = 0
            turn[:] = 0
            apart[:] = 0
            both[:] = 0
            for b in range(bands):
                row, middle = looks[t, b], centre[b]
                for i in range(lanes):
                    own[i] += row[i] * row[i]
                    by = row[i] - middle[i]
                    off[i] += by * by
                    apart[i] += abs(by)
                    both[i] += abs(row[i] + middle[i])
            for i in range(lanes):
                own[i] = F(1) / np.sqrt(own[i])
            for b in range(bands):
                row, middle = looks[t, b], centre[b]
                for i in range(lanes):
                    # Half the squared distance of unit vectors: 1 - cosine, without its cancellation.
                    by = row[i] * own[i] - middle[i] * norm[i]
                    turn[i] += by * by
            for i in range(lanes):
                complete = weight[t, i] > 0
                angle = complete & (turn[i] < F(8))
                share = complete & (both[i] > 0)
                far[0, t, i] = np.sqrt(off[i]) if complete else F(np.inf)
                far[1, t, i] = F(0.5) * turn[i] if angle else F(np.inf)
                far[2, t, i] = apart[i] / both[i] if share else F(np.inf)
                seen[0, i] += np.int16(complete)
                seen[1, i] += np.int16(angle)
                seen[2, i] += np.int16(share)
        for kind in range(3):
            _sort(far[kind], network)
            _pick(far[kind], 1.0, seen[kind], low, part, out[kind : kind + 1], start, n)
