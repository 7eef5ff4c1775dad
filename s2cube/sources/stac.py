"""Cubes from STAC items."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from s2cube.errors import CatalogError, CubeError
from s2cube.harmonize import PLAUSIBLE
from s2cube.sources.assemble import CHUNKS, assemble
from s2cube.sources.facts import Word
from s2cube.sources.grid import lonlat_box
from s2cube.sources.group import GroupBy
from s2cube.sources.items import acquired, footprint, is_api, read_items, scenes_of
from s2cube.sources.profiles import Profile, access_of, named, profile_of
from s2cube.sources.reader import Driver, OnReadError
from s2cube.sources.select import within
from s2cube.sources.stac_api import search, searchable

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["open_stac"]


def open_stac(
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    geometry: Any = None,
    geobox: "GeoBox | None" = None,
    datetime: Any = None,
    bands: str | Iterable[str] | None = None,
    resolution: float | None = None,
    crs: Any = None,
    chunks: Mapping[str, int] | None = CHUNKS,
    groupby: GroupBy = "datatake",
    resampling: str | Mapping[str, str] | None = None,
    on_read_error: OnReadError = "raise",
    profile: "str | Profile | None" = None,
    collection: str | None = None,
    offset: Word | Mapping[str, Word] = None,
) -> xr.Dataset:
    """Open STAC items as a cube, lazily: no pixel is read.

    Duplicates (the same tile of the same datatake, processed twice) are dropped, the offset of each
    asset is found by rule (:func:`~s2cube.reflectance_offset`) and removed, and where tiles overlap one
    of them gives a pixel all its bands and SCL.

    Parameters
    ----------
    source
        A catalogue to search, by name (``"earth-search"``, ``"planetary-computer"``, ``"cdse"``), URL
        or :class:`~s2cube.Profile`; or items: a path or URL of a catalogue, collection, item or item
        collection (JSON, or STAC GeoParquet), a ``pystac`` object of these kinds, a list of items.
    bbox
        West, south, east, north in degrees. By default, all that the items cover.
    geometry
        GeoJSON or shapely geometry in degrees; the cube covers its bounding box.
    geobox
        The exact grid, instead of area, resolution and CRS.
    datetime
        ``"2020-06-15"``, ``"2020-06"``, ``"2020"``, ``"2019-01-01/2020-12-31"`` or a pair; both ends
        included, ``".."`` for an open end.
    bands
        Ids or common names. By default, all that every item has. ``SCL`` comes along where there is.
    resolution
        Pixel size in units of the CRS. By default, that of the finest band asked for.
    crs
        By default, that of the items.
    chunks
        Dask chunks; None reads everything now.
    groupby
        A step is a ``"datatake"``, or all looks of one ``"solar_day"``.
    resampling
        A method of GDAL for all bands, or by band (``{"*": "cubic"}``). By default, nothing is
        resampled where grids agree; bands coarser than the cube are interpolated (bilinear), finer
        ones averaged. SCL is always nearest.
    on_read_error
        ``"raise"``, or ``"mark"``: what cannot be read becomes ``read_failed`` in ``status``.
    profile
        What is known of the catalogue, where its items do not tell: a name as in `source`, or a
        :class:`~s2cube.Profile` of yours. By default, each item's links tell.
    collection
        The collection to search, by its id. By default, the profile's first (``sentinel-2-l2a``).
    offset
        Your word on the offset of reflectance instead of the rules: a number for all items (-0.1 where
        it is in the counts, 0 where it has been removed), or ``"declared"``: what each asset declares.
        A mapping from ids of items to one of these is for those; the rules decide on the others.

    Returns
    -------
    xarray.Dataset
        A cube: float32 reflectance, ``SCL`` (uint8), ``status`` (uint8: no data, saturated, unread);
        along time ``platform``, ``relative_orbit``, ``processing_baseline`` and ``datatake``, each
        where the items tell, and ``items`` (:func:`~s2cube.items`). Items of Sentinel-1 (RTC, linear
        power), Landsat Collection 2 and Sentinel-3 give a Dataset of the same shape with the bands that
        they have.

    Raises
    ------
    CatalogError
        Nothing fits what was asked for, or an item lacks an asset.
    CubeError
        An argument is wrong, or the items leave CRS or resolution open.
    HarmonizationError
        It cannot be known what the counts of an item are worth.
    ReadError
        On computing, a file cannot be read.

    Examples
    --------
    >>> import s2cube
    >>> area = (22.1, 45.2, 22.2, 45.3)
    >>> cube = s2cube.open_stac(
    ...     "earth-search", bbox=area, datetime="2023-06", bands=["red", "nir"]
    ... )  # doctest: +SKIP
    >>> cube = s2cube.open_stac("archive/catalog.json", bbox=area, datetime="2023")  # doctest: +SKIP
    """
    area = lonlat_box(bbox, geometry, geobox)
    known = searchable(source)
    if known is not None or is_api(source):
        source = search(
            source,
            bbox=bbox,
            geometry=geometry,
            geobox=geobox,
            datetime=datetime,
            collection=collection,
        )
    elif collection is not None:
        raise CubeError("collection= says what to search in a catalogue; the source here is items.")
    every = read_items(source)
    said = _said(offset, {item.id for item in every})
    items = within(every, area, datetime, box=footprint, time=acquired, what="item")
    about = named(profile) or known
    scenes, wanted = scenes_of(items, bands, about, said)
    sign, gdal = access_of([about] if about else map(profile_of, items))
    return assemble(
        scenes,
        wanted,
        verb="open_stac",
        area=area,
        resolution=resolution,
        crs=crs,
        geobox=geobox,
        chunks=chunks,
        groupby=groupby,
        resampling=resampling,
        driver=Driver(on_read_error, sign=sign, gdal=tuple(sorted(gdal.items()))),
        **({} if said is None else {"offset": said}),
    )


def _said(offset: Any, ids: set[str]) -> Word | dict[str, Word]:
    """Return the user's word on the offset, for all items or by id; raise where it cannot be one."""
    if isinstance(offset, Mapping):
        if strange := sorted(map(str, set(offset) - ids)):
            raise CatalogError(
                f"offset= speaks of items that are not there: {', '.join(strange[:3])}"
                f"{', ...' if len(strange) > 3 else ''}; there is {min(ids)}, among {len(ids)}."
            )
        return {id_: _word(offset[id_]) for id_ in sorted(offset)} or None
    return _word(offset)


def _word(offset: Any) -> Word:
    if offset is None:
        return None
    if isinstance(offset, str) and offset == "declared":
        return "declared"
    if isinstance(offset, (bool, np.bool_)) or not isinstance(offset, (int, float, np.number)):
        raise CubeError(f"offset is reflectance to add (0 or -0.1), or 'declared'; got {offset!r}.")
    value = float(offset)
    if not abs(value) <= PLAUSIBLE:
        raise CubeError(
            f"offset is reflectance to add, from -1 to 1 (ESA's -1000 counts are -0.1); got {offset!r}."
        )
    # float32's -0.1 is a hair less.
    return value if isinstance(offset, (int, float)) else round(value, 7)
