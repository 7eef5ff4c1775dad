"""Which scenes lie in an area and a period."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from s2cube.errors import CatalogError
from s2cube.sources.grid import sides
from s2cube.sources.period import period
from s2cube.sources.scene import Box

__all__ = ["within"]

T = TypeVar("T")


def within(
    found: list[T],
    area: Box | None,
    datetime: Any,
    *,
    box: Callable[[T], Box],
    time: Callable[[T], np.datetime64],
    what: str,
) -> list[T]:
    """Return those of `found` that lie in an area and a period; say what there is where none does.

    Parameters
    ----------
    found
        Items, or what a local source found.
    area, datetime
        None for any.
    box, time
        Footprint in degrees and acquisition of one of `found`.
    what
        What one is called in errors.

    Raises
    ------
    CatalogError
        None lies there.
    """
    if area is not None:
        boxes = [box(one) for one in found]
        inside = [one for one, place in zip(found, boxes, strict=True) if _meet(area, place)]
        if not inside:
            edges = np.round(boxes, 5)
            west, south, east, north = area
            swapped = any(_meet((south, west, north, east), place) for place in boxes)
            raise CatalogError(
                f"No {what} meets the area {tuple(round(edge, 5) for edge in area)} (west, south, east, "
                f"north); the {len(found)} {what}s lie within "
                f"{(*edges[:, :2].min(0).tolist(), *edges[:, 2:].max(0).tolist())}."
                f"{' Longitude comes first: they look swapped.' if swapped else ''}"
            )
        found = inside
    if datetime is not None:
        start, end = period(datetime)
        times = [time(one).astype("datetime64[s]") for one in found]
        kept = [one for one, when in zip(found, times, strict=True) if start <= when <= end]
        if not kept:
            raise CatalogError(
                f"No {what} in {datetime!r}; the {len(found)} {what}s here are from {min(times)} to "
                f"{max(times)}."
            )
        found = kept
    return found


def _meet(one: Box, other: Box) -> bool:
    """Return whether two boxes in degrees share an area; both may cross the antimeridian."""
    return any(
        west < right and east > left and south < top and north > bottom
        for west, south, east, north in sides(one)
        for left, bottom, right, top in sides(other)
    )
