"""A small STAC API with the items of your choice: searching, paging, faults on demand."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from s2cube.testing.loopback import Faults, Loopback, Request, Response

if TYPE_CHECKING:
    import pystac

__all__ = ["StacApi"]

_CONFORMS: Final = [
    f"https://api.stacspec.org/v1.0.0/{part}"
    for part in ("core", "collections", "ogcapi-features", "item-search")
]
_LISTS: Final = ("bbox", "collections", "ids")


class StacApi(Loopback):
    """A STAC API on loopback: landing page, collections, and ``/search`` by GET and POST.

    It knows ``bbox``, ``intersects``, ``datetime``, ``collections``, ``ids`` and ``limit``; other
    parts of a search are passed over. Newest items come first. The next page is linked as Earth Search
    links it, by a body to be merged into that of the request.

    Parameters
    ----------
    items
        What it holds, ``pystac.Item`` or dictionaries.
    page
        Items on a page, at most, whatever `limit` a client asks for.
    faults
        What goes wrong.

    Examples
    --------
    >>> import json, urllib.request
    >>> from s2cube.testing import StacApi
    >>> with StacApi([]) as api:
    ...     json.load(urllib.request.urlopen(api.url + "/search"))["features"]
    []
    """

    def __init__(
        self,
        items: "Iterable[pystac.Item | Mapping[str, Any]]",
        *,
        page: int = 100,
        faults: Faults | None = None,
    ) -> None:
        super().__init__(faults=faults)
        self.items = sorted((_plain(item) for item in items), key=_span, reverse=True)
        self.page = page

    def answer(self, request: Request) -> Response:
        """Return the page asked for."""
        parts = urlsplit(request.path)
        path = parts.path.rstrip("/")
        if path == "":
            return _json(self._landing())
        names = sorted({str(item.get("collection") or "items") for item in self.items})
        if path == "/collections":
            links = [{"rel": "self", "href": f"{self.url}/collections"}]
            return _json({"collections": [self._collection(name) for name in names], "links": links})
        if path.startswith("/collections/") and (name := path.split("/")[-1]) in names:
            return _json(self._collection(name))
        if path == "/search":
            return self._search(request, parts.query)
        return _json({"code": "NotFound", "description": f"no {path}"}, 404)

    def _landing(self) -> dict[str, Any]:
        search = {"rel": "search", "type": "application/geo+json", "href": f"{self.url}/search"}
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "stand-in",
            "description": "Items on loopback",
            "conformsTo": _CONFORMS,
            "links": [
                {"rel": "self", "href": self.url},
                {"rel": "root", "href": self.url},
                {"rel": "data", "type": "application/json", "href": f"{self.url}/collections"},
                {**search, "method": "GET"},
                {**search, "method": "POST"},
            ],
        }

    def _collection(self, name: str) -> dict[str, Any]:
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": name,
            "description": name,
            "license": "other",
            "extent": {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]},
            },
            "links": [
                {"rel": "self", "href": f"{self.url}/collections/{name}"},
                {"rel": "root", "href": self.url},
            ],
        }

    def _search(self, request: Request, query: str) -> Response:
        post = request.method == "POST"
        try:
            asked = json.loads(request.body or b"{}") if post else _from_query(query)
            found = [item for item in self.items if _fits(item, asked)]
            start = int(asked.get("next", 0))
            size = min(int(asked.get("limit") or self.page), self.page)
        except (ValueError, TypeError, KeyError) as error:
            return _json({"code": "BadRequest", "description": str(error)}, 400)
        links: list[dict[str, Any]] = [{"rel": "root", "href": self.url}]
        if start + size < len(found):
            link = {"rel": "next", "type": "application/geo+json", "href": f"{self.url}/search"}
            token = {"next": str(start + size)}
            if post:
                links.append({**link, "method": "POST", "merge": True, "body": token})
            else:
                words = {key: words[0] for key, words in parse_qs(query).items()}
                links.append({**link, "href": f"{link['href']}?{urlencode({**words, **token})}"})
        page = found[start : start + size]
        return _json(
            {
                "type": "FeatureCollection",
                "features": page,
                "numberMatched": len(found),
                "numberReturned": len(page),
                "links": links,
            }
        )


def _json(told: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(told).encode(), {"Content-Type": "application/json"})


def _plain(item: Any) -> dict[str, Any]:
    told = dict(item) if isinstance(item, Mapping) else item.to_dict(include_self_link=False)
    # Links of a file on disk mean nothing to a client of an API.
    return {**told, "links": []}


def _from_query(query: str) -> dict[str, Any]:
    words = {key: value[0] for key, value in parse_qs(query).items()}
    asked: dict[str, Any] = {
        key: value.split(",") if key in _LISTS else value for key, value in words.items()
    }
    if "intersects" in asked:
        asked["intersects"] = json.loads(asked["intersects"])
    return asked


def _fits(item: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Return whether an item is what a search asks for."""
    from shapely.geometry import box, shape

    if asked.get("ids") and item["id"] not in asked["ids"]:
        return False
    if asked.get("collections") and (item.get("collection") or "items") not in asked["collections"]:
        return False
    if asked.get("datetime"):
        start, end = _interval(str(asked["datetime"]))
        first, last = _span(item)
        if last < start or first > end:
            return False
    areas = [shape(asked["intersects"])] if asked.get("intersects") else []
    if asked.get("bbox"):
        edges = [float(edge) for edge in asked["bbox"]]
        # Four edges, or six with heights between.
        areas.append(box(*edges[:2], *edges[len(edges) // 2 :][:2]))
    return all(shape(item["geometry"]).intersects(area) for area in areas)


def _span(item: Mapping[str, Any]) -> tuple[datetime, datetime]:
    told = item["properties"]
    one = told.get("datetime")
    return _moment(one or told["start_datetime"]), _moment(one or told["end_datetime"])


def _interval(text: str) -> tuple[datetime, datetime]:
    start, _, end = text.partition("/")
    end = end or start
    return (
        datetime.min.replace(tzinfo=UTC) if start in ("", "..") else _moment(start),
        datetime.max.replace(tzinfo=UTC) if end in ("", "..") else _moment(end),
    )


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
