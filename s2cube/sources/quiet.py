"""What is said of links, in errors and logs: without their queries, which may hold signatures."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["install", "plain", "reading"]

_QUERY: Final = re.compile(r"(?<=[^\s?#])[?#][^\s'\"<>]*[^\s'\"<>:;,.)]")
_ODC: Final = "odc.loader._rio"
_LOGGERS: Final = (
    _ODC, *(f"rasterio.{name}" for name in ("_base", "_env", "_err", "_io", "_warp", "env", "session")),
)  # fmt: skip
_local = threading.local()


def plain(text: str) -> str:
    """Return `text` with the query and fragment of every link cut off.

    Examples
    --------
    >>> from s2cube.sources.quiet import plain
    >>> plain("Cannot read https://a.org/B04.tif?se=2026&sig=a%2Bb#3: HTTP response code: 403")
    'Cannot read https://a.org/B04.tif: HTTP response code: 403'
    """
    return _QUERY.sub("", text)


class _Plain(logging.Filter):
    """Takes signatures out of what rasterio logs, and drops what odc-loader says of attempts."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = plain(record.getMessage()), None
        # It calls each attempt an error; the last one's is raised or marked.
        return not (record.name == _ODC and getattr(_local, "reading", False))


_FILTER: Final = _Plain()


def install() -> None:
    """Keep signatures out of the logs of this process; again is nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)


@contextmanager
def reading() -> Iterator[None]:
    """Say that this thread reads for us, so that what odc-loader logs of it is not shown."""
    _local.reading = True
    try:
        yield
    finally:
        _local.reading = False
