"""Marks: what is known of a region, one by one and packed.

While a store is being written, each mark is an object of its own, with the name of every file. Of a
finished store all marks are one Zarr array, as other readers of the store trip over what is none: the
bytes of a JSON text in one gzipped chunk. In there files have the order that the layout gives them, and
need no names.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from typing import Any, Final

from s2cube.store.layout import files_of, regions_in
from s2cube.store.target import Facts, is_safe

__all__ = ["BlockStatus", "Mark", "pack", "unpack"]

_NAMING: Final = ("variables", "shape", "shards", "region")
"""What of a layout decides the names of regions and files."""
_NO_FILE: Final = -1
"""Size of a file that is not there, as it would hold nothing but fill."""
_LEVEL: Final = 6
"""Of gzip."""
_MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class BlockStatus(IntEnum):
    """What a store holds of a region."""

    WRITTEN = 0
    NO_DATA = 1
    """Written, and no band has a value there."""
    FAILED = 2
    MISSING = 3


@dataclass(frozen=True)
class Mark:
    """What is known of one region: it is there, or it failed."""

    region: str
    recipe: str
    """Token of what made it."""
    files: Mapping[str, Facts | None]
    """Size and CRC-32 of every file, by path within the store; None where there is nothing but fill,
    of which Zarr keeps no file."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Values by provenance, looks that could not be read, values clamped on encoding."""
    version: str = ""
    """Of s2cube; recorded, never compared."""
    status: BlockStatus = BlockStatus.WRITTEN
    error: str = ""
    """Why it failed."""
    items: tuple[str, ...] = ()
    """Ids of the items it was made of, where they are known."""

    @classmethod
    def of_failure(cls, region: str, recipe: str, error: str, version: str) -> "Mark":
        """Return the mark of a region that could not be computed or written."""
        return cls(region, recipe, {}, {}, version, BlockStatus.FAILED, error)

    @property
    def there(self) -> bool:
        """Whether the region's files are to be there."""
        return self.status in (BlockStatus.WRITTEN, BlockStatus.NO_DATA)

    def as_json(self) -> dict[str, Any]:
        """Return the mark as plain JSON."""
        return {**asdict(self), "status": self.status.name.lower()}

    @classmethod
    def parse(cls, content: Any) -> "Mark | None":
        """Return the mark that JSON holds, None where it is damaged: its region is then redone.

        One whose files lie elsewhere than in the store is forged, and none.
        """
        try:
            files = {
                str(name): None if facts is None else (int(facts[0]), int(facts[1]))
                for name, facts in content["files"].items()
            }
            if not all(map(is_safe, files)) or not is_safe(content["region"]):
                return None
            return cls(
                content["region"],
                str(content["recipe"]),
                files,
                {str(name): int(value) for name, value in content["counts"].items()},
                str(content["version"]),
                BlockStatus[str(content.get("status", "written")).upper()],
                str(content.get("error", "")),
                tuple(map(str, content.get("items", ()))),
            )
        except _MALFORMED:
            return None


def pack(layout: Mapping[str, Any], marks: Iterable[Mark]) -> tuple[bytes, bytes]:
    """Return the marks of a store as an array: its only chunk, and its metadata."""
    regions, known = regions_in(layout), dict[str, int]()
    packed = []
    for mark in marks:
        facts = []
        if mark.there:
            files = files_of(layout, regions[mark.region])
            facts = [mark.files[file] or (_NO_FILE, 0) for file in files]
        packed.append(
            {
                **replace(mark, files={}, items=()).as_json(),
                "files": [[size for size, _ in facts], [checksum for _, checksum in facts]],
                "items": [known.setdefault(item, len(known)) for item in mark.items],
            }
        )
    content = {"layout": {key: layout[key] for key in _NAMING}, "items": list(known), "marks": packed}
    text = json.dumps(content, separators=(",", ":")).encode()
    # No time in the header: the same marks are the same bytes.
    return gzip.compress(text, _LEVEL, mtime=0), _metadata(len(text))


def _metadata(length: int) -> bytes:
    grid = {"name": "regular", "configuration": {"chunk_shape": [length]}}
    keys = {"name": "default", "configuration": {"separator": "/"}}
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [length],
        "data_type": "uint8",
        "chunk_grid": grid,
        "chunk_key_encoding": keys,
        "fill_value": 0,
        "codecs": [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": _LEVEL}}],
        "attributes": {},
        # Of its own: while marks are replaced there are two arrays, of other lengths.
        "dimension_names": [f"byte_of_{length}"],
    }
    return json.dumps(metadata).encode()


def unpack(chunk: bytes) -> dict[str, Mark]:
    """Return marks by region; without those that are damaged, none where all are."""
    try:
        packed = json.loads(gzip.decompress(chunk))
        layout, items = packed["layout"], packed["items"]
        regions = regions_in(layout)
        read = (_unpacked(layout, regions, items, one) for one in packed["marks"])
        return {mark.region: mark for mark in read if mark is not None}
    except (OSError, EOFError, zlib.error, *_MALFORMED):
        return {}


def _unpacked(
    layout: Mapping[str, Any], regions: Mapping[str, Any], items: list[str], packed: Any
) -> Mark | None:
    try:
        sizes, checksums = packed["files"]
        both = zip(sizes, checksums, strict=True)
        facts = [None if size == _NO_FILE else (size, checksum) for size, checksum in both]
        files = files_of(layout, regions[packed["region"]]) if facts else []
        ids = [items[number] for number in packed["items"]]
        return Mark.parse({**packed, "files": dict(zip(files, facts, strict=True)), "items": ids})
    except _MALFORMED:
        return None
