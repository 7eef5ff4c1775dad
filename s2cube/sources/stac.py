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
from s2cube.sources.grid import lonlat_box, target_grid
from s2cube.sources.group import GroupBy, layers_of, steps_of
from s2cube.sources.items import Box, Scene, acquired, footprint, read_items, scenes_of
from s2cube.sources.period import period
from s2cube.sources.reader import Driver, OnReadError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["open_stac"]

CHUNKS: Final = {"time": 1, "y": 1024, "x": 1024}
"""One date and 1024² px: whole internal blocks of the usual Cloud-Optimized GeoTIFFs."""
METHODS: Final = (
    "nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "max", "min", "med",
    "q1", "q3", "sum", "rms",
)  # fmt: skip
"""Resampling, by GDAL's names."""


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
        An item does not declare what its counts are worth, or items differ in it.
    ReadError
        On computing, a file cannot be read.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.open_stac(
    ...     "archive/catalog.json", bbox=(22.1, 45.2, 22.2, 45.3), datetime="2020", bands=["red", "nir"]
    ... )  # doctest: +SKIP
    """
    if chunks is not None and not (isinstance(chunks, Mapping) and set(chunks) <= set(schema.DIMS)):
        raise CubeError(f"chunks maps time, y and x to sizes, or is None; got {chunks!r}.")
    area = lonlat_box(bbox, geometry, geobox)
    items = _selected(read_items(source), area, datetime)
    scenes, wanted = scenes_of(items, bands)
    native = [facts.grid for scene in scenes for facts in scene.bands.values() if facts.grid is not None]
    grid = target_grid(native, area=area, resolution=resolution, crs=crs, geobox=geobox)
    steps = steps_of(scenes, groupby, schema.longitude_of(grid))
    methods = {band: _method(band, resampling, grid, scenes) for band in wanted}
    cubes = [
        _layer(layer, wanted, grid, chunks, methods, Driver(on_read_error))
        for layer in layers_of(steps, _overlap)
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
        boxes = [footprint(item) for item in items]
        inside = [item for item, box in zip(items, boxes, strict=True) if _meet(area, box)]
        if not inside:
            edges = np.round(boxes, 5)
            raise CatalogError(
                f"No item meets the area {tuple(round(edge, 5) for edge in area)} (west, south, east, "
                f"north); the {len(items)} items lie within "
                f"{(*edges[:, :2].min(0).tolist(), *edges[:, 2:].max(0).tolist())}."
            )
        items = inside
    if datetime is not None:
        start, end = period(datetime)
        times = [acquired(item).astype("datetime64[s]") for item in items]
        kept = [item for item, time in zip(items, times, strict=True) if start <= time <= end]
        if not kept:
            raise CatalogError(
                f"No item in {datetime!r}; the {len(items)} items here are from {min(times)} to "
                f"{max(times)}."
            )
        items = kept
    return items


def _meet(one: Box, other: Box) -> bool:
    """Return whether two boxes in degrees share an area; `other` may cross the antimeridian."""
    west, south, east, north = other
    sides = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    across = any(left < one[2] and right > one[0] for left, right in sides)
    return across and south < one[3] and north > one[1]


def _slim(scene: Scene, name: str) -> Any:
    """Return an item that holds just the asked assets, under our names: what odc-stac is given."""
    import pystac

    item = pystac.Item(
        id=name,
        geometry=dict(scene.geometry),
        bbox=None,
        datetime=scene.time.astype("datetime64[us]").item(),
        properties={},
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
    )
    for band, facts in scene.bands.items():
        fields: dict[str, Any] = {"raster:bands": [{"data_type": facts.dtype, "nodata": facts.nodata}]}
        if facts.grid is not None:
            crs: Any = facts.grid.crs
            fields["proj:shape"] = list(facts.grid.shape.yx)
            fields["proj:transform"] = list(facts.grid.transform[:6])
            fields |= {"proj:code": f"EPSG:{crs.epsg}"} if crs.epsg else {"proj:wkt2": crs.wkt}
        item.add_asset(
            band,
            pystac.Asset(
                facts.href, roles=["data"], media_type=pystac.MediaType.COG, extra_fields=fields
            ),
        )
    return item


def _overlap(one: Scene, other: Scene) -> bool:
    """Return whether two scenes may both hold a pixel; a shared edge is none."""
    grids = [next(iter(scene.bands.values())).grid for scene in (one, other)]
    if grids[0] is None or grids[1] is None:
        return True
    a, b = (grid.extent.to_crs("epsg:4326") for grid in grids if grid is not None)
    meet: float = (a & b).area
    return bool(meet > 1e-9 * min(a.area, b.area))


def _method(
    band: str,
    resampling: str | Mapping[str, str] | None,
    grid: "GeoBox",
    scenes: Sequence[Scene],
) -> str:
    """Return how `band` is brought onto `grid`."""
    if resampling is not None and not isinstance(resampling, (str, Mapping)):
        raise CubeError(f"resampling is a method, or a mapping from band to method; got {resampling!r}.")
    asked = {"*": resampling} if isinstance(resampling, str) else dict(resampling or {})
    by_band = {
        key if key in ("*", SCL) else schema.band_id(key): method for key, method in asked.items()
    }
    if unknown := [method for method in by_band.values() if method not in METHODS]:
        raise CubeError(f"Unknown resampling {unknown[0]!r}; known: {', '.join(METHODS)}.")
    if band == SCL:
        return "nearest"
    if band in by_band or "*" in by_band:
        return by_band.get(band, by_band.get("*", ""))
    native = next((s.bands[band].grid for s in scenes if s.bands[band].grid is not None), None)
    return "average" if native is not None and _shrink(native, grid) > 1.5 else "bilinear"


def _shrink(native: "GeoBox", grid: "GeoBox") -> float:
    """Return how many pixels of `native` one of `grid` is wide, at the middle of `native`."""
    if native.crs == grid.crs:
        return float(abs(grid.transform.a / native.transform.a))
    crs: Any = grid.crs
    side = native.center_pixel.extent.to_crs(crs).boundingbox
    return float(abs(grid.transform.a) / max(side.span_x, 1e-12))


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

    placed = [(step, scene) for step, scenes in enumerate(steps) for scene in scenes]
    # Items by number: ids may repeat.
    step_of = {str(number): step for number, (step, _) in enumerate(placed)}
    raw = odc.stac.load(
        [_slim(scene, str(number)) for number, (_, scene) in enumerate(placed)],
        bands=list(bands),
        geobox=grid,
        groupby=lambda item, _parsed, _index: step_of[item.id],
        chunks=None if chunks is None else dict(chunks),
        resampling=dict(resampling),
        driver=driver,
    )
    present = sorted(set(step_of.values()))
    spectral = [band for band in bands if band != SCL]
    arrays: dict[Hashable, xr.Variable] = {}
    nodata = []
    for band in spectral:
        facts = [step[0].bands[band] for step in steps if step]
        # Within a step of a layer all scenes agree; from step to step only the offset may change.
        told = {(fact.scale, fact.nodata) for fact in facts}
        if len(told) > 1 or len({fact.dtype for fact in facts}) > 1:
            raise HarmonizationError(
                f"Items differ in scale, no-data or data type of {band}: open them apart and "
                "concatenate the cubes."
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
