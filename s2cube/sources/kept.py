"""Items that were kept in a file: those of a box are found without reading the others."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CatalogError
from s2cube.sources.grid import lonlat_box, sides
from s2cube.sources.items import acquired, footprint, is_api, read_items
from s2cube.sources.scene import Box
from s2cube.sources.select import within
from s2cube.sources.stac_api import items_in, save_items, search, searchable

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox

__all__ = ["ItemFile", "items_around", "keep_items"]


def items_around(
    source: str, geobox: "GeoBox", datetime: Any, *, collection: str | None = None
) -> list["pystac.Item"]:
    """Return the items of a catalogue, by name, URL or path, in a grid and a period.

    Raises
    ------
    CatalogError
        There is none, or the catalogue cannot be read.
    """
    if searchable(source) is not None or is_api(source):
        return list(search(source, geobox=geobox, datetime=datetime, collection=collection))
    area = lonlat_box(None, None, geobox)
    return within(read_items(source), area, datetime, box=footprint, time=acquired, what="item")


def keep_items(items: Iterable["pystac.Item"], stem: Path) -> Path:
    """Keep items in a file, neighbours together: GeoParquet where that can be written, else JSON.

    Parameters
    ----------
    stem
        The path but for its ending.
    """

    def place(item: "pystac.Item") -> tuple[float, float, np.datetime64]:
        west, south, _, _ = footprint(item)
        return np.floor(south), np.floor(west), acquired(item)

    held = sorted(items, key=place)
    try:
        return save_items(held, stem.with_name(f"{stem.name}.parquet"))
    except (ImportError, ValueError):  # no such library, or properties that no table holds
        return save_items(held, stem.with_name(f"{stem.name}.json"))


class ItemFile:
    """Items in a file that :func:`keep_items` made."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _index(self) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
        """The ids, and west, south, east, north of each."""
        if self._path.suffix == ".parquet":
            from pyarrow import parquet

            table = parquet.read_table(self._path, columns=["id", "bbox"]).to_pydict()
            boxes = [[box[side] for side in ("xmin", "ymin", "xmax", "ymax")] for box in table["bbox"]]
            return np.array(table["id"]), np.array(boxes)
        return np.array([item.id for item in self._all]), np.array([footprint(i) for i in self._all])

    @cached_property
    def _all(self) -> list["pystac.Item"]:
        return read_items(self._path)

    def _rows(self, geobox: "GeoBox") -> NDArray[np.intp]:
        area: Box | None = lonlat_box(None, None, geobox)
        if area is None:
            raise CatalogError("An area is needed.")
        west, south, east, north = self._index[1].T
        found = np.zeros(len(west), bool)
        for left, bottom, right, top in sides(area):
            # An item that crosses the antimeridian has its west east of its east.
            across = np.where(
                west <= east, (west < right) & (east > left), (west < right) | (east > left)
            )
            found |= across & (south < top) & (north > bottom)
        return np.flatnonzero(found)

    def ids(self, geobox: "GeoBox") -> list[str]:
        """Return the ids of the items that meet a box, sorted."""
        return sorted(map(str, self._index[0][self._rows(geobox)]))

    def items(self, geobox: "GeoBox") -> list["pystac.Item"]:
        """Return the items that meet a box; of the others nothing is parsed."""
        rows = self._rows(geobox)
        if self._path.suffix == ".parquet":
            return items_in(self._path, rows)
        return [self._all[row] for row in rows]
