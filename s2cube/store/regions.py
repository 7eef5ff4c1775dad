"""``write_daily_regions``: large areas, each region built where it is computed."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from s2cube.errors import CubeError, StoreError
from s2cube.plan import Region
from s2cube.store.builder import Build, Builder, example_of, token_of_builder, wider
from s2cube.store.kept import Kept
from s2cube.store.layout import Profile, layout_of
from s2cube.store.ledger import Ledger
from s2cube.store.order import Order, carry_out
from s2cube.store.read import opened_from
from s2cube.store.report import WriteReport
from s2cube.store.target import open_target
from s2cube.store.write import REGION, days_of, region_of, share_of

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox

__all__ = ["order_of", "write_daily_regions"]


def write_daily_regions(
    builder: Builder,
    store: str | os.PathLike[str],
    *,
    geobox: "GeoBox",
    dates: Any,
    region_size: int = REGION,
    halo: int | None = None,
    profile: Profile = "series",
    append_every: int | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: bool = True,
    max_failed_fraction: float = 0.0,
    retries: int = 2,
    resources: Mapping[str, float] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> WriteReport:
    """Write a Zarr store of an area of any size: each region is built, computed and written on its own.

    As :func:`s2cube.write_daily`, but no graph of the whole is ever made: a `builder` is called for each
    region, on the worker that computes it. A scheduler sees one task a region, and the client holds
    nothing of the area. The store is the one that ``write_daily`` makes of the whole cube, value for
    value.

    Parameters
    ----------
    builder
        ``builder(geobox, dates)`` returns the filled cube of a box on exactly that grid, or None where
        there is nothing: a function of yours that pickles, or a :class:`s2cube.DailyBuilder`. It is
        called with the region and the pixels around it that decide its values.
    store
        Path of the store, or ``s3://bucket/name``. Workers must reach it under the same name.
    geobox
        The grid of the whole, an :class:`odc.geo.geobox.GeoBox`, north up.
    dates
        The days to write: anything :class:`pandas.DatetimeIndex` takes.
    region_size
        Side of a region, px; rounded up to whole shards. Memory grows with its square.
    halo
        Pixels around a region that decide its values. By default, what the verbs declare: buffers of
        masks, windows of methods that fill. It must be passed where something else looks around that
        Dask's graph does not tell, such as a shift, or where the builder computes at once.
    profile, append_every, resume, overwrite, progress, max_failed_fraction, storage_options
        As in :func:`s2cube.write_daily`.
    retries
        How often a region is tried again that failed by what may pass (network, disk, a file that could
        not be read), when all others are done. The region of a worker that dies goes to another one, and
        is given up when ``distributed.scheduler.allowed-failures`` (3) and one more have died of it.
    resources
        What a worker must have to do a region: ``{"GPU": 1}`` for those started with
        ``dask worker --resources "GPU=1"``.

    Returns
    -------
    WriteReport
        Regions written, kept and failed, shares observed and filled. It prints.

    Raises
    ------
    CubeError
        An argument is wrong, the builder makes no filled cube of the box and dates it is given, or it
        cannot be recognized in a later run.
    CatalogError
        The builder gives nothing anywhere.
    StoreMismatchError
        The store exists with another grid, other days, variables or settings, or is not ours.
    StoreError
        As in :func:`s2cube.write_daily`; or a cluster has no workers, or none with `resources`.

    Notes
    -----
    First the builder is called once on a box of 64 px, and nothing computed, to see what it makes. It is
    recognized by its token (:func:`dask.base.tokenize`): a function of a module by its name, so say
    ``overwrite=True`` after you have changed what it does.

    What looks at the whole of an area, such as a mean over it, cannot be built by regions.

    Examples
    --------
    >>> import pandas as pd
    >>> import s2cube
    >>> from odc.geo.geobox import GeoBox
    >>> def build(geobox, dates):
    ...     cube = s2cube.open_stac("items.json", geobox=geobox)
    ...     return cube.s2.mask_clouds("scl", buffer=60).s2.fill_gaps(dates=dates)
    >>> area = GeoBox.from_bbox((400000, 5300000, 500000, 5400000), "EPSG:32633", resolution=10)
    >>> report = s2cube.write_daily_regions(
    ...     build, "daily.zarr", geobox=area, dates=pd.date_range("2023-01-01", "2023-12-31")
    ... )  # doctest: +SKIP
    """
    told: dict[str, Any] = {
        "fraction": share_of(max_failed_fraction),
        "retries": _number("retries", retries),
        "resources": _resources(resources),
    }
    ledger = Ledger(open_target(store, storage_options))
    order = order_of(
        builder,
        ledger,
        geobox=geobox,
        dates=dates,
        region_size=region_size,
        halo=halo,
        profile=profile,
        append_every=append_every,
        anew=overwrite,
    )
    return carry_out(
        Order(
            str(store),
            ledger,
            **order,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            **told,
        )
    )


def order_of(
    builder: Builder,
    ledger: Ledger,
    *,
    geobox: "GeoBox",
    dates: Any,
    region_size: int,
    halo: int | None,
    profile: Profile,
    append_every: int | None = None,
    anew: bool = False,
) -> dict[str, Any]:
    """Return what of an order comes from a builder; nothing is computed."""
    grid, days = _grid(geobox), _days(dates)
    halo = None if halo is None else _number("halo", halo)
    if not callable(builder):
        raise CubeError(
            "builder is a function (geobox, dates) that returns a filled cube; got "
            f"{type(builder).__name__}. A cube that is there goes to write_daily()."
        )
    token = token_of_builder(builder)
    if (prepare := getattr(builder, "prepare", None)) is not None:
        builder = prepare(Kept(ledger.store), grid, days, anew=anew)
    example = example_of(builder, grid, days, halo=halo)
    if ledger.store.name in opened_from(example.cube):
        raise StoreError(
            f"The builder opens {ledger.store.name}: written there it would read what it overwrites. "
            "Choose another path."
        )
    layout = layout_of(example.cube, profile, days_of(append_every))
    layout["region"] = region_of(layout, region_size)
    recipe = {
        "history": str(example.cube.attrs["history"]),
        "token": token,
        "reach": " ".join(f"{name}={far}" for name, far in asdict(example.reach).items()),
    }
    ids = getattr(builder, "item_ids", None)

    def items(region: Region) -> tuple[str, ...]:
        around = wider(region, example.reach, grid)
        return () if ids is None else tuple(map(str, ids(grid[around.y, around.x])))

    source = Build(builder, grid, days, example.reach)
    return {
        "cube": example.cube,
        "layout": layout,
        "recipe": recipe,
        "source": source,
        "items": items,
    }


def _grid(geobox: Any) -> "GeoBox":
    from odc.geo.geobox import GeoBox

    if not isinstance(geobox, GeoBox) or geobox.crs is None:
        raise CubeError(f"geobox is an odc.geo.geobox.GeoBox with a CRS; got {geobox!r}.")
    affine = geobox.transform
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise CubeError(f"geobox must be north up and not turned; its transform is {tuple(affine)[:6]}.")
    return geobox


def _days(dates: Any) -> "pd.DatetimeIndex":
    import numpy as np
    import pandas as pd

    try:
        days = pd.DatetimeIndex(np.atleast_1d(np.asarray(dates))).astype("datetime64[ns]")
    except (ValueError, TypeError, OverflowError) as error:
        raise CubeError(f"dates names no dates: {error}") from None
    whole = days.tz is None and (days == days.normalize()).all()
    if not len(days) or not whole or not days.is_monotonic_increasing or not days.is_unique:
        raise CubeError("dates are whole days without a time zone, sorted, each once, at least one.")
    return days


def _number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
        raise CubeError(f"{name} is a whole number, 0 or more; got {value!r}.")
    return int(value)


def _resources(resources: Any) -> dict[str, float]:
    if resources is None:
        return {}
    if not isinstance(resources, Mapping) or not all(
        isinstance(name, str) and isinstance(least, (int, float)) for name, least in resources.items()
    ):
        raise CubeError(f"resources maps names to numbers, such as {{'GPU': 1}}; got {resources!r}.")
    return dict(resources)
