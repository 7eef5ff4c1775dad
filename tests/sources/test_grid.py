"""The grid to open on: no pixel is moved, and none of the area is left out."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from s2cube.sources.grid import target_grid

HOW = {"area": None, "resolution": None, "crs": None, "geobox": None}


def native(west: float, north: float, step: float, shape: tuple[int, int] = (300, 300)) -> GeoBox:
    return GeoBox(shape, Affine(step, 0, west, 0, -step, north), "EPSG:32632")


@pytest.mark.parametrize("shift", [0.0, 5.0, 3.0])
def test_pixels_fall_on_those_of_the_finest_source(shift: float) -> None:
    """Wherever its grid begins; that of a coarser one does not matter."""
    fine = native(600_000 + shift, 5_200_000 - shift, 10)
    coarse = native(600_000, 5_200_000, 60, (50, 50))
    grid = target_grid([coarse, fine], **{**HOW, "area": (10.32, 46.93, 10.33, 46.94)})
    assert abs(grid.resolution.x) == abs(grid.resolution.y) == 10
    assert (grid.transform.c - fine.transform.c) % 10 == 0
    assert (grid.transform.f - fine.transform.f) % 10 == 0
    assert target_grid([fine], **HOW) == fine, "all of it is itself"


def test_all_of_an_area_is_covered_though_its_edges_are_curved() -> None:
    west, south, east, north = area = (8.0, 46.0, 14.0, 48.0)
    grid = target_grid([], **{**HOW, "area": area, "crs": "EPSG:3035", "resolution": 100})
    to_grid = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True)
    along = np.linspace(0, 1, 50)
    lon = np.concatenate([west + along * (east - west)] * 2)
    lat = np.repeat([south, north], 50)
    x, y = to_grid.transform(lon, lat)
    box = grid.boundingbox
    assert box.left <= x.min()
    assert x.max() <= box.right
    # Between corners a parallel runs beyond them; a chord of a minute of arc lies a metre beside it.
    assert box.bottom <= y.min() + 1
    assert y.max() - 1 <= box.top
    # And not much more than it.
    assert y.min() - box.bottom < 200
    assert box.top - y.max() < 200


def test_an_edge_on_an_edge_wants_no_more_pixels() -> None:
    """Beyond it by rounding alone."""
    fine = native(600_000, 5_200_000, 10, (30, 40))
    again = target_grid([fine], **{**HOW, "resolution": 20})
    assert (again.shape.y, again.shape.x) == (15, 20)
    assert again.extent.boundingbox == fine.extent.boundingbox
