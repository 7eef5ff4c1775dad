"""Builders: what makes the cube of any box of a grid, and what one lazy call tells of it."""

import ast
import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.blocks import Reach, reach_of
from s2cube.errors import CatalogError, CubeError
from s2cube.plan import Region
from s2cube.store.layout import names_in
from s2cube.store.run import Job, Make
from s2cube.store.write import check_filled

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox

__all__ = ["Build", "Builder", "Example", "example_of", "token_of_builder", "wider"]

SIDE: Final = 64
"""Of the box of the call that is not computed, px."""
PLACES: Final = (1, 2, 4)
"""The area is cut in so many rows and columns, whose middles are tried one after the other."""
NEAR: Final = 0.05
"""Pixels that two grids may be apart and still be one."""


class Builder(Protocol):
    """What makes the filled cube of a box: any function, or object that can be called, that pickles.

    It is called on the worker that computes a region, and should return lazy arrays. Called twice, it
    must return the same. It may have two more methods. ``prepare(kept, geobox, dates, anew=...)`` is
    called once, before anything else, and returns the builder to use; ``kept`` keeps files beside the
    store, and ``anew`` says that what an earlier run kept is not wanted. The ids that
    ``item_ids(geobox)`` returns are noted with each region, which is done again when they change.
    """

    def __call__(self, geobox: "GeoBox", dates: "pd.DatetimeIndex", /) -> xr.Dataset | None:
        """Return the cube of `dates` on exactly this grid, as fill_gaps() does; None: there is nothing.

        Where it returns None all pixels are missing, and were never observed.
        """
        ...


@dataclass(frozen=True)
class Example:
    """What one call tells of all others."""

    cube: xr.Dataset
    """The whole area: its grid, days, variables, types and attributes, and arrays that hold nothing."""
    reach: Reach
    """How far the cube looks around a pixel."""


def example_of(
    builder: Builder, geobox: "GeoBox", dates: "pd.DatetimeIndex", *, halo: int | None
) -> Example:
    """Call a builder once, on a small box, and tell what the whole will be. Nothing is computed.

    Parameters
    ----------
    builder, geobox, dates, halo
        As in :func:`s2cube.write_daily_regions`.

    Raises
    ------
    CubeError
        It makes no filled cube of this grid and these dates, or how far it looks around is not known.
    CatalogError
        There is nothing at any of the places where it was tried.
    """
    for place in _places(geobox):
        box = geobox[place.y, place.x]
        cube = builder(box, dates)
        if cube is not None:
            break
    else:
        raise CatalogError(
            f"The builder gave nothing at {sum(n * n for n in PLACES)} places of the area: is it the "
            "right area and period?"
        )
    cube = _checked(cube, box, dates)
    names = names_in(cube)
    if halo is None:
        reach = reach_of([cube[name].data for name in names])
        if reach is None:
            raise CubeError(
                "The builder returns arrays that are computed already, which do not tell how many "
                "pixels around a region decide its values: return lazy ones, or pass halo= (0 where "
                "none do)."
            )
    else:
        reach = Reach(halo, halo)
    return Example(_expanded(cube, names, geobox, dates), reach)


def _places(geobox: "GeoBox") -> Iterator[Region]:
    for parts in PLACES:
        for row in range(parts):
            for column in range(parts):
                sides = []
                for number, length in zip((row, column), geobox.shape, strict=True):
                    side = min(SIDE, length)
                    start = min(
                        max((2 * number + 1) * length // (2 * parts) - side // 2, 0), length - side
                    )
                    sides.append(slice(start, start + side))
                yield Region(*sides)


def _checked(made: Any, geobox: "GeoBox", dates: "pd.DatetimeIndex") -> xr.Dataset:
    """Return what a builder gave if it is a filled cube of the grid and the dates."""
    if not isinstance(made, xr.Dataset):
        raise CubeError(
            "A builder returns an xarray.Dataset, or None where there is nothing; got "
            f"{type(made).__name__}."
        )
    cube = check_filled(made)
    found = schema.geobox_of(cube)
    off = ~geobox.transform * found.transform
    moved = max(abs(off.c), abs(off.f), *(abs(part) for part in _corner(off, found.shape)))
    if found.shape != geobox.shape or found.crs != geobox.crs or moved > NEAR:
        raise CubeError(
            f"A builder returns the cube of the box that it is given, {_described(geobox)}; got "
            f"{_described(found)}. Pass it on: open_stac(..., geobox=geobox)."
        )
    if not np.array_equal(cube["time"].values, dates.values.astype(cube["time"].dtype)):
        raise CubeError(
            f"A builder returns the dates that it is given, {len(dates)} from {dates[0]:%Y-%m-%d} to "
            f"{dates[-1]:%Y-%m-%d}; got {cube.sizes['time']} others. Pass them on: "
            "fill_gaps(dates=dates)."
        )
    return cube


def _corner(off: Any, shape: Any) -> tuple[float, float]:
    """Return how far the last corner is off, in pixels."""
    x, y = off * (shape[1], shape[0])
    return x - shape[1], y - shape[0]


def _described(geobox: "GeoBox") -> str:
    affine = geobox.transform
    return (
        f"{geobox.shape[0]} x {geobox.shape[1]} px of {affine.a:g} from {affine.c:.9g}, "
        f"{affine.f:.9g} in {geobox.crs}"
    )


def _expanded(
    cube: xr.Dataset, names: list[str], geobox: "GeoBox", dates: "pd.DatetimeIndex"
) -> xr.Dataset:
    """Return a cube of the whole area that is like `cube`, and holds nothing."""
    import dask.array as da

    sizes = dict(zip(schema.DIMS, (len(dates), *geobox.shape), strict=True))
    arrays = {
        name: xr.Variable(
            cube[name].dims,
            da.zeros(
                tuple(sizes[str(dim)] for dim in cube[name].dims), dtype=cube[name].dtype, chunks=-1
            ),
            cube[name].attrs,
        )
        for name in names
    }
    words = {name: cube.coords[name] for name in ("sensor", "processing_level") if name in cube.coords}
    coords: dict[Any, Any] = {**schema.grid_coords(geobox), "time": ("time", dates.values), **words}
    return xr.Dataset(arrays, coords, {"history": _history(str(cube.attrs.get("history", "")))})


def _history(told: str) -> str:
    """Return a history without what is true of one box only."""
    return "\n".join(_general(line) for line in told.splitlines())


def _general(line: str) -> str:
    with contextlib.suppress(SyntaxError, ValueError):  # else it is not a line of ours
        call = ast.parse(line, mode="eval").body
        if isinstance(call, ast.Call) and any(word.arg == "grid" for word in call.keywords):
            of_box = {"items", "datetime", "grid"}
            call.keywords = [word for word in call.keywords if word.arg not in of_box]
            return ast.unparse(call)
    return line


def token_of_builder(builder: Builder) -> str:
    """Return a token of a builder: the same for the same work, also in another process.

    Raises
    ------
    CubeError
        It cannot be told from others for certain.
    """
    import dask.config
    from dask.base import tokenize

    try:
        with dask.config.set({"tokenize.ensure-deterministic": True}):
            token = tokenize(builder)
    except Exception as error:  # noqa: BLE001 - Dask's own, and what pickling raises
        raise CubeError(
            "The builder cannot be told from another one in a later run, which has to know whether it "
            f"goes on with the same work ({error}). Make it a function of a module, a functools.partial "
            "of one, a frozen dataclass of plain values, or give it __dask_tokenize__()."
        ) from None
    return hashlib.sha256(str(token).encode()).hexdigest()


def wider(region: Region, reach: Reach, geobox: "GeoBox") -> Region:
    """Return the pixels that are needed for those of a region, as far as the area goes."""
    first = schema.first_pixel(geobox)
    return Region(
        *(
            reach.around(part, axis, first[axis], geobox.shape[axis])
            for axis, part in enumerate((region.y, region.x))
        )
    )


@dataclass(frozen=True)
class Build:
    """Pieces that a builder makes, where they are computed."""

    builder: Builder
    geobox: "GeoBox"
    dates: "pd.DatetimeIndex"
    reach: Reach

    def ship(self, job: Job) -> Make:
        """Return what calls the builder."""
        around = wider(job.region, self.reach, self.geobox)
        inside = {
            "y": slice(job.region.y.start - around.y.start, job.region.y.stop - around.y.start),
            "x": slice(job.region.x.start - around.x.start, job.region.x.stop - around.x.start),
        }
        names = list(job.layout["variables"])
        return partial(_built, self.builder, self.geobox[around.y, around.x], self.dates, inside, names)

    def looks(self, region: Region) -> xr.Dataset | None:
        """Return what a region is made of, None where the builder does not tell."""
        look = getattr(self.builder, "looks", None)
        around = wider(region, self.reach, self.geobox)
        return None if look is None else look(self.geobox[around.y, around.x], self.dates)


def _built(
    builder: Builder,
    geobox: "GeoBox",
    dates: "pd.DatetimeIndex",
    inside: dict[str, slice],
    names: list[str],
) -> xr.Dataset | None:
    cube = builder(geobox, dates)
    if cube is None:
        return None
    cube = _checked(cube, geobox, dates)
    if set(names) != set(found := names_in(cube)):
        raise CubeError(
            f"The builder gave {', '.join(found)} here, and {', '.join(names)} where it was tried "
            "first: all boxes must have the same variables; name the bands."
        )
    return cube[names].isel(inside)
