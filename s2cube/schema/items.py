"""Which items a cube was made of: a record a step, and the table of it."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from s2cube.errors import CubeError

if TYPE_CHECKING:
    import pandas as pd

ITEMS: Final = "items"
"""Coordinate along ``time``: JSON, a list of records. So it follows every selection of dates."""


def item_records(steps: Sequence[Sequence[Mapping[str, Any]]]) -> xr.Variable:
    """Return the coordinate ``items`` of a cube.

    Parameters
    ----------
    steps
        By step, one record an item: ``id``, ``tile``, ``processing_baseline``, ``offset`` (reflectance
        added, by band), and what the source wants to add.
    """
    words = np.empty(len(steps), dtype=object)
    words[:] = [json.dumps([dict(record) for record in step], separators=(",", ":")) for step in steps]
    return xr.Variable("time", words, {"long_name": "items of each step (JSON)"})


def records_of(cube: xr.Dataset) -> list[list[dict[str, Any]]]:
    """Return the records of the items of `cube`, step by step.

    Raises
    ------
    CubeError
        The cube does not carry them.
    """
    if ITEMS not in cube.coords:
        raise CubeError(
            "The cube does not carry the items that it was made of: open_stac() and open_local() note "
            "them, verbs that make new dates (fill_gaps) do not keep them; ask the cube before that."
        )
    return [json.loads(words) for words in cube[ITEMS].values.tolist()]


def items(cube: xr.Dataset) -> "pd.DataFrame":
    """Tell which items `cube` was made of, and what was added to their counts.

    Parameters
    ----------
    cube
        As opened, or any selection of its dates.

    Returns
    -------
    pandas.DataFrame
        One row an item: ``time`` (of its step), ``id``, ``platform``, ``tile``, ``relative_orbit``,
        ``processing_baseline``, ``offset_<band>``, the reflectance added to that band, and what else the
        source tells (local products: mean ``sun_zenith``, ``view_zenith``, ...).

    Raises
    ------
    CubeError
        The cube does not carry its items.

    Examples
    --------
    >>> import s2cube
    >>> table = s2cube.items(s2cube.testing.simulate_cube(seed=1, bands=["red"]))
    >>> table.columns.tolist()[:3], float(table["offset_B04"].min())
    (['time', 'id', 'platform'], -0.1)
    """
    import pandas as pd

    rows = []
    for time, step in zip(cube["time"].values, records_of(cube), strict=True):
        for record in step:
            offsets = {f"offset_{band}": value for band, value in record.get("offset", {}).items()}
            told = {key: record.get(key) for key in _COLUMNS}
            more = {
                key: value
                for key, value in record.items()
                if key not in _COLUMNS and isinstance(value, (int, float, str))
            }
            rows.append({"time": time, **told, **offsets, **more})
    return pd.DataFrame(rows)


_COLUMNS: Final = ("id", "platform", "tile", "relative_orbit", "processing_baseline")
