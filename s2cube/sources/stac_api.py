"""Asking catalogues for items, and keeping what they answered."""

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError

import numpy as np

from s2cube.errors import CatalogError, CubeError
from s2cube.sources.grid import lonlat_box, sides
from s2cube.sources.period import period
from s2cube.sources.profiles import PROFILES, Profile
from s2cube.sources.quiet import plain
from s2cube.sources.retry import Retry

if TYPE_CHECKING:
    import pystac
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

__all__ = ["items_in", "patient_io", "read_parquet", "save_items", "search", "searchable"]

RETRY: Final = Retry(attempts=8, longest=10.0)
"""How a page is asked for again."""
_PAGE: Final = 100


def searchable(source: Any) -> Profile | None:
    """Return the profile behind the name of a catalogue, None where `source` is no such name."""
    if isinstance(source, Profile):
        return source
    return PROFILES.get(source) if isinstance(source, str) else None


def search(
    source: "str | Profile",
    *,
    bbox: Iterable[float] | None = None,
    geometry: Any = None,
    geobox: "GeoBox | None" = None,
    datetime: Any = None,
    collection: str | None = None,
    query: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> "pystac.ItemCollection":
    """Ask a STAC API for items, all pages, patiently.

    Needs the extra ``search`` (``pystac-client``). Statuses and connections that fail in passing are
    tried again, with growing pauses. That the answer is whole is checked where the API tells how many
    items there are: a page that was lost would be a gap in the cube.

    Parameters
    ----------
    source
        ``"earth-search"``, ``"planetary-computer"``, ``"cdse"``, the URL of a STAC API, or a
        :class:`~s2cube.Profile` with one.
    bbox, geometry, geobox
        The area, as in :func:`~s2cube.open_stac`; one of them is needed.
    datetime
        The period, as there.
    collection
        Its id; by default, the profile's first (``sentinel-2-l2a``).
    query
        More conditions, as the API's query extension has them: ``{"eo:cloud_cover": {"lt": 80}}``.
        Mind that this is the cloud of whole tiles: :func:`~s2cube.clear_share` knows your area.
    progress
        Whether to tell on the terminal, or in the notebook, how far it is.

    Returns
    -------
    pystac.ItemCollection
        Items in the order of time, each once. :func:`~s2cube.save_items` keeps them, so that a run can
        be repeated on the same.

    Raises
    ------
    CatalogError
        The API cannot be reached, answers with an error, or gives fewer items than it says there are.
    CubeError
        The area is missing, or an argument is wrong.

    Examples
    --------
    >>> import s2cube
    >>> items = s2cube.search(
    ...     "earth-search", bbox=(22.1, 45.2, 22.2, 45.3), datetime="2023-06"
    ... )  # doctest: +SKIP
    """
    import pystac

    known = searchable(source)
    url = known.url if known is not None else str(source)
    if not url.startswith(("http://", "https://")):
        raise CubeError(
            f"{plain(repr(source))} is no catalogue to search: name one of {', '.join(PROFILES)}, or "
            "give the URL of a STAC API."
        )
    area = lonlat_box(None if bbox is None else list(bbox), geometry, geobox)
    if area is None:
        raise CubeError("A catalogue is searched in an area: give bbox=, geometry= or geobox=.")
    wanted = collection or (next(iter(known.collections), None) if known is not None else None)
    if wanted is None:
        raise CubeError(f"{plain(url)} has many collections: say which one with collection=.")
    start, end = (None, None) if datetime is None else period(datetime)
    # An address may hold a key, which belongs into no message.
    name = (known.name if known is not None else "") or plain(url)
    found: dict[tuple[str | None, str], Any] = {}
    shown = _Progress(name, progress)
    try:
        client = _client(url)
        # What lies on both sides of the antimeridian is given twice, and kept once.
        for side in sides(area):
            asked = client.search(
                collections=[wanted],
                bbox=list(side),
                datetime=None if start is None else f"{str(start)[:19]}Z/{str(end)[:19]}Z",
                query=None if query is None else dict(query),
                limit=_PAGE,
            )
            given, told = 0, None
            for page in asked.pages_as_dicts():
                told = told if (matched := _matched(page)) is None else matched
                given += len(page["features"])
                for feature in page["features"]:
                    found.setdefault((feature.get("collection"), feature["id"]), feature)
                shown(given, told)
            if told is not None and given < told:
                raise CatalogError(
                    f"{name} says that it has {told} items and gave {given}: the rest would be gaps in "
                    "the cube. Try again, or search shorter periods."
                )
    except (CatalogError, CubeError, ImportError):
        raise
    except Exception as error:
        # pystac-client lets through what requests, urllib3 and the JSON decoder raise.
        raise CatalogError(f"Searching {name} failed: {plain(str(error))}") from error
    finally:
        shown.close()
    if not found:
        raise CatalogError(
            f"{name} has no item of {wanted!r} in {tuple(round(edge, 5) for edge in area)} and "
            f"{datetime!r}."
        )
    items = [pystac.Item.from_dict(feature, preserve_dict=False) for feature in found.values()]
    items.sort(key=lambda i: (str(i.datetime or i.properties.get("start_datetime")), i.id))
    return pystac.ItemCollection(items)


def _matched(page: Mapping[str, Any]) -> int | None:
    """Return how many items the API says it has, in either of the two ways; None where it does not."""
    told = page.get("numberMatched")
    if told is None:
        told = (page.get("context") or {}).get("matched")
    return None if told is None else int(told)


def _client(url: str) -> Any:
    """Open the API with our patience."""
    try:
        from pystac_client import Client
        from pystac_client.stac_api_io import StacApiIO
    except ImportError:
        raise ImportError(
            "Searching a catalogue needs pystac-client: install 's2cube-ard[search]', or pass items "
            "that you have found otherwise to open_stac()."
        ) from None

    class Patient(StacApiIO):
        """Asks again, also where the body of an answer broke off, which its own retries do not see."""

        def request(self, *args: Any, **keywords: Any) -> str:
            return _patiently(lambda: super(Patient, self).request(*args, **keywords))

    # A timeout for connecting, and one between two bytes.
    return Client.open(url, stac_io=Patient(max_retries=None, timeout=(10, 60)))


def patient_io() -> "pystac.StacIO":
    """Return what reads the JSON of catalogues: as the user has set it, else with our patience."""
    import pystac
    from pystac.stac_io import DefaultStacIO

    class Patient(DefaultStacIO):
        """Asks again where a link fails in passing."""

        def read_text_from_href(self, href: str) -> str:
            if not href.startswith(("http://", "https://")):
                return super().read_text_from_href(href)
            return _patiently(lambda: _fetched(href, self.headers))

    default = pystac.StacIO.default()
    return Patient() if type(default) is DefaultStacIO else default


def _fetched(href: str, headers: Mapping[str, str]) -> str:
    request = urllib.request.Request(href, headers={"User-Agent": "s2cube", **headers})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            text: str = answer.read().decode()
    except HTTPError as error:
        error.close()
        raise
    return text


def _patiently(ask: Callable[[], str]) -> str:
    """Return the JSON that `ask` gives, asked again while what fails may pass."""
    for pause in RETRY.pauses():
        try:
            text = ask()
            json.loads(text)
        except Exception as error:
            if not isinstance(error, (OSError, HTTPException, ValueError, *_api_errors())):
                raise
            status = getattr(error, "status_code", getattr(error, "code", None))
            if (status is not None and status not in Retry.PASSING) or not pause():
                raise
        else:
            return text
    raise AssertionError("the last pause raises")


def _api_errors() -> tuple[type[Exception], ...]:
    try:
        from pystac_client.exceptions import APIError
    except ImportError:
        return ()
    return (APIError,)


class _Progress:
    """One line that tells how many items have come, where somebody looks on."""

    def __init__(self, name: str, wanted: bool) -> None:
        self._name = name
        self._on = wanted and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self._length = 0

    def __call__(self, given: int, told: int | None) -> None:
        if self._on:
            line = f"{self._name}: {given}{'' if told is None else f' of {told}'} items"
            sys.stderr.write("\r" + line.ljust(self._length))
            sys.stderr.flush()
            self._length = len(line)

    def close(self) -> None:
        if self._length:
            sys.stderr.write("\n")


def save_items(items: "Iterable[pystac.Item]", path: str | Path) -> Path:
    """Keep items in one file, so that a run can be repeated: ``open_stac(path)`` opens it.

    Parameters
    ----------
    items
        A ``pystac.ItemCollection`` or any items.
    path
        ``.parquet`` for STAC GeoParquet (needs the extra ``search``), ``.json`` or ``.geojson`` for an
        ItemCollection. A file that is there is replaced, at once.

    Raises
    ------
    CubeError
        The file has another ending, there is no item, or parquet cannot hold what they say.

    Examples
    --------
    >>> s2cube.save_items(items, "romania-2023.parquet")  # doctest: +SKIP
    """
    import pystac

    target, held = Path(path), list(items)
    if not held:
        raise CubeError("There is no item to save.")
    if target.suffix not in (".parquet", ".json", ".geojson"):
        raise CubeError(f"Items are kept as .parquet, .json or .geojson, got {target.name!r}.")
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.suffix == ".parquet":
            _write_parquet(held, part)
        else:
            part.write_text(json.dumps(pystac.ItemCollection(held).to_dict(transform_hrefs=False)))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _write_parquet(items: "list[pystac.Item]", path: Path) -> None:
    arrow = _geoparquet()
    import pyarrow

    try:
        table = arrow.parse_stac_items_to_arrow([item.to_dict(transform_hrefs=False) for item in items])
    except pyarrow.ArrowException as error:
        raise CubeError(
            "The items cannot be kept as .parquet, where a property has one type in all of them "
            f"({error}): use .json."
        ) from None
    # A batch becomes a group of rows: so those of a place can be read without the others.
    batches = table.read_all().combine_chunks().to_batches(max_chunksize=_PAGE)
    arrow.to_parquet(pyarrow.RecordBatchReader.from_batches(batches[0].schema, batches), path)


def read_parquet(path: str) -> "Iterator[pystac.Item]":
    """Yield the items of a STAC GeoParquet file."""
    import pystac

    arrow = _geoparquet()
    import pyarrow.parquet

    for item in arrow.stac_table_to_items(pyarrow.parquet.read_table(path)):
        yield pystac.Item.from_dict(item)


def items_in(path: str | Path, rows: "NDArray[np.intp]") -> "list[pystac.Item]":
    """Return the items in some rows of a STAC GeoParquet file; groups without any are not read."""
    import pystac

    arrow = _geoparquet()
    from pyarrow import parquet

    if not len(rows):
        return []
    with parquet.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        group_of = np.searchsorted(starts, rows, side="right") - 1
        groups = np.unique(group_of)
        before = dict(zip(groups.tolist(), np.cumsum([0, *(sizes[g] for g in groups)]), strict=False))
        table = file.read_row_groups(groups.tolist())
    at = [row - starts[group] + before[group] for row, group in zip(rows, group_of, strict=True)]
    return [pystac.Item.from_dict(item) for item in arrow.stac_table_to_items(table.take(at))]


def _geoparquet() -> Any:
    try:
        import stac_geoparquet.arrow
    except ImportError:
        raise ImportError(
            "STAC GeoParquet needs stac-geoparquet: install 's2cube-ard[search]', or use .json."
        ) from None
    return stac_geoparquet.arrow
