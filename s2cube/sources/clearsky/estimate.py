"""What a cube of ClearSKY Vision costs, before it does."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s2cube.sources.clearsky.fetch import parts_of
from s2cube.sources.clearsky.opening import Opening, Product, prepare
from s2cube.sources.clearsky.request import CompositePlan, Download, square_km
from s2cube.sources.clearsky.tiles import TilePlan

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

__all__ = ["ClearSkyEstimate", "estimate_clearsky"]


@dataclass(frozen=True)
class ClearSkyEstimate:
    """What computing a cube of ClearSKY will ask for and cost. It prints as a table."""

    product: str
    """``"composite"``, ``"tile"``, ``"minitile"`` or ``"tile2024"``."""
    dates: tuple[str, ...]
    """Dates with imagery."""
    missing: tuple[str, ...]
    """Dates of the period without."""
    area_km2: float | None
    """What is downloaded of one date, km²; None where the service does not tell."""
    requests: int
    """Downloads in all."""
    cached: int
    """Those that are on disk already, and cost nothing."""
    credits: float | None
    """Of the others, as the service estimates it; None where it does not (tiles)."""

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "product", self.product
        yield "dates", _span(self.dates)
        if self.missing:
            yield "missing", _span(self.missing)
        yield "area", "unknown" if self.area_km2 is None else f"{self.area_km2:.2f} km² a date"
        cached = f", {self.cached} of them on disk" if self.cached else ""
        yield "downloads", f"{self.requests}{cached}"
        yield "credits", "not told by the service" if self.credits is None else f"{self.credits:.1f}"

    def __repr__(self) -> str:
        return "\n".join(f"{name + ':':<11}{text}" for name, text in self._rows())


def estimate_clearsky(
    *,
    bbox: Sequence[float] | None = None,
    geometry: Any = None,
    geobox: "GeoBox | None" = None,
    datetime: Any,
    bands: str | Iterable[str] = "all",
    resolution: int | None = None,
    crs: Any = None,
    model: str = "Stratus2",
    constellations: Sequence[str] | None = None,
    product: Product = "auto",
    api_key: str | None = None,
    base_url: str | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> ClearSkyEstimate:
    """Estimate what computing all of a cube of ClearSKY Vision will cost; this itself costs nothing.

    Parameters
    ----------
    bbox, geometry, geobox, datetime, bands, resolution, crs, model, constellations, product
        As in :func:`~s2cube.open_clearsky`.
    api_key, base_url, cache
        As there too.

    Returns
    -------
    ClearSkyEstimate
        Dates, area, downloads (in all, and those that are on disk already) and credits.

    Raises
    ------
    CubeError, CatalogError, ServiceError, ReadError
        As :func:`~s2cube.open_clearsky` does.

    Examples
    --------
    >>> import s2cube
    >>> s2cube.estimate_clearsky(
    ...     bbox=(22.1, 45.2, 22.2, 45.3), datetime="2024-05"
    ... ).credits  # doctest: +SKIP
    1240.0
    """
    opening = prepare(
        bbox=bbox,
        geometry=geometry,
        geobox=geobox,
        datetime=datetime,
        bands=bands,
        resolution=resolution,
        crs=crs,
        model=model,
        constellations=constellations,
        product=product,
        api_key=api_key,
        base_url=base_url,
        cache=cache,
    )
    plan = opening.plan
    asked = [
        part
        for date in opening.dates
        for number in range(len(plan.windows(date)))
        for part in parts_of(opening.cache, plan, plan.download(date, number))
    ]
    waiting = [download for download, found in asked if found is None]
    area = None
    if isinstance(plan, CompositePlan):
        area = sum(square_km(plan.grid, window) for window in {window for window, _ in plan.pieces})
    elif isinstance(plan, TilePlan):
        area = sum(tile.area_km2 for tile in plan.tiles)
    return ClearSkyEstimate(
        product=opening.product,
        dates=opening.dates,
        missing=opening.missing,
        area_km2=area,
        requests=len(asked),
        cached=len(asked) - len(waiting),
        credits=_credits(opening, waiting),
    )


def _span(dates: Sequence[str]) -> str:
    if len(dates) < 2:
        return dates[0] if dates else "none"
    return f"{len(dates)} from {min(dates)} to {max(dates)}"


def _credits(opening: Opening, waiting: Sequence[Download]) -> float | None:
    """Return the credits of downloads, as the service estimates them."""
    if not isinstance(opening.plan, CompositePlan):
        return None
    # The price does not depend on the date.
    prices: dict[Any, float] = {}
    for download in waiting:
        what = download.window, download.holds
        if what not in prices:
            prices[what] = opening.service.ask(
                f"{download.path}/estimate",
                opening.plan.body(download),
                lambda told: float(told["CreditEstimate"]),
            )
    return float(sum(prices[download.window, download.holds] for download in waiting))
