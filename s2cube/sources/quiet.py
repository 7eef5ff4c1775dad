"""What is said of reading, in errors, logs and warnings: no noise, and no queries of links.

Those may hold signatures.
"""

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

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


class _Ours:
    """In a filter of warnings, where a pattern of the text may stand: any text, of a thread that reads.

    rasterio warns of a file that came incomplete, which is tried again, and of every array that it
    resamples. :class:`warnings.catch_warnings` would take the warnings of other threads too.
    """

    def match(self, text: str) -> bool:  # noqa: ARG002
        return getattr(_local, "reading", False)


_OURS: Final = _Ours()


def install() -> None:
    """Keep signatures out of this process's logs, and noise out of its warnings; again is nothing."""
    from rasterio.errors import NotGeoreferencedWarning

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
    filters: Any = warnings.filters
    entry = ("ignore", _OURS, NotGeoreferencedWarning, None, 0)
    if entry not in filters:
        filters.insert(0, entry)


@contextmanager
def reading() -> Iterator[None]:
    """Say that this thread reads for us, so that noise about it is not shown."""
    _local.reading = True
    try:
        yield
    finally:
        _local.reading = False
