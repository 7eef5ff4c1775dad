"""A slow geometric median in double precision, pixel by pixel, that decides rather than approaches.

Whether a look is the minimum is decided exactly: it is one if and only if the others do not pull it away
with more than its own weight. If none is, the minimum lies where the sum of distances is smooth, and
Newton's method with a search along its step converges to it.
"""

import numpy as np

CONVERGED = 1e-9


def complete(values: np.ndarray) -> np.ndarray:
    """Return the looks of one pixel ``(band, time)`` that have all bands, as ``(look, band)``."""
    return values.T[~np.isnan(values).any(0)].astype(np.float64)


def cost(looks: np.ndarray, weights: np.ndarray, centre: np.ndarray) -> float:
    """Return the sum of distances, which the median makes as small as it can be."""
    return float((weights * np.linalg.norm(looks - centre, axis=1)).sum())


def _pull(looks: np.ndarray, weights: np.ndarray, look: np.ndarray) -> np.ndarray:
    """Return the direction in which the other looks pull from `look`, each with its weight."""
    off = looks - look
    distance = np.linalg.norm(off, axis=1)
    there = distance > 0
    return (weights[there] / distance[there]) @ off[there]


def _pulls_away(looks: np.ndarray, weights: np.ndarray, look: np.ndarray) -> bool:
    own = weights[(looks == look).all(1)].sum()
    return bool(np.linalg.norm(_pull(looks, weights, look)) > own * (1 + 1e-12))


def geometric_median(looks: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the geometric median of ``(look, band)``; of looks on a line, one of them."""
    weights = np.ones(len(looks)) if weights is None else np.asarray(weights, float)
    looks, weights = looks[weights > 0], weights[weights > 0]
    if not len(looks):
        return np.full(looks.shape[1], np.nan)
    for look in looks:
        if not _pulls_away(looks, weights, look):
            return look
    # From a place better than all looks there is no way downhill to one: Newton's method cannot stick.
    lowest = min(looks, key=lambda look: cost(looks, weights, look))
    best, centre, part = cost(looks, weights, lowest), lowest, 1.0
    while cost(looks, weights, centre) >= best:
        centre = lowest + part * _pull(looks, weights, lowest)
        part /= 2
    best = cost(looks, weights, centre)
    for _ in range(500):
        off = looks - centre
        distance = np.linalg.norm(off, axis=1).clip(1e-15)
        by, unit = weights / distance, off / distance[:, None]
        curve = by.sum() * np.eye(looks.shape[1]) - (unit * by[:, None]).T @ unit
        step = np.linalg.solve(curve + 1e-14 * by.sum() * np.eye(len(curve)), by @ off)
        part = 1.0
        while (now := cost(looks, weights, centre + part * step)) > best * (1 + 1e-15) and part > 1e-9:
            part /= 2
        centre, best = centre + part * step, min(now, best)
        if np.linalg.norm(step) < CONVERGED:
            return centre
    raise AssertionError(f"no convergence: {np.linalg.norm(step)}")


def geometric_medians(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the medians of ``(band, time, pixel)``; `weights` as ``(time,)`` or ``(time, pixel)``."""
    out = np.full((len(values), values.shape[2]), np.nan)
    for i in range(values.shape[2]):
        own = None if weights is None else weights if weights.ndim == 1 else weights[:, i]
        whole = ~np.isnan(values[:, :, i]).any(0)
        if whole.any():
            out[:, i] = geometric_median(complete(values[:, :, i]), None if own is None else own[whole])
    return out
