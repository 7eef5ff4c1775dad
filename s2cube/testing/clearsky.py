"""A stand-in for the service of ClearSKY Vision: its calls, envelope and errors, over loopback."""

import contextlib
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.testing.clearsky_files import (
    BANDS,
    NODATA,
    contained,
    counts_on,
    footprint,
    outputs_of,
    square_km,
    tiff,
)
from s2cube.testing.loopback import Faults, Loopback, Request, Response

__all__ = ["ClearSkyStandIn"]

_RESOLUTIONS: Final = (10, 20, 40, 80, 160, 320, 640, 1280)
_LIMITS: Final = {"MaxConcurrentConnections": 4, "MaxCompositeAreaKm2": 10_000, "MaxTotalBands": 20}


class _Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.response = _json(
            400, {"Succeeded": False, "Data": data, "Error": {"Message": message, "Code": code}}
        )


class ClearSkyStandIn(Loopback):
    """Serves a cube as ClearSKY Vision would, in its composites, tiles and signed links.

    Parameters
    ----------
    cube
        Its bands are the imagery; bands that it lacks are served as no data.
    key
        The one API key that is accepted.
    model, constellations
        What the imagery is said to be made by.
    credits
        What the account has; a km² costs one.
    limits
        Of the account, by the service's names.
    told
        Limits that the account is told, where they are not the true ones.
    generation
        2026, or 2024, which tells the limits at another path.
    missing
        Dates said to be available that turn out to have no imagery.
    partial
        Dates available in the western half only.
    ordered
        Grid that orders cover; by default the cube's.
    tile, minitile
        Sides of tiles, px.
    pause
        Seconds that making an image takes.
    expired
        How many of the first signed links have expired when they come.
    gateway
        Statuses that come in place of the first composites and tiles, after these were made and counted.
    faults
        As in :class:`~s2cube.testing.Loopback`.

    Attributes
    ----------
    downloads
        Images made so far, by date.
    peak
        The most requests for images that were in flight at a time.
    leaks
        Signed links that were fetched together with the key.

    Examples
    --------
    >>> import urllib.request
    >>> import s2cube
    >>> source = s2cube.testing.simulate_cube(shape=(16, 16), bands=["red"], end="2021-06-10")
    >>> with s2cube.testing.ClearSkyStandIn(source, key="k") as service:
    ...     models = f"{service.url}/api/tasking/models"
    ...     call = urllib.request.Request(models, headers={"X-API-KEY": "k"})
    ...     urllib.request.urlopen(call).status
    200
    """

    def __init__(
        self,
        cube: xr.Dataset,
        *,
        key: str = "stand-in",
        model: str = "Stratus2",
        constellations: Sequence[str] = ("Sentinel1", "Sentinel2", "Landsat89"),
        credits: float = float("inf"),  # noqa: A002 - the service's word
        limits: Mapping[str, float] | None = None,
        told: Mapping[str, float] | None = None,
        generation: int = 2026,
        missing: Sequence[str] = (),
        partial: Sequence[str] = (),
        ordered: Any = None,
        tile: int = 512,
        minitile: int = 128,
        pause: float = 0.0,
        expired: int = 0,
        gateway: Sequence[int] = (),
        faults: Faults | None = None,
    ) -> None:
        super().__init__(faults=faults)
        self.cube = cube
        self.grid = schema.geobox_of(cube)
        self.key = key
        self.model = model
        self.constellations = list(constellations)
        self.credits = credits
        self.limits = {**_LIMITS, **(limits or {})}
        self.told = {**self.limits, **(told or {})}
        self.generation = generation
        self.missing = set(missing)
        self.partial = set(partial)
        self.ordered = self.grid if ordered is None else ordered
        self.sides = {"tile": tile, "minitile": minitile}
        self.pause = pause
        self.expired = expired
        self.gateway = list(gateway)
        self.downloads: Counter[str] = Counter()
        self.peak = 0
        self.leaks = 0
        self._flying = 0
        self._links: dict[str, float] = {}
        self._count_lock = threading.Lock()

    @property
    def dates(self) -> list[str]:
        """The dates of the cube."""
        return [str(day) for day in np.unique(self.cube["time"].values.astype("datetime64[D]"))]

    @property
    def _west(self) -> Any:
        return self.grid[:, : max(self.grid.shape.x // 2, 1)]

    def answer(self, request: Request) -> Response:
        """Return what the service would answer."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = urlsplit(request.path).path.rstrip("/").lower()
        if path.startswith("/blob/"):
            return self._blob(request, leaked="x-api-key" in headers)
        if headers.get("x-api-key") != self.key:
            return _json(401, {"title": "Unauthorized", "status": 401})
        call = self._calls().get((request.method, path))
        if call is None:
            return _json(404, {"title": "Not Found", "status": 404})
        try:
            answered = call(self._body(request))
        except _Refusal as refusal:
            return refusal.response
        return answered if isinstance(answered, Response) else _data(answered)

    def _calls(self) -> dict[tuple[str, str], Callable[[dict[str, Any]], Any]]:
        images = "/api/satelliteimages"
        account = "/api/apikey/info" if self.generation == 2024 else "/api/account/info"
        return {
            # The real service of 2024 sends the key back, too.
            ("GET", account): lambda _: {"Key": self.key, **self.told},
            ("GET", "/api/tasking/models"): lambda _: {"TaskingModels": [self._model()]},
            ("POST", "/api/tasking/search/tiles"): self._search_tiles,
            ("POST", f"{images}/search/available"): self._search_available,
            ("POST", f"{images}/process/composite/estimate"): self._estimate,
            ("POST", f"{images}/process/composite"): self._composite,
            ("POST", f"{images}/process/tile"): lambda body: self._tile(body, "tile"),
            ("POST", f"{images}/process/minitile"): lambda body: self._tile(body, "minitile"),
            ("POST", f"{images}/boundingbox"): self._bounding_box,
            ("GET", images): self._link,
        }

    def _body(self, request: Request) -> dict[str, Any]:
        if request.method == "GET":
            return {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise _Refusal(992, "Malformed body", {"body": ["no JSON object"]})
        return body

    def _model(self) -> dict[str, Any]:
        supported = [{"SatelliteConstellation": c, "Optional": True} for c in self.constellations]
        return {"Model": self.model, "SupportedSatelliteConstellations": supported}

    # What is free.

    def _search_available(self, body: dict[str, Any]) -> Any:
        area = _geometry(body)
        places = []
        for grid, is_partial in ((self.grid, False), (self._west, True)):
            shape = footprint(grid).intersection(area)
            dates = [
                f"{date}T00:00:00"
                for date in self.dates
                if body["From"][:10] <= date <= body["Until"][:10]
                and (date in self.partial) == is_partial
            ]
            if dates and shape.area > 0:
                places.append({"Wkt": shape.wkt, "Dates": dates})
        made = {"Model": self.model, "SatelliteConstellations": self.constellations}
        return {"ModelImageDates": [{**made, "DatesByGeog": places}] if places else []}

    def _estimate(self, body: dict[str, Any]) -> Any:
        area = square_km(_geometry(body))
        return {"AreaEstimateKm2": area, "CreditEstimate": area}

    def _search_tiles(self, body: dict[str, Any]) -> Any:
        area = _geometry(body)
        tiles = [
            {
                "Guid": guid,
                "MiniTile": kind == "minitile",
                "Epsg": str(self.grid.crs.epsg),  # type: ignore[union-attr]
                "DataGeogWkt": footprint(grid).wkt,
            }
            for kind in self.sides
            for guid, grid, _ in self._tiles(kind)
        ]
        import shapely

        return {"Tiles": [t for t in tiles if shapely.from_wkt(t["DataGeogWkt"]).intersects(area)]}

    def _tiles(self, kind: str) -> Iterator[tuple[str, Any, tuple[int, int]]]:
        """Yield guid, grid and position of the tiles over the cube."""
        side = self.sides[kind]
        for row in range(-(-self.grid.shape.y // side)):
            for column in range(-(-self.grid.shape.x // side)):
                grid = self.grid.translate_pix(column * side, row * side).crop((side, side))
                guid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind} {row} {column}"))
                yield guid, grid, (column, row)

    def _bounding_box(self, body: dict[str, Any]) -> Any:
        import shapely

        area = shapely.from_wkt(body["BoundingBoxWkt"])
        found = []
        for guid, grid, (column, row) in self._tiles("tile"):
            if footprint(grid).intersects(area):
                dates = [
                    date
                    for date in self.dates
                    if body["From"][:10] <= date <= body["Until"][:10]
                    and (date not in self.partial or column == 0)
                ]
                images = [
                    {"SatelliteImageId": f"{guid}_{date}", "ImageDate": f"{date}T00:00:00"}
                    for date in dates
                ]
                place = {"Zone": "33N", "XPosition": column, "YPosition": row}
                found.append({**place, "SatelliteImageZones": images})
        return found

    # What costs.

    def _composite(self, body: dict[str, Any]) -> Response:
        with self._in_flight():
            area = _geometry(body)
            self._check_composite(body)
            names = outputs_of(body["Bandnames"])
            if names is None:
                raise _Refusal(993, "The request is not valid", {"Bandnames": [body["Bandnames"]]})
            date = str(body["Date"])[:10]
            if not footprint(self.ordered).buffer(1e-4).contains(area):
                raise _Refusal(1006, "Area or date is not covered by an order")
            if square_km(area) > self.limits["MaxCompositeAreaKm2"]:
                raise _Refusal(1004, "The area exceeds MaxCompositeAreaKm2")
            if len(names) > self.limits["MaxTotalBands"]:
                raise _Refusal(1005, "Too many bands")
            west = footprint(self._west).buffer(1e-4)
            lacks = date in self.partial and not west.contains(area)
            if date not in self.dates or date in self.missing or lacks:
                raise _Refusal(1002, "No imagery for this area and date")
            found = contained(area, int(body["Resolution"]), self.grid.crs)
            if found is None:
                raise _Refusal(993, "The request is not valid", {"Wkt": ["it contains no pixel"]})
            self._pay(date, square_km(area))
            grid, inside = found
            counts = counts_on(self._look(date), self.grid, grid, names)
            counts[:, ~inside] = NODATA
            return self._deliver(tiff(counts, grid, names, "GTiff"))

    def _check_composite(self, body: dict[str, Any]) -> None:
        wrong: dict[str, list[str]] = {}
        if body.get("Resolution") not in _RESOLUTIONS:
            wrong["Resolution"] = [f"{body.get('Resolution')} is not allowed"]
        if body.get("EpsgProjection") != self.grid.crs.epsg:  # type: ignore[union-attr]
            wrong["EpsgProjection"] = ["the stand-in knows that of its cube only"]
        if body.get("DataType") != "INT16" or body.get("PixelSelectionMode") != "contained":
            wrong["DataType"] = ["the stand-in knows INT16 and contained only"]
        if body.get("Model") != self.model:
            wrong["Model"] = [f"{body.get('Model')} is unknown"]
        if set(body.get("SatelliteConstellations", ())) != set(self.constellations):
            wrong["SatelliteConstellations"] = ["not those of the order"]
        if wrong:
            raise _Refusal(993, "The request is not valid", wrong)

    def _tile(self, body: dict[str, Any], kind: str) -> Response:
        with self._in_flight():
            asked = body.get("TileGuid" if kind == "tile" else "MiniTileGuid")
            grid = next((grid for guid, grid, _ in self._tiles(kind) if guid == asked), None)
            if grid is None:
                # As ASP.NET words it.
                errors = {"TileGuid": ["no such tile"]}
                return _json(400, {"title": "One or more errors", "status": 400, "errors": errors})
            date = str(body["Date"])[:10]
            if date not in self.dates or date in self.missing:
                raise _Refusal(1002, "No imagery for this area and date")
            self._pay(date, square_km(footprint(grid)))
            counts = counts_on(self._look(date), self.grid, grid, BANDS)
            return self._deliver(tiff(counts, grid, BANDS, "COG"))

    def _deliver(self, content: bytes) -> Response:
        with self._count_lock:
            if self.gateway:
                return Response(self.gateway.pop(0), b"<html>The gateway has given up waiting</html>")
        return _file(content)

    def _link(self, query: dict[str, Any]) -> Any:
        image = query.get("satelliteImageId", "")
        with self._count_lock:
            life = 60.0 if self.expired <= 0 else -1.0
            self.expired -= 1
            signature = uuid.uuid4().hex
            self._links[signature] = time.monotonic() + life
        return {"FileAzureSasUri": f"{self.url}/blob/{image}.tif?sig={signature}"}

    def _blob(self, request: Request, *, leaked: bool) -> Response:
        parts = urlsplit(request.path)
        signature = parse_qs(parts.query).get("sig", [""])[0]
        if leaked:
            self.leaks += 1
            return Response(400, b"a key came along")
        if self._links.get(signature, 0.0) < time.monotonic():
            return Response(403, b"<Error><Code>AuthenticationFailed</Code></Error>")
        guid, _, date = parts.path.removeprefix("/blob/").removesuffix(".tif").rpartition("_")
        grid = next((grid for name, grid, _ in self._tiles("tile") if name == guid), None)
        if grid is None or date not in self.dates:
            return Response(404, b"<Error><Code>BlobNotFound</Code></Error>")
        with self._count_lock:
            self.downloads[date] += 1
        return _file(tiff(counts_on(self._look(date), self.grid, grid, BANDS), grid, BANDS, "COG"))

    def _look(self, date: str) -> xr.Dataset:
        days = self.cube["time"].values.astype("datetime64[D]").astype(str)
        return self.cube.isel(time=int(np.flatnonzero(days == date)[-1]))

    @contextlib.contextmanager
    def _in_flight(self) -> Iterator[None]:
        with self._count_lock:
            if self._flying >= self.limits["MaxConcurrentConnections"]:
                raise _Refusal(1003, "Too many concurrent requests")
            self._flying += 1
            self.peak = max(self.peak, self._flying)
        try:
            time.sleep(self.pause)
            yield
        finally:
            with self._count_lock:
                self._flying -= 1

    def _pay(self, date: str, price: float) -> None:
        with self._count_lock:
            if price > self.credits:
                raise _Refusal(994, "Not enough credits")
            self.credits -= price
            self.downloads[date] += 1


def _json(status: int, content: Any) -> Response:
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _file(content: bytes) -> Response:
    return Response(200, content, {"Content-Type": "application/octet-stream"})


def _data(content: Any) -> Response:
    return _json(200, {"Succeeded": True, "Data": content, "Error": None})


def _geometry(body: Mapping[str, Any]) -> Any:
    import shapely
    import shapely.geometry

    wkt, geojson = body.get("Wkt"), body.get("GeoJson")
    if (wkt is None) == (geojson is None):
        raise _Refusal(992, "Malformed body", {"Wkt": ["exactly one of Wkt and GeoJson"]})
    return shapely.from_wkt(wkt) if wkt is not None else shapely.geometry.shape(geojson)
