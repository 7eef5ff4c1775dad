"""How far filled values are from the truth: errors of pixels, and their sums as whole numbers."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.schema import NO_AGE

__all__ = [
    "BINS",
    "SUMS",
    "angles",
    "bin_edges",
    "index_errors",
    "jumps",
    "known_look",
    "near_look",
    "only",
    "pair",
    "profile",
    "same_age",
    "similarity",
    "tally",
    "unit_of",
    "variation",
]

SUMS: Final = ("n", "missing", "sum", "abs", "square", "n68", "in68", "n95", "in95")
"""What is added up, by step and by days to the nearest clear look."""
BINS: Final = ("1-5", "6-10", "11-20", "21-40", "41-80", "over 80", "none")
"""Days to the nearest clear look that a method may lean on."""
_EDGES: Final = (5, 10, 20, 40, 80)
_UNITS: Final = {"sum": 2.0**-24, "abs": 2.0**-24, "square": 2.0**-36}
"""Sums are of whole multiples: those of floats would depend on the order, so on the chunks."""
_LARGEST: Final = 4.0
"""Errors are cut to it, so that no sum overflows; reflectance, radians and indices stay below."""
SIDE: Final = 7
"""Side of the window of the structural similarity, px."""
_C1, _C2 = 0.01**2, 0.03**2


def unit_of(name: str) -> float:
    """Return the unit of a sum of :data:`SUMS`."""
    return _UNITS.get(name, 1.0)


def bin_edges(age: NDArray[np.int16]) -> NDArray[np.intp]:
    """Return the number of the bin of each age in days.

    >>> [BINS[k] for k in bin_edges(np.array([3, 11, 500, -32768], "i2"))]
    ['1-5', '11-20', 'over 80', 'none']
    """
    return np.where(age == NO_AGE, len(BINS) - 1, np.searchsorted(_EDGES, age))


def tally(
    error: NDArray[np.float32],
    scored: NDArray[np.bool_],
    age: NDArray[np.int16],
    *halves: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Add up errors by step and age.

    Parameters
    ----------
    error
        Filled minus truth, NaN where the method left a pixel missing; shape ``(steps, y, x)``.
    scored
        Which pixels count.
    age
        Days to the nearest clear look.
    *halves
        Half widths of the 68 % interval, and of the 95 % interval, where a method tells them.

    Returns
    -------
    numpy.ndarray
        ``int64``: :data:`SUMS` in their units, for each step and bin, one after the other.
    """
    out = np.zeros((len(error), len(BINS), len(SUMS)), np.int64)
    for step, where in enumerate(scored):
        found = error[step][where].astype(np.float64)
        bins = bin_edges(age[step][where])
        known = np.isfinite(found)
        clipped = np.clip(np.where(known, found, 0), -_LARGEST, _LARGEST)
        facts: dict[str, NDArray[Any]] = {
            "n": known,
            "missing": ~known,
            "sum": np.rint(clipped / unit_of("sum")),
            "abs": np.rint(np.abs(clipped) / unit_of("abs")),
            "square": np.rint(clipped**2 / unit_of("square")),
        }
        for name, half in zip(("68", "95"), halves, strict=False):
            wide = half[step][where]
            told = known & np.isfinite(wide)
            facts[f"n{name}"] = told
            facts[f"in{name}"] = told & (np.abs(found) <= wide)
        for number in np.unique(bins).tolist():
            own = bins == number
            for name, values in facts.items():
                out[step, number, SUMS.index(name)] = values[own].astype(np.int64).sum()
    return out.ravel()


def angles(*bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the spectral angle, radians, between the first half of some bands and the second."""
    count = len(bands) // 2
    dot, one, other = (np.zeros(bands[0].shape, np.float64) for _ in range(3))
    for a, b in zip(bands[:count], bands[count:], strict=True):
        dot += a.astype(np.float64) * b
        one += a.astype(np.float64) ** 2
        other += b.astype(np.float64) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = dot / np.sqrt(one * other)
    return np.arccos(np.clip(cosine, -1, 1)).astype(np.float32)


def index_errors(
    red: NDArray[np.float32],
    nir: NDArray[np.float32],
    true_red: NDArray[np.float32],
    true_nir: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the error of the normalized difference vegetation index, each index cut to -1 to 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        one, other = (np.clip((b - a) / (b + a), -1, 1) for a, b in ((red, nir), (true_red, true_nir)))
        error: NDArray[np.float32] = one - other
    return error


def pair(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return two images as one array, for adapters that take a single one."""
    both = one.astype(np.complex64)
    both.imag = other
    return both


def similarity(both: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return the structural similarity of two images around each pixel.

    Wang et al. (2004), with windows of 7 × 7 px of equal weight and a range of reflectance of 1.

    Parameters
    ----------
    both
        The images as :func:`pair` makes them, shape ``(steps, y, x)``.

    Returns
    -------
    numpy.ndarray
        ``float32``, -1 to 1; NaN where the window is not complete.
    """
    out = np.full(both.shape, np.nan, np.float32)
    if min(both.shape[1:]) < SIDE:
        return out
    edge = SIDE // 2
    for step, frame in enumerate(both):
        a, b = frame.real.astype(np.float64), frame.imag.astype(np.float64)
        mean_a, mean_b, aa, bb, ab = (_window_mean(part) for part in (a, b, a * a, b * b, a * b))
        var_a, var_b, shared = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
        found = (2 * mean_a * mean_b + _C1) * (2 * shared + _C2)
        found /= (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
        out[step, edge:-edge, edge:-edge] = found
    return out


def _window_mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
    # Added in one order everywhere: running sums would depend on where a block begins.
    height, width = (length - SIDE + 1 for length in image.shape)
    down, total = np.zeros((height, image.shape[1])), np.zeros((height, width))
    for k in range(SIDE):
        down += image[k : k + height]
    for k in range(SIDE):
        total += down[:, k : k + width]
    return total / SIDE**2


def near_look(
    values: NDArray[np.float32], valid: NDArray[np.bool_], *, days: NDArray[np.int32], within: int
) -> NDArray[np.float32]:
    """Return the clear look before each look where it is at most `within` days older, else NaN."""
    out = np.full(values.shape, np.nan, np.float32)
    held = np.full(values.shape[1:], np.nan, np.float32)
    since = np.full(values.shape[1:], -(2**30), np.int32)
    for step, day in enumerate(days.tolist()):
        near = day - since <= within
        out[step][near] = held[near]
        np.copyto(held, values[step], where=valid[step])
        np.copyto(since, np.int32(day), where=valid[step])
    return out


def same_age(scored: NDArray[np.bool_], *, age: int) -> NDArray[np.int16]:
    """Return one age for all pixels."""
    return np.full(scored.shape, age, np.int16)


def only(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return `values` with NaN where a look is not clear."""
    return np.where(valid, values, np.float32(np.nan))


def known_look(scored: NDArray[np.bool_], values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a pixel is scored and has a value to be compared."""
    known: NDArray[np.bool_] = scored & np.isfinite(values)
    return known


def variation(
    both: NDArray[np.float32], *, looks: int, days: NDArray[np.int32], targets: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Add up how much series change from day to day, and how much their looks do.

    Parameters
    ----------
    both
        `looks` looks, NaN where not clear, and after them the filled series at `targets`; shape
        ``(looks + targets, y, x)``.
    looks, days, targets
        Number of looks, their days, days of the filled series.

    Returns
    -------
    numpy.ndarray
        ``int64``, absolute changes of the filled series between the first and the last clear look of
        each pixel, and of the clear looks, in the unit of ``abs``.
    """
    clear, filled = both[:looks], both[looks:]
    seen = np.isfinite(clear)
    column = days[:, None, None]
    first = np.where(seen, column, 2**30).min(axis=0)
    last = np.where(seen, column, -(2**30)).max(axis=0)
    total = np.zeros(2, np.int64)
    for k in range(1, len(targets)):
        inside = (targets[k - 1] >= first) & (targets[k] <= last)
        total[0] += _changes((filled[k] - filled[k - 1])[inside])
    held = np.full(both.shape[1:], np.nan, np.float32)
    for step, look in enumerate(clear):
        # Of several clear looks on one day the last counts, as in filling.
        nxt = step + 1
        while nxt < looks and days[nxt] == days[step]:
            look = np.where(seen[nxt], clear[nxt], look)
            nxt += 1
        if step and days[step - 1] == days[step]:
            continue
        now = np.isfinite(look)
        total[1] += _changes((look - held)[now & np.isfinite(held)])
        np.copyto(held, look, where=now)
    return total


def _changes(difference: NDArray[np.float32]) -> int:
    known = difference[np.isfinite(difference)].astype(np.float64)
    clipped = np.minimum(np.abs(known), _LARGEST)
    return int(np.rint(clipped / unit_of("abs")).astype(np.int64).sum())


def jumps(values: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return how far each pixel is from its neighbour to the right (real) and below (imaginary)."""
    across, down = np.full((2, *values.shape), np.nan, np.float32)
    np.abs(np.diff(values, axis=2), out=across[:, :, :-1])
    np.abs(np.diff(values, axis=1), out=down[:, :-1])
    return pair(across, down)


def profile(
    steps: NDArray[np.complex64],
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    *,
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """Add up :func:`jumps` by the edge that they cross.

    Parameters
    ----------
    steps
        Shape ``(time, y, x)``.
    rows, columns
        Numbers of the rows and columns in the whole image, shapes ``(1, y, 1)`` and ``(1, 1, x)``.
    shape
        Of the whole image.

    Returns
    -------
    numpy.ndarray
        ``int64``: number of jumps by row and by column, then their sums in the unit of ``abs``.
    """
    found = []
    for part, at, axes, length in (
        (steps.imag, rows.ravel(), (0, 2), shape[0]),
        (steps.real, columns.ravel(), (0, 1), shape[1]),
    ):
        known = np.isfinite(part)
        size = np.where(known, np.minimum(part, _LARGEST), 0).astype(np.float64)
        counts, sums = np.zeros((2, length), np.int64)
        counts[at] = known.sum(axis=axes)
        sums[at] = np.rint(size / unit_of("abs")).astype(np.int64).sum(axis=axes)
        found.append((counts, sums))
    return np.concatenate([part for kind in (0, 1) for part in (found[0][kind], found[1][kind])])
