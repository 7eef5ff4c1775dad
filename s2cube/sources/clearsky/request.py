"""What is asked for: bands and indices, the grid, and the composites that make up a date."""

import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from s2cube import schema
from s2cube.errors import CubeError, ServiceError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = [
    "CompositePlan", "Download", "Limits", "Plan", "Window", "check_grid", "day_of", "edges",
    "identity_of", "in_order", "index_parts", "offered", "outline", "output_name", "service_name",
    "square_km", "wanted", "whole",
]  # fmt: skip

BANDS: Final = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""What every model delivers."""
NIMBUS: Final = ("B01", "B09")
"""What models named ``Nimbus...`` deliver besides."""
RESOLUTIONS: Final = (10, 20, 40, 80, 160, 320, 640, 1280)
"""Pixel sizes of the service, m."""
GROW: Final = 0.1
"""Share of a pixel by which the box asked for is larger than its pixels. The box travels in degrees:
rounding must not push a pixel out of it, nor let a neighbour in."""
_HAIR: Final = 1e-6
"""Metres that are rounding."""
_SIDE: Final = 1000.0
"""Metres between two corners of that box. Straight in degrees is not straight in metres: over 1 km
they differ by 2 cm, over 50 km by 50 m."""

Window = tuple[int, int, int, int]
"""First row, last row + 1, first column, last column + 1 in the cube's grid."""


@dataclass(frozen=True)
class Limits:
    """What the account may ask for at a time."""

    connections: int = 1
    area_km2: float = float("inf")
    bands: int = 1000

    @classmethod
    def of(cls, info: object) -> "Limits":
        """Return the limits that ``account/info`` tells; where it is silent, one request at a time."""
        told = info if isinstance(info, Mapping) else {}
        return cls(
            max(int(told.get("MaxConcurrentConnections") or 1), 1),
            float(told.get("MaxCompositeAreaKm2") or "inf"),
            int(told.get("MaxTotalBands") or 1000),
        )


@dataclass(frozen=True)
class Download:
    """One file that is paid for."""

    identity: str
    """JSON of everything that decides its pixels, and of nothing else: no key, no host, no rounding."""
    path: str
    """Of the call."""
    date: str
    holds: tuple[str, ...]
    """Its bands and indices, in order."""
    window: Window
    """Where in the grid its pixels lie."""
    size: int
    """Bytes of its pixels, more than which it hardly takes; 0 where that is not known."""
    tile: str = ""
    """Guid of the tile or id of the image; empty for a composite, which must hold all of `window`."""

    @property
    def key(self) -> str:
        """Its name in the cache: one folder for all that differ in area and bands only, and a file."""
        told = json.loads(self.identity)
        kin = json.dumps({name: told[name] for name in sorted(set(told) - {"edges", "Bandnames"})})
        return f"{self.date}-{_digest(kin)[:16]}/{_digest(self.identity)}"


class Plan(Protocol):
    """Which downloads make up a date."""

    @property
    def grid(self) -> "GeoBox":
        """The cube's grid."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Bands and indices, in the order of the service."""

    @property
    def factor(self) -> int:
        """Pixels of a download along a side of one of the grid."""

    def windows(self, date: str) -> Sequence[Window]:
        """Return where the downloads of a date may have pixels, the best first."""

    def download(self, date: str, number: int) -> Download:
        """Return one of the downloads of a date, by its number in :meth:`windows`."""

    def body(self, download: Download) -> dict[str, Any] | None:
        """Return the body of the call; None for a call that answers a signed link."""

    def halves(self, download: Download, what: str) -> list[Download]:
        """Return downloads that hold the same in pieces, split by ``"area"`` or ``"bands"``."""

    def holder(self, told: Any, download: Download) -> Download | None:
        """Return the download of the identity `told` if it holds all of `download`, else None."""


def day_of(told: object) -> str:
    """Return the date that a time of the service begins with; raise ValueError where it is none."""
    return datetime.date.fromisoformat(str(told)[:10]).isoformat()


def service_name(output: str) -> str:
    """Return what the service calls a band or an index: ``"B2"``, ``"[B8_B4]"``."""
    if parts := index_parts(output):
        return f"[{service_name(parts[0])}_{service_name(parts[1])}]"
    return "B" + output[1:].lstrip("0")


def output_name(word: str) -> str:
    """Return what we call a band or an index of the service, empty if it is none."""
    if parts := index_parts(word):
        return "_".join(parts)
    return schema.find_band(word.strip()) or ""


def index_parts(output: str) -> tuple[str, str] | None:
    """Return the bands A and B where `output` names the index (A - B) / (A + B), else None."""
    match = re.fullmatch(r"\[?([A-Za-z0-9]+)_([A-Za-z0-9]+)\]?", output.strip())
    if match is None:
        return None
    one, other = (schema.find_band(part) for part in match.groups())
    return (one, other) if one and other else None


def offered(model: str) -> tuple[str, ...]:
    """Return the bands that a model delivers, in the order of the service."""
    nimbus = NIMBUS if model.startswith("Nimbus") else ()
    return tuple(band for band in schema.BANDS if band in BANDS or band in nimbus)


def wanted(bands: str | Iterable[str], model: str) -> tuple[str, ...]:
    """Return the bands and indices asked for, by the names that they get in the cube.

    Raises
    ------
    CubeError
        The model does not deliver one, or there is no band among them.
    """
    known = offered(model)
    if bands == "all":
        return known
    found = []
    for name in schema.names_of(bands):
        parts = index_parts(str(name))
        for band in parts or (schema.band_id(name),):
            if band not in known:
                raise CubeError(
                    f"ClearSKY's model {model} does not deliver {band}: it has {', '.join(known)}"
                    + ("." if model.startswith("Nimbus") else "; Nimbus models B01 and B09 too.")
                )
        if parts and parts[0] == parts[1]:
            raise CubeError(f"The index {name!r} is made of one band twice.")
        found.append("_".join(parts) if parts else schema.band_id(name))
    if not set(found) & set(known):
        raise CubeError(
            f"Only indices asked for ({', '.join(found)}): a cube holds one band at least; add one."
        )
    return tuple(dict.fromkeys(found))


def in_order(outputs: Iterable[str]) -> tuple[str, ...]:
    """Return bands as the service orders them, then indices: one order, one download."""
    order = list(schema.BANDS)
    bands = sorted((name for name in outputs if name in order), key=order.index)
    return (*bands, *sorted(name for name in outputs if name not in order))


def check_grid(grid: "GeoBox") -> None:
    """Raise where the service cannot deliver exactly this grid, before anything is paid."""
    crs: Any = grid.crs
    if crs is None or not crs.projected or not crs.epsg or crs.units[0] not in ("metre", "meter"):
        raise CubeError(
            f"ClearSKY delivers square pixels of whole metres; {crs} is no projected system in metres "
            "with an EPSG code: take a UTM zone."
        )
    a, b, c, d, e, f = grid.transform[:6]
    if b or d or not a > 0 or abs(a + e) > _HAIR:
        raise CubeError(f"The grid must have square pixels and be north up, got {(a, b, c, d, e, f)}.")
    step = round(a)
    if step not in RESOLUTIONS or abs(a - step) > _HAIR:
        raise CubeError(f"ClearSKY has pixels of {', '.join(map(str, RESOLUTIONS))} m, not {a:g} m.")
    if any(abs(edge - step * round(edge / step)) > _HAIR for edge in (c, f)):
        from odc.geo.geobox import GeoBox

        around = GeoBox.from_bbox(grid.boundingbox, resolution=step).boundingbox
        raise CubeError(
            f"The grid's corner ({c:.12g}, {f:.12g}) is no multiple of its pixel size {step}, as "
            "ClearSKY's are: it could be met only by moving pixels. Open all on the grid around it: "
            f"GeoBox.from_bbox({tuple(map(round, around.bbox))}, 'EPSG:{crs.epsg}', resolution={step})."
        )


def whole(grid: "GeoBox") -> Window:
    """Return the window of all of `grid`."""
    return 0, grid.shape.y, 0, grid.shape.x


def edges(grid: "GeoBox", window: Window) -> list[int]:
    """Return left, bottom, right and top of a window, m: whole numbers, as :func:`check_grid` saw to."""
    top, bottom, left, right = window
    step, x0, y0 = grid.transform.a, grid.transform.c, grid.transform.f
    return [round(v) for v in (x0 + left * step, y0 - bottom * step, x0 + right * step, y0 - top * step)]


def outline(grid: "GeoBox", window: Window) -> str:
    """Return the box to ask for, as WKT in degrees."""
    import shapely
    from odc.geo.geom import box

    left, bottom, right, top = edges(grid, window)
    pad = GROW * grid.transform.a
    ring = box(left - pad, bottom - pad, right + pad, top + pad, grid.crs).segmented(_SIDE)
    degrees = ring.to_crs("epsg:4326")
    if degrees.boundingbox.span_x > 180:
        raise CubeError("The area crosses the antimeridian: open the two sides apart.")
    return str(shapely.to_wkt(degrees.geom, rounding_precision=9))


def square_km(grid: "GeoBox", window: Window) -> float:
    """Return the area of a window on the ellipsoid, km²."""
    import shapely
    from pyproj import Geod

    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(shapely.from_wkt(outline(grid, window)))
    return abs(area) / 1e6


@dataclass(frozen=True)
class CompositePlan:
    """A date is one composite, or several side by side where the account's limits ask for that."""

    grid: "GeoBox"
    outputs: tuple[str, ...]
    model: str
    constellations: tuple[str, ...]
    pieces: tuple[tuple[Window, tuple[str, ...]], ...]
    """Window and bands of each composite."""

    def __dask_tokenize__(self) -> Any:
        from dask.tokenize import normalize_token

        # How it is split changes no pixel.
        parts = "composite", self.grid, self.outputs, self.model, self.constellations
        return normalize_token(parts)

    @classmethod
    def within(
        cls,
        limits: Limits,
        *,
        grid: "GeoBox",
        outputs: tuple[str, ...],
        model: str,
        constellations: tuple[str, ...],
    ) -> "CompositePlan":
        """Return the plan that keeps to `limits`."""
        windows, waiting = [], [whole(grid)]
        while waiting:
            window = waiting.pop()
            # The service may measure a little differently.
            if square_km(grid, window) <= 0.99 * limits.area_km2:
                windows.append(window)
            else:
                waiting += _halved(window)
        most = max(limits.bands, 1)
        groups = [outputs[i : i + most] for i in range(0, len(outputs), most)]
        pieces = tuple((window, group) for window in sorted(windows) for group in groups)
        return cls(grid, outputs, model, constellations, pieces)

    @property
    def factor(self) -> int:
        """One: they come on the grid."""
        return 1

    def windows(self, date: str) -> list[Window]:  # noqa: ARG002 - all dates are alike
        """Return the windows of the composites."""
        return [window for window, _ in self.pieces]

    def download(self, date: str, number: int) -> Download:
        """Return a composite of a date."""
        return self._download(date, *self.pieces[number])

    def halves(self, download: Download, what: str) -> list[Download]:
        """Split a composite that the service finds too large."""
        date = download.date
        if what == "area":
            return [self._download(date, part, download.holds) for part in _halved(download.window)]
        half = len(download.holds) // 2
        if not half:
            raise ServiceError("ClearSKY refuses one band as too many (code 1005): ask its support.")
        parts = download.holds[:half], download.holds[half:]
        return [self._download(date, download.window, part) for part in parts]

    def holder(self, told: Any, download: Download) -> Download | None:
        """Return an earlier composite with more bands, or of more, if it holds `download`."""
        try:
            left, bottom, right, top = (int(edge) for edge in told["edges"])
            holds = tuple(output_name(word) for word in told["Bandnames"].split(","))
        except (LookupError, TypeError, ValueError, AttributeError):
            return None
        step = round(self.grid.transform.a)
        x0, _, _, y0 = edges(self.grid, (0, 1, 0, 1))
        window = (y0 - top) // step, (y0 - bottom) // step, (left - x0) // step, (right - x0) // step
        held = self._download(download.date, window, holds)
        (a, b, c, d), (e, f, g, h) = window, download.window
        inside = a <= e and f <= b and c <= g and h <= d
        # The same in all that was asked, so the same pixels.
        same = json.loads(held.identity) == told
        return held if same and inside and set(download.holds) <= set(holds) else None

    def body(self, download: Download) -> dict[str, Any]:
        """Return the body of the call."""
        return {
            "Wkt": outline(self.grid, download.window),
            **self._terms(download.holds),
            "Date": f"{download.date}T00:00:00Z",
        }

    def _terms(self, group: tuple[str, ...]) -> dict[str, Any]:
        crs: Any = self.grid.crs
        return {
            "Resolution": round(self.grid.transform.a),
            "EpsgProjection": int(crs.epsg),
            "FileType": "tif",
            "PixelSelectionMode": "contained",
            "DataType": "INT16",
            # At the edge of a zone the neighbour's pixels are fetched over: the grid is full.
            "UtmDataSelectionMode": "combined_utm",
            "UtmGridForcePixelResolutionSize": True,
            "Bandnames": ", ".join(map(service_name, group)),
            "SatelliteConstellations": list(self.constellations),
            "Model": self.model,
            # A part of an image must not use up the one download of a date.
            "AllowPartialImage": False,
            "AutomaticOrderCreation": False,
        }

    def _download(self, date: str, window: Window, group: tuple[str, ...]) -> Download:
        # Edges instead of the WKT, whose last digits may change with the version of PROJ.
        decides = {"edges": edges(self.grid, window), **self._terms(group)}
        path = "/api/satelliteimages/process/composite"
        size = 2 * len(group) * (window[1] - window[0]) * (window[3] - window[2])
        return Download(identity_of("composite", date, decides), path, date, group, window, size)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def identity_of(product: str, date: str, decides: Mapping[str, Any]) -> str:
    """Return the identity of a download."""
    return json.dumps({"product": product, "date": date, **decides}, sort_keys=True)


def _halved(window: Window) -> list[Window]:
    """Return the two halves of a window across its longer side."""
    top, bottom, left, right = window
    if bottom - top >= right - left and bottom - top > 1:
        middle = (top + bottom) // 2
        return [(top, middle, left, right), (middle, bottom, left, right)]
    if right - left > 1:
        middle = (left + right) // 2
        return [(top, bottom, left, middle), (top, bottom, middle, right)]
    raise ServiceError("ClearSKY refuses one pixel as too large an area (code 1004): ask its support.")
