"""What a date's clear pixels say of those beside them.

On a date that is clear in part, how far its clear pixels are from what time says is regressed on what
time says (ridge, Huber's weights, blocks of pixels held out), twice with other features, and the
residuals of the pixels held out are spread to their surroundings, coarse to fine. Class regression on
reference dates with residuals of similar pixels is the older idea (Zhu et al. 2012; Chen et al. 2011);
here features take the place of classes, and all that is fitted has a closed form.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.engine import matmul
from s2cube.kernels.seasonal import Expected, Index, take

__all__ = ["FEWEST", "folds_of", "same_date"]

F = NDArray[np.float32]
Mask = NDArray[np.bool_]
f4 = np.float32

FEWEST: Final = 200
"""Clear pixels of a date that are enough."""
SCALES: Final = ((20.0, 40.0), (7.0, 10.0), (2.5, 3.0), (1.0, 1.0))
"""Deviations of the Gaussians (px), and the clear pixels (weight) at which a residual is halved."""
RIDGE: Final = (3e-4, 3e-3, 3e-2, 3e-1, 3.0)
"""Weights that hold coefficients back, of which a date takes the best."""
HUBER: Final = 1.0
ROUNDS: Final = 3
"""Of reweighting."""
RANDOM: Final = 48
"""Random features (Rahimi and Recht 2007), of the second regression."""
MOST: Final = 4000
"""Clear pixels that coefficients are made of."""
FARTHEST: Final = f4(5)
"""Deviations at which a feature is cut."""
WIDTH: Final = 1.2
"""Of the random features' frequencies."""
TAIL: Final = 0.011
"""Of a Gaussian, beside its middle: three deviations."""
FAR: Final = (40, 80, 120)
"""Days away of looks that the second regression is told too."""
BLOCK, FOLDS = 16, 5
"""Side of blocks that are held out together, since neighbours are alike; and in how many parts."""


def folds_of(origin: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return which pixels are held out together, ``(pixel)``; by absolute indices."""
    i, j = np.ogrid[: shape[0], : shape[1]]
    row, column = (i + origin[0]) // BLOCK, (j + origin[1]) // BLOCK
    fold: NDArray[np.intp] = ((row * 2 + column * 3 + row // FOLDS) % FOLDS).ravel()
    return fold


def same_date(of: Expected, k: int, shape: tuple[int, int], fold: NDArray[np.intp]) -> tuple[F, F]:
    """Return what look `k` is like where it is not clear.

    Parameters
    ----------
    of
        What time says.
    k
        Number of the look.
    shape
        Rows and columns of the window.
    fold
        See :func:`folds_of`.

    Returns
    -------
    tuple
        The look ``(band, pixel)``, also where it is clear, and the deviation of residuals held out
        ``(band)``, in units of `of`.
    """
    base, at = of.others[k], np.flatnonzero(of.clear[k] & known(of, k))
    near, features = _features(of, k, at)
    target = (of.looks[k] - base)[:, at]
    found = base.copy()
    residual, weight = np.zeros_like(base), np.zeros(base.shape[1], f4)
    size = np.zeros(len(base), f4)
    clear = features[:, at]
    for count in (near, len(features)):
        coefficients, off, counts = _regress(clear[:count], target, fold[at])
        found += matmul(coefficients, features[:count]) / 2
        residual[:, at] += off / 2
        weight[at] += counts / 2
        size += np.abs(off).mean(axis=1) / 2
    return found + _spread(residual, weight, shape), size * f4(1.25)


def known(of: Expected, k: int) -> Mask:
    """Return where look `k` has another to lean on."""
    found: Mask = of.around.before[k] >= 0
    return found if of.question.causal else found | (of.around.after[k + 1] >= 0)


def _features(of: Expected, k: int, at: NDArray[np.intp]) -> tuple[int, F]:
    """Return how many features the first regression has, and those of the second, ``(feature, pixel)``.

    They are what time says of look `k` without it: one, what all experts say, the quick one, the looks
    around; then looks farther away, and random mixtures of all. Normalised by the pixels `at`.
    """
    base, days, causal = of.others[k], of.question.days, of.question.causal
    every = np.arange(base.shape[1])

    def look(numbers: Index) -> F:
        return np.where(numbers < 0, base, take(of.looks, numbers, every))

    told = [base, of.quick[k], look(of.around.before[k])]
    if not causal:
        told.append(look(of.around.after[k + 1]))
    near = 1 + sum(map(len, told))
    for lag in FAR:
        step = int(np.searchsorted(days, days[k] - lag, side="right"))
        if 0 < step <= k:
            told.append(look(of.around.before[step]))
        step = int(np.searchsorted(days, days[k] + lag))
        if not causal and k < step < len(days):
            told.append(look(of.around.after[step]))
    x = np.concatenate(told)
    x -= x[:, at].mean(axis=1, keepdims=True)
    x /= x[:, at].std(axis=1, keepdims=True) + f4(1e-6)
    np.clip(x, -FARTHEST, FARTHEST, out=x)
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((RANDOM, len(x))).astype(f4) * f4(WIDTH / np.sqrt(len(x)))
    waves = matmul(mix, x) + rng.uniform(0, 2 * np.pi, (RANDOM, 1)).astype(f4)
    return near, np.concatenate([np.ones((1, x.shape[1]), f4), x, np.cos(waves, out=waves)])


def _regress(x: F, target: F, fold: NDArray[np.intp]) -> tuple[F, F, F]:
    """Regress `target` on `x`; return coefficients, residuals of pixels held out, and weights.

    Coefficients come from at most :data:`MOST` pixels, residuals and weights are those of all.
    """
    count = x.shape[1]
    some = np.arange(count)
    if count > MOST:
        some = np.sort(np.random.default_rng(0).choice(count, MOST, replace=False))
    fit = _Ridge(x[:, some], target[:, some], fold[some])
    weight = np.ones(len(some), f4)
    choices: Sequence[float] = RIDGE
    for _ in range(ROUNDS):
        choices = (fit.choose(weight, choices),)
        weight = _huber(fit.residuals(fit.x, fit.y, fit.groups) / fit.unit)
    fit.choose(weight, choices)
    residual = fit.residuals(x, target, [np.flatnonzero(fold == g) for g in range(FOLDS)])
    return fit.whole().astype(f4), residual, _huber(residual / fit.unit)


def _huber(off: F) -> F:
    """Return less weight for pixels far off (Huber 1964), all bands together."""
    far = np.sqrt((off**2).mean(axis=0))
    weight: F = np.minimum(1, HUBER * (np.median(far) + f4(1e-6)) / np.maximum(far, f4(1e-9)))
    return weight


class _Ridge:
    """Ridge regression with parts held out in turn: one sum of products a part serves them all."""

    def __init__(self, x: F, y: F, fold: NDArray[np.intp]) -> None:
        self.x, self.y = x, y
        self.unit = y.std(axis=1, keepdims=True) + f4(1e-6)
        self.groups = [np.flatnonzero(fold == g) for g in range(FOLDS)]
        self.penalty = np.eye(len(x))
        self.penalty[0, 0] = 1e-3  # the offset of the date is hardly held back

    def choose(self, weight: F, choices: Sequence[float]) -> float:
        """Fit with some weights; keep, and return, the ridge with the least error held out."""
        self.weight, self.count = weight, float(weight.sum())
        # In double precision, as in `matmul`.
        x, y = self.x.astype(np.float64), self.y.astype(np.float64)
        heavy = x * weight
        self.products = [heavy[:, g] @ x[:, g].T for g in self.groups]
        self.moments = [heavy[:, g] @ y[:, g].T for g in self.groups]
        self.product, self.moment = sum(self.products), sum(self.moments)
        errors = []
        for self.ridge in choices if len(choices) > 1 else ():
            off = self.residuals(self.x, self.y, self.groups)
            errors.append(float((np.abs(off / self.unit) * weight).mean()))
        self.ridge = choices[int(np.argmin(errors))] if errors else choices[0]
        return self.ridge

    def whole(self) -> NDArray[Any]:
        """Return the coefficients by all parts, ``(band, feature)``."""
        found: NDArray[Any] = np.linalg.solve(self.product + self._held(), self.moment).T
        return found

    def _held(self) -> NDArray[np.float64]:
        held: NDArray[np.float64] = self.ridge * self.count * self.penalty
        return held

    def residuals(self, x: F, y: F, groups: Sequence[NDArray[np.intp]]) -> F:
        """Return what each pixel differs from the fit of all parts but its own."""
        off = np.empty_like(y)
        for group, product, moment in zip(groups, self.products, self.moments, strict=True):
            if len(group):
                left = np.linalg.solve(self.product - product + self._held(), self.moment - moment)
                off[:, group] = y[:, group] - matmul(left.T, x[:, group])
        return off


def _gaussian(size: int, sigma: float) -> F:
    """Return the matrix that blurs a line; its tails are cut."""
    i = np.arange(size)
    bell = np.exp(-0.5 * ((i[:, None] - i) / sigma) ** 2)
    return np.where(bell > TAIL, bell / (sigma * np.sqrt(2 * np.pi)), 0).astype(f4)


def _spread(residual: F, weight: F, shape: tuple[int, int]) -> F:
    """Spread residuals from where there is weight, coarse to fine; each takes what is left."""
    out = np.zeros_like(residual)
    for sigma, halved in SCALES:
        rows, columns = _gaussian(shape[0], sigma), _gaussian(shape[1], sigma)
        known = np.concatenate([residual * weight, weight[None]]).reshape(-1, *shape)
        both = matmul(rows, known, columns).reshape(len(residual) + 1, -1)
        part = both[:-1] / (both[-1] + f4(halved / (2 * np.pi * sigma**2)))
        out += part
        residual = residual - part
    return out
