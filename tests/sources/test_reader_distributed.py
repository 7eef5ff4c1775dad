"""Reading on workers: what the user set travels with the cube, what fails comes back."""

from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio
from clusters import ON_A_CLUSTER
from compare import assert_same
from remote import GDAL, MIXED, QUICK, driver, made, opened, served

from s2cube.errors import ReadError
from s2cube.schema import Status
from s2cube.sources.retry import Retry
from s2cube.sources.signing import PlanetaryComputer
from s2cube.testing import Faults, FileServer, Request, Response

pytestmark = ON_A_CLUSTER


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def items(folder: Path) -> list[pystac.Item]:
    return made(folder)


class Guarded(FileServer):
    """Serves to those who say the word."""

    def answer(self, request: Request) -> Response:
        if request.headers.get("X-Word") != "sesame":
            return Response(403)
        return super().answer(request)


def test_settings_travel(client: Any, folder: Path, items: list[pystac.Item]) -> None:
    """The workers know of nothing but what comes with the cube."""
    with Guarded(folder, faults=Faults(0.3, MIXED, seed=1)) as server:
        there = served(items, server.href)
        with rasterio.Env(GDAL_HTTP_HEADERS="X-Word: sesame", **GDAL):
            cube = opened(there, driver())
        without = opened(there, driver(retry=Retry(attempts=2, wait=0.01)))
        with pytest.raises(ReadError, match=r"Cannot read http.+\.cog\.tif: HTTP response code"):
            without.compute()
        marked = opened(there, driver(retry=Retry(attempts=2, wait=0.01), on_read_error="mark"))
        assert (marked.compute()["status"] == Status.READ_FAILED).all()
        assert_same(cube, opened(items, driver()))


def test_each_process_asks_for_its_own_signatures(
    client: Any, folder: Path, items: list[pystac.Item]
) -> None:
    with FileServer(folder, signed=3600) as server:
        one = PlanetaryComputer(token_url=server.token_url, pattern=server.pattern, retry=QUICK)
        assert_same(opened(served(items, server.href), driver(sign=one)), opened(items, driver()))
        tokens = sum("/api/sas/" in request.path for request in server.requests)
        # Two containers, one or both workers.
        assert 2 <= tokens <= 4
