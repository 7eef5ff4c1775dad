"""Signatures: made where they are used, kept while they last, told to nobody."""

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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
from s2cube.sources import signing
from s2cube.sources.reader import Driver
from s2cube.sources.retry import Retry
from s2cube.sources.signing import PlanetaryComputer, Signed, forget, sign, unsigned
from s2cube.testing import Faults, FileServer, Request, Response


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module")
def items(folder: Path) -> list[pystac.Item]:
    return made(folder)


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Put the clock forward, for those who sign and those who serve."""
    real, past = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + sum(past))
    return past.append


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


def test_signatures_are_renewed_before_they_expire(
    folder: Path, items: list[pystac.Item], pass_time: Callable[[float], None]
) -> None:
    statuses = []

    class Noting(FileServer):
        def answer(self, request: Request) -> Response:
            response = super().answer(request)
            statuses.append(response.status)
            return response

    expected = opened(items, driver())
    with Noting(folder, signed=3600) as server:
        cube = opened(served(items, server.href), driver(sign=signer(server)))
        # One token a container, until shortly before its hour is over.
        for passed, asked in ((0, 2), (3200, 2), (150, 4), (3200, 4), (3600, 6)):
            pass_time(passed)
            assert_same(cube, expected)
            assert tokens(server) == asked
    assert set(statuses) <= {200, 206}


def test_signatures_that_expire_on_the_way_are_renewed(
    folder: Path, items: list[pystac.Item], pass_time: Callable[[float], None]
) -> None:
    """They last for a few requests; every read finds one that is good."""

    class Slow(FileServer):
        def answer(self, request: Request) -> Response:
            pass_time(60)
            return super().answer(request)

    expected = opened(items, driver())
    with Slow(folder, signed=400) as server:
        cube = opened(served(items, server.href), driver(sign=signer(server)))
        assert_same(cube, expected)
        assert tokens(server) > 2


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


def test_a_file_that_stays_forbidden_is_signed_anew_once(folder: Path, items: list[pystac.Item]) -> None:
    """Others read with the same signature: it is not thrown away at each attempt."""
    with FileServer(folder, signed=3600, faults=Faults(1.0, (403,), only="B04.cog.tif")) as server:
        cube = opened(served(items[:1], server.href), driver(sign=signer(server)))
        with pytest.raises(ReadError, match="403"):
            cube["B04"].isel(x=slice(0, 8), y=slice(0, 8)).compute(scheduler="sync")
        assert tokens(server) == 2


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


@pytest.mark.parametrize("kind", [408, 429, 500, 503, "reset", "truncate", "cut", "short"])
def test_each_fault_of_the_token_service_passes(folder: Path, kind: int | str) -> None:
    with FileServer(folder, signed=3600, faults=Faults(1.0, (kind,), limit=2)) as server:
        assert "?se=" in signer(server)(f"{server.url}/S2_1/B04.tif").href
        assert tokens(server) == 3


@pytest.mark.parametrize(
    ("status", "body", "asked"),
    [(401, b"", 1), (404, b"", 1), (200, b"{}", 3), (200, b"<html>", 3),
     (200, b'{"token": "a", "msft:expiry": "soon"}', 3)],
)  # fmt: skip
def test_answers_that_are_no_token(folder: Path, status: int, body: bytes, asked: int) -> None:
    """What is refused is not asked for again; nonsense may come from a proxy, and pass."""

    class Odd(FileServer):
        def answer(self, request: Request) -> Response:  # noqa: ARG002
            return Response(status, body)

    with Odd(folder, signed=3600) as server:
        few = Retry(attempts=3, wait=0.001)
        one = PlanetaryComputer(server.token_url, server.pattern, few)
        with pytest.raises(ReadError, match="Cannot sign links of /S2_1"):
            one(f"{server.url}/S2_1/B04.tif")
        assert tokens(server) == asked


def test_a_token_service_that_never_answers_is_left(folder: Path) -> None:
    with FileServer(folder, signed=3600, faults=Faults(1.0, ("hang",), hang=300)) as server:
        few = Retry(attempts=2, wait=0.001)
        one = PlanetaryComputer(server.token_url, server.pattern, few, timeout=0.2)
        with pytest.raises(ReadError, match="timed out"):
            one(f"{server.url}/S2_1/B04.tif")
        assert server.hanging == 2


@pytest.mark.parametrize(
    ("header", "least"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("", 0.0)]
)
def test_a_token_service_that_says_when_to_come_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, header: str, least: float
) -> None:
    waits: list[float] = []

    class Busy(FileServer):
        def answer(self, request: Request) -> Response:
            told = {"Retry-After": header} if header else {}
            return super().answer(request) if waits else Response(429, b"{}", told)

    monkeypatch.setattr(time, "sleep", waits.append)
    with Busy(folder, signed=3600) as server:
        one = PlanetaryComputer(server.token_url, server.pattern, Retry(wait=0.01))
        signed = one(f"{server.url}/S2_1/B04.tif")
    assert "?se=" in signed.href
    assert signed.expires == pytest.approx(time.time() + 3600, abs=60)
    assert len(waits) == 1
    assert least <= waits[0] <= max(least, 0.01)


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
        one("https://a1.blob.core.windows.net/$root/B04.tif")
        assert server.requests[1].path.endswith("/token/a1/%24root")


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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_subscription_key_stays_with_its_host(
    folder: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    class Moved(FileServer):
        def answer(self, _: Request) -> Response:
            return Response(status, b"", {"Location": f"{elsewhere.url}/token"})

    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "hush")
    with FileServer(folder) as elsewhere, Moved(folder) as server:
        one = PlanetaryComputer(token_url=f"{server.url}/token", retry=QUICK)
        with pytest.raises(ReadError, match=f"HTTP status {status}"):
            one("https://a1.blob.core.windows.net/c/B04.tif")
        assert len(server.requests) == 1
        assert not elsewhere.requests


class Counted:
    """A user's signer."""

    def __init__(self, lasts: float | None) -> None:
        self.lasts, self.calls = lasts, 0

    def __call__(self, href: str) -> Signed:
        self.calls += 1
        expires = None if self.lasts is None else time.time() + self.lasts
        return Signed(f"{href}?{self.calls}", expires)


def test_a_users_signature_is_kept_while_it_lasts(pass_time: Callable[[float], None]) -> None:
    ours = Counted(1000)
    found = {sign(ours, "https://a/b.tif") for _ in range(3)}
    assert len(found) == 1
    (first,) = found
    assert first.expires == pytest.approx(time.time() + 1000, abs=60)
    assert sign(ours, "https://a/c.tif").href.endswith("?2")
    forget(ours, "https://a/b.tif", Signed("https://a/b.tif?0"))
    assert sign(ours, "https://a/b.tif").href.endswith("?1")
    forget(ours, "https://a/b.tif", found.pop())
    assert sign(ours, "https://a/b.tif").href.endswith("?3")
    at_once = Counted(None)
    assert [sign(at_once, "x").href for _ in range(2)] == ["x?1", "x?2"]
    # Not to the last second: of a short life the last fifth is not used.
    brief = Counted(100)
    for passed, href in ((0, "x?1"), (75, "x?1"), (10, "x?2"), (75, "x?2"), (200, "x?3")):
        pass_time(passed)
        assert sign(brief, "x").href == href
    # Nor of a long one the last five minutes.
    long = Counted(10_000)
    for passed, href in ((0, "x?1"), (9_600, "x?1"), (200, "x?2")):
        pass_time(passed)
        assert sign(long, "x").href == href


def test_not_more_signatures_are_kept_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were used last are."""
    monkeypatch.setattr(signing, "KEPT", 3)
    ours = Counted(1000)
    for href in ("a", "b", "c", "a", "d", "a"):
        sign(ours, href)
    assert ours.calls == 4
    sign(ours, "b")
    assert ours.calls == 5
    assert len(signing._KEPT._held) == 3


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Released by each thread that waits for the signature that another asks for."""
    semaphore = threading.Semaphore(0)

    class Told(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            if not self.done():
                semaphore.release()
            return super().result(timeout)

    monkeypatch.setattr(signing, "Future", Told)
    return semaphore


def test_threads_wait_for_the_one_that_asks(waiting: threading.Semaphore) -> None:
    ours = Counted(1000)

    def slow(href: str) -> Signed:
        assert all(waiting.acquire(timeout=10) for _ in range(7))
        return ours(href)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: sign(slow, "x"), range(8)))
    assert {one.href for one in found} == {"x?1"}
    assert ours.calls == 1


def test_a_failing_signer_fails_all_who_wait_and_the_next_may_succeed(
    waiting: threading.Semaphore,
) -> None:
    calls: list[str] = []

    def moody(href: str) -> Signed:
        calls.append(href)
        if len(calls) == 1:
            assert all(waiting.acquire(timeout=10) for _ in range(2))
            raise OSError("not now")
        return Signed(href + "?ok", time.time() + 1000)

    with ThreadPoolExecutor(3) as pool:
        found = [pool.submit(sign, moody, "x") for _ in range(3)]
        errors = [one.exception() for one in found]
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
