"""One exchange over HTTP: nothing is followed or repeated, and our own disk is not the network.

A redirection comes back as it is: followed, it could be paid twice, or take the key to another host.
"""

import http.client
import io
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final
from urllib.parse import urlsplit

__all__ = ["IMAGE_TIMEOUT", "TIMEOUT", "Fault", "Reply", "exchange", "unsafe"]

TIMEOUT: Final = 60.0
"""Seconds of silence after which a connection is given up."""
IMAGE_TIMEOUT: Final = 600.0
"""The same while an image is made."""
SLOWEST: Final = 10_000.0
"""Bytes a second that must come on the whole, after so long: silence is not the only way to hang."""
_PIECE: Final = 1 << 16
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

clock = time.monotonic


@dataclass(frozen=True)
class Fault:
    """An exchange that failed and may succeed when repeated."""

    text: str
    counts: bool = False
    """Whether the service may have counted it as a download."""
    throttled: bool = False
    """Whether the service wants less at a time."""
    after: float = 0.0
    """Seconds that it asks to wait."""
    issued: bool = False
    """Whether a download was counted, perhaps, before this exchange, which itself costs nothing."""


@dataclass(frozen=True)
class Reply:
    """An answer; the body of an image went to its file."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """Hands out every answer, whatever its status."""

    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002
        return response

    https_response = http_response


def exchange(
    request: urllib.request.Request,
    timeout: float,
    file: IO[bytes] | None = None,
    *,
    counts: bool = False,
) -> Reply | Fault:
    """Make one exchange.

    Parameters
    ----------
    timeout
        Seconds of silence after which it is given up.
    file
        Where the body of an answer 200 goes, if not into the reply.
    counts
        Whether the service may have counted a download where its answer does not come whole.

    Raises
    ------
    OSError
        `file` could not be written; what fails on the way is a :class:`Fault` instead.
    """
    # A proxy would see what goes to this machine, which is not encrypted.
    here = urlsplit(request.full_url).hostname in _LOOPBACK
    handlers = [_AsItIs(), *([urllib.request.ProxyHandler({})] if here else [])]
    try:
        answer = urllib.request.build_opener(*handlers).open(request, timeout=timeout)
    except urllib.error.URLError as error:
        # urllib wraps what fails until the request is sent, and only that.
        return Fault(f"cannot connect: {error.reason}")
    except (OSError, http.client.HTTPException) as error:
        return Fault(_broke(error, timeout), counts)
    with answer:
        headers = dict(answer.headers.items())
        target = file if file is not None and answer.status == 200 else io.BytesIO()
        target.seek(0)
        target.truncate()
        problem = _receive(answer, target, timeout)
        target.flush()
        # What a refusal says is in its status, even if the explanation breaks off.
        if problem and answer.status == 200:
            return Fault(problem, counts)
        body = target.getvalue() if isinstance(target, io.BytesIO) else b""
        return Reply(answer.status, headers, body)


def _receive(answer: Any, target: IO[bytes], timeout: float) -> str:
    """Write a body into `target`; tell what went wrong on the way, empty if nothing did."""
    told = answer.headers.get("Content-Length", "")
    length = int(told) if told.isascii() and told.isdigit() else None
    start, got = clock(), 0
    while length is None or got < length:
        try:
            piece = answer.read1(_PIECE)
        except (OSError, http.client.HTTPException) as error:
            return _broke(error, timeout)
        if not piece:
            break
        # Apart from reading: a full disk is no fault of the network's.
        target.write(piece)
        got += len(piece)
        if clock() - start > timeout + got / SLOWEST:
            return f"the answer came too slowly: {got} bytes in {clock() - start:.0f} seconds"
    if length is not None and got < length:
        return f"the answer broke off after {got} of {length} bytes"
    return ""


def _broke(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} seconds"
    return f"the connection broke ({type(error).__name__})"


def unsafe(url: str) -> str:
    """Tell why nothing is fetched from `url`, empty if it is safe."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("https", "http") or not host:
        return "is no http(s) URL"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return "is not encrypted (http), which is for this machine only: use https"
    return ""
