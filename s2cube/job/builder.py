"""``DailyBuilder``: from a catalogue to the filled cube of any box."""

import inspect
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill import fill_gaps
from s2cube.gapfill.methods import check_method
from s2cube.masks import cloud_mask, mask_clouds
from s2cube.masks.method import check_mask_method
from s2cube.sources import PROFILES, ItemFile, items_around, keep_items, open_stac
from s2cube.store import Kept

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox

__all__ = ["DailyBuilder"]


def _check_mask(method: str = "scl", **given: Any) -> None:
    """Refuse a method, or options, that :func:`s2cube.mask_clouds` would refuse."""
    shared = {*inspect.signature(mask_clouds).parameters, *inspect.signature(cloud_mask).parameters}
    check_mask_method(method, [name for name in given if name not in shared])


def _check_fill(method: Any = None, causal: bool = False, **given: Any) -> None:
    """Refuse a method, or options, that :func:`s2cube.fill_gaps` would refuse."""
    ours = {"freq", "dates", "device", "batch_size"}
    check_method(
        method, causal=causal, **{name: value for name, value in given.items() if name not in ours}
    )


@dataclass(frozen=True)
class DailyBuilder:
    """Open, mask and fill any box of a catalogue: a builder for :func:`s2cube.write_daily_regions`.

    The catalogue is asked once, for the whole area; what it answers is kept beside the store, and each
    region is made of those items that meet it. A later run uses the same, unless ``overwrite=True``.

    Parameters
    ----------
    source
        A catalogue to search, by name or URL, or the path or URL of items: as in
        :func:`s2cube.open_stac`.
    bands
        Ids or common names; they must be named, so that all regions have the same.
    mask
        Arguments of :func:`s2cube.mask_clouds`: ``{"method": "scl", "buffer": 60}``.
    fill
        Arguments of :func:`s2cube.fill_gaps`: ``{"method": "linear"}``.
    open
        More arguments of :func:`s2cube.open_stac`, such as ``on_read_error``, ``resampling``,
        ``collection``.
    margin
        Days before and after the dates whose looks help to fill them.
    geometry
        GeoJSON in degrees, as a mapping; regions that lie outside of it hold nothing.

    Examples
    --------
    >>> import s2cube
    >>> builder = s2cube.DailyBuilder("earth-search", ["red", "nir"], fill={"method": "similar"})
    >>> report = s2cube.write_daily_regions(
    ...     builder, "daily.zarr", geobox=area, dates=dates
    ... )  # doctest: +SKIP
    """

    source: str
    bands: Sequence[str]
    mask: Mapping[str, Any] = field(default_factory=lambda: {"method": "scl", "buffer": 60})
    fill: Mapping[str, Any] = field(default_factory=dict)
    open: Mapping[str, Any] = field(default_factory=dict)
    margin: int = 60
    geometry: Mapping[str, Any] | None = None
    kept: Kept | None = None
    """Where the items are, once they have been searched."""

    def __post_init__(self) -> None:
        if isinstance(self.bands, str) or not self.bands:
            raise CubeError(f"bands names at least one band, as a list; got {self.bands!r}.")
        if isinstance(self.margin, bool) or not isinstance(self.margin, int) or self.margin < 0:
            raise CubeError(f"margin is a number of days, 0 or more; got {self.margin!r}.")
        # Now, and not hours later in the first task that comes to it.
        schema.band_ids([band for band in self.bands if band != schema.SCL])
        _check_mask(**self.mask)
        _check_fill(**self.fill)

    def __call__(self, geobox: "GeoBox", dates: "pd.DatetimeIndex") -> xr.Dataset | None:
        """Return the filled cube of a box, None where there is no item."""
        looks = self.looks(geobox, dates)
        if looks is None:
            return None
        options = dict(self.mask)
        clear = mask_clouds(looks, options.pop("method", "scl"), **options)
        return fill_gaps(clear, dates=dates, **self.fill)

    def looks(self, geobox: "GeoBox", dates: "pd.DatetimeIndex") -> xr.Dataset | None:
        """Return the cube of a box as it is opened, None where there is no item."""
        if self._outside(geobox):
            return None
        source: Any = self.source
        if self.kept is not None:
            source = _file(self.kept).items(geobox)
            if not source:
                return None
        # Items that were kept no longer say which catalogue they are of.
        told = {"profile": self.source} if self.source in PROFILES else {}
        return open_stac(
            source,
            geobox=geobox,
            datetime=self._period(dates),
            bands=self.bands,
            **(told | dict(self.open)),
        )

    def prepare(
        self, kept: Kept, geobox: "GeoBox", dates: "pd.DatetimeIndex", *, anew: bool
    ) -> "DailyBuilder":
        """Search the items of the whole, or find those that an earlier run has kept."""
        from dask.base import tokenize

        asked = (self.source, self.open.get("collection"), geobox, self._period(dates))
        name = f"items-{tokenize(*asked)[:12]}"
        found = None if anew else kept.named(name)
        if found is None:
            collection = self.open.get("collection")
            items = items_around(self.source, geobox, self._period(dates), collection=collection)
            with tempfile.TemporaryDirectory() as folder:
                found = kept.put(keep_items(items, Path(folder) / name), name)
        return replace(self, kept=found)

    def item_ids(self, geobox: "GeoBox") -> list[str]:
        """Return the ids of the items that meet a box."""
        return [] if self.kept is None or self._outside(geobox) else _file(self.kept).ids(geobox)

    def __dask_tokenize__(self) -> Any:
        from dask.base import normalize_token

        # Where items are kept decides no value; which they are is noted with each region.
        return [
            normalize_token((part.name, getattr(self, part.name)))
            for part in fields(self)
            if part.name != "kept"
        ]

    def _period(self, dates: "pd.DatetimeIndex") -> tuple[np.datetime64, np.datetime64]:
        more = np.timedelta64(self.margin, "D")
        first, last = dates[0].to_datetime64(), dates[-1].to_datetime64()
        return first - more, last + more + np.timedelta64(1, "D")

    def _outside(self, geobox: "GeoBox") -> bool:
        if self.geometry is None:
            return False
        from odc.geo.geom import Geometry

        here = geobox.extent.to_crs("epsg:4326", resolution=geobox.resolution.x * 64)
        return not here.intersects(Geometry(self.geometry, "epsg:4326"))


@cache
def _file(kept: Kept) -> ItemFile:
    """Return the items that are kept; read once a process."""
    return ItemFile(kept.here())
