"""Each download is paid once: by threads, processes and clusters, whoever is killed meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import pytest
import xarray as xr
from clusters import ON_A_CLUSTER, distributed, two_workers
from compare import assert_same
from service import KEY, assert_right, paid

from s2cube.errors import ServiceError
from s2cube.sources.clearsky import estimate_clearsky, open_clearsky
from s2cube.testing import ClearSkyStandIn

SCRIPT = """
import sys, dask
from affine import Affine
from odc.geo.geobox import GeoBox
from s2cube.sources.clearsky import open_clearsky
url, cache, target = sys.argv[1:]
grid = GeoBox((52, 64), Affine(10, 0, 500_030, 0, -10, 5_300_000), "EPSG:32633")
cube = open_clearsky(
    geobox=grid, datetime="2021-06-01/2021-07-10", bands=["blue", "red", "nir"], base_url=url,
    cache=cache, chunks={"y": 20, "x": 20},
)
with dask.config.set(scheduler="threads", num_workers=6):
    cube.drop_vars("items").compute().to_zarr(target)
"""


def started(service: ClearSkyStandIn, cache: Path, target: Path) -> subprocess.Popen[bytes]:
    """Start another process that computes the cube."""
    arguments = [service.url, str(cache), str(target)]
    env = {**os.environ, "CLEARSKY_API_KEY": KEY}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], env=env)


def test_many_threads_pay_once(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, pause=0.02) as service:
        cubes = [open_clearsky(**asked(service), chunks={"y": 9, "x": 9}) for _ in range(2)]
        with dask.config.set(scheduler="threads", num_workers=6), ThreadPoolExecutor(2) as pool:
            one, other = pool.map(lambda cube: cube.compute(), cubes)
        assert_same(one, other)
        assert_right(one, source)
        assert set(service.downloads.values()) == {1}
        assert len(paid(service)) == len(service.dates)


def test_the_bound_on_requests_is_kept(source: xr.Dataset, asked: Any) -> None:
    limits = {"MaxConcurrentConnections": 2, "MaxCompositeAreaKm2": 0.1}
    with ClearSkyStandIn(source, key=KEY, limits=limits, pause=0.02) as service:
        cube = open_clearsky(**asked(service), chunks={"y": 9, "x": 9})
        with dask.config.set(scheduler="threads", num_workers=8):
            assert_right(cube, source)
        assert service.peak == 2
        assert len(paid(service)) == sum(service.downloads.values()), "nobody was turned away"


def test_later_runs_pay_nothing(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        before = estimate_clearsky(**asked(service))
        assert (before.requests, before.cached, len(before.dates)) == (7, 0, 7)
        assert before.area_km2 == pytest.approx(0.52 * 0.64, rel=0.02)
        assert before.credits == pytest.approx(7 * before.area_km2)
        open_clearsky(**asked(service)).isel(time=slice(0, 3)).compute()
        half = estimate_clearsky(**asked(service))
        assert half.cached == 3
        assert half.credits == pytest.approx(4 * before.area_km2)
        open_clearsky(**asked(service)).compute()
        # The order of bands, or a part of the dates, is the same download.
        again = asked(service, bands=["nir", "B2", "red"], datetime="2021-06")
        assert_right(open_clearsky(**again), source)
        assert set(service.downloads.values()) == {1}
        assert estimate_clearsky(**asked(service)).credits == 0
        # Another key of the same service: what is there is used.
        service.key = "another"
        before = service.downloads.copy()
        assert_right(open_clearsky(**asked(service, api_key="another")), source)
        assert service.downloads == before


def test_estimates_of_tiles(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, tile=512, minitile=40) as service:
        tile = estimate_clearsky(**asked(service, product="tile"))
        assert tile.product == "tile"
        assert tile.credits is None
        assert tile.area_km2 == pytest.approx(5.12**2, rel=0.01)
        assert estimate_clearsky(**asked(service, product="minitile")).requests == 7 * 4
        assert estimate_clearsky(**asked(service, product="tile2024")).area_km2 is None
        assert not service.downloads


@pytest.mark.slow
def test_two_processes_pay_once(source: xr.Dataset, asked: Any, tmp_path: Path) -> None:
    with ClearSkyStandIn(source, key=KEY, pause=0.1, limits={"MaxConcurrentConnections": 2}) as service:
        targets = [tmp_path / name for name in ("one.zarr", "other.zarr")]
        runs = [started(service, tmp_path / "cache", target) for target in targets]
        assert [run.wait(120) for run in runs] == [0, 0]
        assert set(service.downloads.values()) == {1}
        assert len(service.downloads) == len(service.dates)
        assert service.peak <= 2
        assert len(paid(service)) == len(service.dates)
        one, other = (xr.open_zarr(target).load() for target in targets)
        assert_same(one, other)
        assert_right(open_clearsky(**asked(service)), source)
        assert set(service.downloads.values()) == {1}


@pytest.mark.slow
def test_a_killed_process_blocks_nobody(source: xr.Dataset, asked: Any, tmp_path: Path) -> None:
    with ClearSkyStandIn(source, key=KEY, pause=60, limits={"MaxConcurrentConnections": 9}) as service:
        run = started(service, tmp_path / "cache", tmp_path / "never.zarr")
        while service.peak < 3:  # as many downloads are on their way
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        assert list((tmp_path / "cache").rglob("*.partial"))
        service.pause = 0
        assert_right(open_clearsky(**asked(service)), source)
        assert set(service.downloads.values()) == {1}
        assert not list((tmp_path / "cache").rglob("*.partial"))


def test_the_cache_tells_what_is_in_it(source: xr.Dataset, asked: Any, tmp_path: Path) -> None:
    import json

    with ClearSkyStandIn(source, key=KEY) as service:
        open_clearsky(**asked(service)).isel(time=1).compute()
        place = service.url.removeprefix("http://").replace(":", "%3A")
    (told,) = (tmp_path / "cache" / place).rglob("*.json")
    content = json.loads(told.read_text())
    assert (content["date"], content["edges"]) == ("2021-06-08", [500030, 5299480, 500670, 5300000])
    assert told.with_suffix(".tif").exists()


def test_the_cache_is_the_users_by_default(
    source: xr.Dataset, asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "home"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    with ClearSkyStandIn(source, key=KEY) as service:
        open_clearsky(**asked(service, cache=None)).isel(time=0).compute()
    assert len(list((tmp_path / "home").rglob("*.tif"))) == 1


# On a cluster.


def set_variable(key: str) -> None:
    os.environ["CLEARSKY_API_KEY"] = key


def clustered(test: Any) -> Any:
    for mark in ON_A_CLUSTER:
        test = mark(test)
    return test


@pytest.fixture
def cluster() -> Iterator[Any]:
    """One for each test: they scale it and tell its workers keys."""
    with two_workers() as cluster:
        yield cluster


@clustered
def test_a_cluster_pays_once_and_gives_the_same_numbers(
    cluster: Any, source: xr.Dataset, asked: Any
) -> None:
    limits = {"MaxConcurrentConnections": 2}
    with ClearSkyStandIn(source, key=KEY, limits=limits, pause=0.05) as service:
        before = open_clearsky(**asked(service))
        with distributed.Client(cluster) as client:
            cube = open_clearsky(**asked(service), chunks={"y": 20, "x": 30})
            here = cube.compute()
            again = open_clearsky(**asked(service)).compute()
            # Also those that come later are told the key.
            cluster.scale(3)
            client.wait_for_workers(3)
            more = asked(service, bands=["green"])
            # Opened with the client's workers known; each asked for a date of its own.
            open_clearsky(**more).compute()
        assert_right(here, source)
        assert_same(here, cube.compute(scheduler="threads"))
        assert_same(again, before.compute(scheduler="threads"))
        assert set(service.downloads.values()) == {2}
        assert service.peak <= 2


@clustered
def test_workers_without_the_key_say_so(cluster: Any, source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service))
        with (
            distributed.Client(cluster),
            pytest.raises(ServiceError, match="does not know the ClearSKY key"),
        ):
            cube.isel(time=0).compute()
        assert not service.downloads
        with distributed.Client(cluster) as client:
            client.run(set_variable, KEY)
            assert_right(cube.isel(time=[0]).compute(), source)
