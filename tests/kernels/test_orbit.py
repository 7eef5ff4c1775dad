"""Where Sentinel-2 flies, held against footprints of real items and against what orbits must do."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2cube.kernels.orbit import BEYOND, HALF_SWATH, ORBITS, off_centre

LOOSE = 2_500.0
"""Metres by which an edge may lie beside the model: what the mosaic's margin is made for."""

# Corners that the edge of a swath cut into real footprints: orbit, longitude, latitude, side.
EDGES = [
    (122, 93.820, 82.793, "west"),
    (25, 16.502, 80.131, "east"),
    (73, 179.750, 69.053, "west"),
    (81, -20.697, 63.129, "east"),
    (22, 10.314, 46.946, "west"),
    (77, 67.493, 41.454, "east"),
    (12, -96.497, 40.512, "east"),
    (54, -79.676, 32.530, "west"),
    (133, 93.197, 27.176, "east"),
    (22, 5.456, 18.888, "east"),
    (2, 145.165, 14.800, "west"),
    (2, 147.471, 12.736, "east"),
    (78, 27.018, -7.237, "west"),
    (64, 18.838, -9.975, "west"),
    (13, -139.613, -31.772, "east"),
    (81, -53.193, -37.935, "east"),
    (71, 176.933, -72.993, "east"),
]


def features(told: Any) -> Iterator[dict]:
    """Yield the GeoJSON features inside whatever a file holds."""
    if isinstance(told, dict):
        if told.get("type") == "Feature":
            yield told
        told = list(told.values())
    if isinstance(told, list):
        for part in told:
            yield from features(part)


def footprints(folder: Path) -> dict[str, tuple[int, np.ndarray]]:
    """Return relative orbit and corners, shape (n, 2), of Sentinel-2 items, by id."""
    found = {}
    for path in [*folder.rglob("*.json"), *folder.rglob("*.geojson")]:
        for item in features(json.loads(path.read_text())):
            words = json.dumps(item)
            name = re.search(r"S2[AB]_MSIL\w+_\w+_R(\d{3})_", words)
            orbit = item.get("properties", {}).get("sat:relative_orbit") or (name and int(name[1]))
            shape = item.get("geometry")
            if orbit and shape and re.match(r"S2[AB]_", str(item.get("id"))):
                many = (
                    shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
                )
                corners = [ring for polygon in many for ring in polygon[0]]
                found[item["id"]] = (int(orbit), np.array(corners, dtype=float)[:, :2])
    return found


def crossings(orbit: int) -> tuple[float, float]:
    """Return the longitude of the swath's middle at the equator, and where it begins to be BEYOND."""
    lon = np.linspace(-180, 180, 3_601)[:-1]
    off = off_centre(lon, np.zeros_like(lon), orbit)
    near = np.abs(off) < 2e5
    order = np.argsort(off[near])
    return float(np.interp(0, off[near][order], lon[near][order])), float((off == BEYOND).mean())


@pytest.mark.parametrize(("orbit", "lon", "lat", "side"), EDGES)
def test_edges_of_real_swaths_lie_where_it_says(orbit: int, lon: float, lat: float, side: str) -> None:
    off = float(off_centre(lon, lat, orbit))
    assert abs(off - (HALF_SWATH if side == "east" else -HALF_SWATH)) < LOOSE


def test_real_footprints_lie_in_their_swath(real_data: Callable[[str], Path]) -> None:
    found = footprints(real_data("stac"))
    assert len(found) > 50
    assert len({orbit for orbit, _ in found.values()}) > 15
    cut = 0
    for name, (orbit, corners) in found.items():
        off = np.abs(off_centre(corners[:, 0], corners[:, 1], orbit))
        assert off.max() < HALF_SWATH + LOOSE, name
        cut += off.max() > HALF_SWATH - LOOSE
    # Not that all lie well inside, which a model far off would pass too.
    assert cut > 20


def test_the_right_orbit_sees_a_place_and_others_do_not() -> None:
    """The Alps: two orbits overlap at 10.5° E, 46.5° N; a third is far."""
    near = {orbit: float(off_centre(10.5, 46.5, orbit)) for orbit in range(1, ORBITS + 1)}
    seen = [orbit for orbit, off in near.items() if abs(off) < HALF_SWATH]
    assert seen == [22, 65]
    assert near[22] < 0 < near[65]  # west of the middle of the one, east of that of the other


def test_orbits_repeat_and_neighbours_are_evenly_apart() -> None:
    middles = np.array([crossings(orbit)[0] for orbit in range(1, ORBITS + 1, 13)])
    step = 360 / ORBITS
    assert step == pytest.approx(2.517, abs=1e-3)
    # Ten days have 143 revolutions: from one to the next the ground turns by ten steps.
    turned = (middles[0] - middles) % 360
    np.testing.assert_allclose(turned, (np.arange(0, ORBITS, 13) * 10 * step) % 360, atol=1e-6)
    # The 144th would be the first again.
    assert (crossings(143)[0] - 10 * step - crossings(1)[0] + 180) % 360 - 180 == pytest.approx(
        0, abs=1e-6
    )
    found = np.sort([crossings(orbit)[0] for orbit in (1, 15, 29, 30, 44)] % np.array(360.0))
    assert (np.abs(np.diff(found) / step - np.round(np.diff(found) / step)) < 1e-6).all()


def test_positive_is_east_of_the_middle() -> None:
    for lat in (-70, -40, 0, 30, 60, 75):
        lon = np.linspace(-180, 180, 3601)[:-1]
        off = off_centre(lon, np.full_like(lon, lat), 50)
        near = np.abs(off) < 3e5
        # Rolled so that what is near is in one piece, wherever the antimeridian is.
        middle = np.roll(off, 1800 - int(np.argmin(np.abs(off))))
        middle = middle[np.abs(middle) < 3e5]
        assert len(middle) == near.sum() > 10
        assert (np.diff(middle) > 0).all()


@given(lon=st.floats(-180, 180), lat=st.floats(-78, 78), orbit=st.integers(1, ORBITS))
def test_a_kilometre_across_is_a_kilometre(lon: float, lat: float, orbit: int) -> None:
    """Moving along a parallel changes it by the part of the way that goes across the track."""
    off = off_centre([lon, lon + 0.001], [lat, lat], orbit)
    if np.abs(off).max() > 3e5:
        return
    way = np.radians(0.001) * 6_378_137 * np.cos(np.radians(lat))
    assert 0 < off[1] - off[0] < 1.01 * way


def test_the_ascending_half_and_the_other_side_of_the_earth_are_beyond() -> None:
    lon = np.linspace(-180, 180, 3601)[:-1]
    for orbit in (1, 22, 99):
        for lat in (-60, -20, 0, 45, 70):
            off = off_centre(lon, np.full_like(lon, lat), orbit)
            # One swath a parallel, not two: going north it takes no images.
            inside = np.abs(off) < HALF_SWATH
            assert (np.diff(np.append(inside, inside[0]).astype(int)) == 1).sum() == 1
            assert 0.4 < (off == BEYOND).mean() < 0.95
        middle, beyond = crossings(orbit)
        assert float(off_centre((middle + 360) % 360 - 180, 0, orbit)) == BEYOND
        assert 0.4 < beyond < 0.95


@given(lat=st.floats(-80, 80), orbit=st.integers(1, ORBITS), turns=st.sampled_from([-360, 360]))
def test_the_antimeridian_is_no_border(lat: float, orbit: int, turns: int) -> None:
    lon = np.array([-180.0, -179.9999, 179.9999, 180.0])
    off = off_centre(lon, np.full(4, lat), orbit)
    assert off[0] == pytest.approx(off[3], abs=1e-3)
    if np.abs(off).max() < BEYOND:
        assert np.ptp(off) < 50
    np.testing.assert_allclose(off, off_centre(lon + turns, np.full(4, lat), orbit), atol=1e-3)


@given(lon=st.floats(-180, 180), orbit=st.integers(1, ORBITS))
def test_poles_are_numbers_and_out_of_the_swath(lon: float, orbit: int) -> None:
    lat = np.array([90, -90, 89.999, -89.999, 85, -85])
    off = off_centre(np.full(6, lon), lat, orbit)
    assert np.isfinite(off).all()
    assert (np.abs(off) > HALF_SWATH).all()


def test_there_are_143_orbits() -> None:
    for orbit in (0, -1, 144):
        with pytest.raises(ValueError, match=rf"1 to 143, got {orbit}"):
            off_centre(0, 0, orbit)
