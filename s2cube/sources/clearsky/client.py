"""The service over HTTP: one exchange, what its answer means, and when it is asked again.

What is free is asked again until it answers, within bounds. What costs is asked again as long as the
service cannot have counted it; where it may have (the answer broke off or never came, or a gateway
answered in its place), once more.
"""

import json
import random
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from s2cube.errors import CubeError, ReadError, ServiceError
from s2cube.sources.clearsky.exchange import IMAGE_TIMEOUT, TIMEOUT, Fault, Reply, exchange, unsafe
from s2cube.sources.clearsky.key import VARIABLE, account_of, conceal, key_of

__all__ = [
    "BASE_URL",
    "LostError",
    "MissingError",
    "NoCreditError",
    "Service",
    "TooMuchError",
    "UnknownPathError",
    "service",
]

BASE_URL: Final = "https://api.clearsky.vision"

ATTEMPTS: Final = 6
"""How often at most something is asked; where the service wants less at a time, `THROTTLED_ATTEMPTS`."""
THROTTLED_ATTEMPTS: Final = 10
RISKED: Final = 2
"""How often at most something is asked that each time may have been counted as a download: without
the second time a cable that breaks would end a run, with more it could use up an order."""
FIRST_WAIT = 0.5
"""Seconds before the second attempt; each further one waits twice as long."""
LONGEST_WAIT: Final = 30.0
_SHOWN: Final = 400
"""Characters of what the service says that an error shows."""
_ENOUGH: Final = 1_000_000
"""Bytes of what should be an image and is none that are looked at."""
_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How TIFF and BigTIFF begin."""

T = TypeVar("T")


class MissingError(Exception):
    """There is no imagery for this area and date (code 1002)."""


class TooMuchError(Exception):
    """The area (code 1004) or the bands (1005) are more than one request may ask for."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        """``"area"`` or ``"bands"``."""


class LostError(ReadError):
    """No image came, and the service may have counted a download."""


class NoCreditError(ServiceError):
    """The account's credits do not suffice (code 994)."""


class UnknownPathError(ServiceError):
    """The service has no such path or identifier (404)."""


Outcome = Any
"""What was asked for, or a :class:`Fault`, or the exception that ends it."""


@dataclass(frozen=True)
class Service:
    """One service as one account sees it; holds no key."""

    url: str
    """Without a slash at the end."""
    handle: str
    """Of the key, see :mod:`s2cube.sources.clearsky.key`."""
    account: str
    """A random name for the key, of the process that opened: accounts do not have the same imagery."""

    @property
    def host(self) -> str:
        """Name of the host, without the port."""
        return urlsplit(self.url).hostname or ""

    @property
    def place(self) -> str:
        """Host, port and path, as the name of a folder: what is served elsewhere is something else."""
        return quote(self.url.partition("://")[2], safe="")

    def ask(self, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], T]) -> T:
        """Return what `read` makes of the ``Data`` of a call that costs nothing.

        Raises
        ------
        ServiceError
            The service refuses, or answers something else than it should: repeating would not help.
        ReadError
            It cannot be reached, or goes on failing.
        """
        from shapely.errors import ShapelyError

        data = self._persist(path, lambda: self._ask(path, body))
        try:
            return read(data)
        except (AttributeError, LookupError, TypeError, ValueError, ShapelyError) as error:
            reason = conceal(f"{type(error).__name__}: {error}", self.handle)[:_SHOWN]
        raise ServiceError(
            f"{self.host} answered what it should not to {path} ({reason}). Nothing was paid for by "
            "this; if base_url= is right, the service has changed."
        )

    def save(
        self,
        path: str,
        body: Mapping[str, Any],
        file: IO[bytes],
        check: Callable[[], str],
        throttled: Callable[[], None],
    ) -> None:
        """Write the image that a call answers into `file`; this costs.

        Parameters
        ----------
        check
            Tells what is wrong with the image in `file`, empty if nothing is.
        throttled
            Called whenever the service wants less at a time.

        Raises
        ------
        ServiceError, MissingError, TooMuchError
            The service refuses; nothing was counted.
        LostError
            No whole image came, and it may have been counted.
        ReadError
            No whole image came.
        OSError
            `file` could not be written.
        """
        self._persist(path, lambda: self._save(path, body, file, check), throttled)

    def save_link(self, path: str, file: IO[bytes], check: Callable[[], str]) -> None:
        """Write the image behind the signed link that a call answers into `file`.

        The link is a credential too, and of another host: it is never shown, and the key never goes
        there. It is read as often as need be; one that has expired is replaced, which may count.
        """
        links: list[str] = []
        self._persist(path, lambda: self._save_link(path, file, check, links))

    def _persist(
        self, what: str, once: Callable[[], Outcome], throttled: Callable[[], None] = lambda: None
    ) -> Any:
        """Repeat `once` until it ends otherwise than in a fault, within bounds."""
        attempt = risked = 0
        while True:
            outcome = once()
            if isinstance(outcome, Exception):
                raise outcome
            if not isinstance(outcome, Fault):
                return outcome
            attempt += 1
            risked += outcome.counts
            if risked >= RISKED or attempt >= (THROTTLED_ATTEMPTS if outcome.throttled else ATTEMPTS):
                break
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))
            # Jitter: else all that were turned away together come back together.
            time.sleep(max(min(outcome.after, LONGEST_WAIT), wait * random.uniform(0.5, 1)))  # noqa: S311
            if outcome.throttled:
                throttled()
        told = (
            f"ClearSKY did not deliver ({attempt} attempts at {self.host}{what.partition('?')[0]}): "
            f"{outcome.text}."
        )
        if risked or outcome.issued:
            times = ", twice" if risked == RISKED else ""
            raise LostError(f"{told} The service may have counted it as a download{times}.")
        raise ReadError(told)

    def _request(self, path: str, body: Mapping[str, Any] | None) -> urllib.request.Request:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data)  # noqa: S310 - checked by `service`
        request.add_header("Content-Type", "application/json")
        request.add_header("X-API-KEY", key_of(self.handle))
        return request

    def _ask(self, path: str, body: Mapping[str, Any] | None, *, counts: bool = False) -> Outcome:
        reply = exchange(self._request(path, body), TIMEOUT, counts=counts)
        if isinstance(reply, Fault):
            return reply
        envelope = _envelope(reply.body)
        if reply.status == 200 and envelope is None:
            return Fault(f"the answer is no JSON but {len(reply.body)} bytes of something else", counts)
        if reply.status == 200 and envelope is not None and envelope.get("Succeeded", True):
            return envelope.get("Data")
        return self._verdict(reply, envelope, counts=counts)

    def _save(
        self, path: str, body: Mapping[str, Any], file: IO[bytes], check: Callable[[], str]
    ) -> Outcome:
        reply = exchange(self._request(path, body), IMAGE_TIMEOUT, file, counts=True)
        if isinstance(reply, Fault):
            return reply
        if reply.status != 200:
            return self._verdict(reply, _envelope(reply.body), counts=True)
        return self._image(file, check)

    def _save_link(
        self, path: str, file: IO[bytes], check: Callable[[], str], links: list[str]
    ) -> Outcome:
        if not links:
            data = self._ask(path, None, counts=True)
            if isinstance(data, (Fault, Exception)):
                return data
            link = str(data.get("FileAzureSasUri", "")) if isinstance(data, dict) else ""
            if problem := unsafe(link):
                return ServiceError(f"ClearSKY answered {path} with a link that {problem}.")
            links.append(link)
        reply = exchange(urllib.request.Request(links[0]), IMAGE_TIMEOUT, file)  # noqa: S310 - checked
        where = f"the signed link to {urlsplit(links[0]).hostname}"
        if isinstance(reply, Fault):
            return Fault(f"{where}: {reply.text}", issued=True)
        if reply.status != 200:
            expired = reply.status in (401, 403, 404, 410)
            if expired:
                links.clear()
            return Fault(f"{where} answered {reply.status}", counts=expired, issued=True)
        outcome = self._image(file, check)
        return Fault(outcome.text, issued=True) if isinstance(outcome, Fault) else outcome

    def _image(self, file: IO[bytes], check: Callable[[], str]) -> Outcome:
        """Look at what came with status 200: an image, or an error in disguise."""
        file.seek(0)
        start = file.read(_ENOUGH)
        if start[:4] not in _MAGIC or len(start) < 8:
            if (envelope := _envelope(start)) is not None and not envelope.get("Succeeded", False):
                verdict = self._verdict(Reply(400, body=start), envelope, counts=True)
                if not isinstance(verdict, ServiceError) or _code(envelope):
                    return verdict
            return Fault(f"the answer is no TIFF but {len(start)} bytes of something else", counts=True)
        problem = check()
        return Fault(f"the image is damaged: {problem}", counts=True) if problem else None

    def _verdict(self, reply: Reply, envelope: Mapping[str, Any] | None, *, counts: bool) -> Outcome:
        """Tell what an answer that is no success means."""
        status = reply.status
        if 300 <= status < 400:
            return ServiceError(
                f"{self.host} answers with a redirection ({status}). It was not followed: the key goes "
                f"to no other address, and nothing is paid twice. Is base_url={self.url} right?"
            )
        if status in (401, 403):
            return ServiceError(
                f"ClearSKY refuses the API key ({status}): it is wrong, or has no right to this. It was "
                f"taken from api_key= or, where that is not given, from {VARIABLE}."
            )
        # The key first: cut through, it would not be found.
        told = conceal(_told(reply, envelope), self.handle)[:_SHOWN]
        code = _code(envelope)
        if status == 429 or code == 1003:
            return Fault(f"too many requests at a time ({told})", False, True, _after(reply))
        if status >= 500 or status == 408:
            # 503 turns away before any work, as 429 does; else a gateway may have given up waiting for
            # what the service went on to make.
            return Fault(f"status {status} ({told})", counts and status != 503, after=_after(reply))
        if status == 400 and envelope is None:
            return Fault(f"status 400 without an explanation ({told})")
        if code == 1002:
            return MissingError(told)
        if code in (1004, 1005):
            return TooMuchError("area" if code == 1004 else "bands")
        if code == 994:
            return NoCreditError(f"Not enough ClearSKY credits (code 994): {told}")
        if code == 1006:
            return ServiceError(
                f"No ClearSKY order covers this area and date (code 1006): {told}. Order it, or open "
                "what is ordered; tiles and composites may be ordered apart (product=)."
            )
        if code in (992, 993) or _fields(envelope):
            return ServiceError(f"ClearSKY does not accept the request (code {code or status}): {told}")
        if status == 404:
            return UnknownPathError(
                f"ClearSKY knows no such path or identifier (404): {told}. Is base_url={self.url} right?"
            )
        return ServiceError(f"ClearSKY refuses (status {status}, code {code}): {told}")


def service(base_url: str | None, handle: str) -> Service:
    """Return the service at `base_url`; raise where the key could be overheard on the way there."""
    url = (base_url or BASE_URL).rstrip("/")
    parts = urlsplit(url)
    if problem := unsafe(url):
        raise CubeError(f"base_url= is the address of a ClearSKY service; this one {problem}.")
    if parts.username or parts.password or parts.query or parts.fragment:
        # Whatever is in it would go into graphs and errors.
        raise CubeError("base_url= holds a user, a query or a fragment: give scheme, host and path.")
    return Service(url, handle, account_of(handle))


def _envelope(body: bytes) -> Mapping[str, Any] | None:
    try:
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _code(envelope: Mapping[str, Any] | None) -> int:
    error = (envelope or {}).get("Error")
    code = error.get("Code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 0


def _fields(envelope: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return what is wrong by field: ``Data`` of the envelope, or ``errors`` of ASP.NET."""
    found = (envelope or {}).get("Data") or (envelope or {}).get("errors")
    return found if isinstance(found, dict) else {}


def _told(reply: Reply, envelope: Mapping[str, Any] | None) -> str:
    """Return what an answer says, on one line."""
    if envelope is None:
        return " ".join(reply.body.decode(errors="replace").split()) or "no explanation"
    error = envelope.get("Error")
    message = error.get("Message") if isinstance(error, dict) else envelope.get("title")
    fields = [
        f"{name}: {' '.join(map(str, text)) if isinstance(text, list) else text}"
        for name, text in _fields(envelope).items()
    ]
    return "; ".join([str(message or "no explanation").rstrip("."), *fields])


def _after(reply: Reply) -> float:
    """Return the seconds of ``Retry-After``, 0 where it is absent or a date."""
    value = next((v for k, v in reply.headers.items() if k.lower() == "retry-after"), "")
    return float(value) if value.isdigit() else 0.0
