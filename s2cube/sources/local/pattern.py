"""Patterns of file names: ``{tile}_{time:%Y%m%d}_{band}.tif``."""

import re
import string
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from s2cube.errors import CatalogError, CubeError

__all__ = ["ESA", "Match", "Pattern"]

_FIELDS: Final = {
    "band": r"[A-Za-z0-9]+",
    "tile": r"\d{2}[A-Z]{3}",
    "platform": r"S2[A-Z]|[Ss]entinel-?2[A-Za-z]",
    "orbit": r"\d{1,3}",
    "baseline": r"N?\d\d\.?\d\d",
    "level": r"L1C|L2A",
}
"""Fields with a meaning, and what they match."""
_DIRECTIVES: Final = {
    "Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d", "d": r"\d\d", "j": r"\d{3}", "H": r"\d\d", "M": r"\d\d",
    "S": r"\d\d", "f": r"\d{1,6}", "b": r"[A-Za-z]{3}", "B": r"[A-Za-z]+", "%": "%",
}  # fmt: skip
"""What the directives of strptime match."""
_APART: Final = "To leave it out, rename it, put it elsewhere, or give a list of the other files."


@dataclass(frozen=True)
class Match:
    """What a path tells."""

    fields: dict[str, str]
    """By name; without ``time`` and ``band``."""
    time: np.datetime64 | None
    band: str | None
    rest: str
    """The path without its band: what the files of one scene share."""


@dataclass(frozen=True)
class Pattern:
    """How paths are read.

    ``{field}`` is a part that means something, ``{time:...}`` a time in the directives of
    :meth:`datetime.datetime.strptime`, ``*`` anything. A field of another name is any text; it tells
    scenes apart. With a ``/`` the pattern describes the path below the folder, else the file's name.
    Capitals do not matter.

    Examples
    --------
    >>> from s2cube.sources.local.pattern import Pattern
    >>> match = Pattern("T{tile}_{time:%Y%m%dT%H%M%S}_{band}*.jp2").match(
    ...     "any/folder/T33UUU_20170216T102101_B02_10m.jp2"
    ... )
    >>> match.band, match.fields, str(match.time)[:19]
    ('B02', {'tile': '33UUU'}, '2017-02-16T10:21:01')
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise CubeError(f"pattern is text such as '{{tile}}_{{band}}.tif'; got {self.text!r}.")
        _ = self._regex

    @property
    def tells_band(self) -> bool:
        """Whether it has ``{band}``: then a file holds one band."""
        return "band" in self._regex.groupindex

    @cached_property
    def _parts(self) -> list[tuple[str, str | None, str | None, str | None]]:
        try:
            return list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise CubeError(f"pattern={self.text!r} cannot be read: {error}.") from None

    @cached_property
    def _times(self) -> list[str]:
        """The formats of its times, in order."""
        return [spec or "" for _, name, spec, _ in self._parts if name == "time"]

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        pieces, seen, times = [], set(), 0
        for literal, name, spec, conversion in self._parts:
            pieces += [
                r"[^/]*" if part == "*" else re.escape(part) for part in re.split(r"(\*)", literal)
            ]
            if name is None:
                continue
            if name == "time":
                pieces.append(f"(?P<time_{times}>{self._time(spec)})")
                times += 1
                continue
            if not name.isidentifier() or name.startswith("time") or spec or conversion:
                raise CubeError(
                    f"pattern={self.text!r}: a field is {{name}}, or {{time:%Y%m%d}} in the directives "
                    f"of strptime; got {{{name}{':' if spec else ''}{spec or ''}}}."
                )
            # The same field twice has to have the same text.
            pieces.append(
                f"(?P={name})" if name in seen else f"(?P<{name}>{_FIELDS.get(name, '[^/]+?')})"
            )
            seen.add(name)
        return re.compile("".join(pieces), re.IGNORECASE)

    def _time(self, spec: str | None) -> str:
        pieces = re.split("(%.)", spec or "")
        unknown = [piece for piece in pieces if piece[:1] == "%" and piece[1:] not in _DIRECTIVES]
        if not spec or unknown:
            known = ", ".join(f"%{directive}" for directive in _DIRECTIVES)
            raise CubeError(
                f"pattern={self.text!r}: {{time}} needs its format, as in {{time:%Y%m%d}}, of {known}."
            )
        return "".join(
            _DIRECTIVES[piece[1:]] if piece[:1] == "%" else re.escape(piece) for piece in pieces
        )

    def match(self, path: str) -> Match | None:
        """Return what `path` (relative, with ``/``) tells; None where it does not fit.

        Raises
        ------
        CatalogError
            It fits, and its time is none.
        """
        name = path if "/" in self.text else PurePosixPath(path).name
        found = self._regex.fullmatch(name)
        if found is None:
            return None
        texts = {
            name: text.upper() if name in _FIELDS and name != "band" else text
            for name, text in found.groupdict().items()
        }
        times = [texts.pop(f"time_{i}") for i in range(len(self._times))]
        band = texts.pop("band", None)
        rest = name
        if band is not None:
            start, end = found.span("band")
            rest = name[:start] + re.sub(r"(?i)^_\d\dm", "", name[end:])
        folder = "" if "/" in self.text else path[: -len(name)]
        return Match(texts, self._moment(times, path), band, folder + rest)

    def _moment(self, times: list[str], path: str) -> np.datetime64 | None:
        if not times:
            return None
        try:
            moment = datetime.strptime(" ".join(times), " ".join(self._times))
        except ValueError as error:
            raise CatalogError(f"{path}: its time is none ({error}). {_APART}") from None
        if moment.tzinfo is not None or moment.year < 1970:
            raise CatalogError(
                f"{path}: {moment} is no time of an acquisition; is {{time}} complete? {_APART}"
            )
        return np.datetime64(moment, "ns")


ESA: Final = Pattern("*T{tile}_{time:%Y%m%dT%H%M%S}_{band}*.jp2")
"""ESA's images without the product around them, ``T33UUU_20170216T102101_B02.jp2``."""
