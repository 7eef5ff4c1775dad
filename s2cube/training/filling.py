"""Fit a network that fills gaps, and judge it: ``python -m s2cube.training.filling --out FILE``.

Without cubes of your own it learns from simulated places, and is judged at others, later. With
``--cube`` it learns from masked cubes in Zarr stores (``mask_clouds(...).to_zarr(path)``), and is judged
at those of ``--judge``, or in the same ones after ``--until``. It prints the table of the judge.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.evaluate import compare_gap_filling, evaluate_gap_filling, summarize_gap_filling
from s2cube.gapfill import fit_gap_filler
from s2cube.masks import mask_clouds
from s2cube.models.spec import ModelSpec
from s2cube.testing import simulate_cube

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["judge_filling", "main", "simulated"]

TAUGHT: Final = (111, 112, 113, 114, 115)
UNSEEN: Final = (911, 912)
"""Seeds of simulated places."""
LEARNT: Final = "2020-12-31"
"""Last day of the places that are learnt from."""
SHAPE: Final = (96, 96)


def simulated(seeds: Sequence[int], *, after: bool, shape: tuple[int, int] = SHAPE) -> list[xr.Dataset]:
    """Return simulated places, masked by their scene classification: up to :data:`LEARNT`, or after."""
    start, end = ("2021-01-01", "2021-12-31") if after else ("2019-07-01", LEARNT)
    cubes = [simulate_cube(shape=shape, seed=seed, start=start, end=end, noise=0.006) for seed in seeds]
    return [mask_clouds(cube, "scl") for cube in cubes]


def judge_filling(places: Mapping[str, xr.Dataset], spec: ModelSpec, *, seed: int) -> "pd.DataFrame":
    """Return the details of the judge (``evaluate_gap_filling``) with a column ``place``."""
    import pandas as pd

    causal = bool(dict(spec.parameters)["causal"])
    methods = {
        "last" if causal else "linear": {},
        "similar": {"uncertainty": (68, 95)},
        "network": {"method": spec, "uncertainty": (68, 95)},
    }
    tables = [
        evaluate_gap_filling(
            cube, methods, masks=("clouds", "frame", "gap"), causal=causal, seed=seed, daily=False,
            details=True,
        ).assign(place=place)
        for place, cube in places.items()
    ]  # fmt: skip
    return pd.concat(tables)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m s2cube.training.filling", description=__doc__)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--cube", action="append", default=[], metavar="ZARR", help="to learn from")
    parser.add_argument("--judge", action="append", default=[], metavar="ZARR", help="to be judged at")
    parser.add_argument("--until", metavar="DAY", help="last day to learn from")
    parser.add_argument("--causal", action="store_true", help="for fill_gaps(causal=True)")
    parser.add_argument("--epochs", type=int, default=12, help="at most (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.cube and not (options.judge or options.until):
        parser.error("--cube needs --judge, other places, or --until, a day after which it is judged")
    cubes = [_opened(path) for path in options.cube] or simulated(TAUGHT, after=False)
    if options.judge:
        judge = {path: _opened(path) for path in options.judge}
    elif options.cube:
        judge = {path: _after(_opened(path), options.until) for path in options.cube}
    else:
        places = zip(UNSEEN, simulated(UNSEEN, after=True), strict=True)
        judge = {f"simulated {seed}": cube for seed, cube in places}
    try:
        spec = fit_gap_filler(
            cubes, causal=options.causal, until=options.until, epochs=options.epochs,
            rounds=options.rounds, seed=options.seed, notes=" ".join(options.cube) or "simulated places",
        )  # fmt: skip
    except CubeError as error:
        raise SystemExit(f"Nothing is written. {error}") from None
    print(spec.notes)
    details = judge_filling(judge, spec, seed=options.seed)
    print(summarize_gap_filling(details, by="place").round(4).to_string(index=False))
    print(compare_gap_filling(details, "similar", by="place").round(4).to_string(index=False))
    print("written:", spec.save(options.out).described())


def _opened(path: str) -> xr.Dataset:
    # "all": or xarray takes the grid of what it has written itself for data.
    return schema.validate(xr.open_zarr(Path(path), decode_coords="all"))


def _after(cube: xr.Dataset, until: str) -> xr.Dataset:
    days = schema.solar_days(cube).astype("datetime64[D]")
    return cube.isel(time=np.flatnonzero(days > np.datetime64(until)))


if __name__ == "__main__":
    main()
