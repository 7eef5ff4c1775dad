"""What a source tells of a file, held against the file once it is open."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from s2cube.errors import HarmonizationError
from s2cube.sources.quiet import plain

if TYPE_CHECKING:
    import pystac
    from odc.geo.geobox import GeoBox
    from odc.loader import RasterGroupMetadata
    from rasterio import DatasetReader

__all__ = ["MisplacedError", "Told", "ToldParser", "grid_of"]

NOISE: Final = 0.1
"""Pixels by which the corners of two equal grids may differ: numbers in items are rounded."""
_FIELD: Final = "s2cube:told"


class MisplacedError(Exception):
    """A file is not where its item says, or nowhere: it may have come incomplete."""

    def __init__(self, what: str, *, definite: bool) -> None:
        super().__init__(what)
        self.definite = definite
        """Whether the file says where it is, which is elsewhere."""


@dataclass(frozen=True)
class Told:
    """What is told of one file."""

    what: str
    """Its name in errors: ``"B04 of S2A_..."``."""
    dtype: str
    grid: "GeoBox | None"
    """Where its pixels are; None where that is not told."""
    classes: bool
    """Whether it holds classes or flags."""
    held_dtype: str
    """The type in which its counts are given."""
    fill: float | None
    """The missing one among them."""

    def fields(self) -> dict[str, Any]:
        """Return the extra fields of an asset of which all this is told."""
        told: dict[str, Any] = {_FIELD: self}
        if self.grid is not None:
            crs: Any = self.grid.crs
            told["proj:shape"] = list(self.grid.shape.yx)
            told["proj:transform"] = list(self.grid.transform[:6])
            told |= {"proj:code": f"EPSG:{crs.epsg}"} if crs.epsg else {"proj:wkt2": crs.wkt}
        return told

    def check(self, file: "DatasetReader", band: int) -> "GeoBox":
        """Return where the pixels of `file` are.

        Raises
        ------
        MisplacedError
            That is nowhere, or not where it was told.
        HarmonizationError
            Its type is none whose values the told one holds.
        """
        found = grid_of(file)
        if self.grid is not None and (apart := _apart(self.grid, found)):
            raise MisplacedError(
                f"its grid is another than its item says ({apart}). The file: {_words(found)}; the "
                f"item: {_words(self.grid)}. Correct proj:shape, proj:transform and proj:code of "
                f"{self.what}, or leave them out",
                definite=True,
            )
        self._check_type(np.dtype(file.dtypes[band - 1]), file.name)
        return found

    def _check_type(self, found: np.dtype, link: str) -> None:
        told = np.dtype(self.dtype)
        # A byte for counts is a picture made of them, by whatever stretch.
        picture = found == np.uint8 and told.kind in "iu" and told != found and not self.classes
        # What becomes reflectance ends in float32 anyway.
        if not picture and (np.can_cast(found, told) or (told.kind == "f" and found.kind in "iuf")):
            return
        why = "that is a picture, not counts" if picture else "not all values can be kept"
        raise HarmonizationError(
            f"{self.what} is of type {found} in the file ({plain(link)}), but {told} is what its item "
            f"declares, or what is usual where it declares none: {why}. If it is right, declare "
            f"what is there: data_type {found} in the item's raster:bands, with scale, offset and "
            "nodata that go with it, or a Product in profile=."
        )


class ToldParser:
    """A ``MDParser`` of odc-loader: bands by the :class:`Told` that their assets carry."""

    def extract(self, md: "pystac.Item") -> "RasterGroupMetadata":
        """Return the types and missing counts of the bands of an item."""
        from odc.loader import RasterBandMetadata, RasterGroupMetadata

        told = {name: self.driver_data(md, (name, 1)) for name in md.assets}
        return RasterGroupMetadata(
            {(name, 1): RasterBandMetadata(one.held_dtype, one.fill) for name, one in told.items()}
        )

    def driver_data(self, md: "pystac.Item", band_key: tuple[str, int]) -> Told:
        """Return what is told of the file of a band."""
        told: Told = md.assets[band_key[0]].extra_fields[_FIELD]
        return told


def grid_of(file: "DatasetReader") -> "GeoBox":
    """Return where the pixels of an open file are.

    Raises
    ------
    MisplacedError
        It does not tell. Cut in its header, a GeoTIFF opens all the same, but without a place.
    """
    from odc.geo.geobox import GeoBox
    from pyproj.exceptions import ProjError

    unplaced = file.transform.is_identity or file.transform.is_degenerate
    if file.crs is None or unplaced:
        lacks = [word for word, no in (("CRS", file.crs is None), ("transform", unplaced)) if no]
        raise MisplacedError(f"the file has no {' and no '.join(lacks)}", definite=False)
    try:
        return GeoBox.from_rio(file)
    except ProjError as error:
        # Its text without the error, which PROJ has made.
        why = str(error)
    raise MisplacedError(f"the file has no CRS that can be used: {why}", definite=False)


def _apart(told: "GeoBox", found: "GeoBox") -> str:
    """Return how two grids differ, empty where they are the same."""
    if told.shape != found.shape:
        return "another shape"
    far = _distance(told, found)
    if far <= NOISE:
        return ""
    return f"off by {far:.3g} px" if math.isfinite(far) else "in a place without relation to it"


def _distance(told: "GeoBox", found: "GeoBox") -> float:
    """Return how far the corners of two grids of one shape are apart, px."""
    from pyproj.exceptions import ProjError

    height, width = told.shape.yx
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], dtype=np.float64).T
    affine: Any = told.transform
    x, y = affine * corners
    crs: Any = told.crs
    if crs != found.crs:
        try:
            x, y = crs.transformer_to_crs(found.crs)(x, y)
        except ProjError:
            return math.inf
    return float(np.abs(np.array(~found.transform * (x, y)) - corners).max())


def _words(grid: "GeoBox") -> str:
    transform, crs = grid.transform, grid.crs
    name = f"EPSG:{crs.epsg}" if crs is not None and crs.epsg else str(crs)[:60]
    return (
        f"{grid.shape.y} x {grid.shape.x} px of {abs(transform.a):.9g} in {name} from "
        f"{transform.c:.9g}, {transform.f:.9g}"
    )
