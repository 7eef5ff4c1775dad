"""Train the network of ``segmentation``: ``python -m s2cube.training.segmentation --out FILE``.

Only data that may be published go in: the western half of the Romanian forest in the PyPI wheel ``nrt``
(EUPL-1.2; contains modified Copernicus Sentinel data), 2015 to 2018, labelled by Sen2Cor; and simulated
places. What comes out is judged on the eastern half in 2019 and 2020 and at places simulated from other
seeds, beside the scene classification: only what beats it where it has not been should ship.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from s2cube.evaluate import check_masks, evaluate_masks
from s2cube.masks import cloud_mask, fit_segmentation
from s2cube.models.spec import ModelSpec
from s2cube.sources import as_cube
from s2cube.testing import add_clouds, simulate_cube

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["judge_segmentation", "main", "romania", "train_segmentation"]

BANDS: Final = ("B02", "B03", "B04", "B08")
SIDE: Final = 64
"""Pixels: half of the place has 50 by 100."""
TAUGHT: Final = (101, 102)
UNSEEN: Final = (901, 902, 903)
"""Seeds of simulated places."""
LEARNT: Final = "2018"
"""Last year that is learnt from; the others judge."""
BUFFERS: Final = (0, 30, 60)
"""Metres by which masks grow that are held against each other."""
CLEAR: Final = 0.01
"""Share of cloud and shadow by SCL up to which a real date gets simulated clouds."""


def romania() -> tuple[xr.Dataset, xr.Dataset]:
    """Return the western half of the real place to learn from, and the eastern one, later, to judge.

    Raises
    ------
    ImportError
        The wheel is not installed.
    """
    try:
        data = import_module("nrt.data")
    except ImportError:
        raise ImportError(
            "Training needs the real data of the extra 'demo': python -m pip install 's2cube-ard[demo]'."
        ) from None
    with data.romania_10m(mask_and_scale=False) as ds:
        cube = as_cube(ds, scale=1e-4, offset=0, nodata=0, level="L2A", crs="EPSG:3035").compute()
    middle = cube.sizes["x"] // 2
    west, east = cube.isel(x=slice(None, middle)), cube.isel(x=slice(middle, None))
    return west.sel(time=slice(LEARNT)), east.sel(time=slice(str(int(LEARNT) + 1), None))


def train_segmentation(west: xr.Dataset, *, clouds: bool, epochs: int, seed: int) -> ModelSpec:
    """Return a network trained on the real half and on simulated places."""
    places = [simulate_cube(shape=(128, 128), bands=BANDS, seed=place) for place in TAUGHT]
    return fit_segmentation(
        [west, *places] if clouds else west,
        bands=BANDS,
        clouds=partial(add_clouds, cover=0.5) if clouds else None,
        side=SIDE,
        epochs=epochs,
        seed=seed,
        name="romania",
        licence="EUPL-1.2 (nrt 0.2.1); contains modified Copernicus Sentinel data 2015-2021",
    )


def judge_segmentation(
    models: dict[str, ModelSpec], east: xr.Dataset
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Judge models where they have not been.

    Returns
    -------
    consistency : pandas.DataFrame
        What :func:`~s2cube.check_masks` finds at the real half, with ``scl`` and, if installed,
        ``csmask`` beside them, each with several buffers: compare rows that call as much clear.
    scores : pandas.DataFrame
        F1 and more on simulated clouds of known truth, over real clear dates and at simulated places.
    """
    import pandas as pd

    others: dict[str, dict[str, Any]] = {"scl": {"method": "scl"}}
    with suppress(ImportError):
        cloud_mask(east, "csmask")
        others["csmask"] = {"method": "csmask"}
    networks = {name: {"method": "segmentation", "model": spec} for name, spec in models.items()}
    how: dict[str, dict[str, Any]] = {**others, **networks}
    masks = {
        f"{name}, {buffer} m": cloud_mask(east, **told, buffer=buffer)
        for name, told in how.items()
        for buffer in BUFFERS
    }
    # Which is none of what simulated clouds were put over.
    del how["scl"]
    scl = masks["scl, 0 m"]
    clear = (scl["status"] >= 3).mean(("y", "x")).values <= CLEAR
    grounds = {"real, east": east[list(BANDS)].isel(time=np.flatnonzero(clear))}
    for place in UNSEEN:
        grounds[f"simulated {place}"] = simulate_cube(
            shape=(128, 128), bands=BANDS, seed=place, cloud_cover=0, end="2021-09-30"
        )
    tables = []
    for seed, (ground, frames) in enumerate(grounds.items()):
        cloudy, truth = add_clouds(frames, cover=0.4, seed=1000 + seed)
        found = {name: cloud_mask(cloudy, **told) for name, told in how.items()}
        table = evaluate_masks(found, truth, classes=("cloud", "shadow"))
        tables.append(table.assign(ground=ground))
    columns = ["ground", "mask", "class", "precision", "recall", "f1"]
    return check_masks(east, masks), pd.concat(tables)[columns]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m s2cube.training.segmentation", description=__doc__)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--epochs", type=int, default=40, help="at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    west, east = romania()
    models = {}
    for name, clouds in (("labels alone", False), ("and clouds", True)):
        print(f"training: {name}", flush=True)
        models[name] = train_segmentation(west, clouds=clouds, epochs=options.epochs, seed=options.seed)
        print(models[name].notes)
    consistency, scores = judge_segmentation(models, east)
    print(consistency.round(3).to_string(index=False))
    print(scores.round(3).to_string(index=False))
    print("written:", models["and clouds"].save(options.out).described())


if __name__ == "__main__":
    main()
