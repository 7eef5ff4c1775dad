"""Mosaics of orbits: no step where a swath ends, no value lost, every value at its place."""

from collections.abc import Callable

import numpy as np
import pytest
import swaths
import xarray as xr
from compare import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.errors import CubeError
from s2cube.mosaic import REACH

STEP = 0.02
"""Reflectance by which one orbit is brighter."""
ONE = {"q": 50, "seasons": "YS"}


def image(cubes: xr.Dataset | list[xr.Dataset], **options: object) -> np.ndarray:
    return s2cube.mosaic_orbits(cubes, **{**ONE, **options})["B04"].values[0]


@pytest.mark.parametrize("shift", [-2000.0, 0.0, 2000.0])
@pytest.mark.parametrize("lat", [0, 45, 60])
def test_where_a_swath_ends_nothing_is_left_of_the_step(lat: int, shift: float) -> None:
    """Wherever the swath really ends beside the model; and neither of the other ways does it."""
    where = swaths.area(lat)
    cube = swaths.orbits_of(where, step=STEP, shift=shift)
    seen = where.seen(swaths.ORBIT, shift)
    pooled = cube.s2.percentile(50)["B04"].values
    share = {
        "pooled": swaths.jump(pooled, seen) / STEP,
        "idw": swaths.jump(image(cube, weights="idw"), seen) / STEP,
        "taper": swaths.jump(image(cube), seen) / STEP,
    }
    assert abs(share["taper"]) <= 0.02, share
    if lat < 60:
        assert 0.45 < share["pooled"] < 0.55, share
        assert 0.2 <= share["idw"] <= 0.48, share
    else:
        # Three orbits overlap here, each weighs less.
        assert share["idw"] > 0.05, share


def test_between_the_swaths_it_goes_from_one_orbit_to_the_other() -> None:
    where = swaths.area(45)
    mosaic = image(swaths.orbits_of(where, step=STEP))
    assert set(where.off) == {22, 122}
    alone = where.seen(22) & ~where.seen(122)
    other = where.seen(122) & ~where.seen(22)
    both = where.seen(22) & where.seen(122)
    assert not alone.any()
    np.testing.assert_allclose(mosaic[other], 0.1, rtol=1e-6)
    assert (mosaic[both] > 0.1 - 1e-7).all()
    assert (mosaic[both] < 0.1 + STEP).all()
    # Eastward, away from the middle of orbit 22, there is less and less of it.
    assert (np.diff(np.where(both, mosaic, np.nan), axis=1)[both[:, 1:] & both[:, :-1]] < 1e-7).all()


def test_slivers_at_the_edge_do_no_harm() -> None:
    """A swath's last pixels are often wrong: where another orbit is there, they count for nothing."""
    where = swaths.area(45)
    clean = swaths.orbits_of(where, step=STEP)
    edge = where.seen(swaths.ORBIT) & ~where.seen(swaths.ORBIT, -1500)
    assert edge.sum() > 100
    assert where.seen(122)[edge].all()
    dirty = clean.copy(deep=True)
    own = dirty["relative_orbit"].values == swaths.ORBIT
    rng = np.random.default_rng(0)
    dirty["B04"].values[np.ix_(own, *map(np.arange, edge.shape))] = np.where(
        edge, rng.uniform(-0.3, 3, (own.sum(), *edge.shape)), clean["B04"].values[own]
    )
    assert not np.allclose(dirty.s2.percentile(50)["B04"], clean.s2.percentile(50)["B04"], atol=0.05)
    np.testing.assert_allclose(image(dirty), image(clean), atol=1e-6)


@pytest.mark.parametrize("weights", ["taper", "idw"])
def test_what_one_orbit_alone_sees_is_that_orbits(weights: str) -> None:
    """At the equator swaths hardly overlap: beyond the overlap nothing is blended, and nothing lost."""
    where = swaths.area(0)
    rng = np.random.default_rng(0)
    cube = swaths.orbits_of(where, step=STEP, texture=lambda: rng.normal(0, 0.01, where.geobox.shape.yx))
    # A cloud over all looks of the other orbit, at the very edge of this one's swath.
    hidden = np.zeros(where.geobox.shape.yx, bool)
    hidden[50:60] = where.seen(22)[50:60]
    at = cube["relative_orbit"].values == 122
    cube["B04"].values[at] = np.where(hidden, np.nan, cube["B04"].values[at])
    mosaic = s2cube.mosaic_orbits(cube, q=(25, 75), seasons="YS", weights=weights)
    for orbit, elsewhere in ((22, 122), (122, 22)):
        own = cube.isel(time=cube["relative_orbit"].values == orbit)
        other = cube.isel(time=cube["relative_orbit"].values == elsewhere)
        alone = (own["B04"].notnull().any("time") & other["B04"].isnull().all("time")).values
        assert alone.sum() > 1000
        wanted = own.s2.percentile((25, 75))["B04"].values
        np.testing.assert_allclose(mosaic["B04"].values[0][:, alone], wanted[:, alone], rtol=3e-7)
    seen = cube["B04"].notnull().any("time").values
    assert np.array_equal(np.isfinite(mosaic["B04"].values[0]).all(0), seen)
    assert np.array_equal(mosaic["count"].values[0], cube["B04"].notnull().sum("time").values)


def test_stripes_of_pooled_percentiles_are_gone() -> None:
    """Where swaths overlap, percentiles of all looks differ from those beside: two edges, two steps."""
    where = swaths.area(0)
    rng = np.random.default_rng(1)
    cube = swaths.orbits_of(
        where, step=STEP, texture=lambda: rng.normal(0, 0.003, where.geobox.shape.yx)
    )
    before = s2cube.seam_score(cube.s2.percentile(50), cube)
    assert before[["relative_orbit", "side"]].values.tolist() == [[22, "east"], [122, "west"]]
    # Inside the swath of the brighter orbit it is brighter, inside that of the darker one darker.
    assert 0.4 < before["jump"][0] / STEP < 0.6
    assert -0.6 < before["jump"][1] / STEP < -0.4
    images = {
        name: s2cube.mosaic_orbits(cube, **ONE, weights=name).isel(time=0) for name in ("idw", "taper")
    }
    score = {name: s2cube.seam_score(made, cube).attrs["score"] for name, made in images.items()}
    # A few pixels further the blend has a slope, which is no step.
    assert score["taper"] < 0.2 * before.attrs["score"]
    assert score["idw"] > 0.8 * before.attrs["score"]
    beside = s2cube.seam_score(images["taper"], cube, across=0)
    assert (beside["jump"].abs() < 0.02 * STEP + 3 * beside["error"]).all()


def test_tiles_of_one_orbit_are_joined_by_the_mean_and_counted_once() -> None:
    where = swaths.area(45)
    whole = swaths.orbits_of(where, step=STEP)
    left = whole.where(whole["x"] < whole["x"][70])
    right = (whole + np.float32(0.01)).where(whole["x"] >= whole["x"][50])
    mosaic = s2cube.mosaic_orbits([left, right], **ONE)
    alone = s2cube.mosaic_orbits(whole, **ONE)
    added = (mosaic["B04"] - alone["B04"]).values[0]
    np.testing.assert_allclose(added[:, :50], 0, atol=1e-7)
    np.testing.assert_allclose(added[:, 50:70], 0.005, atol=1e-7)
    np.testing.assert_allclose(added[:, 70:], 0.01, atol=1e-7)
    assert np.array_equal(mosaic["count"], alone["count"])
    other = s2cube.mosaic_orbits([right, left], **ONE)
    np.testing.assert_allclose(other["B04"], mosaic["B04"], atol=1e-7)


def test_each_tile_has_looks_of_its_own() -> None:
    """Of tiles that were not seen on the same days, each look counts in its period, and where it is."""
    geobox = swaths.area(45).geobox
    early = swaths.cube(geobox, [(22, "2022-06-01T10", 0.1)])
    late = [(22, "2022-06-11T10", 0.2), (22, "2022-07-01T10", 0.3), (122, "2022-07-04T10", 0.3)]
    west = early.where(early["x"] < early["x"][50])
    east = swaths.cube(geobox, late).where(early["x"] >= early["x"][50])
    seasons = {"June": ("2022-06-01", "2022-06-30"), "July": ("2022-07-01", "2022-07-31")}
    for tiles in ([west, east], [east, west]):
        june, july = s2cube.mosaic_orbits(tiles, q=50, seasons=seasons)["B04"].values
        np.testing.assert_allclose(june[:, :50], 0.1, atol=1e-6)
        np.testing.assert_allclose(june[:, 50:], 0.2, atol=1e-6)
        assert np.isnan(july[:, :50]).all()
        np.testing.assert_allclose(july[:, 50:], 0.3, atol=1e-6)


def test_taper_is_the_inverse_distance_tapered_to_nothing() -> None:
    """``(1 - d / R) / d``, as documented, where both orbits look."""
    where = swaths.area(45)
    cube = swaths.orbits_of(where, step=STEP)

    def written_out(distance: np.ndarray) -> np.ndarray:
        return np.maximum(1 - distance / REACH, 1e-9) / np.maximum(distance, 1000)

    np.testing.assert_allclose(image(cube), image(cube, weights=written_out), atol=1e-6)


def gradient(geobox: GeoBox) -> np.ndarray:
    """Return a field that tells where a pixel lies: 0.001 a kilometre, about, to the north and east."""
    lon, lat = swaths.place(geobox)
    return 0.2 + 0.07 * (lon - 12) + 0.11 * (lat - 47)


TARGET = GeoBox.from_bbox((4_455_000, 2_640_000, 4_481_000, 2_662_000), "EPSG:3035", resolution=300)


def two_zones(size: float = 250.0) -> list[xr.Dataset]:
    """Return tiles of UTM 32 and 33 that overlap around 12° E, 47° N, both of orbits 22 and 65."""
    found = []
    for crs, x in (("EPSG:32632", 710_000), ("EPSG:32633", 271_000)):
        geobox = GeoBox.from_bbox((x, 5_195_000, x + 20_000, 5_218_000), crs, resolution=size)
        found.append(
            swaths.cube(
                geobox,
                [
                    (22, "2022-06-01T10", gradient(geobox)),
                    (65, "2022-06-04T10", gradient(geobox)),
                    (22, "2022-06-11T10", gradient(geobox)),
                ],
            )
        )
    return found


def test_several_zones_come_to_lie_on_one_grid_at_the_right_place() -> None:
    cubes = two_zones()
    mosaic = s2cube.mosaic_orbits(cubes, geobox=TARGET, **ONE)
    assert s2cube.schema.geobox_of(mosaic) == TARGET
    values, truth = mosaic["B04"].values[0], gradient(TARGET)
    there = np.isfinite(values)
    # One pixel of the mosaic along the steepest way.
    pixel = float(np.hypot(*np.gradient(truth)).mean())
    assert np.abs(values - truth)[there].max() < 0.5 * pixel
    assert np.median(np.abs(values - truth)[there]) < 0.02 * pixel
    # Both tiles are there, and no gap between them.
    seen = np.zeros(TARGET.shape.yx, bool)
    lon, lat = swaths.place(TARGET)
    for cube in cubes:
        inside = s2cube.schema.geobox_of(cube).buffered(-300)
        x, y = swaths.Transformer.from_crs("EPSG:4326", inside.crs.wkt, always_xy=True).transform(
            lon, lat
        )
        box = inside.boundingbox
        part = (x > box.left) & (x < box.right) & (y > box.bottom) & (y < box.top)
        assert part.any()
        seen |= part
    assert there[seen].all()
    assert not there.all()


def test_counts_on_another_grid_are_whole_and_tell_where_values_are() -> None:
    mosaic = s2cube.mosaic_orbits(two_zones(), geobox=TARGET, **ONE)
    assert mosaic["count"].dtype == np.int16
    assert set(np.unique(mosaic["count"])) == {0, 3}
    assert np.array_equal(mosaic["count"] > 0, mosaic["B04"].notnull())


# rasterio hides its own warning by warnings.catch_warnings, which other threads undo.
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_other_grids_by_dask() -> None:
    """The same within a fiftieth of a pixel: PROJ chooses its way from datum to datum by the block."""
    cubes = two_zones()
    here = s2cube.mosaic_orbits(cubes, geobox=TARGET, **ONE)
    lazy = s2cube.mosaic_orbits([cube.chunk(time=1, y=40, x=64) for cube in cubes], geobox=TARGET, **ONE)
    assert lazy["B04"].chunks is not None
    pixel = float(np.hypot(*np.gradient(gradient(TARGET))).mean())
    np.testing.assert_allclose(lazy["B04"], here["B04"], atol=0.02 * pixel)
    assert_same(lazy.drop_vars("B04"), here.drop_vars("B04"))


def test_holes_stay_holes_on_another_grid() -> None:
    """A value never stands without looks, nor looks without a value."""
    cube = two_zones()[0]
    rng = np.random.default_rng(0)
    holes = cube["B04"].where(rng.uniform(size=cube["B04"].shape[1:]) > 0.3)
    made = s2cube.mosaic_orbits(cube.assign(B04=holes), geobox=TARGET, **ONE)
    assert made["B04"].isnull().any()
    assert np.array_equal(made["count"] > 0, made["B04"].notnull())


def test_a_cube_that_lies_on_the_grid_is_not_resampled() -> None:
    cube = swaths.orbits_of(swaths.area(45), step=STEP)
    own = s2cube.schema.geobox_of(cube)
    assert_same(s2cube.mosaic_orbits(cube, geobox=own, **ONE), s2cube.mosaic_orbits(cube, **ONE))


SMALL = swaths.area(45, 4000.0, 30)


@settings(max_examples=10)
@given(
    y=st.integers(7, 30), x=st.integers(7, 30), time=st.integers(1, 4),
    weights=st.sampled_from(["taper", "idw"]),
)  # fmt: skip
def test_the_same_by_dask_whatever_the_chunks(y: int, x: int, time: int, weights: str) -> None:
    rng = np.random.default_rng(0)
    cube = swaths.orbits_of(SMALL, step=STEP, texture=lambda: rng.normal(0, 0.01, (30, 30)))
    options = {"q": (25, 75), "seasons": "pan-european", "weights": weights}
    here = s2cube.mosaic_orbits(cube, **options)
    lazy = s2cube.mosaic_orbits(cube.chunk(time=time, y=y, x=x), **options)
    assert_same(lazy, here)


def test_the_distance_decides_by_a_function_too() -> None:
    cube = swaths.orbits_of(SMALL, step=STEP)
    flat = image(cube, weights=np.ones_like)
    both = SMALL.seen(22) & SMALL.seen(122)
    np.testing.assert_allclose(flat[both], 0.1 + STEP / 2, rtol=1e-6)
    found = []

    def note(distance: np.ndarray) -> np.ndarray:
        found.append(distance)
        return np.ones_like(distance)

    made = s2cube.mosaic_orbits(cube, **ONE, weights=note)
    for orbit, distance in zip((22, 122), found, strict=True):
        assert distance.dtype == np.float32
        assert np.abs(distance.squeeze() - np.abs(SMALL.off[orbit])).max() < 100
    assert "weights='note'" in made.attrs["history"]


@pytest.mark.parametrize(
    "wrong",
    [np.zeros_like, np.negative, lambda d: d[..., :3], lambda d: d * np.nan, lambda d: 1 / (0 * d)],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_weights_that_are_none_are_refused(wrong: Callable[[np.ndarray], np.ndarray]) -> None:
    cube = swaths.orbits_of(SMALL)
    with pytest.raises(CubeError, match="must give a positive number for each distance"):
        s2cube.mosaic_orbits(cube, **ONE, weights=wrong)
    with pytest.raises(CubeError, match="must give a positive number for each distance"):
        s2cube.mosaic_orbits(cube.chunk(x=10), **ONE, weights=wrong).compute()


def test_images_of_a_mosaic_say_what_they_are() -> None:
    cube = swaths.orbits_of(SMALL, step=STEP, days=("2022-01-05T10", "2022-07-05T10"))
    made = s2cube.mosaic_orbits(cube)
    assert made["B04"].dims == ("time", "percentile", "y", "x")
    assert made["period"].values.tolist() == ["2022 winter", "2022 spring", "2022 summer"]
    assert made["B04"].dtype == np.float32
    assert made["count"].dtype == np.int16
    last = made.attrs["history"].splitlines()[-1]
    assert last.startswith("mosaic_orbits(")
    assert "orbits=[22, 122]" in last
    assert "weights='taper'" in last
    assert s2cube.schema.geobox_of(made) == SMALL.geobox
    # A season without looks has an image without values.
    assert (made["count"].sel(time=made["period"] == "2022 spring") == 0).all()
    assert made["B04"].isel(time=1).isnull().all()


def test_periods_are_shared_by_all_cubes() -> None:
    """A tile that has no look in some season leaves that season to the others."""
    cube = swaths.orbits_of(SMALL, days=("2022-01-05T10", "2022-04-05T10", "2022-07-05T10"))
    west = cube["x"] < cube["x"][15]
    rare = cube.where(west).sel(time=slice("2022-03-01", None))
    often = cube.where(~west)
    made = s2cube.mosaic_orbits([rare, often], q=50)
    assert made["period"].values.tolist() == ["2022 winter", "2022 spring", "2022 summer"]
    assert (made["count"].where(west, drop=True)[0] == 0).all()
    assert made["B04"].where(west, drop=True)[0].isnull().all()
    assert (made["count"].where(~west, drop=True)[0] > 0).all()
    assert made["B04"][1:].notnull().all()


def test_an_orbit_without_looks_in_the_seasons_asked_for() -> None:
    cube = swaths.cube(
        SMALL.geobox,
        [(22, "2022-01-05T10", 0.2), (122, "2022-07-05T10", 0.1), (122, "2022-07-15T10", 0.1)],
    )
    made = s2cube.mosaic_orbits(cube, q=50, seasons={"summer": ("2022-06-01", "2022-08-31")})
    np.testing.assert_allclose(made["B04"], 0.1, rtol=1e-6)
    assert (made["count"] == 2).all()


def test_bands_have_their_own_percentiles() -> None:
    looks = [(orbit, "2022-06-01T10", np.where(SMALL.seen(orbit), 0.1, np.nan)) for orbit in (22, 122)]
    cube = swaths.cube(SMALL.geobox, looks, bands=["B04", "B08"])
    cube["B08"].values[0, :5] = np.nan
    made = s2cube.mosaic_orbits(cube, **ONE)
    np.testing.assert_allclose(made["B08"].values[made["B08"].notnull()], 0.2, rtol=1e-6)
    # The count is that of the band with the fewest.
    fewest = np.minimum(*(cube[band].notnull().sum("time").values for band in ("B04", "B08")))
    assert np.array_equal(made["count"][0], fewest)
    assert set(s2cube.mosaic_orbits(cube, **ONE, bands="nir").data_vars) == {"B08", "count"}


def test_refusals() -> None:
    cube = swaths.orbits_of(SMALL)
    with pytest.raises(CubeError, match="No cube to mosaic"):
        s2cube.mosaic_orbits([])
    with pytest.raises(CubeError, match="no relative_orbit along time: open it by datatake"):
        s2cube.mosaic_orbits(cube.drop_vars("relative_orbit"))
    for unknown in (-1, 0, 144):
        wrong = cube.assign_coords(relative_orbit=("time", [22, 122, 22, unknown]))
        with pytest.raises(
            CubeError, match=rf"1 to 143; the cube has \[{unknown}\]. -1 stands for unknown"
        ):
            s2cube.mosaic_orbits(wrong)
    with pytest.raises(CubeError, match="different grids: say with geobox="):
        s2cube.mosaic_orbits([cube, cube.isel(x=slice(3, None))])
    with pytest.raises(CubeError, match=r"'taper' or 'idw', or a function .* got 'nearest'"):
        s2cube.mosaic_orbits(cube, weights="nearest")
    with pytest.raises(CubeError, match="different percentiles"):
        s2cube.mosaic_orbits(cube, q=(50, 50))
    both = cube.assign(B08=cube["B04"])
    for cubes in ([cube, both], [both, cube]):
        with pytest.raises(CubeError, match="no B08: open all with the same bands, or say bands="):
            s2cube.mosaic_orbits(cubes)
    assert "B04" in s2cube.mosaic_orbits([both, cube], bands="red")
    levels = cube.assign_coords(processing_level="L1C")
    with pytest.raises(CubeError, match="L1C and L2A"):
        s2cube.mosaic_orbits([cube, levels])


def test_looks_whose_orbit_is_unknown_can_be_left_out() -> None:
    cube = swaths.orbits_of(SMALL)
    some = cube.assign_coords(relative_orbit=("time", [22, 122, -1, 122]))
    known = some.isel(time=some["relative_orbit"].values > 0)
    assert s2cube.mosaic_orbits(known, **ONE)["count"].max() == 3
