"""What opening and estimating have in common: grid, limits, dates, and the plan of downloads."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from s2cube.errors import CatalogError, CubeError
from s2cube.sources.clearsky import key
from s2cube.sources.clearsky.cache import Cache, default_folder
from s2cube.sources.clearsky.client import Service, UnknownPathError, service
from s2cube.sources.clearsky.request import (
    CompositePlan,
    Limits,
    Plan,
    check_grid,
    day_of,
    in_order,
    index_parts,
    outline,
    wanted,
    whole,
)
from s2cube.sources.clearsky.tiles import (
    ImagePlan,
    TilePlan,
    better_as_tile,
    find_images,
    find_tiles,
    ids_by_date,
)
from s2cube.sources.grid import lonlat_box, target_grid
from s2cube.sources.period import period

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["PRODUCTS", "Opening", "Product", "prepare"]

Product = Literal["auto", "composite", "tile", "minitile", "tile2024"]
PRODUCTS: Final = ("auto", "composite", "tile", "minitile", "tile2024")

_START: Final = np.datetime64("2015-06-23", "D")
"""Launch of Sentinel-2A: an open start."""
_ENOUGH: Final = 0.999
"""Share of the area that makes a date complete; the rest is rounding."""

_Place = tuple[Any, list[str]]
"""An outline (shapely), and the dates of which there is imagery."""


@dataclass(frozen=True)
class Opening:
    """What was asked for, and what the service has of it."""

    plan: Plan
    names: tuple[str, ...]
    """Bands and indices in the order in which they were asked for."""
    dates: tuple[str, ...]
    missing: tuple[str, ...]
    """Dates of the period without imagery, or without all of it."""
    product: str
    model: str
    constellations: tuple[str, ...]
    service: Service
    cache: Cache


def prepare(
    *,
    bbox: Sequence[float] | None,
    geometry: Any,
    geobox: "GeoBox | None",
    datetime: Any,
    bands: str | Iterable[str],
    resolution: int | None,
    crs: Any,
    model: str,
    constellations: Sequence[str] | None,
    product: Product,
    api_key: str | None,
    base_url: str | None,
    cache: str | os.PathLike[str] | None,
) -> Opening:
    """Ask the service what there is; nothing is downloaded, nothing costs."""
    if product not in PRODUCTS:
        raise CubeError(f"product is one of {', '.join(PRODUCTS)}, got {product!r}.")
    if isinstance(constellations, str):
        raise CubeError(f"constellations is a list of names, got {constellations!r}.")
    names = wanted(bands, "" if product == "tile2024" else model)
    outputs = in_order(names)
    grid = _grid(bbox, geometry, geobox, resolution, crs)
    first, last = _days(datetime)
    seen = service(base_url, key.give(api_key))
    key.share(seen.handle)
    limits = _limits(seen)
    folder = default_folder() if cache is None else Path(cache).expanduser().absolute()
    store = Cache(folder / seen.place, limits.connections)
    if product == "tile2024":
        _no_indices(names)
        images = find_images(seen, grid, f"{first}T00:00:00Z", f"{last}T23:59:59Z")
        most = max(map(len, images.values()), default=0)
        days = [date for date in sorted(images) if len(images[date]) == most]
        dates, missing = _sorted_out(days, sorted(images), first, last, datetime, "")
        old = ImagePlan(grid, outputs, ids_by_date(images, dates))
        return Opening(old, names, dates, missing, product, "", (), seen, store)
    used, complete, partial = _available(seen, grid, first, last, model, constellations)
    dates, missing = _sorted_out(complete, partial, first, last, datetime, model)
    plan, chosen = _plan(seen, product, names, limits, grid, outputs, model, used)
    return Opening(plan, names, dates, missing, chosen, model, used, seen, store)


def _grid(
    bbox: Sequence[float] | None,
    geometry: Any,
    geobox: "GeoBox | None",
    resolution: int | None,
    crs: Any,
) -> "GeoBox":
    area = lonlat_box(bbox, geometry, geobox)
    if area is None:
        raise CubeError("Give an area: one of bbox=, geometry= and geobox=.")
    if geobox is None and crs is None:
        from odc.geo import CRS

        crs = CRS.utm((area[0] + area[2]) / 2, (area[1] + area[3]) / 2)
    if geobox is None and resolution is None:
        resolution = 10
    grid = target_grid([], area=area, resolution=resolution, crs=crs, geobox=geobox)
    check_grid(grid)
    return grid


def _days(datetime: Any) -> tuple[np.datetime64, np.datetime64]:
    start, end = period(datetime)
    first = max(start.astype("datetime64[D]"), _START)
    last = min(end.astype("datetime64[D]"), np.datetime64("today", "D"))
    if first > last:
        raise CatalogError(f"datetime={datetime!r} is before Sentinel-2 ({_START}) or in the future.")
    return first, last


def _limits(seen: Service) -> Limits:
    """Return the account's limits, of either generation of the service."""
    try:
        return seen.ask("/api/account/info", None, Limits.of)
    except UnknownPathError:
        pass  # that of 2024
    return seen.ask("/api/apikey/info", None, Limits.of)


def _available(
    seen: Service,
    grid: "GeoBox",
    first: np.datetime64,
    last: np.datetime64,
    model: str,
    constellations: Sequence[str] | None,
) -> tuple[tuple[str, ...], list[str], list[str]]:
    """Return the constellations, the dates with imagery of all the area, and those with some of it."""
    told = seen.ask(
        "/api/satelliteimages/search/available",
        {
            "Wkt": outline(grid, whole(grid)),
            "From": f"{first}T00:00:00Z",
            "Until": f"{last}T23:59:59Z",
        },
        _imagery,
    )
    by_set: dict[tuple[str, ...], list[_Place]] = {}
    for made_by, made_from, places in told:
        if made_by == model:
            by_set.setdefault(made_from, []).extend(places)
    asked = None if constellations is None else tuple(sorted(constellations))
    if asked is not None:
        by_set = {asked: by_set[asked]} if asked in by_set else {}
    if not by_set:
        ways = {f"{made_by} ({', '.join(made_from)})" for made_by, made_from, _ in told}
        there = [key.conceal(way, seen.handle) for way in sorted(ways)]
        of = f" of {', '.join(asked)}" if asked else ""
        raise CatalogError(
            f"ClearSKY has no imagery of model {model!r}{of} for you here from {first} to {last}; there "
            f"is: {'; '.join(there) or 'nothing, so it is not ordered or not made yet'}."
        )
    if len(by_set) > 1:
        sets = " or ".join(str(list(one)) for one in sorted(by_set))
        raise CubeError(
            f"ClearSKY has imagery of {model!r} made in several ways: say constellations={sets}."
        )
    ((used, places),) = by_set.items()
    return used, *_complete(places)


def _imagery(data: Any) -> list[tuple[str, tuple[str, ...], list[_Place]]]:
    """Read the answer of the search for imagery: model, constellations, and where and when."""
    import shapely

    return [
        (
            str(entry["Model"]),
            tuple(sorted(map(str, entry["SatelliteConstellations"]))),
            [
                (shapely.from_wkt(place["Wkt"]), [day_of(date) for date in place["Dates"]])
                for place in entry["DatesByGeog"]
            ],
        )
        for entry in (data or {}).get("ModelImageDates", [])
    ]


def _complete(places: Sequence[_Place]) -> tuple[list[str], list[str]]:
    """Return the dates that all of the area with imagery has, and those that any of it has."""
    import shapely

    by_date: dict[str, list[Any]] = {}
    for shape, dates in places:
        for date in dates:
            by_date.setdefault(date, []).append(shape)
    full = shapely.union_all([shape for shapes in by_date.values() for shape in shapes]).area
    # Many dates share one shape; unions of one are free.
    complete = [
        date for date, shapes in by_date.items() if shapely.union_all(shapes).area >= _ENOUGH * full
    ]
    return sorted(complete), sorted(by_date)


def _sorted_out(
    complete: Sequence[str],
    partial: Sequence[str],
    first: np.datetime64,
    last: np.datetime64,
    datetime: Any,
    model: str,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the dates of the cube, and the other dates of the period."""
    dates = [date for date in complete if str(first) <= date <= str(last)]
    if not dates:
        some = f"; only parts of it on {', '.join(partial[:5])}" if partial else ""
        raise CatalogError(f"ClearSKY has no imagery {model} of the area in {datetime!r}{some}.")
    # Beyond an open end nothing is missing.
    start = np.datetime64(dates[0]) if first == _START else first
    end = np.datetime64(dates[-1]) if last == np.datetime64("today", "D") else last
    days = np.arange(start, end + 1).astype(str).tolist()
    return tuple(dates), tuple(sorted(set(days) - set(dates)))


def _plan(
    seen: Service,
    product: Product,
    names: tuple[str, ...],
    limits: Limits,
    grid: "GeoBox",
    outputs: tuple[str, ...],
    model: str,
    used: tuple[str, ...],
) -> tuple[Plan, str]:
    """Return the plan, and the product that "auto" came to."""
    indices = any(index_parts(name) for name in names)
    if product == "auto" and not indices and better_as_tile(grid):
        try:
            return TilePlan(
                grid, outputs, model, used, tuple(find_tiles(seen, grid, "tile")), "tile"
            ), "tile"
        except CatalogError:
            product = "composite"  # whose pixels come from several zones
    if product in ("tile", "minitile"):
        _no_indices(names)
        kind: Literal["tile", "minitile"] = "tile" if product == "tile" else "minitile"
        return TilePlan(grid, outputs, model, used, tuple(find_tiles(seen, grid, kind)), kind), kind
    composite = CompositePlan.within(
        limits, grid=grid, outputs=outputs, model=model, constellations=used
    )
    return composite, "composite"


def _no_indices(names: tuple[str, ...]) -> None:
    if found := [name for name in names if index_parts(name)]:
        raise CubeError(
            f"Tiles hold bands, no indices ({', '.join(found)}): use product='composite', or compute "
            "them from the bands."
        )
