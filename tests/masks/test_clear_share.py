"""The clear share: what counts, what it is a share of, and nothing but SCL read for it."""

import numpy as np
import pytest
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import s2cube
from s2cube.errors import CubeError
from s2cube.masks import clear_share
from s2cube.schema import geobox_of


def square(cube: xr.Dataset, rows: slice, columns: slice) -> shapely.Geometry:
    """The outline of some pixels of a cube, in degrees."""
    return geobox_of(cube)[rows, columns].extent.to_crs("epsg:4326").geom


def test_it_is_what_mask_clouds_leaves(cube: xr.Dataset) -> None:
    share = clear_share(cube)
    left = cube.s2.mask_clouds("scl")["B04"].notnull().mean(["y", "x"])
    np.testing.assert_allclose(share.values, left.values, atol=1e-6)
    assert share.dtype == np.float32
    assert share.dims == ("time",)


def test_other_classes(cube: xr.Dataset) -> None:
    share = clear_share(cube, classes=["clear_water"])
    assert share.values[0] == np.float32((cube["SCL"].values[0] != 6).mean())
    with pytest.raises(CubeError, match="Unknown classes"):
        clear_share(cube, classes=["mist"])


def test_what_was_not_seen_is_not_clear(cube: xr.Dataset) -> None:
    classes = np.full(cube["SCL"].shape, 4, np.uint8)
    classes[0, :10] = 0
    classes[1] = 0
    classes[2, :, :12] = 254  # could not be read
    share = clear_share(cube.assign(SCL=(cube["SCL"].dims, classes)))
    np.testing.assert_allclose(share.values[:4], [0.75, 0, 0.75, 1])


def test_the_line_of_a_user(cube: xr.Dataset) -> None:
    good = clear_share(cube.chunk(time=5)).compute() > 0.6
    assert 0 < cube.sel(time=good).sizes["time"] < cube.sizes["time"]


def test_inside_a_geometry(cube: xr.Dataset) -> None:
    area = square(cube, slice(5, 21), slice(10, 40))
    # A hair larger: reprojecting back and forth must not lose pixels at the edge.
    share = clear_share(cube, geometry=area.buffer(1e-6))
    part = clear_share(cube.isel(y=slice(5, 21), x=slice(10, 40)))
    np.testing.assert_array_equal(share.values, part.values)
    geojson = shapely.geometry.mapping(area.buffer(1e-6))
    np.testing.assert_array_equal(clear_share(cube, geometry=geojson).values, part.values)


def test_only_what_lies_inside_counts(cube: xr.Dataset) -> None:
    """Half of a square, along its diagonal: what is clear beside it does not."""
    classes = np.full(cube["SCL"].shape, 4, np.uint8)
    west, south, east, north = square(cube, slice(5, 25), slice(10, 30)).bounds
    half = shapely.Polygon([(west, south), (east, south), (west, north)])
    whole = clear_share(cube.assign(SCL=(cube["SCL"].dims, classes)), geometry=half)
    np.testing.assert_array_equal(whole.values, 1)


def test_pixels_count_by_their_centre(cube: xr.Dataset) -> None:
    """A triangle: half of the box around it, and clouds in the other half do not count."""
    (west, north), (east, south) = [
        square(cube, slice(r, r + 1), slice(c, c + 1)).centroid.coords[0] for r, c in ((0, 0), (39, 47))
    ]
    classes = np.full(cube["SCL"].shape, 4, np.uint8)
    y, x = np.mgrid[:40, :48]
    classes[:, y / 40 + 0.05 < x / 48] = 9
    clouded = cube.assign(SCL=(cube["SCL"].dims, classes))
    below = shapely.Polygon([(west, north), (west, south), (east, south)])
    assert clear_share(clouded).values[0] < 0.6
    assert clear_share(clouded, geometry=below).values[0] > 0.93


@pytest.mark.parametrize(
    "area",
    [shapely.box(0, 0, 1, 1), shapely.Point(15.001, 47.85), shapely.Polygon(), {"type": "Nothing"}, 7],
)
def test_an_area_without_pixels_is_refused(cube: xr.Dataset, area: object) -> None:
    with pytest.raises(CubeError, match=r"geometry"):
        clear_share(cube, geometry=area)


def test_scl_is_needed(cube: xr.Dataset) -> None:
    with pytest.raises(CubeError, match="SCL"):
        clear_share(cube.drop_vars("SCL"))
    with pytest.raises(CubeError, match="L2A"):
        clear_share(cube.assign_coords(processing_level="L1C"))


def test_nothing_but_scl_is_read(cube: xr.Dataset) -> None:
    """And of that only what lies around the geometry."""

    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("read")

    lazy = cube.chunk(time=1, y=20, x=24)
    for name in ("B04", "B08", "status"):
        lazy[name] = lazy[name].copy(data=lazy[name].data.map_blocks(explode, dtype=lazy[name].dtype))
    np.testing.assert_array_equal(clear_share(lazy).compute(), clear_share(cube))

    def only_first(block: np.ndarray, block_info: dict) -> np.ndarray:
        assert block_info[0]["chunk-location"][1:] == (0, 0)
        return block

    lazy["SCL"] = lazy["SCL"].copy(data=lazy["SCL"].data.map_blocks(only_first, dtype=np.uint8))
    area = square(cube, slice(3, 15), slice(4, 20))
    assert clear_share(lazy, geometry=area).compute().max() > 0.9


AREA = [(15.0008, 47.8518), (15.0050, 47.8510), (15.0048, 47.8492), (15.0015, 47.8488)]


@settings(max_examples=10)
@given(st.tuples(*(st.integers(3, 60) for _ in range(3))), st.booleans())
def test_any_chunks(sizes: tuple[int, int, int], narrowed: bool) -> None:
    cube = s2cube.testing.simulate_cube(shape=(40, 48), seed=1)
    geometry = shapely.Polygon(AREA) if narrowed else None
    chunks = dict(zip(("time", "y", "x"), sizes, strict=True))
    lazy = clear_share(cube.chunk(chunks), geometry=geometry)
    xr.testing.assert_identical(lazy.compute(scheduler="sync"), clear_share(cube, geometry=geometry))
    assert lazy.data.name == clear_share(cube.chunk(chunks), geometry=geometry).data.name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed.*")
def test_same_on_a_cluster(cube: xr.Dataset) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        lazy = clear_share(cube.chunk(time=8, y=16), geometry=shapely.Polygon(AREA))
        xr.testing.assert_identical(lazy.compute(), clear_share(cube, geometry=shapely.Polygon(AREA)))


def test_of_any_mask(cube: xr.Dataset) -> None:
    """A method, a ready mask, a boolean: the share is what masking by it would leave."""
    ready = s2cube.cloud_mask(cube, "spectral", buffer=20)
    bright = cube["B02"] > 0.15
    for mask in ("spectral", ready, bright):
        left = cube.s2.mask_clouds(mask)["B04"].notnull().mean(["y", "x"])
        np.testing.assert_allclose(cube.s2.clear_share(mask).values, left.values, atol=1e-6)
    corner = square(cube, slice(0, 20), slice(0, 20))
    left = cube.s2.mask_clouds(ready)["B04"][:, :20, :20].notnull().mean(["y", "x"])
    share = clear_share(cube, ready.chunk({"y": 7}), geometry=corner)
    np.testing.assert_allclose(share.values, left.values, atol=1e-6)
    with pytest.raises(CubeError, match="differs along 'time'"):
        clear_share(cube, ready.isel(time=[0]))
