"""The stand-in services answer as real ones do, fail as they are told to, and stop."""

import http.client
import json
import os
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import archive
import pystac_client
import pytest

from s2cube.testing import Faults, FileServer, Loopback, Request, Response, StacApi


class Echo(Loopback):
    """Answers with what it was asked."""

    def answer(self, request: Request) -> Response:
        return Response(200, request.method.encode() + b" " + request.path.encode() + request.body)


def ask(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, bytes, Any]:
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def test_it_answers_and_takes_note() -> None:
    with Echo() as server:
        assert ask(server.url + "/a?b=1")[:2] == (200, b"GET /a?b=1")
        assert [(one.method, one.path) for one in server.requests] == [("GET", "/a?b=1")]
    with pytest.raises(urllib.error.URLError):
        ask(f"http://127.0.0.1:{server._server.server_address[1]}/")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (503, 503),
        ("reset", ConnectionResetError),
        ("truncate", http.client.IncompleteRead),
        ("cut", (ConnectionResetError, http.client.IncompleteRead)),
        ("short", 200),
        ("hang", (ConnectionResetError, http.client.RemoteDisconnected)),
    ],
)
def test_faults_are_what_they_are_called(kind: int | str, seen: Any) -> None:
    with Echo(faults=Faults(1.0, (kind,), hang=0.05)) as server:
        client = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=5)
        try:
            client.request("GET", "/12345")
            if isinstance(seen, int):
                answer = client.getresponse()
                assert answer.status == seen
                body = answer.read()
                assert (body == b"GET /") == (kind == "short")
            else:
                with pytest.raises(seen):
                    client.getresponse().read()
        finally:
            client.close()


def test_faults_come_from_the_seed_in_their_share_up_to_their_limit() -> None:
    def drawn(**how: Any) -> list[int | str | None]:
        faults = Faults(**{"share": 0.4, "kinds": (503, "reset"), "seed": 4, **how})
        return [faults.draw("/a") for _ in range(2000)]

    assert drawn() == drawn()
    assert drawn() != drawn(seed=5)
    assert 700 < sum(fault is not None for fault in drawn()) < 900
    assert set(drawn()) == {None, 503, "reset"}
    assert sum(fault is not None for fault in drawn(limit=3)) == 3
    assert not any(drawn(only="/b"))
    with pytest.raises(ValueError, match="statuses or reset, truncate"):
        Faults(1.0, ("tired",))


def test_it_stops_though_clients_keep_connections_and_answers_hang() -> None:
    """Leaving the block waits for nobody, and leaves no thread."""
    before = set(threading.enumerate())
    with Echo(faults=Faults(1.0, ("hang",), hang=600, only="hang")) as server:
        client = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]))
        client.request("GET", "/")
        client.getresponse().read()
        other = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]))
        other.request("GET", "/hang")
        until(lambda: server.hanging == 1)
    # Those that serve end though their clients still hold on: none of them hangs for its 600 s.
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()
    assert server.hanging == 0
    client.close()
    other.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what other threads do."""
    while not condition():
        time.sleep(0.001)


def test_it_stops_though_a_client_has_reset_its_connection() -> None:
    """While the answer was made: nobody has read the reset yet."""
    done = threading.Event()

    class Slow(Echo):
        def answer(self, request: Request) -> Response:
            done.wait(60)
            return super().answer(request)

    before = set(threading.enumerate())
    with Slow() as server:
        client = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: bool(server.requests))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    done.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in side").mkdir()
    (tmp_path / "in side" / "a.bin").write_bytes(bytes(range(100)))
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "status", "first", "stop"),
    [
        ("", 200, 0, 100), ("bytes=0-9", 206, 0, 10), ("bytes=90-", 206, 90, 100),
        ("bytes=-5", 206, 95, 100), ("bytes=95-300", 206, 95, 100), ("bytes=-300", 206, 0, 100),
        ("bytes=100-", 416, 0, 0), ("bytes=9-3", 416, 0, 0), ("lines=1-2", 200, 0, 100),
        ("bytes=0-1,5-6", 200, 0, 100),
    ],
)  # fmt: skip
def test_ranges(folder: Path, wanted: str, status: int, first: int, stop: int) -> None:
    with FileServer(folder) as server:
        got, body, headers = ask(server.href("in side/a.bin"), {"Range": wanted} if wanted else None)
    assert (got, body) == (status, bytes(range(first, stop)))
    told = {206: f"bytes {first}-{stop - 1}/100", 416: "bytes */100", 200: None}
    assert headers["Content-Range"] == told[status]
    assert headers["Accept-Ranges"] == "bytes"


def test_sizes_and_what_is_not_there(folder: Path) -> None:
    with FileServer(folder) as server:
        status, body, headers = ask(server.href(folder / "in side" / "a.bin"), method="HEAD")
        assert (status, body, headers["Content-Length"]) == (200, b"", "100")
        tag = headers["ETag"]
        os.utime(folder / "in side" / "a.bin", (1, 1))
        assert ask(server.href("in side/a.bin"))[2]["ETag"] != tag
        assert ask(server.href("none"))[0] == 404
        assert ask(server.url + "/../" + folder.name + "/x")[0] == 404
        assert ask(server.href("in side/a.bin"), method="PUT")[0] == 405
        with pytest.raises(ValueError, match="subpath"):
            server.href("/etc/passwd")


def test_signatures_expire_and_are_given_anew(folder: Path) -> None:
    with FileServer(folder, signed=100) as server:
        there = server.href("in side/a.bin")
        status, body, _ = ask(f"{server.token_url}/account/container")
        told = json.loads(body)
        assert status == 200
        assert told["msft:expiry"].endswith("Z")
        assert ask(f"{there}?{told['token']}")[0] == 200
        assert ask(there)[0] == 403
        assert ask(f"{there}?{told['token']}x")[0] == 403
        late = ask(f"{there}?{server.token(-1)}")
        assert late[0] == 403
        assert b"AuthenticationFailed" in late[1]
        server.revoke()
        assert ask(f"{there}?{told['token']}")[0] == 403
        assert ask(f"{there}?{server.token()}")[0] == 200


@pytest.fixture
def items(tmp_path: Path) -> list[Any]:
    """Seven days, in two collections, ever further east."""
    found = []
    for day in range(1, 8):
        item = archive.scene(
            tmp_path, f"S2_{day}", f"2020-06-0{day}T10:00:00", {"B04": archive.flat(day)},
            origin=(500_000.0 + 10_000 * day, 5_300_040.0),
        )  # fmt: skip
        item.collection_id = "even" if day % 2 == 0 else "odd"
        found.append(item)
    return found


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_finds_all_pages(items: list[Any], method: str) -> None:
    with StacApi(items, page=2) as api:
        client = pystac_client.Client.open(api.url)
        assert sorted(one.id for one in client.get_collections()) == ["even", "odd"]

        def found(**asked: Any) -> list[str]:
            return [item.id for item in client.search(method=method, **asked).items()]

        assert found() == [f"S2_{day}" for day in range(7, 0, -1)]
        assert found(collections=["even"]) == ["S2_6", "S2_4", "S2_2"]
        assert found(ids=["S2_3", "S2_5"]) == ["S2_5", "S2_3"]
        assert found(datetime="2020-06-03/2020-06-04") == ["S2_4", "S2_3"]
        assert found(datetime="../2020-06-02") == ["S2_2", "S2_1"]
        assert found(datetime="2020-06-06T10:00:00Z") == ["S2_6"]
        assert found(bbox=items[2].bbox) == ["S2_3"]
        assert found(intersects=items[4].geometry) == ["S2_5"]
        assert found(bbox=(0, 0, 1, 1)) == []
        assert client.search(method=method).matched() == 7
        assert len(found(max_items=3, limit=1)) == 3


def test_the_api_refuses_what_it_cannot_read_and_fails_on_demand(items: list[Any]) -> None:
    with StacApi(items) as api:
        assert ask(api.url + "/search?bbox=a,b,c,d")[0] == 400
        assert ask(api.url + "/search?datetime=yesterday")[0] == 400
        assert ask(api.url + "/nowhere")[0] == 404
        assert json.loads(ask(api.url + "/collections/odd")[1])["id"] == "odd"
        api.faults = Faults(1.0, (429,), only="/search")
        assert ask(api.url + "/search")[0] == 429
        assert ask(api.url)[0] == 200
