"""Where the sun stands and where Sentinel-2 looks from."""

import numpy as np
import pytest

from s2cube.kernels.sunlight import sun_angles, view_angles

# NREL's Solar Position Algorithm as pvlib 0.16 has it: time, longitude, latitude, zenith, azimuth.
NREL = [
    ("2015-07-04T10:10:00", 11.0, 46.5, 27.554, 143.000),
    ("2018-12-21T02:30:00", 105.5, -10.4, 37.103, 115.315),
    ("2020-02-29T00:45:00", 137.6, -28.5, 38.321, 64.145),
    ("2023-06-21T10:40:00", 20.0, 70.0, 46.564, 179.443),
    ("2024-10-05T14:20:00", -70.0, -50.0, 52.388, 41.867),
    ("2026-03-20T12:07:00", 0.0, 0.0, 0.117, 111.809),
    ("2030-09-01T18:30:00", -120.0, 38.0, 36.176, 140.107),
    ("2019-01-05T04:50:00", 78.0, 30.0, 60.388, 147.086),
]
# Satellite and sun as two products tell them (mean of the tile).
PRODUCTS = [
    ("2021-07-13T03:21:04", 105.498, -10.443, 32, (40.91, 37.89), (1.99, 98.8)),
    ("2020-10-31T00:55:10", 137.599, -28.492, 102, (26.83, 62.95), (10.26, 99.8)),
]


@pytest.mark.parametrize(("time", "lon", "lat", "zenith", "azimuth"), NREL)
def test_the_sun_is_where_others_see_it(
    time: str, lon: float, lat: float, zenith: float, azimuth: float
) -> None:
    found = sun_angles(np.array([time], "datetime64[ns]"), lon, lat)[:, 0]
    assert abs(found[0] - zenith) < 0.03
    turn = (found[1] - azimuth + 180) % 360 - 180
    # Near the zenith an azimuth tells little.
    assert abs(turn) * np.sin(np.radians(zenith)) < 0.03


@pytest.mark.parametrize(("time", "lon", "lat", "orbit", "sun", "view"), PRODUCTS)
def test_angles_are_those_of_products(
    time: str, lon: float, lat: float, orbit: int, sun: tuple[float, float], view: tuple[float, float]
) -> None:
    assert sun_angles(np.array([time], "datetime64[ns]"), lon, lat)[:, 0] == pytest.approx(sun, abs=0.1)
    found = view_angles(lon, lat, orbit)
    assert found == pytest.approx(view, abs=2)


def test_east_of_the_swath_it_looks_from_the_west() -> None:
    from s2cube.kernels.orbit import off_centre

    for lon in np.linspace(10, 14, 20):
        seen = view_angles(float(lon), 46.5, 22)
        if seen is not None:
            east = float(off_centre(lon, 46.5, 22)) > 0
            assert (180 < seen[1] < 360) == east
            assert 0 <= seen[0] < 17


def test_another_orbit_does_not_see_the_place() -> None:
    assert view_angles(11.0, 46.5, 80) is None
