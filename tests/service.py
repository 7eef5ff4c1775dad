"""What several tests of ClearSKY need: services that misbehave, and what right pixels are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox

from s2cube import schema
from s2cube.testing import ClearSkyStandIn, Request, Response

KEY = "sesame-9d1f"
COMPOSITE = "/process/composite"
"""How the path of what is paid ends."""


def paid(service: ClearSkyStandIn, end: str = COMPOSITE) -> list[Request]:
    """Return the requests that cost."""
    return [request for request in service.requests if request.path.endswith(end)]


def forget(cache: Path) -> None:
    """Remove the notes of what failed, as the errors say."""
    for note in cache.rglob("*.note"):
        note.unlink()


def on(source: xr.Dataset, geobox: GeoBox) -> xr.Dataset:
    """Return the source's pixels on a grid within its own, of its own pixel size."""
    whole = schema.geobox_of(source)
    column, row = (round(v) for v in ~whole.transform * (geobox.transform.c, geobox.transform.f))
    return source.isel(y=slice(row, row + geobox.shape.y), x=slice(column, column + geobox.shape.x))


def assert_right(cube: xr.Dataset, source: xr.Dataset, *, failed: bool = False) -> None:
    """Hold every band to the source's pixels, to the count; where allowed, unread ones aside."""
    cube = cube.compute(scheduler="threads")
    expected = on(source, schema.geobox_of(cube))
    days = expected["time"].values.astype("datetime64[D]")
    expected = expected.isel(time=[int(np.flatnonzero(days == t)[0]) for t in cube["time"].values])
    unread = cube["status"].values == 8
    assert failed or not unread.any()
    for band in schema.bands_of(cube):
        right = expected[band].values
        np.testing.assert_array_equal(cube[band].values[~unread], right[~unread], band)
    nothing = np.any([expected[band].isnull().values for band in schema.bands_of(cube)], axis=0)
    np.testing.assert_array_equal(cube["status"].values[~unread], np.where(nothing, 7, 0)[~unread])
    known = (cube["status"] == 0).values
    np.testing.assert_array_equal(cube["provenance"].values, np.where(known, 4, 255))


class Saying(ClearSkyStandIn):
    """Answers the first requests that cost with something of the test's choice."""

    def __init__(
        self,
        cube: xr.Dataset,
        *,
        says: Response,
        times: float = float("inf"),
        path: str = COMPOSITE,
        **settings: Any,
    ) -> None:
        super().__init__(cube, **settings)
        self.says = says
        self.times = times
        self.path = path

    def answer(self, request: Request) -> Response:
        if request.path.endswith(self.path) and self.times > 0:
            self.times -= 1
            return self.says
        return super().answer(request)


def envelope(code: int, message: str = "So it is", data: Any = None, status: int = 400) -> Response:
    """Return an error as the service words it."""
    content = {"Succeeded": False, "Data": data, "Error": {"Message": message, "Code": code}}
    return said(status, content)


def said(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    told = {"Content-Type": "application/json", **(headers or {})}
    return Response(status, json.dumps(content).encode(), told)
