"""A real HTTP server on loopback, with faults on demand: the base of all stand-in services."""

import contextlib
import http.server
import random
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["Faults", "Loopback", "Request", "Response"]

KINDS: Final = ("reset", "truncate", "cut", "short", "hang")
"""Faults of the connection; statuses such as 503 are faults too."""


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    """With the query, as sent."""
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """What the server answers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Faults:
    """Which answers go wrong: a share of them, drawn from a seed, of the kinds given.

    Examples
    --------
    >>> from s2cube.testing import Faults
    >>> faults = Faults(share=0.4, kinds=(429, 503, "reset", "truncate"), seed=1)
    """

    share: float = 0.0
    kinds: Sequence[int | str] = (503,)
    """HTTP statuses; ``"reset"`` (the connection breaks before an answer), ``"truncate"`` (half the
    body, then an orderly end), ``"cut"`` (half the body, then the connection breaks), ``"short"`` (half
    the body, with a length that agrees) or ``"hang"``."""
    seed: int = 0
    hang: float = 5.0
    """Seconds before a hanging answer ends in a broken connection."""
    only: str = ""
    """Only paths that contain this."""
    limit: int | None = None
    """At most so many faults, then all is well."""

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if not isinstance(kind, int) and kind not in KINDS]:
            raise ValueError(f"Faults are HTTP statuses or {', '.join(KINDS)}; got {unknown[0]!r}.")
        self._random = random.Random(self.seed)  # noqa: S311
        self._lock = threading.Lock()
        self._drawn = 0

    @property
    def drawn(self) -> int:
        """How many answers went wrong so far."""
        return self._drawn

    def draw(self, path: str) -> int | str | None:
        """Return the fault of the next answer, or None for a good one."""
        with self._lock:
            if self.only not in path or self._drawn == self.limit or self._random.random() >= self.share:
                return None
            self._drawn += 1
            return self._random.choice(list(self.kinds))


class Loopback(ABC):
    """An HTTP/1.1 server on 127.0.0.1 that lives as long as its ``with`` block.

    Subclasses say what they answer in :meth:`answer`; it is called from several threads.

    Attributes
    ----------
    requests
        All requests so far, in the order in which they came.
    faults
        What goes wrong; may be replaced at any time.
    hanging
        How many answers hang now.
    """

    def __init__(self, *, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.requests: list[Request] = []
        self.hanging = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._server: http.server.ThreadingHTTPServer | None = None

    @abstractmethod
    def answer(self, request: Request) -> Response:
        """Return the answer to a request."""

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        assert self._server is not None, "the server runs inside a with block only"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._stopping.clear()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        # Clients keep connections open between requests: their threads would wait for the next one.
        with self._lock:
            for connection in self._open:
                # A client that has reset it is gone already.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _hang(self) -> None:
        with self._lock:
            self.hanging += 1
        self._stopping.wait(self.faults.hang)
        with self._lock:
            self.hanging -= 1

    def _respond(self, request: Request) -> tuple[Response, int | str | None]:
        with self._lock:
            self.requests.append(request)
        fault = self.faults.draw(request.path)
        if isinstance(fault, int):
            return Response(fault, b"a fault that was asked for"), fault
        return self.answer(request), fault


def _handler(owner: Loopback) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body leave in two writes: Nagle's algorithm would hold the second one back.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            with owner._lock:
                owner._open.add(self.connection)

        def finish(self) -> None:
            with owner._lock:
                owner._open.discard(self.connection)
            super().finish()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers.items()), body)
            response, fault = owner._respond(request)
            if fault == "hang":
                owner._hang()
            if fault in ("hang", "reset"):
                self._break()
                return
            content = response.body
            if fault in ("truncate", "cut", "short"):
                content = content[: len(content) // 2]
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in response.headers:
                told = content if fault == "short" else response.body
                self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(content)
            if fault == "truncate":
                self.close_connection = True
            elif fault == "cut":
                self._break()

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = _serve  # noqa: N815

        def _break(self) -> None:
            """Close so that the client sees a reset, not an orderly end."""
            with owner._lock:
                owner._open.discard(self.connection)
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing: tests read ``requests``."""

        def handle(self) -> None:
            try:
                super().handle()
            except (ConnectionError, ValueError):
                self.close_connection = True

    return Handler
