"""``open_daily``: a store as a cube."""

import ast
import contextlib
import hashlib
import os
import warnings
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError, StoreError, UnfinishedStoreError
from s2cube.harmonize import reflectance
from s2cube.schema import SCALE
from s2cube.store.appending.plan import pending
from s2cube.store.geozarr import without_geozarr
from s2cube.store.layout import ATTRIBUTE, FORMAT, encoding_of, region_holding, regions_in
from s2cube.store.ledger import BlockStatus, Ledger, Mark
from s2cube.store.report import listed
from s2cube.store.target import open_target

__all__ = ["BLOCK_STATUS", "known_store", "open_daily", "opened_from"]

_VERB: Final = "open_daily"
BLOCK_STATUS: Final = "block_status"


def open_daily(
    store: str | os.PathLike[str],
    *,
    partial: bool = False,
    on_gaps: Literal["warn", "raise"] = "warn",
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open a store that :func:`s2cube.write_daily` has finished, lazily.

    Parameters
    ----------
    store
        Its path, or ``s3://bucket/name``.
    partial
        Whether to open an unfinished store too. What is not written yet is missing, and the variable
        ``block_status`` (uint8, dims ``(y, x)``) says of each pixel whether its region is ``written``,
        has ``no_data``, ``failed`` or is ``missing``.
    on_gaps
        What to do where regions of a finished store have failed, or their marks were taken away:
        ``"warn"`` or ``"raise"``. With `partial` nothing, ``block_status`` tells.
    storage_options
        For ``s3://``, as in :func:`s2cube.write_daily`.

    Returns
    -------
    xarray.Dataset
        float32 reflectance with NaN where missing, ``provenance``, ``clear_age``; with rioxarray or
        odc-geo imported, ``.rio.crs`` and ``.odc.crs`` answer.

    Raises
    ------
    UnfinishedStoreError
        The store was begun and not finished, and `partial` is not set; it says how far it is. Or regions
        are missing and `on_gaps` is ``"raise"``.
    StoreError
        There is no store at this path, it was not made by s2cube, or it cannot be reached.

    Warns
    -----
    UserWarning
        Regions are missing, see `on_gaps`.

    Examples
    --------
    >>> import s2cube
    >>> daily = s2cube.open_daily("daily.zarr")  # doctest: +SKIP
    """
    if on_gaps not in ("warn", "raise"):
        raise CubeError(f"on_gaps is 'warn' or 'raise', got {on_gaps!r}.")
    ledger, made = known_store(store, storage_options)
    layout = made["layout"]
    marks = ledger.marks() if partial else None
    if marks is None:
        _refuse_or_warn(ledger, layout, on_gaps)
    raw = _opened(ledger, made, marks)
    arrays: dict[Hashable, Any] = {}
    for name in layout["variables"]:
        variable = raw[name].variable.copy()
        variable.attrs = without_geozarr(variable.attrs)
        held = encoding_of(name)
        if held.scaled:
            attrs = {
                key: value
                for key, value in variable.attrs.items()
                if key not in ("_FillValue", "scale_factor", "add_offset")
            }
            attrs = schema.band_attrs(name) if name in schema.BANDS else attrs
            variable = reflectance(variable.data, name, nodata=held.fill, scale=SCALE, attrs=attrs)
        arrays[name] = variable
    if marks is not None:
        arrays[BLOCK_STATUS] = _block_status(layout, _status_by_region(layout, marks))
    attrs = {key: value for key, value in without_geozarr(raw.attrs).items() if key != ATTRIBUTE}
    words = {name: attrs.pop(name) for name in ("sensor", "processing_level") if name in attrs}
    cube = xr.Dataset(arrays, {**raw.coords, **words}, attrs)
    more = {"partial": True} if partial else {}
    return schema.validate(schema.record(cube, _VERB, store=ledger.store.name, **more))


def known_store(
    store: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None
) -> tuple[Ledger, dict[str, Any]]:
    """Return the ledger of a store that is ours, and what its root says of layout and recipe.

    Raises
    ------
    StoreError
        There is none, or this version does not know it.
    """
    ledger = Ledger(open_target(store, storage_options))
    name = ledger.store.name
    if not ledger.ours:
        if ledger.published:
            raise StoreError(f"{name} is a Zarr group, but write_daily() did not make it.")
        raise StoreError(f"There is no store at {name}.")
    made = (ledger.attributes() or {}).get(ATTRIBUTE)
    if not isinstance(made, dict) or not isinstance(made.get("layout"), dict):
        raise UnfinishedStoreError(
            f"{name} was begun, and what it was to become is lost or damaged: run the same "
            "write_daily() again, it keeps what is there."
        )
    if made["layout"].get("format") != FORMAT:
        raise StoreError(
            f"{name} has format {made['layout'].get('format')!r}, this version of s2cube reads "
            f"{FORMAT}: use the version that made it."
        )
    return ledger, made


def _status_by_region(layout: Mapping[str, Any], marks: Mapping[str, Mark]) -> dict[str, BlockStatus]:
    return {
        name: marks[name].status if name in marks else BlockStatus.MISSING for name in regions_in(layout)
    }


def _refuse_or_warn(ledger: Ledger, layout: Mapping[str, Any], on_gaps: str) -> None:
    """Say what is missing."""
    name = ledger.store.name
    if not ledger.published:
        raise _unfinished(ledger, layout)
    if gaps := ledger.gaps(regions_in(layout)):
        told = (
            f"{len(gaps)} of {len(regions_in(layout))} regions of {name} are not there and read as "
            f"missing: {listed(gaps)}. Run the same write_daily() again to get them; "
            "open_daily(partial=True) has them as block_status."
        )
        if on_gaps == "raise":
            raise UnfinishedStoreError(told)
        warnings.warn(told, UserWarning, stacklevel=3)


def _unfinished(ledger: Ledger, layout: Mapping[str, Any]) -> UnfinishedStoreError:
    name = ledger.store.name
    if pending(ledger) is not None:
        return UnfinishedStoreError(
            f"{name} is being revised, or that was interrupted: wait, or run the same append_daily() "
            "again. open_daily(partial=True) shows what is there, some of it old."
        )
    status = list(_status_by_region(layout, ledger.marks()).values())
    there = sum(one < BlockStatus.FAILED for one in status)
    failed = status.count(BlockStatus.FAILED)
    return UnfinishedStoreError(
        f"{name} is unfinished: {there} of {len(status)} regions are there"
        f"{f', {failed} failed' if failed else ''}. Run the same write_daily() again, it does the rest; "
        "open_daily(partial=True) shows what is there."
    )


@dataclass(frozen=True)
class _Shows:
    """Whether a file is shown: those of regions that are not there may be half written."""

    layout: Mapping[str, Any]
    there: frozenset[str]

    def __call__(self, file: str) -> bool:
        region = region_holding(self.layout, file)
        return region is None or region in self.there


def _opened(ledger: Ledger, made: Mapping[str, Any], marks: Mapping[str, Mark] | None) -> xr.Dataset:
    """Return the arrays as they are on disk; with `marks`, only what they say is there."""
    from s2cube.store.target.bridge import Served

    # Read once: an append may replace it at any moment, and everything must fit together.
    root = ledger.root()
    shows, there = None, frozenset[str]()
    if marks is not None:
        there = frozenset(name for name, mark in marks.items() if mark.there)
        shows = _Shows(made["layout"], there)
    told = repr((root, sorted(there))).encode()
    served = Served(
        ledger.store.array_store(read_only=True),
        ledger.store.name,
        root=root,
        shows=shows,
        token=hashlib.sha256(told).hexdigest(),
    )
    # A shard a task: one file, one read.
    chunks = dict(zip(schema.DIMS, made["layout"]["shards"], strict=True))
    opened: xr.Dataset = xr.open_zarr(
        served, consolidated=True, decode_coords="all", mask_and_scale=False, chunks=chunks
    )
    return opened


def _block_status(layout: Mapping[str, Any], status: Mapping[str, BlockStatus]) -> xr.Variable:
    """Return the status of the region of each pixel, a constant block a region."""
    import dask.array as da

    rows: dict[int, list[Any]] = {}
    for name, region in regions_in(layout).items():
        shape = (region.y.stop - region.y.start, region.x.stop - region.x.start)
        block = da.full(shape, int(status[name]), dtype=np.uint8, chunks=shape)
        rows.setdefault(region.y.start, []).append(block)
    attrs = schema.flag_attrs(BlockStatus, "what the store holds of the region")
    return xr.Variable(
        schema.DIMS[1:], da.block(list(rows.values())), attrs, {"grid_mapping": schema.SPATIAL_REF}
    )


def opened_from(cube: xr.Dataset) -> list[str]:
    """Return the stores that `cube` was opened from, as its history tells."""
    found = []
    for line in str(cube.attrs.get("history", "")).splitlines():
        with contextlib.suppress(SyntaxError, ValueError):  # not a line of ours
            call = ast.parse(line, mode="eval").body if line.startswith(f"{_VERB}(") else None
            words = call.keywords if isinstance(call, ast.Call) else []
            found += [str(ast.literal_eval(word.value)) for word in words if word.arg == "store"]
    return found
