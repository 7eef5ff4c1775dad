"""``open_daily``: a finished store as a cube."""

import ast
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import xarray as xr

from s2cube import schema
from s2cube.errors import StoreError, UnfinishedStoreError
from s2cube.harmonize import reflectance
from s2cube.schema import NODATA, SCALE
from s2cube.store.layout import ATTRIBUTE, FORMAT
from s2cube.store.ledger import Ledger

__all__ = ["local_path", "open_daily", "opened_from"]

_VERB: Final = "open_daily"


def open_daily(store: str | os.PathLike[str]) -> xr.Dataset:
    """Open a store that :func:`s2cube.write_daily` has finished, lazily.

    Parameters
    ----------
    store
        Path of the store.

    Returns
    -------
    xarray.Dataset
        float32 reflectance with NaN where missing, ``provenance``, ``clear_age``; with rioxarray or
        odc-geo imported, ``.rio.crs`` and ``.odc.crs`` answer.

    Raises
    ------
    UnfinishedStoreError
        The store was begun and not finished; it says how much there is.
    StoreError
        There is no store at this path, or it was not made by s2cube.

    Examples
    --------
    >>> import s2cube
    >>> daily = s2cube.open_daily("daily.zarr")  # doctest: +SKIP
    """
    ledger = Ledger(local_path(store))
    if not ledger.published:
        if not ledger.ours:
            raise StoreError(f"There is no store at {ledger.store}.")
        raise UnfinishedStoreError(
            f"{ledger.store} is unfinished: {len(ledger.marks())} regions are on disk. Run the same "
            "write_daily() again, it does the rest."
        )
    made = (ledger.attributes() or {}).get(ATTRIBUTE)
    if not isinstance(made, dict) or "layout" not in made:
        raise StoreError(f"{ledger.store} is a Zarr group, but write_daily() did not make it.")
    if made["layout"].get("format") != FORMAT:
        raise StoreError(
            f"{ledger.store} has format {made['layout'].get('format')!r}, this version of s2cube reads "
            f"{FORMAT}: use the version that made it."
        )
    # A shard a task: one file, one read.
    chunks = dict(zip(schema.DIMS, made["layout"]["shards"], strict=True))
    raw = xr.open_zarr(
        ledger.store, consolidated=True, decode_coords="all", mask_and_scale=False, chunks=chunks
    )
    arrays: dict[Hashable, Any] = {}
    for name in made["layout"]["variables"]:
        array = raw[name]
        if name in schema.BANDS:
            arrays[name] = reflectance(array.data, name, nodata=NODATA, scale=SCALE)
        else:
            arrays[name] = array.variable
    attrs = {key: value for key, value in raw.attrs.items() if key != ATTRIBUTE}
    words = {name: attrs.pop(name) for name in ("sensor", "processing_level") if name in attrs}
    cube = xr.Dataset(arrays, {**raw.coords, **words}, attrs)
    return schema.validate(schema.record(cube, _VERB, store=str(ledger.store)))


def opened_from(cube: xr.Dataset) -> list[str]:
    """Return the stores that `cube` was opened from, as its history tells."""
    found = re.findall(rf"^{_VERB}\(store=(.*)\)$", str(cube.attrs.get("history", "")), re.MULTILINE)
    return [str(ast.literal_eval(text)) for text in found]


def local_path(store: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a store.

    Raises
    ------
    StoreError
        It is none, or lies elsewhere than on a disk.
    """
    if not isinstance(store, (str, os.PathLike)) or not isinstance(os.fspath(store), str):
        raise StoreError(f"A store is a path, got {store!r}.")
    text = os.fspath(store)
    if "://" in text:
        raise StoreError(f"This version keeps stores in local folders, not at {text}.")
    path = Path(text).expanduser().absolute()
    if not path.name:
        raise StoreError(f"{path} cannot be a store: name a folder in it.")
    return path
