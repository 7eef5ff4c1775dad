"""Proof by perturbation that a chain is causal: what happens after a day changes nothing up to it."""

from collections.abc import Callable, Iterable

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.schema import SCL, STATUS


def check_causal(
    chain: Callable[[xr.Dataset], xr.Dataset],
    cube: xr.Dataset,
    *,
    days: Iterable[str],
    seed: int = 0,
) -> None:
    """Assert that `chain`, from unmasked looks to filled dates, does not know the future.

    After each of `days` every look is replaced by chance: values, classes, states, what is missing.
    """
    whole = chain(cube)
    dates = whole["time"].values
    rng = np.random.default_rng(seed)
    solar = schema.solar_days(cube).astype("datetime64[D]")
    for day in np.array(list(days), "datetime64[D]"):
        later = solar > day
        assert later.any(), f"no look after {day}: that proves nothing"
        assert (dates <= day).any(), f"no date up to {day}: that proves nothing"
        other = cube.copy(deep=True)
        for name, array in other.data_vars.items():
            shape = (int(later.sum()), *array.shape[1:])
            if name == SCL:
                array.values[later] = rng.integers(0, 12, shape)
            elif name == STATUS:
                array.values[later] = rng.choice([0, 0, 5, 7], shape)
            else:
                drawn = rng.uniform(-0.1, 1, shape).astype(np.float32)
                drawn[rng.random(shape) < 0.3] = np.nan
                array.values[later] = drawn
        changed = chain(other)
        keep = {"time": dates <= day}
        timed = [name for name in whole.data_vars if "time" in whole[name].dims]
        same = whole[timed].isel(keep).equals(changed[timed].isel(keep))
        assert same, f"what happens after {day} changes what is filled up to it"
        after = {"time": dates > day}
        assert not whole[timed].isel(after).equals(changed[timed].isel(after)), "nothing was changed"
