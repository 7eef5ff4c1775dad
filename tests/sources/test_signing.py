"""Signatures: made where they are used, kept while they last, told to nobody."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pystac
import pytest
from compare import assert_same
from dask.base import tokenize
from remote import GDAL, QUICK, driver, made, opened, served

import s2cube
from s2cube.errors import CubeError, ReadError
from s2cube.schema import Status
from s2cube.sources.reader import Driver
from s2cube.sources.retry import Retry
from s2cube.sources.signing import PlanetaryComputer, Signed, forget, sign, unsigned
from s2cube.testing import Faults, FileServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module")
def items(folder: Path) -> list[pystac.Item]:
    return made(folder)


def signer(server: FileServer, **how: Any) -> PlanetaryComputer:
    return PlanetaryComputer(token_url=server.token_url, pattern=server.pattern, retry=QUICK, **how)


def tokens(server: FileServer) -> int:
    """How often a token was asked for."""
    return sum("/api/sas/" in request.path for request in server.requests)


def test_a_cube_is_read_with_one_token_a_container(folder: Path, items: list[pystac.Item]) -> None:
    """All threads wait for the one request; the links in the catalogue carry old signatures."""
    expected = opened(items, driver())
    with FileServer(folder, signed=3600) as server:
        there = served(items, server.href, "?se=2020-01-01T00%3A00%3A00Z&sp=rl&sig=stale")
        with pytest.raises(ReadError, match="403"):
            opened(there, driver()).compute()
        server.requests.clear()
        profile = s2cube.Profile("test", sign=signer(server), gdal=GDAL)
        cube = s2cube.open_stac(there, profile=profile, chunks={"x": 128, "y": 128})
        assert tokens(server) == 0
        assert_same(cube, s2cube.open_stac(items))
        assert tokens(server) == len({"S2_1", "S2_2"})
        assert_same(opened(there, driver(sign=signer(server))), expected)
        assert tokens(server) == 2


def test_signatures_that_expire_on_the_way_are_renewed(folder: Path, items: list[pystac.Item]) -> None:
    """They last a moment; every read finds one that is good."""
    expected = opened(items, driver())
    with FileServer(folder, signed=0.25) as server:
        cube = opened(served(items, server.href), driver(sign=signer(server)))
        for _ in range(4):
            assert_same(cube, expected)
            time.sleep(0.1)
        assert 2 < tokens(server) < 60


def test_a_signature_that_was_revoked_is_made_anew_once(folder: Path, items: list[pystac.Item]) -> None:
    """The service says 403 before the time is over."""
    expected = opened(items, driver())
    with FileServer(folder, signed=3600) as server:
        cube = opened(served(items, server.href), driver(sign=signer(server)))
        assert_same(cube, expected)
        server.revoke()
        assert_same(cube, expected)
        # Readers that were refused with the old one do not throw the new one away.
        assert tokens(server) == 4


def test_faults_of_the_token_service_pass(folder: Path, items: list[pystac.Item]) -> None:
    faults = Faults(0.4, (429, 500, 503, "reset", "truncate", "short"), seed=1)
    with FileServer(folder, signed=3600, faults=faults) as server:
        assert_same(
            opened(served(items, server.href), driver(sign=signer(server))), opened(items, driver())
        )


def test_who_is_not_let_in_is_told_so(folder: Path, items: list[pystac.Item]) -> None:
    """A service that is gone, and one that refuses for good: read errors like others."""
    few = Retry(attempts=3, wait=0.001)
    with FileServer(folder, signed=3600, faults=Faults(1.0, (401,), only="/api/sas/")) as server:
        there = served(items, server.href)
        with pytest.raises(
            ReadError, match=r"B04\.cog\.tif: Cannot sign links .+ HTTP status 401"
        ) as error:
            opened(there, driver(sign=signer(server)))["B04"].compute()
        pickle.loads(pickle.dumps(error.value))
        cube = opened(there, driver(sign=signer(server), on_read_error="mark"))
        assert (cube["status"] == Status.READ_FAILED).all()
    gone = PlanetaryComputer(
        token_url=server_gone(), pattern=r"(?P<account>a)(?P<container>)", retry=few
    )
    with pytest.raises(ReadError, match="refused"):
        gone("a")


def server_gone() -> str:
    with FileServer(".") as server:
        return server.url


def test_only_its_own_links_are_signed(folder: Path) -> None:
    with FileServer(folder, signed=3600) as server:
        one = PlanetaryComputer(token_url=server.token_url)
        for href in (
            "https://sentinel-cogs.s3.amazonaws.com/B04.tif?x=1",
            "s3://bucket/B04.tif",
            "/data/B04.tif",
            "https://ai4edatasetspublicassets.blob.core.windows.net/assets/a.tif",
        ):
            assert one(href) == Signed(href)
        assert tokens(server) == 0
        link = one(
            "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/33/B04.tif?sig=old&v=2"
        ).href
        assert link.startswith(
            "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/33/B04.tif?v=2&se="
        )
        assert "old" not in link
        assert server.requests[0].path.endswith("/token/sentinel2l2a01/sentinel2-l2")


def test_the_subscription_key_is_read_where_it_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileServer(folder, signed=3600) as server:
        one = PlanetaryComputer(token_url=server.token_url)
        before = tokenize(one)
        monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "hush")
        one("https://a1.blob.core.windows.net/c/B04.tif")
        assert "hush" in server.requests[0].headers.values()
        assert "hush" not in repr(one)
        assert b"hush" not in pickle.dumps(one)
        assert tokenize(one) == before


class Counted:
    """A user's signer, which takes its time."""

    def __init__(self, lasts: float | None) -> None:
        self.lasts, self.calls = lasts, 0

    def __call__(self, href: str) -> Signed:
        self.calls += 1
        time.sleep(0.05)
        expires = None if self.lasts is None else time.time() + self.lasts
        return Signed(f"{href}?{self.calls}", expires)


def test_a_users_signature_is_kept_while_it_lasts() -> None:
    ours = Counted(1000)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: sign(ours, "https://a/b.tif"), range(8)))
    assert len(found) == 1
    assert ours.calls == 1
    assert sign(ours, "https://a/c.tif").href.endswith("?2")
    forget(ours, "https://a/b.tif", Signed("https://a/b.tif?0"))
    assert sign(ours, "https://a/b.tif").href.endswith("?1")
    forget(ours, "https://a/b.tif", found.pop())
    assert sign(ours, "https://a/b.tif").href.endswith("?3")
    at_once = Counted(None)
    assert [sign(at_once, "x").href for _ in range(2)] == ["x?1", "x?2"]
    brief = Counted(0.1)
    sign(brief, "x")
    time.sleep(0.1)
    assert sign(brief, "x").href == "x?2"


def test_a_failing_signer_fails_all_who_wait_and_the_next_may_succeed() -> None:
    calls: list[str] = []
    gate = threading.Event()

    def moody(href: str) -> Signed:
        calls.append(href)
        if len(calls) == 1:
            gate.wait(5)
            raise OSError("not now")
        return Signed(href + "?ok", time.time() + 1000)

    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(sign, moody, "x") for _ in range(3)]
        time.sleep(0.1)
        gate.set()
        errors = [one.exception() for one in waiting]
    assert [str(error) for error in errors] == ["not now"] * 3
    assert len(calls) == 1
    assert sign(moody, "x").href == "x?ok"


def test_a_function_that_signs_reads_a_cube(folder: Path, items: list[pystac.Item]) -> None:
    """Any function of a link; here it also says where the files are."""
    with FileServer(folder, signed=3600) as server:
        token = server.token()

        def ours(href: str) -> str:
            return f"{href}?{token}"

        assert_same(opened(served(items, server.href), driver(sign=ours)), opened(items, driver()))
    with pytest.raises(CubeError, match=r"sign\(href\) returns a link .+ returned 3"):
        sign(len, "abc")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("href", "plain"),
    [
        ("https://a.org/x.tif", "https://a.org/x.tif"),
        ("https://a.org/x.tif?v=2&se=1&sp=r&sv=1&sr=c&skoid=1&sktid=1&skt=1&ske=1&sks=b&skv=1&sig=%2B", "https://a.org/x.tif?v=2"),
        ("https://a.org/x.tif?X-Amz-Algorithm=A&X-Amz-Signature=b&X-Amz-Expires=1", "https://a.org/x.tif"),
        ("https://a.org/x.tif?Expires=1&Signature=b&Key-Pair-Id=c", "https://a.org/x.tif"),
        ("https://a.org/x.tif?sigma=1&service=wcs&start=2", "https://a.org/x.tif?sigma=1&service=wcs&start=2"),
        ("s3://bucket/x.tif", "s3://bucket/x.tif"),
        ("/a/b?sig=c.tif", "/a/b?sig=c.tif"),
    ],
)  # fmt: skip
def test_links_without_their_signatures(href: str, plain: str) -> None:
    assert unsigned(href) == plain
    assert unsigned(plain) == plain
    assert Driver().plain(href) == href


def test_signers_travel_by_value() -> None:
    one = PlanetaryComputer()
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(one) == hash(PlanetaryComputer())
    assert tokenize(one) == tokenize(PlanetaryComputer())
