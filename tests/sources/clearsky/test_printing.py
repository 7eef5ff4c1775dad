"""What is shown of an estimate, and which grid is named where one does not fit."""

from typing import Any

import pytest
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.errors import CubeError
from s2cube.sources.clearsky.request import check_grid


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        ({}, ["composite", "61 from 2024-05-01 to 2024-06-30", "3.20 km² a date", "61", "12.5"]),
        (
            {"missing": ("2024-07-01",), "cached": 60, "credits": None, "area_km2": None},
            ["composite", "61 from 2024-05-01 to 2024-06-30", "2024-07-01", "unknown",
             "61, 60 of them on disk", "not told by the service"],
        ),
        ({"dates": (), "requests": 0}, ["composite", "none", "3.20 km² a date", "0", "12.5"]),
    ],
)  # fmt: skip
def test_an_estimate_prints_as_a_small_table(changed: dict[str, Any], lines: list[str]) -> None:
    """Not as a wall of dates."""
    dates = tuple(f"2024-05-{day:02}" for day in range(1, 32)) + tuple(
        f"2024-06-{day:02}" for day in range(1, 31)
    )
    told = {"product": "composite", "dates": dates, "missing": (), "area_km2": 3.2, "requests": 61,
            "cached": 0, "credits": 12.5, **changed}  # fmt: skip
    text = repr(s2cube.ClearSkyEstimate(**told))
    assert [line.partition(":")[2].strip() for line in text.splitlines()] == lines
    assert len({len(line) - len(line.partition(":")[2].lstrip()) for line in text.splitlines()}) == 1


def test_a_grid_that_does_not_fit_is_answered_with_one_that_does() -> None:
    corners = (500_003, 5_300_007, 500_603, 5_300_507)
    grid = GeoBox.from_bbox(corners, "EPSG:32633", resolution=10, tight=True)
    with pytest.raises(CubeError, match="no multiple of its pixel size 10") as error:
        check_grid(grid)
    code = str(error.value).partition("around it: ")[2].rstrip(".")
    assert code == "GeoBox.from_bbox((500000, 5300000, 500610, 5300510), 'EPSG:32633', resolution=10)"
    check_grid(GeoBox.from_bbox((500000, 5300000, 500610, 5300510), "EPSG:32633", resolution=10))
