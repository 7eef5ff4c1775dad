"""Fit the perceptrons of ``spectral`` and ``spectral-temporal``: ``python -m s2cube.training.spectral``.

They learn from :func:`s2cube.testing.simulate_spectra` alone: its truth is known, anyone can draw it
again, and every real place stays unseen, to judge them by. Needs the extra ``torch``; takes minutes.
"""

import hashlib
from pathlib import Path
from typing import Final

import numpy as np

import s2cube.masks
from s2cube.kernels.spectral import Layers, change_features, spectral_features
from s2cube.masks import perceptrons
from s2cube.models.perceptron import fit_perceptron
from s2cube.schema import BANDS, Status
from s2cube.testing import simulate_spectra

__all__ = ["fit"]

PIXELS: Final = 400_000
SEED: Final = 1


def fit(pixels: int = PIXELS, seed: int = SEED) -> dict[tuple[str, str, tuple[str, ...]], Layers]:
    """Fit all perceptrons; returns them by kind, level and bands."""
    order = np.zeros(len(Status) + 1, np.uint8)
    order[list(perceptrons.STATES)] = np.arange(len(perceptrons.STATES))
    found: dict[tuple[str, str, tuple[str, ...]], Layers] = {}
    for level, sets in perceptrons.BAND_SETS.items():
        drawn = simulate_spectra(pixels, level=level, seed=seed)
        states = order[drawn.status]
        # One look does not tell a shadow from dark ground: to it, shadows are ground.
        alone = np.where(drawn.status == Status.SHADOW, order[Status.CLEAR], states)
        for names in sets:
            columns = {band: list(BANDS).index(band) for band in names}
            now, usual = (
                {band: values[:, column] for band, column in columns.items()}
                for values in (drawn.looks, drawn.usual)
            )
            found["look", level, names] = fit_perceptron(spectral_features(now), alone, seed=seed)
            found["change", level, names] = fit_perceptron(
                change_features(now, usual), states, seed=seed
            )
            print(level, *names, flush=True)
    return found


if __name__ == "__main__":
    data = perceptrons.pack(fit())
    path = Path(s2cube.masks.__file__).with_name(perceptrons.FILE)
    path.write_bytes(data)
    print(f"{path}: {len(data)} bytes. Put its sha256 into masks/perceptrons.py:")
    print(hashlib.sha256(data).hexdigest())
