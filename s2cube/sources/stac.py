"""``open_stac``: a lazy cube from STAC items."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import harmonize, schema
from s2cube.blocks import map_pixels
from s2cube.errors import CatalogError, CubeError, HarmonizationError
from s2cube.schema import SCL, STATUS, Status
from s2cube.sources.grid import Box, lonlat_box, target_grid
from s2cube.sources.group import GroupBy, layers_of, steps_of
from s2cube.sources.items import Scene, read_items, scenes_of
from s2cube.sources.period import period
from s2cube.sources.reader import Driver, OnReadError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["open_stac"]

CHUNKS: Final = {"time": 1, "y": 1024, "x": 1024}
"""One date and 1024² px: whole internal blocks of the usual Cloud-Optimized GeoTIFFs."""


def open_stac(
    source: Any,
    *,
    bbox: Sequence[float] | None = None,
    geometry: Any = None,
    datetime: Any = None,
    bands: str | Iterable[str] | None = None,
    resolution: float | None = None,
    crs: Any = None,
    geobox: "GeoBox | None" = None,
    chunks: Mapping[str, int] | None = CHUNKS,
    groupby: GroupBy = "datatake",
    resampling: str | Mapping[str, str] | None = None,
    on_read_error: OnReadError = "raise",
) -> xr.Dataset:
    """Open STAC items as a cube, lazily: no pixel is read.

    Duplicates (the same tile of the same datatake, processed twice) are dropped, the declared
    offsets are applied, and where tiles overlap one of them gives a pixel all its bands and SCL.

    Parameters
    ----------
    source
        Path or URL of a catalogue, collection, item or item collection; a ``pystac`` object of these
        kinds; or a list of items.
    bbox
        West, south, east, north in degrees. By default, all that the items cover.
    geometry
        GeoJSON or shapely geometry in degrees; the cube covers its bounding box.
    datetime
        ``"2020-06-15"``, ``"2020-06"``, ``"2020"``, ``"2019-01-01/2020-12-31"`` or a pair; both ends
        included, ``".."`` for an open end.
    bands
        Ids or common names. By default, all that every item has. ``SCL`` comes along where there is.
    resolution
        Pixel size in units of the CRS. By default, that of the finest band asked for.
    crs
        By default, that of the items.
    geobox
        The exact grid, instead of area, resolution and CRS.
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

    Returns
    -------
    xarray.Dataset
        A cube: float32 reflectance, ``SCL`` (uint8), ``status`` (uint8: no data, saturated, unread);
        along time ``platform``, ``relative_orbit``, ``processing_baseline`` and ``datatake``, each
        where the items tell.

    Raises
    ------
    CatalogError
        Nothing fits what was asked for, or an item lacks an asset.
    CubeError
        An argument is wrong, or the items leave CRS or resolution open.
    HarmonizationError
        An item does not declare what its counts are worth.
    ReadError
        On computing, a file cannot be read.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.open_stac(
    ...     "archive/catalog.json", bbox=(22.1, 45.2, 22.2, 45.3), datetime="2020", bands=["red", "nir"]
    ... )  # doctest: +SKIP
    """
    area = lonlat_box(bbox, geometry, geobox)
    items = _selected(read_items(source), area, datetime)
    scenes, wanted = scenes_of(items, bands)
    parsed = {scene.id: _parsed(scene) for scene in scenes}
    native = [grid for grids in parsed.values() for grid in grids.values() if grid is not None]
    grid = target_grid(native, area=area, resolution=resolution, crs=crs, geobox=geobox)
    centre = grid.extent.centroid.to_crs("epsg:4326").points[0]
    steps = steps_of(scenes, groupby, float(centre[0]))

    def overlap(one: Scene, other: Scene) -> bool:
        return _overlap(one, other, parsed)

    methods = {band: _method(band, resampling, grid, parsed) for band in wanted}
    cubes = [
        _layer(layer, wanted, grid, chunks, methods, Driver(on_read_error))
        for layer in layers_of(steps, overlap)
    ]
    cube = cubes[0]
    for below in cubes[1:]:
        cube = _over(cube, below)
    cube = cube.assign_coords(_coords(steps, grid, scenes))
    times = cube["time"].values.astype("datetime64[s]")
    cube = schema.record(
        cube,
        "open_stac",
        items=len(scenes),
        datetime=f"{times[0]} to {times[-1]}",
        grid=f"{grid.shape.y} x {grid.shape.x} px of {abs(grid.transform.a):g} in {_name(grid.crs)} "
        f"from {grid.transform.c:.9g}, {grid.transform.f:.9g}",
        bands=wanted,
        groupby=groupby,
        resampling=methods,
        on_read_error=on_read_error,
    )
    return schema.validate(cube)


def _name(crs: Any) -> str:
    return f"EPSG:{crs.epsg}" if crs.epsg else str(crs.proj.name)


def _selected(items: list[Any], area: Box | None, datetime: Any) -> list[Any]:
    """Return the items in the area and period; say what there is where none is."""
    if area is not None:
        west, south, east, north = area
        inside = [
            item
            for item in items
            if item.bbox is not None
            and item.bbox[0] < east
            and item.bbox[-2] > west
            and item.bbox[1] < north
            and item.bbox[-1] > south
        ]
        if not inside:
            boxes = np.array([(*item.bbox[:2], *item.bbox[-2:]) for item in items if item.bbox])
            raise CatalogError(
                f"No item meets the area {tuple(round(edge, 5) for edge in area)} (west, south, "
                f"east, north); the {len(items)} items lie within "
                f"{tuple(np.round([*boxes[:, :2].min(0), *boxes[:, 2:].max(0)], 5).tolist())}."
            )
        items = inside
    if datetime is not None:
        start, end = period(datetime)
        times = [_when(item) for item in items]
        kept = [item for item, time in zip(items, times, strict=True) if start <= time <= end]
        if not kept:
            raise CatalogError(
                f"No item in {datetime!r}; the {len(items)} items here are from {min(times)} to "
                f"{max(times)}."
            )
        items = kept
    return items


def _when(item: Any) -> np.datetime64:
    when = item.datetime or item.common_metadata.start_datetime
    if when is None:
        raise CatalogError(f"Item {item.id} has no datetime.")
    return np.datetime64(when.replace(tzinfo=None), "s")


def _slim(scene: Scene) -> Any:
    """Return an item that holds just the asked assets, under our names: what odc-stac is given."""
    import pystac

    item = pystac.Item(
        id=scene.id,
        geometry=dict(scene.geometry),
        bbox=list(scene.bbox),
        datetime=scene.time.astype("datetime64[us]").item(),
        properties={},
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    )
    for band, facts in scene.bands.items():
        raster = {"data_type": facts.dtype, "nodata": facts.nodata}
        projection = dict(facts.projection)
        if "proj:code" not in projection and projection.get("proj:epsg"):
            projection["proj:code"] = f"EPSG:{projection['proj:epsg']}"
        projection.pop("proj:epsg", None)
        item.add_asset(
            band,
            pystac.Asset(
                facts.href,
                roles=["data"],
                media_type=pystac.MediaType.COG,
                extra_fields={**projection, "raster:bands": [raster]},
            ),
        )
    return item


def _parsed(scene: Scene) -> dict[str, Any]:
    """Return the native grid of each band, None where the item does not tell."""
    from odc.stac import parse_item

    sources: Mapping[Any, Any] = parse_item(_slim(scene)).bands
    return {band: sources[(band, 1)].geobox for band in scene.bands}


def _overlap(one: Scene, other: Scene, grids: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether two scenes may both hold a pixel; a shared edge is none."""
    extents = [next(iter(grids[scene.id].values())) for scene in (one, other)]
    if any(extent is None for extent in extents):
        return True
    a, b = (extent.extent.to_crs("epsg:4326") for extent in extents)
    meet: float = (a & b).area
    return bool(meet > 1e-9 * min(a.area, b.area))


def _method(
    band: str,
    resampling: str | Mapping[str, str] | None,
    grid: "GeoBox",
    parsed: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return how `band` is brought onto `grid`."""
    if band == SCL:
        return "nearest"
    if isinstance(resampling, str):
        return resampling
    if resampling is not None:
        by_band = {
            key if key in ("*", SCL) else schema.band_id(key): method
            for key, method in resampling.items()
        }
        if band in by_band or "*" in by_band:
            return by_band.get(band, by_band.get("*", ""))
    sizes = [abs(grids[band].transform.a) for grids in parsed.values() if grids[band] is not None]
    finer = bool(sizes) and abs(grid.transform.a) > 1.5 * max(sizes)
    return "average" if finer else "bilinear"


def _layer(
    steps: Sequence[Sequence[Scene]],
    bands: Sequence[str],
    grid: "GeoBox",
    chunks: Mapping[str, int] | None,
    resampling: Mapping[str, str],
    driver: Driver,
) -> xr.Dataset:
    """Return the cube of one layer; its ``time`` is the number of the step."""
    import odc.stac

    numbered = {scene.id: i for i, step in enumerate(steps) for scene in step}
    scenes = [scene for step in steps for scene in step]
    raw = odc.stac.load(
        [_slim(scene) for scene in scenes],
        bands=list(bands),
        geobox=grid,
        groupby=lambda item, _parsed, _index: numbered[item.id],
        chunks=None if chunks is None else dict(chunks),
        resampling=dict(resampling),
        driver=driver,
    )
    present = sorted(set(numbered.values()))
    spectral = [band for band in bands if band != SCL]
    arrays: dict[Hashable, xr.Variable] = {}
    nodata = []
    for band in spectral:
        facts = [step[0].bands[band] for step in steps if step]
        told = {(fact.scale, fact.nodata) for fact in facts}
        if len(told) > 1:
            raise HarmonizationError(
                f"Items differ in scale or no-data of {band}: {sorted(map(str, told))}; open them "
                "apart and concatenate."
            )
        ((scale, missing),) = told
        nodata.append(missing)
        offsets = np.array([fact.offset for fact in facts])
        arrays[band] = harmonize.reflectance(
            raw[band].data, band, nodata=missing, scale=scale, offset=offsets, marked=True
        )
    if SCL in bands:
        arrays[SCL] = harmonize.scene_classes(raw[SCL].data)
    arrays[STATUS] = harmonize.status_of_counts(
        [raw[band].data for band in spectral], nodata, marked=True
    )
    return xr.Dataset(arrays, {"time": np.array(present)})


def _over(top: xr.Dataset, below: xr.Dataset) -> xr.Dataset:
    """Lay `top` over `below`: each pixel takes all its bands from the one that saw it better."""
    shared = below["time"].values
    upper = top.sel(time=shared)
    states = (upper[STATUS].data, below[STATUS].data)
    fused = {
        name: upper[name].variable.copy(
            data=map_pixels(_better, array.data, below[name].data, *states, dtype=array.dtype)
        )
        for name, array in upper.data_vars.items()
    }
    rest = top.drop_sel(time=shared)
    if rest.sizes["time"] == 0:
        return upper.assign(fused)
    return xr.concat([rest, upper.assign(fused)], dim="time").sortby("time")


def _better(
    top: NDArray, below: NDArray, top_status: NDArray[np.uint8], below_status: NDArray[np.uint8]
) -> NDArray:
    """Pick the look that is worth more; on a tie the one on top."""
    rank = np.zeros(256, dtype=np.uint8)
    # Unread beats no data: what the one scene does not cover, the other may have seen.
    for worth, state in enumerate((Status.SATURATED, Status.READ_FAILED, Status.NO_DATA), start=1):
        rank[state] = worth
    return np.where(rank[below_status] < rank[top_status], below, top)


def _coords(
    steps: Sequence[Sequence[Scene]], grid: "GeoBox", scenes: Sequence[Scene]
) -> dict[Hashable, Any]:
    """Return the coordinates of the cube; what no item tells is left out."""
    times = np.array([min(scene.time for scene in step) for step in steps], "datetime64[ns]")
    if len(np.unique(times)) < len(times):
        raise CubeError(
            "Several datatakes have the same time (items with dates only?): use groupby='solar_day'."
        )
    levels = {scene.level for scene in scenes}
    if len(levels) > 1 or None in levels:
        raise CatalogError(
            f"The items must be of one known processing level, they are {sorted(map(str, levels))}: "
            "select those of one, or add processing:level to them."
        )
    told: dict[str, list[Any]] = {
        "platform": [_common((scene.platform for scene in step), "") for step in steps],
        "relative_orbit": [_common((scene.relative_orbit for scene in step), -1) for step in steps],
        "processing_baseline": [_common((scene.baseline for scene in step), "") for step in steps],
        "datatake": [_common((scene.datatake for scene in step), "") for step in steps],
    }
    along: dict[Hashable, Any] = {
        name: ("time", np.array(values))
        for name, values in told.items()
        if any(value not in ("", -1) for value in values)
    }
    return {
        **schema.grid_coords(grid),
        "time": ("time", times),
        **along,
        "sensor": "sentinel-2",
        "processing_level": levels.pop(),
    }


def _common(values: Iterable[Any], unknown: Any) -> Any:
    """Return the one value that all scenes of a step share, `unknown` where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else unknown
