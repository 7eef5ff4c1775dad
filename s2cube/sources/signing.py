"""Links that must be signed to be read: signed in the task that reads, kept until they expire.

A signature never enters a graph: it would change the names of the tasks, and it would be old before the
last of them runs.
"""

import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

from s2cube.errors import CubeError, ReadError
from s2cube.sources.retry import Retry

__all__ = ["PlanetaryComputer", "Signed", "Signer", "forget", "sign", "unsigned"]

MARGIN: Final = 300.0
"""Seconds before its end from which on a signature is renewed; less (a fifth) if it lives shortly."""
KEPT: Final = 4096
"""Signatures kept in a process."""
_SUBSCRIPTION: Final = "PC_SDK_SUBSCRIPTION_KEY"
# What providers add to a link: Azure's shared access signatures, S3 and Google (versions 4 and 2).
_SIGNATURE: Final = re.compile(
    r"(?:s[etprv]|sig|si|sip|spr|sdd|saoid|suoid|scid|ses|sk(?:oid|tid|t|e|s|v)"
    r"|x-(?:amz|goog)-.*|signature|expires|awsaccesskeyid|googleaccessid|key-pair-id)=.*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Signed:
    """A link that can be read now."""

    href: str
    expires: float | None = None
    """Until when, in seconds since 1970 (UTC): it is used again until shortly before. None: it is used
    once."""


class Signer(Protocol):
    """Any function ``sign(href)`` that pickles: it is called in the task that reads, on its machine.

    It returns the link to read, or a :class:`Signed`, which is kept and used again until shortly before
    it expires. It is called for every link of a cube, and returns those that need no signature as they
    are. Two signers that are equal share what they have signed, so a class should be a frozen dataclass.
    It must not hold secrets that a scheduler or another user of the cluster must not see: read them
    where it runs, from ``os.environ``.

    Examples
    --------
    >>> from s2cube.sources.signing import Signed, sign
    >>> def ours(href: str) -> str:
    ...     return href + "?key=" + "..."
    >>> sign(ours, "https://example.org/B04.tif")
    Signed(href='https://example.org/B04.tif?key=...', expires=None)
    """

    def __call__(self, href: str, /) -> "str | Signed":
        """Return the link to read."""
        ...


@dataclass(frozen=True)
class _Token:
    """What is kept: a link or a query, and until when."""

    text: str
    expires: float | None
    renew: float

    @classmethod
    def until(cls, text: str, expires: float | None) -> "_Token":
        now = time.time()
        left = 0.0 if expires is None else expires - now
        return cls(text, expires, now + left - min(MARGIN, left / 5))


class _Kept:
    """Signatures by key, for all threads of a process; each is asked for once at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, Future[_Token]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _Token]) -> _Token:
        """Return what is kept under `key`; else what `make` returns, or raise what it raises.

        Of several threads one calls it, and the others wait for what comes.
        """
        with self._lock:
            held = self._held.get(key)
            mine = held is None or (held.done() and held.result().renew <= time.time())
            if held is None or mine:
                held = self._held[key] = Future()
            self._held.move_to_end(key)
            while len(self._held) > KEPT:
                self._held.popitem(last=False)
        if mine:
            try:
                held.set_result(make())
            except BaseException as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
                with self._lock:
                    if self._held.get(key) is held:
                        del self._held[key]
                held.set_exception(error)
        return held.result()

    def forget(self, key: Hashable, href: str) -> None:
        """Drop what is kept under `key`, if `href` was signed with it and not with an older one."""
        with self._lock:
            held = self._held.get(key)
            if held is not None and held.done() and href.endswith(held.result().text):
                del self._held[key]


_KEPT: Final = _Kept()


def sign(signer: Signer, href: str) -> Signed:
    """Return the link to read now, by `signer` or as it was kept.

    Raises
    ------
    ReadError
        It cannot be signed.
    CubeError
        `signer` returned neither a link nor a :class:`Signed`.
    """
    if isinstance(signer, PlanetaryComputer):
        return signer(href)
    token = _KEPT.get((signer, href), lambda: _asked(signer, href))
    return Signed(token.text, token.expires)


def forget(signer: Signer, href: str, refused: Signed) -> None:
    """Take note that what `signer` returned for `href` was refused: the next call signs anew."""
    if isinstance(signer, PlanetaryComputer):
        key: Hashable = (signer, signer.container(href))
    else:
        key = (signer, href)
    _KEPT.forget(key, refused.href)


def _asked(signer: Signer, href: str) -> _Token:
    found = signer(href)
    if isinstance(found, str):
        found = Signed(found)
    if not isinstance(found, Signed):
        raise CubeError(
            f"sign(href) returns a link (str) or a s2cube.Signed, {signer!r} returned {found!r}."
        )
    return _Token.until(found.href, found.expires)


def unsigned(href: str) -> str:
    """Return a link without the signature that it may carry; other parts of its query stay.

    Examples
    --------
    >>> from s2cube.sources.signing import unsigned
    >>> unsigned("https://a.blob.core.windows.net/s2/B04.tif?se=2026-01-01&sp=r&sig=abc")
    'https://a.blob.core.windows.net/s2/B04.tif'
    """
    if not href.startswith(("http://", "https://")) or "?" not in href:
        return href
    parts = urlsplit(href)
    kept = "&".join(word for word in parts.query.split("&") if not _SIGNATURE.fullmatch(word))
    return urlunsplit(parts._replace(query=kept))


@dataclass(frozen=True)
class PlanetaryComputer:
    """Signs links of Microsoft's Planetary Computer; leaves all others as they are.

    One token is asked for by storage account and container, in each process that reads. A key from
    ``PC_SDK_SUBSCRIPTION_KEY``, which raises the limits, is read where it runs.

    Examples
    --------
    >>> from s2cube.sources.signing import PlanetaryComputer
    >>> PlanetaryComputer()("https://example.org/B04.tif")
    Signed(href='https://example.org/B04.tif', expires=None)
    """

    token_url: str = "https://planetarycomputer.microsoft.com/api/sas/v1/token"  # noqa: S105
    pattern: str = (
        r"https://(?!ai4edatasetspublicassets\.)(?P<account>[a-z0-9]+)\.blob\.core\.windows\.net"
        r"/(?P<container>[a-z0-9$-]+)/"
    )
    """The links that it signs, with the groups ``account`` and ``container``."""
    retry: Retry = field(default_factory=Retry)
    """How it asks again for a token."""
    timeout: float = 20.0
    """Seconds after which a request for a token is given up."""

    def container(self, href: str) -> tuple[str, str] | None:
        """Return account and container of a link; None where it is not for us to sign."""
        match = re.match(self.pattern, href)
        return None if match is None else (match["account"], match["container"])

    def __call__(self, href: str, /) -> Signed:
        """Return the link with a token; a signature that it carries already is replaced."""
        where = self.container(href)
        if where is None:
            return Signed(href)
        token = _KEPT.get((self, where), lambda: self._token(*where))
        plain = unsigned(href)
        return Signed(f"{plain}{'&' if '?' in plain else '?'}{token.text}", token.expires)

    def _token(self, account: str, container: str) -> _Token:
        url = "/".join(
            [self.token_url, *(quote(part, safe="") for part in (account, container) if part)]
        )
        for pause in self.retry.pauses():
            reason, passing, wait = "", True, 0.0
            try:
                return self._ask(url)
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"HTTP status {error.code}"
                    passing = error.code in Retry.PASSING
                    wait = _seconds(error.headers.get("Retry-After", ""))
            except (OSError, HTTPException, ValueError, KeyError) as error:
                reason = str(error) or type(error).__name__
            if not passing or not pause(wait):
                break
        # Raised here, not above: what a worker raises must pickle.
        raise ReadError(
            f"Cannot sign links of {account}/{container}: {url} answered with {reason}. Is the service "
            f"up, and is this machine allowed out? Against too many requests, set {_SUBSCRIPTION}."
        )

    def _ask(self, url: str) -> _Token:
        headers = {"Accept": "application/json", "User-Agent": "s2cube"}
        if key := os.environ.get(_SUBSCRIPTION):
            headers["Ocp-Apim-Subscription-Key"] = key
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        # Followed elsewhere, a redirection would take the key along.
        with urllib.request.build_opener(_Stays()).open(request, timeout=self.timeout) as answer:
            told: Any = json.load(answer)
        expires = datetime.fromisoformat(told["msft:expiry"]).timestamp()
        return _Token.until(str(told["token"]), expires)


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: it becomes the error of its status."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _seconds(header: str) -> float:
    """Return the seconds of a ``Retry-After``; 0 where it gives none (a date, nothing)."""
    return float(header) if header.isdecimal() else 0.0
