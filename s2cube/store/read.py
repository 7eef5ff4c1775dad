"""``open_daily``: a finished store as a cube."""

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import xarray as xr

from s2cube import schema
from s2cube.errors import StoreError, UnfinishedStoreError
from s2cube.harmonize import reflectance
from s2cube.schema import NODATA, SCALE
from s2cube.store.layout import ATTRIBUTE
from s2cube.store.ledger import Ledger

__all__ = ["open_daily"]


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
    ledger = Ledger(Path(os.fspath(store)).absolute())
    if not ledger.published:
        attributes = ledger.attributes()
        if attributes is None:
            raise StoreError(f"There is no store at {ledger.store}.")
        raise UnfinishedStoreError(
            f"{ledger.store} is unfinished: {len(ledger.marks())} regions are on disk. Run the same "
            "write_daily() again, it does the rest."
        )
    made = (ledger.attributes() or {}).get(ATTRIBUTE)
    if made is None:
        raise StoreError(f"{ledger.store} is a Zarr group, but write_daily() did not make it.")
    # A shard a task: one file, one read.
    chunks = dict(zip(schema.DIMS, made["layout"]["shards"], strict=True))
    raw = xr.open_zarr(
        ledger.store, consolidated=True, decode_coords="all", mask_and_scale=False, chunks=chunks
    )
    arrays: dict[Hashable, Any] = {}
    for name in made["layout"]["variables"]:
        array = raw[name]
        if name in schema.BANDS:
            arrays[name] = reflectance(array.data, str(name), nodata=NODATA, scale=SCALE)
        else:
            arrays[name] = schema.variable(array.data, dict(array.attrs))
    attrs = {key: value for key, value in raw.attrs.items() if key != ATTRIBUTE}
    words = {name: attrs.pop(name) for name in ("sensor", "processing_level") if name in attrs}
    return schema.validate(xr.Dataset(arrays, {**raw.coords, **words}, attrs))
