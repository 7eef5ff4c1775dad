"""How much features count: a ridge regression that has to prove itself on times it was not fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.engine import matmul
from s2cube.kernels.fill import Days

__all__ = ["Batch", "learn", "sum_of"]

F = NDArray[np.float32]
f4 = np.float32

FEWEST: Final = 4
"""Periods; with fewer nothing is proven."""
RIDGE: Final = (1e-3, 1e-2, 1e-1, 1.0)
"""Weights that hold multiples back, relative to what a feature varies."""
SHARES: Final = np.array([0, 0.25, 0.5, 0.75, 1], f4)
"""Of what regression says, of which each band takes the best."""
SURE: Final = 2.0
"""Standard errors by which the gain must differ from none."""


@dataclass
class Batch:
    """What is learnt from on one date."""

    number: int
    """Of the look."""
    since: int
    """First day that is hidden with it."""
    period: int
    """With which it is held out."""
    features: F
    """``(feature, pixel)``."""
    target: F
    """What they are to explain, ``(band, pixel)``."""

    @cached_property
    def product(self) -> NDArray[np.float64]:
        """Of the features with each other."""
        return _double(self.features) @ _double(self.features).T

    @cached_property
    def moment(self) -> NDArray[np.float64]:
        """Of the features with the target, ``(feature, band)``."""
        return _double(self.features) @ _double(self.target).T


def learn(batches: Sequence[Batch], days: Days | None, found: F) -> None:
    """Put into `found` what each feature counts, by looks up to a day, ``(time + 1, band, feature)``.

    Parameters
    ----------
    batches
        In the order of looks, at least one.
    days
        Of the looks, where only what lies before a day may be known of it; else None.
    found
        0 where nothing is proven.
    """
    if days is None:
        _whole(batches, found)
    else:
        _forward(batches, days, found)


def sum_of(multiples: F, features: F) -> F:
    """Return the sum of features by band; one by one, so that no pixel depends on the others' number."""
    found = np.zeros((len(multiples), features.shape[1]), f4)
    for by, band in zip(multiples, found, strict=True):
        if by.any():
            for one, feature in zip(by, features, strict=True):
                band += one * feature
    return found


def _double(array: F) -> NDArray[np.float64]:
    """Return what sums do not lose their last bits of, as in `matmul`."""
    return array.astype(np.float64)


def _solve(product: NDArray[np.float64], moment: NDArray[np.float64], ridge: float) -> F:
    """Return what regression says that features count, ``(band, feature)``."""
    held = np.diag(ridge * np.diag(product) + 1e-9 * (np.trace(product) + 1e-12))
    found: F = np.linalg.solve(product + held, moment).T.astype(f4)
    return found


def _errors(batch: Batch, product: Any, moment: Any) -> NDArray[np.float64]:
    """Return the sums of errors by ridge, share and band, where regression never saw the batch."""
    said = np.stack([matmul(_solve(product, moment, ridge), batch.features) for ridge in RIDGE])
    off = [np.abs(batch.target - share * said).sum(axis=2, dtype=np.float64) for share in SHARES]
    return np.stack(off, axis=1)


def _best(errors: NDArray[np.float64]) -> tuple[float, F]:
    """Return ridge and share by band with the least errors; a share of 0 where that may be chance.

    `errors` are by ridge, share, band and period; the first share is none.
    """
    total = errors.sum(axis=3)
    total /= total[:, :1] + 1e-12
    ridge = int(np.argmin(total.min(axis=1).mean(axis=1)))
    share = total[ridge].argmin(axis=0)
    gain = errors[ridge, 0] - errors[ridge, share, np.arange(len(share))]
    chance = gain.std(axis=1, ddof=1) / np.sqrt(gain.shape[1])
    return RIDGE[ridge], np.where(gain.mean(axis=1) > SURE * chance, SHARES[share], f4(0))


def _whole(batches: Sequence[Batch], found: F) -> None:
    """Learn from all batches, each judged by what the others say that are not of its period."""
    periods = sorted({batch.period for batch in batches})
    if len(periods) < FEWEST:
        return
    product, moment = sum(b.product for b in batches), sum(b.moment for b in batches)
    errors = []
    for period in periods:
        own = [batch for batch in batches if batch.period == period]
        rest = product - sum(b.product for b in own), moment - sum(b.moment for b in own)
        errors.append(sum(_errors(batch, *rest) for batch in own))
    ridge, share = _best(np.stack(errors, axis=3))
    found += share[:, None] * _solve(np.asarray(product), np.asarray(moment), ridge)


def _forward(batches: Sequence[Batch], days: Days, found: F) -> None:
    """Learn as time goes on, each batch judged by what was known before it was hidden."""
    size, bands = len(batches[0].product), len(batches[0].target)
    product, moment = np.zeros((len(found), size, size)), np.zeros((len(found), size, bands))
    by_look: dict[int, list[Batch]] = {}
    for batch in batches:
        by_look.setdefault(batch.number, []).append(batch)
        product[batch.number + 1 :] += batch.product
        moment[batch.number + 1 :] += batch.moment
    errors: dict[int, Any] = {}
    for count in range(1, len(found)):
        for batch in by_look.get(count - 1, []):
            known = int(np.searchsorted(days, batch.since))
            if product[known].any():
                told = _errors(batch, product[known], moment[known])
                errors[batch.period] = errors.get(batch.period, 0) + told
        if len(errors) >= FEWEST:
            ridge, share = _best(np.stack(list(errors.values()), axis=3))
            if share.any():
                found[count] = share[:, None] * _solve(product[count], moment[count], ridge)
