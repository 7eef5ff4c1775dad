"""``write_daily``: a filled cube to a Zarr store, region by region, resumable."""

import os
from collections.abc import Mapping
from typing import Any, Final

import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.plan import regions_of
from s2cube.schema import PROVENANCE
from s2cube.store.layout import Profile, layout_of, recipe_of
from s2cube.store.ledger import Ledger
from s2cube.store.order import Order, carry_out
from s2cube.store.read import opened_from
from s2cube.store.report import WriteReport
from s2cube.store.run import Cut
from s2cube.store.target import open_target

__all__ = [
    "REGION",
    "check_filled",
    "days_of",
    "items_of",
    "region_of",
    "share_of",
    "write_daily",
]

REGION: Final = 1024
"""Side of a region, px: smaller ones would read every source block several times."""


def write_daily(
    cube: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    region_size: int = REGION,
    profile: Profile = "series",
    append_every: int | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
    max_failed_fraction: float = 0.0,
    storage_options: Mapping[str, Any] | None = None,
) -> WriteReport:
    """Compute a filled cube and write it as a Zarr store; go on where an earlier run stopped.

    The work is cut into regions. Each is computed, written, brought to the disk and only then marked
    as done. Until all are, the store does not open; when a run is interrupted, the same call does
    the rest. Several runs may write one store at once, also on different machines: each region is
    done by one of them. Runs on Dask's ambient client where there is one (one task a region), else on
    threads.

    Parameters
    ----------
    cube
        A cube in whole days, as :func:`s2cube.fill_gaps` returns it.
    store
        Path of the store, a folder; or ``s3://bucket/name``, on any service that speaks S3.
    region_size
        Side of a region, px; rounded up to whole shards. Memory grows with its square.
    profile
        ``"series"``: chunks for reading a pixel's series; ``"balanced"``: for maps as well.
    append_every
        Makes a store that :func:`s2cube.append_daily` can add days to, in shards of so many days: each
        time days are added, the last, unfinished shard is written anew. A month is a good choice for a
        store that grows daily.
    resume
        Whether to go on with a store that was begun with the same settings, or to refuse it.
    overwrite
        Whether to replace a store that exists. It is kept beside the new one until that is finished,
        and only stores made by s2cube are ever replaced.
    progress
        Whether to show it.
    max_failed_fraction
        Share of regions, 0 to 1, that may fail and the store be finished all the same. They are empty
        in the store and named in the report, ``open_daily`` warns of them, and the same call tries them
        again.
    storage_options
        For ``s3://``: options of obstore's ``S3Store``, such as ``endpoint``, ``region``,
        ``access_key_id``, ``secret_access_key``, ``session_token``. What is not given comes from the
        environment (``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``, ...). Nothing of it is
        kept in the store.

    Returns
    -------
    WriteReport
        Regions written, kept and failed, shares observed and filled. It prints.

    Raises
    ------
    CubeError
        The cube is not filled, or an argument is wrong.
    StoreMismatchError
        The store exists with another grid, other days, variables or settings, or is not ours.
    StoreError
        Something could not be computed or written (disk full, network gone, unreadable source, ...), or
        the store is to be replaced while another run writes it. What was written stays; the same call
        does the rest.
    ImportError
        The store is at ``s3://`` and obstore is not installed.

    Notes
    -----
    Reflectance is int16 with ``scale_factor`` 1e-4 and missing -32768, half-widths of intervals
    (``<band>_uncertainty``) are uint16 of the same scale and missing 65535, both as CF ``_FillValue``
    and as Zarr's ``fill_value``. ``provenance``, ``clear_age`` and ``failed_looks`` are kept as
    they are. Other variables are not written. A STAC item of the store is put beside it,
    ``<store>.item.json``.

    Examples
    --------
    >>> import s2cube, tempfile
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = daily.s2.write_daily(f"{folder}/daily.zarr", progress=False)
    ...     again = daily.s2.write_daily(f"{folder}/daily.zarr", progress=False)
    >>> report.written, again.written, again.kept
    (1, 0, 1)
    """
    cube = check_filled(cube)
    fraction = share_of(max_failed_fraction)
    ledger = Ledger(open_target(store, storage_options))
    if ledger.store.name in opened_from(cube):
        raise CubeError(
            f"The cube was opened from {ledger.store.name}: written there it would read what it "
            "overwrites. Choose another path."
        )
    layout = layout_of(cube, profile, days_of(append_every))
    layout["region"] = region_of(layout, region_size)
    items = items_of(cube)
    return carry_out(
        Order(
            str(store),
            ledger,
            cube,
            layout,
            recipe_of(cube, layout["variables"]),
            Cut(cube),
            lambda _: items,
            resume,
            overwrite,
            progress,
            fraction,
        )
    )


def check_filled(cube: xr.Dataset) -> xr.Dataset:
    """Return a cube, if it is one that a store can hold.

    Raises
    ------
    CubeError
        It is not filled, or not in whole days.
    """
    cube = schema.validate(cube)
    if PROVENANCE not in cube:
        raise CubeError("The cube is not filled (it has no 'provenance'): run fill_gaps() first.")
    times = cube["time"].values
    if (times != times.astype("datetime64[D]")).any():
        raise CubeError("A daily series has dates at 00:00, this cube has times of day.")
    return cube


def share_of(value: Any) -> float:
    """Return a share of the regions, if it is one."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise CubeError(f"max_failed_fraction is a share of the regions, 0 to 1, got {value!r}.")
    return float(value)


def region_of(layout: Mapping[str, Any], region_size: Any) -> list[int]:
    """Return the sides of a region, px: as it comes out, not as it was asked for."""
    # So sizes that cut the same regions are the same.
    if isinstance(region_size, bool) or not hasattr(region_size, "__index__"):
        raise CubeError(f"region_size is a whole number of pixels, got {region_size!r}.")
    first = regions_of(tuple(layout["shape"][1:]), int(region_size), tuple(layout["shards"][1:]))[0]
    return list(first.shape)


def days_of(append_every: Any) -> int | None:
    """Return the days of a shard that is appended to, None where none is."""
    if append_every is None:
        return None
    if isinstance(append_every, bool) or not hasattr(append_every, "__index__") or append_every < 1:
        raise CubeError(f"append_every is a whole number of days above 0, got {append_every!r}.")
    return int(append_every)


def items_of(cube: xr.Dataset) -> tuple[str, ...]:
    """Return the ids of the items that a cube was made of, where it knows them."""
    if schema.ITEMS not in cube.coords:
        return ()
    ids = [str(record.get("id")) for step in schema.records_of(cube) for record in step]
    return tuple(dict.fromkeys(ids))
