"""What is paid, and how often, when something goes wrong: limits, credits, gateways, links, disks."""

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from service import COMPOSITE, KEY, assert_right, forget, paid

from s2cube.errors import ReadError, ServiceError, StoreError
from s2cube.schema import Status
from s2cube.sources.clearsky import estimate_clearsky, open_clearsky
from s2cube.testing import ClearSkyStandIn, Faults


@pytest.mark.parametrize("product", ["composite", "tile"])
@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_what_a_gateway_answers_for_may_have_been_made(
    source: xr.Dataset, asked: Any, status: int, product: str
) -> None:
    """It is asked for once more. Then it is paid no third time, by whatever runs over it, unasked."""
    with ClearSkyStandIn(source, key=KEY, gateway=[status]) as service:
        cubes = {
            mode: open_clearsky(**asked(service, product=product), on_read_error=mode, chunks={"y": 20})
            for mode in ("raise", "mark")
        }
        assert_right(cubes["raise"].isel(time=[0]), source)
        assert service.downloads == {"2021-06-01": 2}
        service.gateway = [status] * 20
        later = {mode: cube.isel(time=[1]) for mode, cube in cubes.items()}
        for _ in range(3):
            with pytest.raises(
                ReadError, match=rf"{status}.*counted it as a download, twice.*remove .*\.note"
            ):
                later["raise"].compute()
            assert (later["mark"].compute()["status"] == Status.READ_FAILED).all()
            assert service.downloads["2021-06-08"] == 2
        service.gateway.clear()
        forget(asked(service)["cache"])
        assert_right(later["raise"], source)
        assert service.downloads["2021-06-08"] == 3
        assert not list(asked(service)["cache"].rglob("*.note"))


def test_what_may_have_been_counted_is_asked_for_again_after_a_day(
    source: xr.Dataset, asked: Any
) -> None:
    with ClearSkyStandIn(source, key=KEY, gateway=[504, 504]) as service:
        cube = open_clearsky(**asked(service, datetime="2021-06-01"))
        for hours, paid_by_then in ((0, 2), (23, 2), (25, 3)):
            for note in asked(service)["cache"].rglob("*.note"):
                then = time.time() - hours * 3600
                os.utime(note, (then, then))
            with contextlib.suppress(ReadError):
                cube.compute()
            assert service.downloads == {"2021-06-01": paid_by_then}
        assert_right(cube, source)


@pytest.mark.parametrize("mode", ["raise", "mark"])
def test_a_full_disk_is_told_and_not_paid_again(source: xr.Dataset, asked: Any, mode: Any) -> None:
    resource = pytest.importorskip("resource")
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service), on_read_error=mode).isel(time=[0])
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
        try:
            for _ in range(2):
                with pytest.raises(StoreError, match="may have been counted") as caught:
                    cube.compute()
                assert str(asked(service)["cache"]) in str(caught.value)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert service.downloads == {"2021-06-01": 1}
        forget(asked(service)["cache"])
        assert_right(cube, source)


def test_without_room_nothing_is_asked_for(
    source: xr.Dataset, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service), on_read_error="mark").isel(time=[0])
        needed = 2 * 3 * 52 * 64
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
        with pytest.raises(StoreError, match=r"has room for 0 MB.*as cache="):
            cube.compute()
        assert not paid(service)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
        assert_right(cube, source)


@pytest.mark.parametrize("fault", ["a file in its place", "no locks"])
def test_a_cache_that_cannot_be_used_is_told(
    source: xr.Dataset, asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "no locks":
        fcntl = pytest.importorskip("fcntl")

        def flock(file: Any, how: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", flock)
    else:
        (tmp_path / "cache").write_text("a file")
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service), on_read_error="mark")
        words = rf"{tmp_path}.*(No locks|Not a directory|File exists).*as cache="
        with pytest.raises(StoreError, match=words):
            cube.isel(time=0).compute()
        assert not paid(service)


@pytest.mark.parametrize("kind", ["reset", "truncate", "cut", "short"])
def test_a_paid_image_that_breaks_is_asked_for_twice(source: xr.Dataset, asked: Any, kind: str) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service)).isel(time=[2])
        service.faults = Faults(share=1, kinds=[kind], only=COMPOSITE, limit=1)
        assert_right(cube, source)
        assert service.downloads == {"2021-06-15": 2}
        other = open_clearsky(**asked(service)).isel(time=[3])
        service.faults = Faults(share=1, kinds=[kind], only=COMPOSITE)
        with pytest.raises(ReadError, match="may have counted"):
            other.compute()
        assert service.downloads["2021-06-22"] == 2
        assert not list(asked(service)["cache"].rglob("*.partial"))


@pytest.mark.parametrize(
    ("limits", "pieces"), [({"MaxCompositeAreaKm2": 0.1}, 4), ({"MaxTotalBands": 2}, 2)]
)
@pytest.mark.parametrize("known", [True, False])
def test_what_is_too_much_is_split(
    source: xr.Dataset, asked: Any, limits: dict[str, float], pieces: int, known: bool
) -> None:
    """By the account's limits beforehand, or by the service's answer (1004, 1005)."""
    told = limits if known else dict.fromkeys(limits, 10_000)
    with ClearSkyStandIn(source, key=KEY, limits=limits, told=told) as service:
        cube = open_clearsky(**asked(service), chunks={"y": 30, "x": 30})
        estimate = estimate_clearsky(**asked(service))
        assert_right(cube, source)
        assert set(service.downloads.values()) == {pieces}
        sent = len(paid(service))
        assert sent == len(service.dates) * (pieces if known else pieces * 2 - 1)
        assert estimate.requests == len(service.dates) * (pieces if known else 1)
        # How it was split is remembered: again costs nothing, and asks nothing.
        assert_right(open_clearsky(**asked(service)), source)
        assert len(paid(service)) == sent


def test_credits_that_run_out_stop_with_the_price(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, credits=1) as service:
        estimate = estimate_clearsky(**asked(service))
        assert estimate.credits is not None
        assert estimate.credits > 1
        cube = open_clearsky(**asked(service))
        with pytest.raises(ServiceError, match=r"code 994.*buy credits, or open less"):
            cube.compute()
        # What was paid is kept.
        assert sum(service.downloads.values()) >= 1
        service.credits = float("inf")
        assert_right(cube, source)
        assert set(service.downloads.values()) == {1}


def test_a_link_that_has_expired_is_replaced(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, expired=1) as service:
        cube = open_clearsky(**asked(service, product="tile2024")).isel(time=[0])
        assert_right(cube, source)
        assert len(paid(service, "2021-06-01")) == 2
        service.expired = 100
        with pytest.raises(ReadError, match=r"the signed link to 127\.0\.0\.1 answered 403") as caught:
            open_clearsky(**asked(service, product="tile2024")).isel(time=1).compute()
        assert "sig=" not in str(caught.value)
        # Each link may have been counted: two, and no more.
        assert len(paid(service, "2021-06-08")) == 2
        assert "counted it as a download, twice" in str(caught.value)


def test_a_link_that_cannot_be_read_may_have_been_counted(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service, product="tile2024")).isel(time=[0])
        service.faults = Faults(share=1, only="/blob/")
        for _ in range(2):
            with pytest.raises(ReadError, match=r"answered 503\. The service may have counted it"):
                cube.compute()
        assert len(paid(service, "2021-06-01")) == 1


def test_a_link_is_read_again_not_asked_for_again(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service, product="tile2024")).isel(time=[0])
        service.faults = Faults(
            share=1, kinds=["truncate", "reset", "short", 503], only="/blob/", limit=4
        )
        assert_right(cube, source)
        assert len(paid(service, "2021-06-01")) == 1
