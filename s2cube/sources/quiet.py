"""What is said of reading, in errors, logs and warnings: no noise, and no queries of links.

Those may hold signatures.
"""

import functools
import logging
import operator
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["install", "plain", "reading"]

_QUERY: Final = re.compile(r"(?<=[^\s?#])[?#][^\s'\"<>]*[^\s'\"<>:;,.)]")
_ODC: Final = "odc.loader._rio"
_LOGGERS: Final = (
    _ODC, *(f"rasterio.{name}" for name in ("_base", "_env", "_err", "_io", "_warp", "env", "session")),
)  # fmt: skip
_NO_TEXT: Final = functools.partial(operator.is_, None)
_ANY_TEXT: Final = functools.partial(operator.is_not, None)


class _Reading(threading.local):
    """In a filter of warnings, where a pattern of the text may stand: any text, of a thread that reads.

    rasterio warns of a file that came incomplete, which is tried again, and of every array that it
    resamples. :class:`warnings.catch_warnings` would take the warnings of other threads too.

    No line of Python may run in here. Before 3.14 `warnings.warn` walks the list of filters without
    holding it; while a line of Python runs, other threads get their turn, rasterio replaces the list
    in its own ``catch_warnings``, and the walk goes on in freed memory.
    """

    match: Callable[[str], bool] = _NO_TEXT


_reading: Final = _Reading()


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
        return not (record.name == _ODC and _reading.match is _ANY_TEXT)


_FILTER: Final = _Plain()


def install() -> None:
    """Keep signatures out of this process's logs, and noise out of its warnings; again is nothing."""
    from rasterio.errors import NotGeoreferencedWarning

    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
    filters: Any = warnings.filters
    entry = ("ignore", _reading, NotGeoreferencedWarning, None, 0)
    if entry not in filters:
        filters.insert(0, entry)


@contextmanager
def reading() -> Iterator[None]:
    """Say that this thread reads for us, so that noise about it is not shown."""
    _reading.match = _ANY_TEXT
    try:
        yield
    finally:
        _reading.match = _NO_TEXT
