"""How a store is laid out: arrays, chunks, shards, encoding, and the metadata that says so."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill.intervals import NAMES, name_of
from s2cube.kernels.counts import NODATA_UNSIGNED
from s2cube.plan import Region
from s2cube.schema import (
    CLEAR_AGE,
    FAILED_LOOKS,
    NO_AGE,
    NODATA,
    PROVENANCE,
    SCALE,
    Provenance,
)
from s2cube.store.geozarr import geozarr_attrs

__all__ = [
    "ATTRIBUTE",
    "FORMAT",
    "LEDGER",
    "Encoding",
    "Profile",
    "days_in",
    "encoding_of",
    "files_of",
    "layout_of",
    "names_in",
    "recipe_of",
    "region_holding",
    "regions_in",
    "shard_of",
    "shards_in",
    "skeleton",
    "token_of",
]

Profile = Literal["series", "balanced"]

FORMAT: Final = 1
"""Version of what is on disk."""
ATTRIBUTE: Final = "s2cube"
"""The root attribute that holds layout and recipe."""
LEDGER: Final = "ledger"
"""Name of the subgroup of a store that holds the marks, and that tells our stores from others; and of
its attribute that names the object they are in."""

_SHAPES: Final[Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]]] = {
    "series": ((64, 128, 128), (384, 256, 256)),
    "balanced": ((16, 256, 256), (64, 512, 512)),
}
"""Chunk and shard by profile, (time, y, x)."""


@dataclass(frozen=True)
class Encoding:
    """How a variable is on disk."""

    dtype: str
    fill: int
    """Zarr's value of a pixel that nobody wrote; where it is scaled, also CF's ``_FillValue``. Without
    that xarray leaves integers as they are on reading, which flags and ages need."""
    scaled: bool = False
    """Whether counts of 1e-4 stand for float32."""


_BAND: Final = Encoding("int16", NODATA, scaled=True)
_INTERVAL: Final = Encoding("uint16", NODATA_UNSIGNED, scaled=True)
"""Half-widths of intervals: never negative, and the wide ones are wider than ±3.2767."""
_KEPT: Final = {
    PROVENANCE: Encoding("uint8", int(Provenance.NEVER_OBSERVED)),
    CLEAR_AGE: Encoding("int16", NO_AGE),
    FAILED_LOOKS: Encoding("uint16", 0),
}
"""Variables that are kept as they are."""


def encoding_of(name: str) -> Encoding:
    """Return the encoding of a variable of a store."""
    if name in schema.BANDS:
        return _BAND
    return _KEPT.get(name, _INTERVAL)


def names_in(cube: xr.Dataset) -> list[str]:
    """Return the variables of a filled cube that are written."""
    bands = schema.bands_of(cube)
    intervals = [name_of(band, level) for band in bands for level in NAMES]
    names = [*bands, *(name for name in (*intervals, *_KEPT) if name in cube)]
    for name in names:
        wanted = "float32" if encoding_of(name).scaled else encoding_of(name).dtype
        if str(cube[name].dtype) != wanted:
            raise CubeError(
                f"{name!r} is {cube[name].dtype}, a filled cube holds {wanted}: what changed it after "
                "fill_gaps()?"
            )
        if cube[name].dims not in (schema.DIMS, schema.DIMS[1:]):
            raise CubeError(f"{name!r} has dimensions {cube[name].dims}, a filled cube {schema.DIMS}.")
    return names


def layout_of(cube: xr.Dataset, profile: Profile, append_every: int | None = None) -> dict[str, Any]:
    """Return everything that two runs must agree on to share one store, as plain JSON.

    With `append_every`, days may be added later: chunks and shards do not depend on how many there are.
    """
    if profile not in _SHAPES:
        raise CubeError(f"profile is one of {', '.join(_SHAPES)}, got {profile!r}.")
    chunk, shard = _SHAPES[profile]
    geobox = schema.geobox_of(cube)
    shape = tuple(cube.sizes[dim] for dim in schema.DIMS)
    chunks = [min(c, n) for c, n in zip(chunk, shape, strict=True)]
    # A shard no larger than the array needs: whole chunks, up to the profile's size.
    shards = [min(s // c * c, -(-n // c) * c) for s, c, n in zip(shard, chunks, shape, strict=True)]
    more: dict[str, int] = {}
    if append_every is not None:
        chunks[0], shards[0] = _part_of(append_every, chunk[0]), append_every
        more = {"append_every": append_every}
    kept = names_in(cube)
    return {
        "format": FORMAT,
        "crs": str(geobox.crs),
        "transform": [float(part) for part in geobox.transform[:6]],
        "shape": list(shape),
        "days": days_in(cube["time"].values),
        # By name, with the number of dimensions: `failed_looks` has no time.
        "variables": {name: cube[name].ndim for name in kept},
        "profile": profile,
        "chunks": chunks,
        "shards": shards,
        **more,
    }


def days_in(times: NDArray[np.datetime64]) -> dict[str, str]:
    """Return what a layout says of the days."""
    days = times.astype("datetime64[D]")
    return {
        "first": str(days[0]),
        "last": str(days[-1]),
        "sha256": hashlib.sha256(days.astype(np.int64).tobytes()).hexdigest(),
    }


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs of two layouts, by the entries of the second."""
    keys = [key for key, value in now.items() if there.get(key) != value]
    if {"shape", "profile"} & set(keys):  # from which these follow
        keys = [key for key in keys if key not in ("chunks", "shards")]
    return [f"{key} {_in_words(key, there.get(key))}, now {_in_words(key, now[key])}" for key in keys]


def _in_words(key: str, value: Any) -> str:
    """Return one entry of a layout as a person would say it."""
    match key, value:
        case "days", {"first": first, "last": last, "sha256": checksum}:
            # Without it, those with the same ends would seem to be the same.
            return f"{first} to {last} (checksum {checksum[:6]})"
        case "shape" | "region" | "chunks" | "shards", [*sizes]:
            return " x ".join(map(str, sizes))
        case "transform", [step, _, x, _, _, y]:
            return f"pixels of {step:g} from x {x:.10g}, y {y:.10g}"
        case "variables", {**names}:
            return ", ".join(map(str, names))
    return str(value)


def _part_of(days: int, near: int) -> int:
    """Return the part of a shard of `days` that is a chunk: it divides it, and is about `near`."""
    parts = [part for part in range(1, days + 1) if days % part == 0]
    return min(parts, key=lambda part: max(part / near, near / part))


def shard_of(layout: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Return the shard of a variable."""
    return tuple(layout["shards"][-layout["variables"][name] :])


def shards_in(layout: Mapping[str, Any], name: str, region: Region, since: int = 0) -> list[str]:
    """Return the files of a variable in a region, by path within the store, in C order.

    With `since`, the index of a day, those that hold it or later ones; a variable without days has then
    none.
    """
    days, ny, nx = layout["shards"]
    steps = [
        f"{y}/{x}"
        for y in range(region.y.start // ny, -(-region.y.stop // ny))
        for x in range(region.x.start // nx, -(-region.x.stop // nx))
    ]
    if layout["variables"][name] == 2:
        return [] if since else [f"{name}/c/{step}" for step in steps]
    places = range(since // days, -(-layout["shape"][0] // days))
    return [f"{name}/c/{t}/{step}" for t in places for step in steps]


def files_of(layout: Mapping[str, Any], region: Region, since: int = 0) -> list[str]:
    """Return all files of a region, by path within the store; with `since`, from that day on."""
    return [file for name in layout["variables"] for file in shards_in(layout, name, region, since)]


def regions_in(layout: Mapping[str, Any]) -> dict[str, Region]:
    """Return the regions of a store, by id."""
    (height, width), (down, right) = layout["shape"][1:], layout["region"]
    regions = [
        Region(slice(y, min(y + down, height)), slice(x, min(x + right, width)))
        for y in range(0, height, down)
        for x in range(0, width, right)
    ]
    return {region.id: region for region in regions}


def region_holding(layout: Mapping[str, Any], file: str) -> str | None:
    """Return the id of the region that a file belongs to; None for metadata and coordinates."""
    name, *place = file.split("/")
    if name not in layout["variables"] or place[:1] != ["c"]:
        return None
    sides = []
    axes = zip(place[-2:], layout["shards"][1:], layout["region"], layout["shape"][1:], strict=True)
    for index, shard, side, length in axes:
        start = int(index) * shard // side * side
        sides.append(slice(start, min(start + side, length)))
    return Region(*sides).id


def recipe_of(cube: xr.Dataset, names: Mapping[str, int]) -> dict[str, str]:
    """Return what decides the values: the verbs as recorded, and a token of every array.

    The token also sees what was done to the cube between the verbs. It is Dask's: the same for the
    same work in another process, new when chunks change.
    """
    from dask.base import tokenize

    tokens = [tokenize(cube[name].data) for name in names]
    return {
        "history": str(cube.attrs.get("history", "")),
        "token": hashlib.sha256(json.dumps(tokens).encode()).hexdigest(),
    }


def token_of(layout: Mapping[str, Any], recipe: Mapping[str, str]) -> str:
    """Return the token of both: what a region on disk was made by and for."""
    return hashlib.sha256(json.dumps([layout, recipe], sort_keys=True).encode()).hexdigest()


def skeleton(
    cube: xr.Dataset, layout: Mapping[str, Any], recipe: Mapping[str, str]
) -> tuple[dict[str, bytes], bytes]:
    """Return the store without its data: the objects to put first, and the root to put last.

    xarray writes it (CF encoding, coordinates, consolidated metadata are its business) into memory,
    from arrays that hold nothing.
    """
    import dask.array as da
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    empty: dict[str, xr.Variable] = {}
    encoding: dict[str, dict[str, Any]] = {}
    # The last codec guards every chunk: a shard's own checksum covers only its index.
    compressors = [BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()]
    located = geozarr_attrs(schema.geobox_of(cube))
    for name, dims in layout["variables"].items():
        held = encoding_of(name)
        zeros = da.zeros(tuple(layout["shape"][-dims:]), chunks=-1, dtype=cube[name].dtype)
        attrs = {**cube[name].attrs, **located}
        empty[name] = xr.Variable(schema.DIMS[-dims:], zeros, attrs)
        encoding[name] = {
            "chunks": tuple(layout["chunks"][-dims:]),
            "shards": shard_of(layout, name),
            "compressors": compressors,
            "grid_mapping": schema.SPATIAL_REF,
            "fill_value": held.fill,
        }
        if held.scaled:
            missing = np.dtype(held.dtype).type(held.fill)
            encoding[name] |= {"dtype": held.dtype, "scale_factor": SCALE, "_FillValue": missing}
    # Of one size for ever where days may be added: who reads with the old shape meets the new file.
    days = (layout.get("append_every", layout["shape"][0]),)
    encoding["time"] = {"units": "days since 1970-01-01", "dtype": "int32", "chunks": days}
    coords = {name: cube.coords[name].variable for name in ("time", "y", "x", schema.SPATIAL_REF)}
    words = {
        name: str(cube.coords[name].item())
        for name in ("sensor", "processing_level")
        if name in cube.coords
    }
    root = {
        "Conventions": "CF-1.11",
        "history": recipe["history"],
        **words,
        **located,
        # So that a plain xarray.open_zarr() finds the CRS without decode_coords="all".
        "coordinates": schema.SPATIAL_REF,
        ATTRIBUTE: {"layout": dict(layout), "recipe": dict(recipe)},
    }
    memory: dict[str, Any] = {}
    target = zarr.storage.MemoryStore(memory)
    xr.Dataset(empty, coords, root).to_zarr(
        target, mode="w", compute=False, zarr_format=3, consolidated=False, encoding=encoding
    )
    group = zarr.open_group(target, mode="r+")
    group.create_group(LEDGER, attributes={LEDGER: {}})
    with warnings.catch_warnings():
        # Every reader we care for understands consolidated metadata; it saves them a request a
        # variable, and shows a store as a whole or not at all.
        warnings.filterwarnings("ignore", "Consolidated metadata", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(target)
    objects = {key: value.to_bytes() for key, value in memory.items()}
    return objects, objects.pop("zarr.json")
