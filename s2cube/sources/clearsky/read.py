"""From a block of the cube to the downloads that hold it, and back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.blocks import Location, Need
from s2cube.errors import ReadError
from s2cube.schema import NODATA
from s2cube.sources.clearsky.cache import Cache
from s2cube.sources.clearsky.client import Service
from s2cube.sources.clearsky.fetch import Found, bring, files_of
from s2cube.sources.clearsky.request import Download, Plan, Window
from s2cube.sources.clearsky.tiff import meet, read_counts
from s2cube.sources.reader import OnReadError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["Reader"]

_FINE: Final = 1 << 20
"""Pixels of a download that are laid together at a time where the grid's are coarser; more if a block
has more."""


@dataclass(frozen=True)
class Reader:
    """Brings downloads, and reads blocks of ``(time, outputs + 1, y, x)`` counts from them.

    The last layer is 1 where that failed, 0 elsewhere.
    """

    plan: Plan
    dates: tuple[str, ...]
    service: Service
    cache: Cache
    on_read_error: OnReadError

    def __dask_tokenize__(self) -> Any:
        from dask.tokenize import normalize_token

        # Neither who pays nor where downloads are kept changes the pixels.
        parts = "clearsky", self.plan, self.dates, self.service.place, self.on_read_error
        return normalize_token(parts)

    def needs(self, location: Location) -> list[Need]:
        """Return the downloads that a block needs: number of the date, and of its download."""
        (first, last), _, rows, columns = location
        return [
            (day, number)
            for day in range(first, last)
            for number, window in enumerate(self.plan.windows(self.dates[day]))
            if meet((*rows, *columns), window)
        ]

    def bring(self, need: Need) -> bool:
        """Download what the cache lacks; return False where that fails and is to be marked."""
        try:
            bring(self.service, self.cache, self.plan, self._download(need))
        except ReadError:
            if self.on_read_error == "raise":
                raise
            return False
        return True

    def _download(self, need: Need) -> Download:
        day, number = need
        return self.plan.download(self.dates[day], number)

    def read(self, location: Location, failed: Sequence[Need]) -> NDArray[np.int16]:
        """Return the block at `location` from the cache; never downloads."""
        (first, last), (_, layers), rows, columns = location
        part = (*rows, *columns)
        block = _nothing((last - first, layers, rows[1] - rows[0], columns[1] - columns[0]))
        files: list[list[Found]] = [[] for _ in block]
        unread: list[list[Download]] = [[] for _ in block]
        for need in self.needs(location):
            download = self._download(need)
            if need in failed:
                unread[need[0] - first].append(download)
            else:
                files[need[0] - first] += files_of(self.cache, self.plan, download)
        for counts, there, lost in zip(block, files, unread, strict=True):
            self._lay_together(counts, there, lost, part)
        return block

    def _lay_together(
        self, counts: NDArray[np.int16], files: list[Found], unread: list[Download], part: Window
    ) -> None:
        """Fill the counts of a date; coarser pixels are means of all that the downloads have of them."""
        factor = self.plan.factor
        if factor == 1:
            self._lay(counts, files, unread, part, self.plan.grid)
            return
        fine = _finer(self.plan.grid, factor)
        # A pixel may lie in several downloads, so these are laid together before the mean is taken: a
        # piece at a time, for the finer pixels of a block would take factor² its memory.
        height, width = counts.shape[1:]
        side = max(int((max(_FINE, height * width) ** 0.5) // factor), 1)
        for piece in _pieces(part, side):
            window = _scaled(piece, factor)
            pixels = _nothing((len(counts), window[1] - window[0], window[3] - window[2]))
            self._lay(pixels, files, unread, window, fine)
            counts[:, *_within(piece, part)] = _means(pixels, factor)

    def _lay(
        self,
        counts: NDArray[np.int16],
        files: list[Found],
        unread: list[Download],
        part: Window,
        grid: "GeoBox",
    ) -> None:
        """Fill the counts of a date within a part of `grid`, whose pixels are those of the downloads."""
        order, factor = self.plan.outputs, self.plan.factor
        lost = list(unread)
        for file in files:
            if (asked := meet(part, _scaled(file.asked.window, factor))) is None:
                continue
            wanted = [name for name in order if name in file.asked.holds]
            try:
                found = read_counts(file.path, file.held, grid, wanted, asked)
            except ReadError:
                if self.on_read_error == "raise":
                    raise
                lost.append(file.asked)
                continue
            if found is not None:
                window, values = found
                place = ([order.index(name) for name in wanted], *_within(window, part))
                there = counts[place]
                # What is there stays: a pixel takes all its bands from one tile.
                counts[place] = np.where((there == NODATA).all(axis=0), values, there)
        # Last: what could not be read loses to what another tile has.
        for download in lost:
            if overlap := meet(part, _scaled(download.window, factor)):
                bands = [i for i, name in enumerate(order) if name in download.holds]
                rows, columns = _within(overlap, part)
                empty = (counts[bands, rows, columns] == NODATA).all(axis=0)
                counts[-1, rows, columns] |= empty.astype(np.int16)


def _nothing(shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Return counts of a block without data, none of which is unread."""
    counts = np.full(shape, NODATA, dtype=np.int16)
    counts[..., -1, :, :] = 0
    return counts


def _finer(grid: "GeoBox", factor: int) -> "GeoBox":
    """Return `grid` with each of its pixels cut into ``factor x factor``."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    shape = grid.shape.y * factor, grid.shape.x * factor
    return GeoBox(shape, grid.transform * Affine.scale(1 / factor), grid.crs)


def _pieces(part: Window, side: int) -> Iterator[Window]:
    """Yield windows of at most ``side x side`` pixels that fill `part`."""
    top, bottom, left, right = part
    for y in range(top, bottom, side):
        for x in range(left, right, side):
            yield y, min(y + side, bottom), x, min(x + side, right)


def _scaled(window: Window, factor: int) -> Window:
    top, bottom, left, right = window
    return top * factor, bottom * factor, left * factor, right * factor


def _means(pixels: NDArray[np.int16], factor: int) -> NDArray[np.int16]:
    """Return the mean of each ``factor x factor`` pixels, of those that have data, as whole counts.

    Where one of them could not be read (the last layer), all is unread.
    """
    layers, height, width = pixels.shape
    cells = pixels.reshape(layers, height // factor, factor, width // factor, factor)
    unread = cells[-1].any(axis=(1, 3))
    bands = cells[:-1]
    valid = bands != NODATA
    number = valid.sum(axis=(2, 4))
    total = np.where(valid, bands, 0).sum(axis=(2, 4), dtype=np.int64)
    mean = np.rint(total / np.maximum(number, 1)).astype(np.int16)
    mean = np.where((number > 0) & ~unread, mean, np.int16(NODATA))
    return np.concatenate([mean, unread[np.newaxis].astype(np.int16)])


def _within(window: Window, part: Window) -> tuple[slice, slice]:
    """Return the place of a window in a block that starts where `part` does."""
    return (
        slice(window[0] - part[0], window[1] - part[0]),
        slice(window[2] - part[2], window[3] - part[2]),
    )
