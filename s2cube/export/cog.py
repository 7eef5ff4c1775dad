"""``write_cogs``: images as Cloud-Optimized GeoTIFFs with a STAC item, as counts or as bytes."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels, progress_bar
from s2cube.errors import CubeError
from s2cube.export.files import item_of, new_folder, raster_asset, write_cog
from s2cube.kernels.counts import encode

__all__ = ["write_cogs"]

LEVELS: Final = 254
"""Steps between the darkest and the brightest byte; 0 is missing."""


def write_cogs(
    images: xr.Dataset,
    folder: str | Path,
    *,
    bands: str | Iterable[str] | None = None,
    byte_range: tuple[float, float] | None = None,
    name: str | None = None,
    progress: bool = True,
) -> list[Path]:
    """Write images as Cloud-Optimized GeoTIFFs, one a variable, with a STAC item for each period.

    Parameters
    ----------
    images
        What :func:`percentile`, :func:`geomedian`, :func:`mosaic_orbits` or :func:`count` return, or
        any Dataset of variables of dims ``([time,] [percentile,] y, x)``. It is computed, period by
        period.
    folder
        Where to write; a folder that is not there yet, or is empty.
    bands
        Variables to write, by id or common name of a band, or by name; all by default.
    byte_range
        Reflectance that becomes 1 and 255: bytes for basemaps (``(0, 0.3)`` is usual for true colour).
        What lies outside is clamped, 0 is missing. By default reflectance is int16 of 1e-4.
        Other variables stay as they are; booleans become 0 and 1.
    name
        What the items' ids begin with; by default the folder's name.
    progress
        Whether to show how far computing is, period by period.

    Returns
    -------
    list of pathlib.Path
        The items, one for each period, next to their files.

    Raises
    ------
    CubeError
        A variable is not there, or is no image; `byte_range` is none.
    FileExistsError
        There is something at `folder`.

    Notes
    -----
    Scale, offset and no-data are in the files (GDAL's tags) and in the items (``raster:bands``), so that
    readers get reflectance back. Overviews are averages, of classes and counts the nearest pixel. All
    images of a period are computed together, and held in memory as the counts or bytes they become. The
    folder gets its name when all is written.

    Examples
    --------
    >>> import tempfile, s2cube
    >>> clear = s2cube.testing.simulate_cube(seed=1, bands=["red"]).s2.mask_clouds()
    >>> low = clear.s2.percentile(25)
    >>> items = s2cube.write_cogs(low, tempfile.mkdtemp(), name="low", byte_range=(0, 0.3))
    >>> sorted(path.name for path in items[0].parent.iterdir())
    ['B04.tif', 'count.tif', 'low.json']
    """
    folder = Path(folder)
    names = _variables(images, bands)
    if byte_range is not None:
        byte_range = _check_range(byte_range)
    geobox = schema.geobox_of(images)
    idents = _idents(images, name or folder.absolute().name)
    with new_folder(folder) as partial, progress_bar(progress):
        for period, ident in enumerate(idents):
            one = images.isel(time=period) if "time" in images.dims else images
            properties = _times(one)
            moment = properties.pop("datetime", None)
            item = item_of(ident, geobox, moment, properties)
            item.properties["s2cube:history"] = str(images.attrs.get("history", "")).splitlines()
            for key, (image, said) in _computed(_planes(one[names]), byte_range).items():
                file = f"{key}.tif" if "time" not in images.dims else f"{ident}_{key}.tif"
                write_cog(image, partial / file, nodata=said.get("nodata"), **_linear(said))
                item.add_asset(key, raster_asset(file, image, said))
            item.save_object(include_self_link=False, dest_href=str(partial / f"{ident}.json"))
    return [folder / f"{ident}.json" for ident in idents]


def _check_range(byte_range: object) -> tuple[float, float]:
    try:
        low, high = np.asarray(byte_range, dtype=np.float64).tolist()
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise CubeError(f"byte_range is (darkest, brightest) reflectance, got {byte_range!r}.")
    return low, high


def _variables(images: xr.Dataset, bands: str | Iterable[str] | None) -> list[str]:
    if bands is None:
        names = [str(key) for key, value in images.data_vars.items() if {"y", "x"} <= set(value.dims)]
    else:
        asked = schema.names_of(bands)
        names = [schema.find_band(band) or str(band) for band in asked]
    if missing := [key for key in names if key not in images]:
        raise CubeError(
            f"There is no {', '.join(missing)}; there are {', '.join(map(str, images.data_vars))}."
        )
    for key in names:
        if extra := set(images[key].dims) - {"time", "percentile", "y", "x"}:
            raise CubeError(f"{key!r} has the dimension {extra.pop()!r}: select one image of it.")
    return names


def _planes(one: xr.Dataset) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield the images of a period, each with the key of its asset."""
    for key, array in one.data_vars.items():
        if "percentile" not in array.dims:
            yield str(key), array
            continue
        for rank in array["percentile"].values:
            yield f"{key}_p{rank:g}", array.sel(percentile=rank, drop=True)


def _computed(
    planes: Iterable[tuple[str, xr.DataArray]], byte_range: tuple[float, float] | None
) -> dict[str, tuple[xr.DataArray, dict[str, Any]]]:
    """Return images as they are written, and what is said of each.

    They are computed together, since they come from the same looks, and held as the counts they become.
    """
    encoded = {key: (image.name, *_encoded(image, byte_range)) for key, image in planes}
    values = xr.Dataset({key: image.variable for key, (_, image, _) in encoded.items()}).compute()
    return {
        key: (image.copy(data=values[key].values).rename(name), said)
        for key, (name, image, said) in encoded.items()
    }


def _encoded(
    image: xr.DataArray, byte_range: tuple[float, float] | None
) -> tuple[xr.DataArray, dict[str, Any]]:
    """Return what is written, lazily, and what is said of it."""
    if image.dtype == np.bool_:
        image = image.astype(np.uint8)
    if image.name not in schema.BANDS:
        missing = {"nodata": "nan"} if image.dtype.kind == "f" else {}
        return image, missing
    if byte_range is None:
        counts = map_pixels(encode, image.astype(np.float32).data, dtype=np.int16)
        return image.copy(data=counts), {"scale": schema.SCALE, "offset": 0.0, "nodata": schema.NODATA}
    low, high = byte_range
    step = (high - low) / LEVELS
    said = {"scale": step, "offset": low - step, "nodata": 0}
    return image.copy(data=map_pixels(_bytes, image.data, dtype=np.uint8, low=low, step=step)), said


def _bytes(values: NDArray[np.float32], *, low: float, step: float) -> NDArray[np.uint8]:
    """Return 1 for `low` and less, 255 for the brightest and more, 0 for missing."""
    levels = np.clip(np.rint((values - np.float32(low)) / np.float32(step)), 0, LEVELS) + 1
    return np.where(np.isnan(values), 0, levels).astype(np.uint8)


def _linear(said: dict[str, Any]) -> dict[str, float]:
    return {key: said[key] for key in ("scale", "offset") if key in said}


def _idents(images: xr.Dataset, name: str) -> list[str]:
    """Return the id of each period's item; no two may be the same, or files would overwrite others."""
    if "time" not in images.coords:
        return [name]
    times = np.atleast_1d(images["time"].values)
    if "period" in images.coords:
        labels = [str(label) for label in np.atleast_1d(images["period"].values)]
    else:
        labels = [str(time)[:10] for time in times]
        if len(set(labels)) < len(labels):
            labels = [re.sub("[-:]", "", str(time)[:19]) for time in times]
    idents = [f"{name}_{re.sub(r'[^A-Za-z0-9._-]+', '-', label)}" for label in labels]
    if twice := {ident for ident in idents if idents.count(ident) > 1}:
        raise CubeError(
            f"Several images would be named {min(twice)}: give them times, or labels of periods, that "
            "differ."
        )
    return idents


def _times(one: xr.Dataset) -> dict[str, Any]:
    """Return the item's ``datetime``, or its start and end."""
    if "time_bnds" in one.coords:
        start, end = one["time_bnds"].values
    elif "time" in one.coords:
        return {"datetime": one["time"].values.astype("datetime64[us]").item()}
    elif {"time_coverage_start", "time_coverage_end"} <= set(one.attrs):
        start = np.datetime64(one.attrs["time_coverage_start"])
        end = np.datetime64(one.attrs["time_coverage_end"]) + np.timedelta64(1, "D")
    else:
        raise CubeError(
            "The image does not tell its time: give it a coordinate 'time', or the attributes "
            "time_coverage_start and time_coverage_end (dates)."
        )
    words = (
        f"{np.datetime_as_string(moment, unit='s')}Z" for moment in (start, end - np.timedelta64(1, "s"))
    )
    return dict(zip(("start_datetime", "end_datetime"), words, strict=True))
