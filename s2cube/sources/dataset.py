"""Any xarray object that holds Sentinel-2 as a cube."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import harmonize, schema
from s2cube.blocks import is_lazy, map_pixels
from s2cube.errors import CubeError, HarmonizationError
from s2cube.schema import SCL, SPATIAL_REF, STATUS

__all__ = ["as_cube"]

_DIM_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "time": ("time", "t", "date", "datetime"),
    "y": ("y", "lat", "latitude", "northing"),
    "x": ("x", "lon", "longitude", "easting"),
}


def as_cube(
    ds: xr.Dataset | xr.DataArray,
    *,
    scale: float | None = None,
    offset: float | Sequence[float] | None = None,
    nodata: float | Literal["none"] | None = None,
    crs: object = None,
    names: Mapping[str, str] | None = None,
    level: str | None = None,
) -> xr.Dataset:
    """Turn any xarray object that holds Sentinel-2 into a cube, lazily.

    Dimensions are found by their usual names (``t``, ``lat``, ``longitude``, ...), bands too
    (``B2``, ``red``, ``S2-L2A-B04``, ...). What the data do not say is asked for, never guessed.

    Parameters
    ----------
    ds
        Dataset with one variable a band, or DataArray with a dimension of bands (``band``, ``bands``
        or ``variable``). Numpy or Dask.
    scale
        Reflectance of one count: 1e-4 in ESA's products. Needed for integers, unless the data carry
        ``scale_factor``; 1 for data that are reflectance already.
    offset
        Reflectance to add, one for all dates or one a date: 0 before processing baseline 04.00,
        -0.1 from it on, unless the provider has removed it. Needed where `scale` is.
    nodata
        The count that stands for missing: 0 in ESA's products; ``"none"`` where every count is data.
        Needed for integers unless they carry ``_FillValue``, ``missing_value`` or ``nodata``; float
        data are missing where NaN in any case.
    crs
        Coordinate reference system, in any form pyproj understands. Needed unless the data carry a
        CF grid mapping or have dimensions called latitude and longitude (then EPSG:4326).
    names
        Your names to band ids or dimensions, where they are unusual: ``{"refl_665": "B04"}``.
    level
        ``"L1C"`` or ``"L2A"``. Needed unless there is a scene classification (then L2A).

    Returns
    -------
    xarray.Dataset
        A cube: float32 reflectance, ``status``, ``SCL`` where there is one. Variables that are no
        band are left out. What is a cube already comes back as it is.

    Raises
    ------
    CubeError
        Something is missing or contradictory; the message names the argument that settles it.

    Examples
    --------
    >>> import numpy as np, xarray as xr, s2cube
    >>> ds = xr.Dataset(
    ...     {"red": (("t", "lat", "lon"), np.full((1, 2, 2), 1234, "uint16"))},
    ...     {"t": np.array(["2021-06-01"], "datetime64[ns]"), "lat": [1.1, 1.0], "lon": [5.0, 5.1]},
    ... )
    >>> cube = s2cube.as_cube(ds, scale=1e-4, offset=0, nodata=0, level="L2A")
    >>> cube["B04"].values[0, 0, 0]
    np.float32(0.1234)
    """
    given = _one_dataset(ds)
    if schema.PROVENANCE in given:
        raise CubeError("The data are a filled cube already: use it as it is.")
    if STATUS in given and schema.bands_of(given):
        if (scale, offset, nodata) != (None, None, None):
            raise HarmonizationError(
                "The data are a cube already (they carry 'status'): leave scale=, offset= and "
                "nodata= out; adding an offset again would shift every pixel."
            )
        # What xarray has written itself it reads back as data, unless told otherwise.
        grid = [SPATIAL_REF] if SPATIAL_REF in given else []
        return schema.validate(given.set_coords(grid))
    found = _found(given, names or {})
    dims = {old: new for old, new in found.items() if new in schema.DIMS}
    bands = {old: new for old, new in found.items() if new in schema.BANDS or new == SCL}
    if not set(bands.values()) - {SCL}:
        raise CubeError(
            f"No Sentinel-2 band among {list(given.data_vars)}: say which is which with "
            "names={'your name': 'B04', ...}."
        )
    # The grid mapping is found by its name, so read it before anything is renamed.
    system = _crs(given, crs, geographic=any(str(d).lower().startswith("lat") for d in dims))
    chosen_bands = _unsigned(_lazy_where_on_disk(given[list(bands)]))
    ordered = _north_up(chosen_bands.rename({**dims, **bands}), offset)
    chosen = _level(level, given, has_scl=SCL in ordered)
    facts = {
        band: _facts(ordered[band], scale, offset, nodata) for band in ordered.data_vars if band != SCL
    }
    arrays: dict[Hashable, xr.Variable] = {
        band: harmonize.reflectance(
            ordered[band].data, str(band), nodata=missing, scale=factor, offset=np.asarray(added)
        )
        for band, (factor, added, missing) in facts.items()
    }
    if SCL in ordered:
        arrays[SCL] = harmonize.scene_classes(ordered[SCL].data)
    arrays[STATUS] = harmonize.status_of_counts(
        [ordered[band].data for band in facts], [missing for _, _, missing in facts.values()]
    )
    cube = xr.Dataset(
        arrays,
        {
            "time": ordered["time"].variable,
            **_grid(ordered, system),
            "sensor": "sentinel-2",
            "processing_level": chosen,
        },
    )
    cube = schema.record(
        cube,
        "as_cube",
        bands=sorted(map(str, facts)),
        scale=sorted({float(factor) for factor, _, _ in facts.values()}),
        offset=sorted({float(o) for _, added, _ in facts.values() for o in np.atleast_1d(added)}),
        level=chosen,
    )
    return schema.validate(cube)


def _one_dataset(ds: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """Return `ds` as a Dataset with one variable a band."""
    if isinstance(ds, xr.Dataset):
        return ds
    if not isinstance(ds, xr.DataArray):
        raise CubeError(f"as_cube() takes an xarray Dataset or DataArray, got {type(ds).__name__}.")
    along = [dim for dim in ("band", "bands", "variable") if dim in ds.dims]
    if along:
        return ds.to_dataset(dim=along[0])
    if ds.name is None:
        raise CubeError("The DataArray has neither a dimension of bands nor a name that tells its band.")
    return ds.to_dataset()


def _found(ds: xr.Dataset, names: Mapping[str, str]) -> dict[Hashable, str]:
    """Return the cube's name of each dimension, band and SCL of `ds`, by its own name."""
    if not isinstance(names, Mapping):
        raise CubeError(f"names maps your names to ours, got {names!r}.")
    names = {str(mine): ours for mine, ours in names.items()}
    if strange := sorted(set(names) - {str(name) for name in (*ds.variables, *ds.dims)}):
        raise CubeError(f"names speaks of {strange}, which the data do not have: {list(ds.variables)}.")
    found: dict[Hashable, str] = {}
    for old in (*ds.dims, *ds.data_vars):
        text = str(old)
        if text in names:
            wanted = names[text]
            known = wanted in schema.DIMS or wanted == SCL
            found[old] = wanted if known else schema.band_id(wanted)
        elif old in ds.dims:
            new = next((dim for dim, known in _DIM_NAMES.items() if text.lower() in known), None)
            if new is not None:
                found[old] = new
        elif schema.is_scl(text):
            found[old] = SCL
        elif (band := schema.find_band(text)) is not None:
            found[old] = band
    for new in schema.DIMS:
        if new not in found.values():
            raise CubeError(
                f"No dimension is {new!r} (there are {', '.join(map(str, ds.dims))}): name it with "
                f"names={{'your dimension': {new!r}}}."
            )
    for new in set(found.values()):
        if len(twins := [str(old) for old, other in found.items() if other == new]) > 1:
            raise CubeError(f"{twins} would all be {new!r}: keep one of them.")
    return found


def _lazy_where_on_disk(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` with Dask arrays for what has not been read yet: to touch it would read it all."""
    on_disk = any(
        not array.variable._in_memory and not is_lazy(array.variable._data) for array in ds.values()
    )
    return ds.chunk("auto") if on_disk else ds


def _unsigned(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` with counts that netCDF keeps as signed, and calls unsigned, brought back."""
    wrapped = {
        name: array.copy(data=map_pixels(_view_unsigned, array.data, dtype=f"u{array.dtype.itemsize}"))
        for name, array in ds.items()
        if array.dtype.kind == "i" and str(array.attrs.get("_Unsigned", "")).lower() == "true"
    }
    return ds.assign(wrapped)


def _view_unsigned(block: NDArray) -> NDArray:
    return block.view(f"u{block.dtype.itemsize}")


def _north_up(ds: xr.Dataset, offset: float | Sequence[float] | None) -> xr.Dataset:
    """Return `ds` as ``(time, y, x)`` with y descending, x ascending and time sorted."""
    for dim in schema.DIMS:
        if dim not in ds.coords:
            raise CubeError(f"Dimension {dim!r} has no coordinate: give the data their {dim} values.")
    for name, array in ds.items():
        if set(array.dims) != set(schema.DIMS):
            raise CubeError(
                f"{name!r} has dimensions {array.dims}, a band has {schema.DIMS}: select one of the "
                "others, or leave the variable out."
            )
    ds = ds.transpose(*schema.DIMS)
    for dim, ascending in (("time", True), ("y", False), ("x", True)):
        index = ds.indexes[dim]
        if not (index.is_monotonic_increasing if ascending else index.is_monotonic_decreasing):
            if dim == "time" and isinstance(offset, (list, tuple, np.ndarray)):
                raise CubeError("One offset a date, and dates out of order: sort the data by time.")
            ds = ds.sortby(dim, ascending=ascending)
    return ds


def _crs(ds: xr.Dataset, crs: object, *, geographic: bool) -> Any:
    """Return the CRS given, the one the data carry, or EPSG:4326 for latitude and longitude."""
    if crs is not None:
        return schema.parse_crs(crs)
    mappings = {
        str(array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping"))
        for array in ds.data_vars.values()
    }
    for name in (*sorted(mappings), SPATIAL_REF, "crs"):
        if name in ds.variables:
            attrs = ds[name].attrs
            for key in ("crs_wkt", "spatial_ref", "epsg_code"):
                if attrs.get(key):
                    return schema.parse_crs(attrs[key])
    if ds.attrs.get("crs"):
        return schema.parse_crs(ds.attrs["crs"])
    if geographic:
        return schema.parse_crs("EPSG:4326")
    raise CubeError("The data carry no CRS (no CF grid mapping): pass crs=, such as crs='EPSG:32633'.")


def _grid(ds: xr.Dataset, system: Any) -> dict[Hashable, xr.Variable]:
    """Return the spatial coordinates: the data's own centres, and a grid mapping."""
    placeholder = xr.Variable((), np.int32(0), {"crs_wkt": system.wkt})
    own = {dim: ds[dim].astype(np.float64).variable for dim in ("y", "x")}
    geobox = schema.geobox_of(xr.Dataset(coords={**own, SPATIAL_REF: placeholder}))
    coords = schema.grid_coords(geobox)
    for dim, centres in own.items():
        coords[dim] = xr.Variable(dim, centres.values, coords[dim].attrs)
    return coords


def _level(level: str | None, ds: xr.Dataset, *, has_scl: bool) -> str:
    told = level or ds.attrs.get("processing_level")
    if told is None and "processing_level" in ds.coords and ds["processing_level"].ndim == 0:
        told = ds["processing_level"].item()
    if told is None and has_scl:
        told = "L2A"
    if told not in schema.LEVELS:
        got = "" if told is None else f", got {told!r}"
        raise CubeError(
            "The processing level is not in the data: pass level='L1C' (top of atmosphere) or "
            f"level='L2A' (surface){got}."
        )
    return str(told)


def _facts(
    array: xr.DataArray,
    scale: float | None,
    offset: float | Sequence[float] | None,
    nodata: float | Literal["none"] | None,
) -> tuple[float, float | Sequence[float], float | None]:
    """Return scale, offset and no-data of a band: what was given, else what the data say."""
    kept = {**array.encoding, **array.attrs}
    decoded = array.dtype.kind == "f"
    if nodata is None:
        # What stands in the encoding of float data has been turned into NaN on opening.
        place = array.attrs if decoded else kept
        told = [place[key] for key in ("_FillValue", "missing_value", "nodata") if key in place]
        nodata = float(told[0]) if told and np.isfinite(told[0]) else None
        if nodata is not None and nodata < 0 and array.dtype.kind == "u":
            nodata += 2 ** (8 * array.dtype.itemsize)  # told in the signed type
        if nodata is None and not decoded:
            raise HarmonizationError(
                f"{array.name!r} holds {array.dtype} and nothing says which count is missing: pass "
                "nodata=0 (ESA's products), or nodata='none' where every count is data."
            )
    # A scale of 1, which some writers put on every integer raster, says nothing.
    on_opening = decoded and float(array.encoding.get("scale_factor", 1)) < 0.01
    if scale is not None and on_opening:
        raise HarmonizationError(
            f"{array.name!r} has been scaled on opening (by scale_factor "
            f"{array.encoding['scale_factor']:g}): leave scale= and offset= out, or open the data with "
            "mask_and_scale=False."
        )
    if scale is None and decoded:
        stored_as = np.dtype(kept.get("dtype", np.float32))
        if on_opening or (stored_as.kind == "f" and not is_lazy(array.data)):
            # xarray has scaled them, or they can be looked at.
            scale, offset = 1.0, 0.0 if offset is None else offset
            _refuse_counts(array)
    elif scale is None and float(array.attrs.get("scale_factor", 1)) < 0.01:
        scale = float(array.attrs["scale_factor"])
        offset = float(array.attrs.get("add_offset", 0.0)) if offset is None else offset
    if scale is None or offset is None:
        raise HarmonizationError(
            f"{array.name!r} ({array.encoding.get('dtype', array.dtype)}) does not say what its values "
            "are worth: pass scale=1e-4 and offset=0 (processing baselines before 04.00, or offset "
            "already removed) or offset=-0.1 (04.00 and later) for counts, scale=1 and offset=0 for "
            "reflectance."
        )
    if not (isinstance(scale, (int, float, np.number)) and scale > 0):
        raise HarmonizationError(f"scale is the reflectance of one count, above 0; got {scale!r}.")
    if np.ndim(offset) not in (0, 1) or (
        np.ndim(offset) == 1 and len(np.atleast_1d(offset)) != len(array)
    ):
        raise HarmonizationError(
            f"offset is one number, or one a date ({len(array)}); got shape {np.shape(offset)}."
        )
    if nodata is None or nodata == "none":
        return scale, offset, None
    return scale, offset, float(nodata)


def _refuse_counts(array: xr.DataArray) -> None:
    """Raise where float data in memory are plainly counts; data on disk are not read to find out."""
    if is_lazy(array.data) or not array.variable._in_memory:
        return
    sample = array.values[..., :: max(1, array.sizes["x"] // 64)]
    if np.isfinite(sample).any() and np.nanmedian(np.abs(sample)) > 3:
        raise HarmonizationError(
            f"{array.name!r} has a median of {np.nanmedian(sample):g}: these are counts, not "
            "reflectance. Pass scale=1e-4 and offset=0 or offset=-0.1."
        )
