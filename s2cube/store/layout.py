"""How a store is laid out: arrays, chunks, shards, encoding, and the metadata that says so."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.errors import CubeError
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
from s2cube.store.ledger import LEDGER

__all__ = [
    "ATTRIBUTE",
    "FORMAT",
    "Profile",
    "layout_of",
    "recipe_of",
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

_SHAPES: Final[Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]]] = {
    "series": ((64, 128, 128), (384, 256, 256)),
    "balanced": ((16, 256, 256), (64, 512, 512)),
}
"""Chunk and shard by profile, (time, y, x)."""

# Values of a pixel that nobody wrote. `fill_value` is Zarr's; without a CF `_FillValue` beside it,
# xarray leaves the integers as they are on reading, which flags and ages need.
FILL: Final = {PROVENANCE: int(Provenance.NEVER_OBSERVED), CLEAR_AGE: NO_AGE, FAILED_LOOKS: 0}


def layout_of(cube: xr.Dataset, profile: Profile) -> dict[str, Any]:
    """Return everything that two runs must agree on to share one store, as plain JSON."""
    if profile not in _SHAPES:
        raise CubeError(f"profile is one of {', '.join(_SHAPES)}, got {profile!r}.")
    chunk, shard = _SHAPES[profile]
    geobox = schema.geobox_of(cube)
    shape = tuple(cube.sizes[dim] for dim in schema.DIMS)
    chunks = [min(c, n) for c, n in zip(chunk, shape, strict=True)]
    # A shard no larger than the array needs: whole chunks, up to the profile's size.
    shards = [min(s // c * c, -(-n // c) * c) for s, c, n in zip(shard, chunks, shape, strict=True)]
    days = cube["time"].values.astype("datetime64[D]").astype(np.int64)
    kept = [*schema.bands_of(cube), *(name for name in FILL if name in cube)]
    return {
        "format": FORMAT,
        "crs": str(geobox.crs),
        "transform": [float(part) for part in geobox.transform[:6]],
        "shape": list(shape),
        "days": {
            "first": str(days[0].astype("datetime64[D]")),
            "last": str(days[-1].astype("datetime64[D]")),
            "sha256": hashlib.sha256(days.tobytes()).hexdigest(),
        },
        # By name, with the number of dimensions: `failed_looks` has no time.
        "variables": {name: cube[name].ndim for name in kept},
        "profile": profile,
        "chunks": chunks,
        "shards": shards,
    }


def shard_of(layout: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Return the shard of a variable."""
    return tuple(layout["shards"][-layout["variables"][name] :])


def shards_in(layout: Mapping[str, Any], name: str, region: Region) -> list[str]:
    """Return the files of a variable in a region, by path within the store, in C order."""
    days, ny, nx = layout["shards"]
    steps = [
        f"{y}/{x}"
        for y in range(region.y.start // ny, -(-region.y.stop // ny))
        for x in range(region.x.start // nx, -(-region.x.stop // nx))
    ]
    if layout["variables"][name] == 2:
        return [f"{name}/c/{step}" for step in steps]
    return [f"{name}/c/{t}/{step}" for t in range(-(-layout["shape"][0] // days)) for step in steps]


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
    for name, dims in layout["variables"].items():
        zeros = da.zeros(tuple(layout["shape"][-dims:]), chunks=-1, dtype=cube[name].dtype)
        empty[name] = cube[name].variable.copy(data=zeros)
        empty[name].encoding = {}
        encoding[name] = {
            "chunks": tuple(layout["chunks"][-dims:]),
            "shards": shard_of(layout, name),
            "compressors": compressors,
            "grid_mapping": schema.SPATIAL_REF,
            "fill_value": FILL.get(name, NODATA),
        }
        if name in schema.BANDS:
            encoding[name] |= {"dtype": "int16", "scale_factor": SCALE, "_FillValue": np.int16(NODATA)}
    days = (layout["shape"][0],)
    encoding["time"] = {"units": "days since 1970-01-01", "dtype": "int32", "chunks": days}
    coords = {name: cube.coords[name].variable for name in ("time", "y", "x", schema.SPATIAL_REF)}
    words = {
        name: str(cube.coords[name].item())
        for name in ("sensor", "processing_level")
        if name in cube.coords
    }
    attrs = {
        "Conventions": "CF-1.11",
        "history": recipe["history"],
        **words,
        # So that a plain xarray.open_zarr() finds the CRS without decode_coords="all".
        "coordinates": schema.SPATIAL_REF,
        ATTRIBUTE: {"layout": dict(layout), "recipe": dict(recipe)},
    }
    memory: dict[str, Any] = {}
    target = zarr.storage.MemoryStore(memory)
    xr.Dataset(empty, coords, attrs).to_zarr(
        target, mode="w", compute=False, zarr_format=3, consolidated=False, encoding=encoding
    )
    group = zarr.open_group(target, mode="r+")
    group.create_group(LEDGER, attributes={LEDGER: []})
    with warnings.catch_warnings():
        # Every reader we care for understands consolidated metadata; it saves them a request a
        # variable, and shows a store as a whole or not at all.
        warnings.filterwarnings("ignore", "Consolidated metadata", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(target)
    objects = {key: value.to_bytes() for key, value in memory.items()}
    return objects, objects.pop("zarr.json")
