"""Images without a product around them: what their names and headers tell."""

import functools
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s2cube import harmonize, schema
from s2cube.errors import CatalogError, CubeError, HarmonizationError, ReadError
from s2cube.sources.local.found import (
    Found,
    Said,
    band_of,
    is_extra,
    lonlat_bounds,
    platform_of,
    remoteness,
)
from s2cube.sources.local.pattern import ESA, Match, Pattern
from s2cube.sources.local.storage import openable
from s2cube.sources.scene import BandFacts, Scene, product_name

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["scenes_in"]

_Names = Sequence[str] | Mapping[str, str | None] | None


@dataclass(frozen=True)
class _Header:
    """What an image says of itself."""

    grid: "GeoBox"
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str | None, ...]


@dataclass(frozen=True)
class _Layer:
    """One band in a file."""

    path: Path
    number: int
    """From 1."""
    alone: bool = False
    """Whether the name of the file says that it holds this band only."""

    @property
    def header(self) -> _Header:
        return _header(self.path)

    @property
    def href(self) -> str:
        path = openable(self.path)
        # GDAL's way to say "that band of it" in one name.
        return path if self.number == 1 else f"vrt://{path}?bands={self.number}"

    def remoteness(self, band: str) -> float:
        """How far its pixels are from the native size of `band`; in degrees: how large they are."""
        size, system = abs(self.header.grid.transform.a), self.header.grid.crs
        return size if system is None or system.geographic else remoteness(band, size)


@functools.lru_cache(maxsize=4096)
def _header_at(path: Path, _changed: int) -> _Header:
    import rasterio
    from odc.geo.geobox import GeoBox
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            # As the reader opens it: files beside it do not count.
            with (
                rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
                rasterio.open(path, sharing=False) as file,
            ):
                if file.crs is None or file.transform.is_identity:
                    raise CatalogError(f"{path} does not say where its pixels are (CRS, transform).")
                return _Header(
                    GeoBox(file.shape, file.transform, schema.parse_crs(file.crs.to_wkt())),
                    file.dtypes,
                    file.nodatavals,
                    file.scales,
                    file.offsets,
                    file.descriptions,
                )
        except RasterioError as error:
            raise ReadError(f"Cannot read {path}: {error}") from None


def _header(path: Path) -> _Header:
    openable(path)
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise ReadError(f"Cannot read {path}: {error.strerror}.") from None
    return _header_at(path, changed)


def scenes_in(
    files: Sequence[tuple[str, Path]], pattern: Pattern, said: Said
) -> tuple[list[Found], list[str]]:
    """Return the scenes that `files` are of, and those that do not fit; one header a scene is opened.

    Parameters
    ----------
    files
        Path below the folder, with ``/``, and whole path. What is listed twice counts once.
    pattern
        How the first is read; files that it does not fit are left out.
    said
        What the user says.

    Raises
    ------
    CatalogError
        No file fits, or it cannot be known which scene or band one is of.
    ReadError
        A file cannot be opened.
    """
    if pattern.tells_band and said.names is not None and not isinstance(said.names, Mapping):
        raise CubeError(
            "names is a list of a file's bands; here {band} tells it, so map: {'mine': 'B04'}."
        )
    scenes: dict[tuple[Any, ...], dict[tuple[str, str | None], tuple[str, Path, Match]]] = {}
    fitting, others = set(), {}
    for relative, path in files:
        real = os.path.realpath(path)
        if (match := pattern.match(relative)) is None:
            others[real] = relative
            continue
        fitting.add(real)
        time = _time_of(relative) if match.time is None else match.time
        key = (time, *sorted(match.fields.items()), None if pattern.tells_band else real)
        scenes.setdefault(key, {}).setdefault((real, match.band), (relative, path, match))
    if not scenes:
        raise CatalogError(
            f"None of {len(others)} images fits pattern={pattern.text!r}, such as {files[0][0]}."
        )
    found = [_found(list(group.values()), key[0], said) for key, group in scenes.items()]
    return found, [relative for real, relative in others.items() if real not in fitting]


def _time_of(relative: str) -> np.datetime64:
    """Return the time in ESA's product name."""
    told = product_name(relative.upper()).get("start")
    if told is None:
        raise CatalogError(
            f"Nothing tells the time of {relative}: have pattern= read it, as in {{time:%Y%m%d}}."
        )
    date, _, clock = told.partition("T")
    return np.datetime64(f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}", "ns")


def _found(group: list[tuple[str, Path, Match]], time: np.datetime64, said: Said) -> Found:
    """Return the scene of some files."""
    relative, path, match = group[0]
    # The name of the product or patch may be that of its folder, which the pattern need not mention.
    told = {**product_name(relative.upper()), **match.fields}
    layers: dict[str, list[_Layer]] = {}
    unknown = [file for _, file, own in group if _is_unknown(own, said.names)]
    for _, file, own in group:
        for band, layer in _layers(file, own, said.names):
            layers.setdefault(band, []).append(layer)
    if not set(layers) - {schema.SCL}:
        raise CatalogError(
            f"No band of Sentinel-2 in {path}{' and the like' if len(group) > 1 else ''}: say which is "
            "which with names=, a list in the order of the file, or {'your name': 'B04', ...}."
        )
    chosen = {band: _nearest(band, several) for band, several in layers.items()}
    grid = next(iter(chosen.values())).header.grid
    baseline = harmonize.parse_baseline(told.get("baseline"))
    scene = Scene(
        id=Path(match.rest).with_suffix("").as_posix().rstrip("_-."),
        time=time,
        geometry=grid.geographic_extent.json,
        bbox=lonlat_bounds(grid),
        sensor="sentinel-2",
        level=told.get("level") or ("L2A" if schema.SCL in layers else None),
        platform=platform_of(told.get("platform", "")),
        relative_orbit=int(told.get("orbit", -1)),
        baseline="" if baseline is None else "{:02}.{:02}".format(*baseline),
        datatake="",
        tile=told.get("tile", ""),
        datastrip="",
        created="",
        bands={},
    )
    return Found(
        scene,
        frozenset(chosen),
        lambda band: _band_facts(chosen[band], band, baseline, said),
        str(path),
        unknown=tuple(unknown),
    )


def _is_unknown(match: Match, names: _Names) -> bool:
    """Return whether the band in a file's name is neither one nor known to be none."""
    mine = names if isinstance(names, Mapping) else {}
    name = match.band
    return name is not None and name not in mine and band_of(name) is None and not is_extra(name)


def _layers(path: Path, match: Match, names: _Names) -> list[tuple[str, _Layer]]:
    """Return the bands in a file; layers that are no band are left out."""
    mine = names if isinstance(names, Mapping) else {}
    if match.band is not None:
        band = _named(match.band, mine)
        return [] if band is None else [(band, _Layer(path, 1, alone=True))]
    header = _header(path)
    if len(header.dtypes) > 1 and "?" in str(path):
        raise CatalogError(f"{path}: GDAL cannot open one band of a file with '?' in its path.")
    told: Sequence[str | None] = header.descriptions
    if names is not None and not isinstance(names, Mapping):
        if len(names) != len(told):
            raise CatalogError(f"names has {len(names)} bands, and {path} has {len(told)}.")
        told = names
    found = [(None if name is None else _named(name, mine), i) for i, name in enumerate(told, 1)]
    return [(band, _Layer(path, number)) for band, number in found if band is not None]


def _named(name: str, mine: Mapping[str, str | None]) -> str | None:
    if name not in mine:
        return band_of(name)
    if (known := mine[name]) is None:
        return None
    return schema.SCL if schema.is_scl(known) else schema.band_id(known)


def _nearest(band: str, layers: list[_Layer]) -> _Layer:
    """Return the layer in the band's native pixel size, or nearest to it."""
    if len(layers) == 1:
        return layers[0]
    ordered = sorted(layers, key=lambda layer: layer.remoteness(band))
    if ordered[0].remoteness(band) == ordered[1].remoteness(band):
        raise CatalogError(
            f"{ordered[0].path} and {ordered[1].path} are both {band} of one scene: have pattern= read "
            "what they differ in as a field of any name, as in {patch}."
        )
    return ordered[0]


def _band_facts(layer: _Layer, band: str, baseline: harmonize.Baseline | None, said: Said) -> BandFacts:
    header, i = layer.header, layer.number - 1
    if layer.alone and len(header.dtypes) > 1:
        raise CatalogError(
            f"{layer.path} has {len(header.dtypes)} bands, and its name tells one ({band}): leave "
            "{band} out of pattern= and say names=[...], its bands in the order of the file."
        )
    dtype = np.dtype(header.dtypes[i])
    if band == schema.SCL:
        attrs = schema.scl_attrs()
        return BandFacts(layer.href, dtype.name, 0.0, 1.0, 0.0, header.grid, attrs, classes=True)
    # No provider writes JP2: such a file is as ESA made it.
    esa = layer.path.suffix.lower() == ESA.text[-4:]
    scale, declared = _scale(layer, band, said, esa=esa)
    what = f"{band} of {layer.path}"
    if said.offset is None:
        _ask_for_offset(what, baseline, declared, esa=esa)
    facts = harmonize.OffsetFacts(what, baseline=baseline, original=esa, declared=declared)
    return BandFacts(
        layer.href,
        dtype.name,
        _nodata(what, dtype, header.nodata[i], said, esa=esa),
        scale,
        said.offset_of(facts),
        header.grid,
        schema.band_attrs(band),
    )


def _scale(layer: _Layer, band: str, said: Said, *, esa: bool) -> tuple[float, float | None]:
    """Return the reflectance of one count, and the offset that the file declares with it."""
    header, i = layer.header, layer.number - 1
    # A scale of 1, which every file has that has none, says nothing.
    tagged = 0 < header.scales[i] < 0.01
    declared = header.offsets[i] if tagged else None
    if said.scale is not None:
        return said.scale, declared
    if tagged:
        return header.scales[i], declared
    if esa or said.offset == "baseline":
        return schema.SCALE, declared
    raise HarmonizationError(
        f"{band} of {layer.path} ({header.dtypes[i]}) does not say what its values are worth (GeoTIFF "
        "scale and offset): pass scale=1e-4 and offset= for counts (0: processing baselines before "
        "04.00, or removed; -0.1: 04.00 and later; 'baseline': ESA's counts, by the baseline in the "
        "path), or scale=1 and offset=0 for reflectance."
    )


def _ask_for_offset(
    what: str, baseline: harmonize.Baseline | None, declared: float | None, *, esa: bool
) -> None:
    """Raise where the rules would decide, and what they go by is too little for files of any origin."""
    if esa:
        if baseline is None:
            raise HarmonizationError(
                f"Nothing tells the offset of {what}: its processing baseline is not in its path. Say "
                "offset=0 (before 04.00) or offset=-0.1 (04.00 and later); the date does not tell."
            )
        return
    late = baseline is not None and baseline >= harmonize.FIRST_WITH_OFFSET
    # A GeoTIFF that declares a scale and no offset reads as if it declared 0.
    if declared is not None and (declared != 0 or not late):
        return
    told = "" if baseline is None else ", its path says baseline {:02}.{:02}".format(*baseline)
    raise HarmonizationError(
        f"{what} does not tell its offset{told}, and whether somebody has removed it is not known: say "
        "offset=0 (none, or removed), offset=-0.1 (it is in the counts), or offset='baseline' (the "
        "counts are ESA's, the baseline in the path decides)."
    )


def _nodata(
    what: str, dtype: np.dtype, declared: float | None, said: Said, *, esa: bool
) -> float | None:
    told = declared if said.nodata is None else said.nodata
    if dtype.kind == "f":
        # NaN is missing in any case.
        return None if told is None or np.isnan(told) else float(told)
    if told is None and not (esa or said.offset == "baseline"):
        raise HarmonizationError(
            f"{what} holds {dtype}, and nothing says which count is missing: pass nodata=0 (ESA's), "
            "or a count that does not occur."
        )
    return float(told or 0)
