"""Files that are not what their items say: cut, elsewhere, of another type."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio.shutil
from affine import Affine
from archive import CRS, ORIGIN, flat, ramp, scene
from compare import assert_same
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from remote import QUICK, driver, opened, served

import s2cube
from s2cube.errors import HarmonizationError, ReadError
from s2cube.schema import Status
from s2cube.sources.retry import Retry
from s2cube.testing import Faults, FileServer

GRID = GeoBox((20, 24), Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), CRS)


def small(folder: Path, *, placed: bool = True, **how: Any) -> pystac.Item:
    """A scene whose files are of a few kilobytes: half of one ends in its header."""
    item = scene(folder, "small", "2020-06-05T10:00", {"B04": ramp(start=500)}, **how)
    if not placed:
        for asset in item.assets.values():
            del asset.extra_fields["proj:transform"], asset.extra_fields["proj:shape"]
    return item


@pytest.mark.parametrize("placed", [True, False], ids=["item tells the grid", "item tells no grid"])
@pytest.mark.parametrize("mode", ["raise", "mark"])
def test_a_file_cut_anywhere_is_read_right_or_not_at_all(
    tmp_path: Path, placed: bool, mode: Any
) -> None:
    """GDAL opens some without a place, or without their pixels, and warns."""
    item = small(tmp_path, placed=placed, nodata=600)
    expected = s2cube.open_stac(item, geobox=GRID, chunks=None)
    path = Path(item.assets["B04"].href)
    whole = path.read_bytes()
    unread = 0
    for size in [*range(0, 600, 7), *range(600, len(whole), 101)]:
        path.write_bytes(whole[:size])
        try:
            cube = s2cube.open_stac(item, geobox=GRID, chunks=None, on_read_error=mode)
        except ReadError:
            assert mode == "raise"
            unread += 1
            continue
        if mode == "mark" and (cube["status"] == Status.READ_FAILED).any():
            assert (cube["status"] == Status.READ_FAILED).all()
            assert cube["B04"].isnull().all()
            unread += 1
            continue
        np.testing.assert_array_equal(cube["B04"], expected["B04"], str(size))
    assert unread > 80


@pytest.mark.parametrize("mode", ["raise", "mark"])
def test_small_files_survive_truncated_answers(tmp_path: Path, mode: Any) -> None:
    """Their header comes in the same answer as their pixels, and is most of the file."""
    counts = flat(500)
    counts[:3] += np.random.default_rng(1).integers(0, 4000, (3, 24)).astype("uint16")
    item = scene(tmp_path, "small", "2020-06-05T10:00", {"B04": counts})
    asset = item.assets["B04"]
    asset.href = asset.href.replace(".tif", ".cog.tif")
    plain = asset.href.replace(".cog", "")
    rasterio.shutil.copy(plain, asset.href, driver="COG", compress="deflate", blocksize=128)
    whole = Path(asset.href).read_bytes()
    with (
        pytest.warns(NotGeoreferencedWarning),
        MemoryFile(whole[: len(whole) // 2]) as half,
        half.open() as file,
    ):
        assert file.crs is None
    expected = opened([item], driver(on_read_error=mode))
    faults = [Faults(0.4, (kind,), seed=seed) for kind in ("truncate", "short") for seed in range(12)]
    for one in faults:
        with FileServer(tmp_path, faults=one) as server:
            assert_same(opened(served([item], server.href), driver(on_read_error=mode)), expected)
    assert sum(one.drawn for one in faults) > 20


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("proj:transform", [10, 0, ORIGIN[0] + 30, 0, -10, ORIGIN[1]], "off by 3 px"),
        ("proj:transform", [20, 0, ORIGIN[0], 0, -20, ORIGIN[1]], "off by 24 px"),
        ("proj:shape", [20, 25], "another shape"),
    ],
)
def test_a_file_elsewhere_is_named_with_both_grids(
    tmp_path: Path, field: str, value: Any, words: str
) -> None:
    item = small(tmp_path)
    item.assets["B04"].extra_fields[field] = value
    own = "The file: 20 x 24 px of 10 in EPSG:32633 from 500000, 5300040"
    with pytest.raises(ReadError, match=rf"B04\.tif: its grid is another .*{words}.*{own}; the item: "):
        s2cube.open_stac(item, geobox=GRID, chunks=None)
    cube = s2cube.open_stac(item, geobox=GRID, chunks=None, on_read_error="mark")
    assert not (cube["status"] == Status.CLEAR).any()
    with FileServer(tmp_path) as server, pytest.raises(ReadError, match="Correct proj:shape"):
        opened(served([item], server.href), driver(), geobox=GRID).compute()
    # A header may have come wrong: a few attempts, of HEAD and the file.
    assert 3 <= len(server.requests) <= 6


def test_a_file_in_another_zone_is_not_read(tmp_path: Path) -> None:
    item = small(tmp_path)
    item.assets["B04"].extra_fields["proj:code"] = "EPSG:32634"
    with pytest.raises(ReadError, match=r"in EPSG:32633 from .* in EPSG:32634 from"):
        s2cube.open_stac(item, chunks=None)


@pytest.mark.parametrize("code", ["EPSG:32633", "EPSG:25833"])
def test_rounded_numbers_and_other_names_are_the_same_place(tmp_path: Path, code: str) -> None:
    item = small(tmp_path)
    asset = item.assets["B04"]
    asset.extra_fields["proj:transform"] = [10.00001, 0, ORIGIN[0] + 0.001, 0, -10, ORIGIN[1]]
    asset.extra_fields["proj:code"] = code
    cube = s2cube.open_stac(item, geobox=GRID, chunks=None)
    assert float(cube["B04"][0, 0, 0]) == np.float32(0.05)


WRONG = [
    ("float32", "uint16"), ("int16", "uint16"), ("int32", "uint16"), ("uint16", "int16"),
    ("uint8", "uint16"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "declared"), WRONG)
@pytest.mark.parametrize("mode", ["raise", "mark"])
def test_a_file_of_another_type_is_refused(tmp_path: Path, there: str, declared: str, mode: Any) -> None:
    """Reflectance 0.8 as a count is 0, -500 is missing, 70000 is saturated; bytes are pictures."""
    item = scene(tmp_path, "typed", "2020-06-05T10:00", {"B04": flat(1, dtype=there)})
    item.assets["B04"].extra_fields["raster:bands"][0]["data_type"] = declared
    told = rf"B04 of typed is of type {there} in the file .*, but {declared} is .*data_type {there}"
    with FileServer(tmp_path) as server:
        cube = opened(served([item], server.href, "?sig=secret"), driver(on_read_error=mode))
        with pytest.raises(HarmonizationError, match=told) as error:
            cube.compute()
    assert "sig" not in str(error.value)
    pickle.loads(pickle.dumps(error.value))
    assert len(server.requests) <= 3, "not tried again"


def test_an_assumed_type_is_held_against_the_file(tmp_path: Path) -> None:
    """Where the item declares nothing, the usual is assumed, and refused where it is not so."""
    item = scene(
        tmp_path, "typed", "2020-06-05T10:00", {"B04": flat(1, dtype="int16")}, raster=False,
        properties={"s2:processing_baseline": "02.09", "constellation": "sentinel-2"},
    )  # fmt: skip
    with pytest.raises(HarmonizationError, match=r"int16 in the file .* but uint16"):
        s2cube.open_stac(item, chunks=None)


@pytest.mark.parametrize(
    ("there", "declared"), [("uint8", "uint8"), ("uint8", "float32"), ("uint16", "float32")]
)
def test_a_type_that_holds_all_values_will_do(tmp_path: Path, there: str, declared: str) -> None:
    item = scene(tmp_path, "typed", "2020-06-05T10:00", {"B04": flat(200, dtype=there)})
    item.assets["B04"].extra_fields["raster:bands"][0]["data_type"] = declared
    cube = s2cube.open_stac(item, chunks=None)
    np.testing.assert_array_equal(cube["B04"], np.float32(0.02))


def test_ground_control_points_are_no_place(tmp_path: Path) -> None:
    """A file that lies on no grid cannot be laid on one by its pixels."""
    item = small(tmp_path, placed=False)
    points = [GroundControlPoint(r, c, 15 + c / 1e3, 47 - r / 1e3) for r in (0, 20) for c in (0, 24)]
    with rasterio.open(
        item.assets["B04"].href, "w", driver="GTiff", width=24, height=20, count=1, dtype="uint16",
        gcps=points, crs="EPSG:4326",
    ) as file:  # fmt: skip
        file.write(ramp(), 1)
    with pytest.raises(ReadError, match="the file has no "):
        s2cube.open_stac(item, geobox=GRID, chunks=None)


def test_a_file_without_a_place_is_tried_as_long_as_others(tmp_path: Path) -> None:
    """It may have come incomplete: all attempts, unlike a file that says it is elsewhere."""
    item = small(tmp_path)
    path = Path(item.assets["B04"].href)
    path.write_bytes(path.read_bytes()[:420])
    few = Retry(attempts=5, wait=0.001)
    with FileServer(tmp_path) as server:
        cube = opened(served([item], server.href), driver(retry=few))
        with pytest.raises(ReadError, match=r"B04\.tif: .+Nothing was put in its place"):
            cube.compute()
    assert sum(request.method == "HEAD" for request in server.requests) == 5
    assert QUICK.attempts > 5
