"""From scenes to a cube: steps, layers, one lazy load of each layer, harmonized."""

import dataclasses
import functools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import harmonize, schema
from s2cube.blocks import map_pixels
from s2cube.errors import CatalogError, CubeError, HarmonizationError
from s2cube.kernels.counts import held_as
from s2cube.schema import SCL, STATUS, Status
from s2cube.sources.grid import target_grid
from s2cube.sources.group import GroupBy, layers_of, steps_of
from s2cube.sources.reader import Driver
from s2cube.sources.scene import BandFacts, Box, Scene
from s2cube.sources.told import Told

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["CHUNKS", "METHODS", "assemble"]

CHUNKS: Final = {"time": 1, "y": 1024, "x": 1024}
"""One date and 1024² px: whole internal blocks of the usual Cloud-Optimized GeoTIFFs."""
BLOCK: Final = 1024
"""Side of an internal block of ESA's JP2 and of most providers' GeoTIFFs, px: what one request reads."""
MOST_BLOCKS: Final = 2_000_000
"""Of all bands and dates: their tasks take gigabytes, before anything is read."""
METHODS: Final = (
    "nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "max", "min", "med",
    "q1", "q3", "sum", "rms",
)  # fmt: skip
"""Resampling, by GDAL's names."""


def assemble(
    scenes: Sequence[Scene],
    bands: Sequence[str],
    *,
    verb: str,
    area: Box | None,
    resolution: float | None,
    crs: Any,
    geobox: "GeoBox | None",
    chunks: Mapping[str, int] | None,
    groupby: GroupBy,
    resampling: str | Mapping[str, str] | None,
    driver: Driver,
    **said: object,
) -> xr.Dataset:
    """Return the cube of `scenes`, lazily; no pixel is read.

    Parameters
    ----------
    scenes
        Of one sensor; each holds all of `bands`.
    bands
        Variables of the cube, in order.
    verb, said
        Who opens, and which of its other arguments decide the values: for ``history``.
    area, resolution, crs, geobox
        As in :func:`~s2cube.sources.grid.target_grid`.
    chunks, groupby, resampling
        As in :func:`~s2cube.open_stac`.
    driver
        Reads the files.
    """
    check_chunks(chunks)
    # Classes come along: their pixel size is not what was asked for.
    native = [
        facts.grid
        for scene in scenes
        for facts in scene.bands.values()
        if facts.grid is not None and not facts.classes
    ]
    grid = target_grid(native, area=area, resolution=resolution, crs=crs, geobox=geobox)
    steps = steps_of(scenes, groupby, schema.longitude_of(grid))
    _refuse_vast(grid, len(steps), len(bands), chunks)
    methods = {band: _method(band, resampling, grid, scenes) for band in bands}
    cubes = [_layer(layer, bands, grid, chunks, methods, driver) for layer in layers_of(steps, _overlap)]
    cube = cubes[0]
    for below in cubes[1:]:
        cube = _over(cube, below)
    cube = cube.assign_coords(_coords(steps, grid, scenes))
    times = cube["time"].values.astype("datetime64[s]")
    cube = schema.record(
        cube,
        verb,
        items=len(scenes),
        datetime=f"{times[0]} to {times[-1]}",
        grid=f"{grid.shape.y} x {grid.shape.x} px of {abs(grid.transform.a):g} in {_name(grid.crs)} "
        f"from {grid.transform.c:.9g}, {grid.transform.f:.9g}",
        bands=list(bands),
        groupby=groupby,
        resampling=methods,
        on_read_error=driver.on_read_error,
        **said,
    )
    return schema.validate(cube) if scenes[0].sensor == "sentinel-2" else cube


def check_chunks(chunks: Mapping[str, int] | None) -> None:
    """Raise where `chunks` are none of a cube."""
    if chunks is not None and not (isinstance(chunks, Mapping) and set(chunks) <= set(schema.DIMS)):
        raise CubeError(f"chunks maps time, y and x to sizes, or is None; got {chunks!r}.")
    whole = (int, np.integer)
    for name, size in (chunks or {}).items():
        if isinstance(size, bool) or not isinstance(size, whole) or not (size >= 1 or size == -1):
            raise CubeError(f"chunks: {name} is a size of 1 or more, or -1 for all; got {size!r}.")


def _refuse_vast(grid: "GeoBox", steps: int, bands: int, chunks: Mapping[str, int] | None) -> None:
    """Raise where the graph alone would fill the memory, as by a bbox in another order."""
    sizes = {} if chunks is None else {name: size for name, size in chunks.items() if size > 0}
    y, x = grid.shape.yx
    blocks = bands * steps * math.ceil(y / sizes.get("y", y)) * math.ceil(x / sizes.get("x", x))
    blocks //= sizes.get("time", 1)
    if blocks > MOST_BLOCKS:
        raise CubeError(
            f"{y} x {x} px at {steps} dates are {blocks:,} blocks to read, more than a graph can hold. "
            "Is the bbox (west, south, east, north)? A large area is made region by region: "
            "write_daily_regions()."
        )


def _name(crs: Any) -> str:
    return f"EPSG:{crs.epsg}" if crs.epsg else str(crs.proj.name)


def _held(facts: BandFacts, driver: Driver) -> tuple[np.dtype, float | None]:
    """Return the type in which a band is read, and what is missing there."""
    dtype = np.dtype(facts.dtype)
    if facts.classes:
        return dtype, facts.nodata
    return held_as(dtype, facts.nodata, marked=driver.on_read_error == "mark")


def _slim(scene: Scene, name: str, driver: Driver) -> Any:
    """Return an item that holds just the asked assets, under our names: what odc-stac is given."""
    import pystac

    item = pystac.Item(
        id=name,
        geometry=dict(scene.geometry),
        bbox=None,
        datetime=scene.time.astype("datetime64[us]").item(),
        properties={},
        stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
    )
    for band, facts in scene.bands.items():
        dtype, fill = _held(facts, driver)
        told = Told(f"{band} of {scene.id}", facts.dtype, facts.grid, facts.classes, dtype.name, fill)
        item.add_asset(
            band,
            pystac.Asset(
                facts.href, roles=["data"], media_type=pystac.MediaType.COG, extra_fields=told.fields()
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
    sentinel_2, bands = scenes[0].sensor == "sentinel-2", scenes[0].bands
    # Other sensors have names of their own, and some of them are Sentinel-2's for other bands.
    by_band = {
        schema.band_id(key) if sentinel_2 and key not in ("*", SCL) else key: method
        for key, method in asked.items()
    }
    if strange := [key for key in by_band if key != "*" and key not in bands]:
        raise CubeError(
            f"resampling speaks of {', '.join(map(str, strange))}, opened are {', '.join(bands)}; '*' "
            "stands for all of them."
        )
    if unknown := [method for method in by_band.values() if method not in METHODS]:
        raise CubeError(f"Unknown resampling {unknown[0]!r}; known: {', '.join(METHODS)}.")
    if scenes[0].bands[band].classes:
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
    driver = dataclasses.replace(driver, saturated=placed[0][1].sensor == "sentinel-2")
    marked = driver.on_read_error == "mark"
    # Items by number: ids may repeat.
    step_of = {str(number): step for number, (step, _) in enumerate(placed)}
    raw = odc.stac.load(
        [_slim(scene, str(number), driver) for number, (_, scene) in enumerate(placed)],
        bands=list(bands),
        geobox=grid,
        groupby=lambda item, _parsed, _index: step_of[item.id],
        chunks=None if chunks is None else dict(chunks),
        resampling=dict(resampling),
        driver=driver,
        patch_url=driver.plain,
    )
    present = sorted(set(step_of.values()))
    classes = [band for band in bands if placed[0][1].bands[band].classes]
    spectral = [band for band in bands if band not in classes]
    arrays: dict[Hashable, xr.Variable] = {}
    nodata = []
    for band in spectral:
        facts = [step[0].bands[band] for step in steps if step]
        # Within a step of a layer all scenes agree; from step to step only the offset may change.
        told = {(fact.scale, fact.dtype, *_held(fact, driver)) for fact in facts}
        if len(told) > 1:
            raise HarmonizationError(
                f"Items differ in scale, no-data or data type of {band}: open them apart and "
                "concatenate the cubes."
            )
        ((scale, _, _, missing),) = told
        nodata.append(missing)
        offsets = np.array([fact.offset for fact in facts])
        arrays[band] = harmonize.reflectance(
            raw[band].data,
            band,
            nodata=missing,
            scale=scale,
            offset=offsets,
            marked=marked,
            attrs=facts[0].attrs,
        )
    for band in classes:
        attrs = dict(placed[0][1].bands[band].attrs)
        arrays[band] = (
            harmonize.scene_classes(raw[band].data)
            if band == SCL
            else schema.variable(raw[band].data, attrs)
        )
    arrays[STATUS] = harmonize.status_of_counts(
        [raw[band].data for band in spectral], nodata, marked=marked
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
        values, counts = np.unique(times, return_counts=True)
        same = [
            step[0].id
            for step, time in zip(steps, times, strict=True)
            if time == values[counts.argmax()]
        ]
        raise CubeError(
            f"{' and '.join(same)} have the same time and are of different datatakes (dates only? does "
            "only one tell its datatake, platform or orbit?): complete the items, or use "
            "groupby='solar_day'."
        )
    levels = {scene.level for scene in scenes}
    sensor = scenes[0].sensor
    if sensor == "sentinel-2" and (len(levels) > 1 or None in levels):
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
        schema.ITEMS: _records(steps, grid),
    }
    along |= {
        name: ("time", np.array(values))
        for name, values in told.items()
        if any(value not in ("", -1) for value in values)
    }
    return {
        **schema.grid_coords(grid),
        "time": ("time", times),
        **along,
        "sensor": sensor,
        **({"processing_level": levels.pop()} if None not in levels else {}),
    }


def _records(steps: Sequence[Sequence[Scene]], grid: "GeoBox") -> xr.Variable:
    """Return what ``items(cube)`` tells, and what ``explain(cube)`` needs: the reads of each band."""
    inside = functools.cache(lambda native: _reads(native, grid))

    def reads(scene: Scene) -> dict[str, list[int]]:
        return {
            band: [inside(facts.grid)[0], np.dtype(facts.dtype).itemsize, inside(facts.grid)[1]]
            for band, facts in scene.bands.items()
            if facts.grid is not None
        }

    return schema.item_records(
        [[{**scene.record(), "reads": reads(scene)} for scene in step] for step in steps]
    )


def _reads(native: "GeoBox", grid: "GeoBox") -> tuple[int, int]:
    """Return how many pixels of `native` the grid needs, and in how many internal blocks they lie."""
    from odc.geo.overlap import compute_reproject_roi

    rows, columns = compute_reproject_roi(native, grid).roi_src
    pixels = max(rows.stop - rows.start, 0) * max(columns.stop - columns.start, 0)
    if not pixels:
        return 0, 0
    blocks = [-(-part.stop // BLOCK) - part.start // BLOCK for part in (rows, columns)]
    return pixels, blocks[0] * blocks[1]


def _common(values: Iterable[Any], unknown: Any) -> Any:
    """Return the one value that all scenes of a step share, `unknown` where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else unknown
