"""From a block of the cube to the downloads that hold it, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2cube.blocks import Location, Need
from s2cube.errors import ReadError, ServiceError
from s2cube.schema import NODATA
from s2cube.sources.clearsky.cache import Cache
from s2cube.sources.clearsky.client import MissingError, NoCreditError, Service, TooMuchError
from s2cube.sources.clearsky.request import CompositePlan, Download, Plan, Window
from s2cube.sources.clearsky.tiff import damage, meet, read_counts
from s2cube.sources.reader import OnReadError

__all__ = ["Reader", "fetch"]


def fetch(service: Service, cache: Cache, plan: Plan, download: Download) -> list[tuple[Download, Path]]:
    """Return the files that hold a download, from the cache or the service; none without imagery.

    Raises
    ------
    ServiceError
        The service refuses.
    ReadError
        It does not deliver.
    """
    key, path = download.key, cache.path(download.key)
    note = ""
    if not path.exists() and not (note := cache.note(key)):
        with cache.lock(key):
            # Who held the lock before has perhaps brought it.
            if not path.exists() and not (note := cache.note(key)):
                note = _bring(service, cache, plan, download)
    if note == "missing":
        return []
    if note:
        parts = plan.halves(download, note)
        return [file for part in parts for file in fetch(service, cache, plan, part)]
    return [(download, path)]


def _bring(service: Service, cache: Cache, plan: Plan, download: Download) -> str:
    """Download into the cache; return (and note) why there is nothing, empty if there is."""
    body = plan.body(download)
    with cache.slot() as slot:

        def write(file: Any, path: Path) -> None:
            def check() -> str:
                return damage(path)

            if body is None:
                service.save_link(download.path, file, check)
            else:
                service.save(download.path, body, file, check, slot.narrow)

        try:
            cache.put(download.key, download.identity, write)
        except MissingError:
            note = "missing"
        except TooMuchError as error:
            note = error.what
        except NoCreditError as error:
            note, refusal = "", str(error)
        else:
            return ""
    if not note:
        raise ServiceError(f"{refusal}. {_price(service, plan, download)}")
    cache.write_note(download.key, note)
    return note


def _price(service: Service, plan: Plan, download: Download) -> str:
    """Tell what a download costs, as the service estimates it."""
    if not isinstance(plan, CompositePlan):
        return "Buy credits, or open less."
    told = service.ask(f"{download.path}/estimate", plan.body(download)) or {}
    return (
        f"This download of {download.date} is estimated at {told.get('CreditEstimate')} credits for "
        f"{told.get('AreaEstimateKm2')} km²: buy credits, or open less."
    )


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

        # Neither who pays, nor the port, nor where downloads are kept changes the pixels.
        parts = "clearsky", self.plan, self.dates, self.service.host, self.on_read_error
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
            self._files(need)
        except ReadError:
            if self.on_read_error == "raise":
                raise
            return False
        return True

    def _files(self, need: Need) -> list[tuple[Download, Path]]:
        day, number = need
        download = self.plan.download(self.dates[day], number)
        return fetch(self.service, self.cache, self.plan, download)

    def read(self, location: Location, failed: Sequence[Need]) -> NDArray[np.int16]:
        """Return the block at `location` from the cache."""
        (first, last), (_, layers), rows, columns = location
        part = (*rows, *columns)
        shape = (last - first, layers, rows[1] - rows[0], columns[1] - columns[0])
        block = np.full(shape, NODATA, dtype=np.int16)
        block[:, -1] = 0
        unread = list(failed)
        for need in self.needs(location):
            if need not in unread and not self._lay(block[need[0] - first], need, part):
                unread.append(need)
        # Last: what could not be read loses to what another tile has.
        for day, number in unread:
            download = self.plan.download(self.dates[day], number)
            if window := meet(part, download.window):
                bands = [i for i, name in enumerate(self.plan.outputs) if name in download.holds]
                rows_, columns_ = _within(window, part)
                empty = (block[day - first, bands, rows_, columns_] == NODATA).all(axis=0)
                block[day - first, -1, rows_, columns_] |= empty.astype(np.int16)
        return block

    def _lay(self, counts: NDArray[np.int16], need: Need, part: Window) -> bool:
        """Put what a download has where nothing is yet; return whether it could be read."""
        try:
            for piece, path in self._files(need):
                found = read_counts(path, piece, self.plan.grid, self.plan.outputs, part)
                if found is None:
                    continue
                bands, window, values = found
                there = counts[bands, *_within(window, part)]
                # A pixel takes all its bands from one tile.
                empty = (there == NODATA).all(axis=0)
                counts[bands, *_within(window, part)] = np.where(empty, values, there)
        except ReadError:
            if self.on_read_error == "raise":
                raise
            return False
        return True


def _within(window: Window, part: Window) -> tuple[slice, slice]:
    """Return the place of a window in a block that starts where `part` does."""
    return (
        slice(window[0] - part[0], window[1] - part[0]),
        slice(window[2] - part[2], window[3] - part[2]),
    )
