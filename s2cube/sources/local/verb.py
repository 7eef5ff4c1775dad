"""Cubes from local products and images."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from s2cube.errors import CatalogError, CubeError
from s2cube.sources.assemble import CHUNKS, assemble
from s2cube.sources.grid import lonlat_box
from s2cube.sources.group import GroupBy
from s2cube.sources.local import files, safe
from s2cube.sources.local.found import Found, Offset, Said
from s2cube.sources.local.pattern import ESA, Pattern
from s2cube.sources.local.select import choose_bands, of_level
from s2cube.sources.local.storage import images_in, products_in
from s2cube.sources.reader import Driver, OnReadError
from s2cube.sources.select import within

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["open_local"]

_XARRAY = (".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".zarr", ".grib", ".grb2")


def open_local(
    path: Any,
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
    pattern: str | None = None,
    names: Sequence[str] | Mapping[str, str | None] | None = None,
    scale: float | None = None,
    offset: Offset | None = None,
    nodata: float | None = None,
    level: str | None = None,
) -> xr.Dataset:
    """Open products and images on disk as a cube, lazily: no pixel is read.

    Three things are understood. ESA's products of level 1C and 2A, as ``.SAFE`` folders or zip files,
    which tell everything themselves. ESA's images without the product around them
    (``T33UUU_20170216T102101_B02.jp2``), which do not tell `offset` and `level`. GeoTIFFs whose names
    follow a `pattern`. What cannot be known is asked for.

    Parameters
    ----------
    path
        A product, a folder that holds several at any depth, an image, a folder of images, or a list of
        these. A folder or metadata file within a product means the product. Links are followed, and
        what is reached twice counts once. Where there are products and no `pattern` is given, other
        images are not looked at.
    bbox, geometry, geobox, datetime, resolution, crs, chunks, groupby, resampling, on_read_error
        As in :func:`~s2cube.open_stac`.
    bands
        Ids or common names. By default, all that every scene has. ``SCL`` comes along where there is.
        Of a band in several pixel sizes the native one is taken (B01 of level 2A: 60 m).
    pattern
        How names of images are read: ``"{tile}_{time:%Y%m%d}_{band}.tif"``. ``{time:...}`` takes the
        directives of :meth:`datetime.datetime.strptime` and is UTC; ``{band}``, ``{tile}``,
        ``{platform}``, ``{orbit}``, ``{baseline}`` and ``{level}`` are what they say; a field of any
        other name tells scenes apart; ``*`` is anything; capitals do not matter. With a ``/`` it
        describes the path below the folder, else the file's name, in whatever folder. Images that it
        does not fit are left out, and ``history`` says so. An ESA product name in the path tells what
        the pattern does not.
    names
        Bands of files that hold several, in the order of the file, where their descriptions do not
        tell; or your names to ids, ``{"refl_665": "B04"}``, and to None what is no band.
    scale
        Reflectance of one count, instead of what products and GeoTIFF tags say.
    offset
        Reflectance to add, instead of what they say: a number for all scenes (0 before processing
        baseline 04.00 or where it has been removed, else -0.1), ``"declared"`` (what each says, without
        a check), or ``"baseline"`` (the counts are ESA's, so the baseline of each decides).
    nodata
        The count that stands for missing, in addition to what files declare: 0 in ESA's products.
    level
        ``"L1C"`` or ``"L2A"``: which to open where there are both, or what images are that do not tell.

    Returns
    -------
    xarray.Dataset
        A cube: float32 reflectance, ``SCL`` (uint8) where there is, ``status``; along time ``platform``,
        ``relative_orbit``, ``processing_baseline``, ``datatake`` and ``items``
        (:func:`~s2cube.items`), which has the mean angles of sun and view of each product. Time is when
        the tile was sensed, UTC.

    Raises
    ------
    CatalogError
        Nothing is found, or not what was asked for; a product is not complete.
    CubeError
        An argument is wrong, or CRS or resolution remain open.
    HarmonizationError
        It cannot be known what counts are worth.
    ReadError
        A file cannot be read: metadata and zip files on opening, images on computing.

    Notes
    -----
    A cluster reads the files by the same absolute paths: they must lie where all workers see them.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.open_local("downloads", level="L2A", bands=["red", "nir"])  # doctest: +SKIP
    >>> cube = s2cube.open_local(
    ...     "stack",
    ...     pattern="{tile}_{time:%Y%m%d}_{band}.tif",
    ...     scale=1e-4,
    ...     offset=0,
    ...     nodata=0,
    ...     level="L2A",
    ... )  # doctest: +SKIP
    """
    area = lonlat_box(bbox, geometry, geobox)
    said = Said(scale, offset, nodata, level, names)
    scenes, left_out = _found(_paths(path), pattern, said)
    found = within(
        of_level(scenes, level),
        area,
        datetime,
        box=lambda one: one.scene.bbox,
        time=lambda one: one.scene.time,
        what="scene",
    )
    wanted = choose_bands(found, bands)
    return assemble(
        [one.with_bands(wanted, level) for one in found],
        wanted,
        verb="open_local",
        area=area,
        resolution=resolution,
        crs=crs,
        geobox=geobox,
        chunks=chunks,
        groupby=groupby,
        resampling=resampling,
        driver=Driver(on_read_error),
        **said.record(),
        **({"left_out": _listing(left_out)} if left_out else {}),
    )


def _paths(path: Any) -> list[Path]:
    """Return what the user points at, as absolute paths that exist."""
    given = [path] if isinstance(path, (str, os.PathLike)) else path
    if not isinstance(given, Iterable) or not all(isinstance(p, (str, os.PathLike)) for p in given):
        raise CubeError(f"path is a path or a list of paths; got {path!r}.")
    # Absolute, as workers may have another working directory.
    paths = [Path(p).expanduser().absolute() for p in given]
    if not paths:
        raise CatalogError("path is an empty list: there is nothing to open.")
    for one in paths:
        if not one.exists():
            raise CatalogError(f"There is no {one}.")
        if one.suffix.lower() in _XARRAY:
            raise CatalogError(
                f"{one} is for xarray: open it with that and make a cube of it, "
                "s2cube.as_cube(xarray.open_dataset(...))."
            )
    # What is listed twice goes by its path below the outermost folder, which tells more.
    return sorted(paths, key=lambda one: (one.is_file(), len(one.parts)))


def _found(paths: list[Path], pattern: str | None, said: Said) -> tuple[list[Found], list[str]]:
    """Return the scenes at `paths`, and the images that do not fit the pattern."""
    if pattern is None and (products := products_in(paths)):
        if stray := [one for one in paths if one.is_file() and images_in(one)]:
            raise CatalogError(f"{stray[0]} is an image beside products: open these and images apart.")
        return [found for product in products for found in safe.scenes_in(product, said)], []
    images = [
        ((image.relative_to(path).as_posix() if path.is_dir() else image.name), image)
        for path in paths
        for image in images_in(path)
    ]
    if not images:
        raise CatalogError(_nothing(paths))
    if pattern is not None:
        return files.scenes_in(images, Pattern(pattern), said)
    if any(ESA.match(name) for name, _ in images):
        return files.scenes_in(images, ESA, said)
    raise CatalogError(
        f"{paths[0]} holds no product of ESA, and nothing tells how the names of its {len(images)} "
        f"images are read ({images[0][0]}, ...): say it with pattern=, as in "
        "'{tile}_{time:%Y%m%d}_{band}.tif'."
    )


def _listing(names: list[str]) -> str:
    """Return the first of many names, and how many follow."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _nothing(paths: list[Path]) -> str:
    """Return what to say where there is nothing to open."""
    below = [p for path in paths for p in (path.rglob("*") if path.is_dir() else [path])]
    xarrays = [p for p in below if p.suffix.lower() in _XARRAY]
    if xarrays:
        return (
            f"{paths[0]} holds no product and no image, but {xarrays[0].name}: open that with xarray "
            "and make a cube of it, s2cube.as_cube(xarray.open_dataset(...))."
        )
    return (
        f"{paths[0]} holds no Sentinel-2 product (.SAFE folder or zip) and no image (.jp2, .tif); "
        f"{len(below)} other files and folders."
    )
