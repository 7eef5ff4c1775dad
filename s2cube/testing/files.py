"""A server of files by HTTP ranges, as object stores serve them: signatures and faults on demand."""

import datetime
import json
import re
import secrets
import time
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from s2cube.testing.loopback import Faults, Loopback, Request, Response

__all__ = ["FileServer"]

_TOKEN = "/api/sas/v1/token/"  # noqa: S105


class FileServer(Loopback):
    """Serves the files of a folder, with range requests, on loopback.

    Parameters
    ----------
    folder
        What it serves; ``server.href(path)`` is where a file of it is.
    faults
        What goes wrong.
    signed
        Seconds that a signature lasts; None serves to everyone. With signatures, a file needs
        ``?se=...&sig=...`` (403 else, as Azure answers), and
        ``/api/sas/v1/token/{account}/{container}`` gives them as Planetary Computer does. One token
        opens all files.

    Examples
    --------
    >>> import tempfile, urllib.request
    >>> from pathlib import Path
    >>> from s2cube.testing import FileServer
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("0123456789")
    >>> with FileServer(folder) as server:
    ...     part = urllib.request.Request(server.href("a.txt"), headers={"Range": "bytes=2-4"})
    ...     urllib.request.urlopen(part).read()
    b'234'
    """

    def __init__(
        self, folder: Path | str, *, faults: Faults | None = None, signed: float | None = None
    ) -> None:
        super().__init__(faults=faults)
        self.folder = Path(folder).resolve()
        self.signed = signed
        self._secrets = {secrets.token_hex(8)}

    def href(self, path: Path | str) -> str:
        """Return where a file is, named inside the folder or by its full path; without a signature."""
        inside = (self.folder / path).resolve().relative_to(self.folder)
        return f"{self.url}/{quote(inside.as_posix())}"

    @property
    def token_url(self) -> str:
        """Where tokens are given."""
        return self.url + _TOKEN.rstrip("/")

    @property
    def pattern(self) -> str:
        """Which links it serves, for :class:`s2cube.PlanetaryComputer`: a container is a folder."""
        return re.escape(self.url) + "(?P<account>)/(?P<container>[^/?]+)/"

    def token(self, lasts: float | None = None) -> str:
        """Return a signature (a query) that lasts so many seconds, by default those of `signed`."""
        assert self.signed is not None, "the server was made without signatures"
        until = time.time() + (self.signed if lasts is None else lasts)
        return f"se={quote(_stamp(until))}&sig={next(iter(self._secrets))}"

    def revoke(self) -> None:
        """Refuse all signatures given so far, whatever they promise."""
        self._secrets = {secrets.token_hex(8)}

    def answer(self, request: Request) -> Response:
        """Return a token, a file, a part of it, or why not."""
        parts = urlsplit(request.path)
        if self.signed is not None and parts.path.startswith(_TOKEN):
            return self._token()
        if self.signed is not None and (refusal := self._refusal(parts.query)):
            return Response(403, refusal.encode(), {"Content-Type": "application/xml"})
        path = (self.folder / unquote(parts.path).lstrip("/")).resolve()
        if not (path.is_relative_to(self.folder) and path.is_file()):
            return Response(404, b"no such file")
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"only GET and HEAD")
        return _file(path, "" if request.method == "HEAD" else request.headers.get("Range", ""))

    def _token(self) -> Response:
        assert self.signed is not None
        told = {"msft:expiry": _stamp(time.time() + self.signed), "token": self.token()}
        return Response(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _refusal(self, query: str) -> str:
        """Return why a signature does not serve; empty where it does."""
        told = parse_qs(query)
        code = "<Error><Code>AuthenticationFailed</Code><Message>{}</Message></Error>"
        if told.get("sig", [""])[0] not in self._secrets:
            return code.format("Signature did not match.")
        until = datetime.datetime.fromisoformat(told.get("se", ["1970-01-01T00:00:00Z"])[0])
        return (
            code.format("Signature not valid in the time frame.")
            if until.timestamp() < time.time()
            else ""
        )


def _stamp(seconds: float) -> str:
    """Return a time as Azure writes it; to the microsecond, for signatures that last less than one."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _file(path: Path, wanted: str) -> Response:
    """Return a file, or the range of it that the header `wanted` names."""
    stat = path.stat()
    size = stat.st_size
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "ETag": f'"{stat.st_mtime_ns:x}-{size:x}"',
        "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
    }
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    first, stop = 0, size
    if match is not None and match.group() != "bytes=-":
        # "-5" means the last five bytes; a last byte beyond the end means the end.
        first = int(match[1]) if match[1] else max(size - int(match[2]), 0)
        stop = min(int(match[2]) + 1, size) if match[1] and match[2] else size
        if first >= stop:
            return Response(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
    with path.open("rb") as file:
        file.seek(first)
        return Response(206 if "Content-Range" in headers else 200, file.read(stop - first), headers)
