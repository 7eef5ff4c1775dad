"""Simulated clouds: their truth is true, and the same on any machine."""

import math

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from compare import assert_same
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.errors import CubeError
from s2cube.kernels.morphology import grow_status
from s2cube.schema import Status
from s2cube.testing.clouds import add_clouds
from s2cube.testing.light import sun_direction

BANDS = ["B02", "B04", "B08", "B11", "B12"]


def clear_cube(
    shape: tuple[int, int] = (200, 200), end: str = "2021-07-15", **how: object
) -> xr.Dataset:
    return s2cube.testing.simulate_cube(shape=shape, end=end, cloud_cover=0, bands=BANDS, seed=4, **how)


def top_of_atmosphere(cube: xr.Dataset) -> xr.Dataset:
    """The same values, called level 1C, with the band that sees cirrus."""
    cirrus = cube["B02"].copy(data=np.full(cube["B02"].shape, 0.0015, np.float32)).rename("B10")
    return cube.drop_vars("SCL").assign(B10=cirrus).assign_coords(processing_level="L1C")


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    return clear_cube()


def share(truth: xr.Dataset, status: Status) -> np.ndarray:
    return (truth["status"] == status).mean(("y", "x")).values


def test_same_seed_same_clouds(clear: xr.Dataset) -> None:
    both = [add_clouds(clear, seed=3) for _ in range(2)]
    for one, other in zip(*both, strict=True):
        assert_same(one, other)
    assert not add_clouds(clear, seed=5)[1].equals(both[0][1])


def test_a_date_has_its_clouds_whatever_the_others(clear: xr.Dataset) -> None:
    dates = slice(2, None, 2)
    for all_, some in zip(
        add_clouds(clear, seed=3), add_clouds(clear.isel(time=dates), seed=3), strict=True
    ):
        assert_same(all_.isel(time=dates), some)
    states = add_clouds(clear, seed=3)[1]["status"]
    assert not (states[0] == states[1]).all(), "every date has its own"


@pytest.mark.parametrize("chunks", [(1, 200, 200), (4, 70, 90), (7, 29, 200)])
def test_lazy_is_the_same(clear: xr.Dataset, chunks: tuple[int, int, int]) -> None:
    lazy = clear.chunk(dict(zip(("time", "y", "x"), chunks, strict=True)))
    for one, other in zip(add_clouds(clear, seed=3), add_clouds(lazy, seed=3), strict=True):
        assert isinstance(other["status" if "opacity" in other else "B02"].data, da.Array)
        assert_same(one, other)


def test_nothing_is_computed(clear: xr.Dataset) -> None:
    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    lazy = clear.chunk(time=1)
    bands = {
        b: lazy[b].copy(
            data=lazy[b].data.map_blocks(explode, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
        )
        for b in BANDS
    }
    cloudy, _ = add_clouds(lazy.assign(bands))
    with pytest.raises(AssertionError, match="computed"):
        cloudy["B02"][0].compute(scheduler="sync")


@pytest.mark.parametrize("cover", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("thin", [0.0, 0.3, 1.0])
def test_cover_is_what_was_asked(clear: xr.Dataset, cover: float, thin: float) -> None:
    _, truth = add_clouds(clear, cover=cover, thin=thin, seed=1)
    covered = (truth["opacity"] >= 0.1).mean(("y", "x"))
    assert (covered > cover - 0.02).all()
    # Soft edges come in addition where little or nothing thin was asked for.
    assert (covered < cover + (0.03 if thin else 0.2)).all()
    # Cirrus over an edge may make it opaque.
    assert np.abs(share(truth, Status.CLOUD) - cover * (1 - thin)).max() < 0.06
    assert float(truth["opacity"].min()) >= 0
    assert float(truth["opacity"].max()) <= 1


def test_none_all_and_one_a_date(clear: xr.Dataset) -> None:
    untouched, truth = add_clouds(clear, cover=0)
    for band in BANDS:
        np.testing.assert_array_equal(untouched[band], clear[band])
    assert set(np.unique(truth["status"])) == {Status.CLEAR}
    steps = clear.sizes["time"]
    covers = np.linspace(0, 1, steps)
    _, truth = add_clouds(clear, cover=covers, seed=2)
    assert np.abs((truth["opacity"] >= 0.1).mean(("y", "x")).values - covers).max() < 0.02
    _, cirrus = add_clouds(clear, cover=0.5, thin=1)
    assert set(np.unique(cirrus["status"])) == {Status.CLEAR, Status.THIN_CLOUD}


def test_only_clouds_and_shadows_change_pixels(clear: xr.Dataset) -> None:
    cloudy, truth = add_clouds(clear, cover=0.4, shadows=False, seed=2)
    assert Status.SHADOW not in truth["status"].values
    free = truth["opacity"].values == 0
    assert 0.1 < free.mean() < 0.6
    for band in BANDS:
        np.testing.assert_array_equal(cloudy[band].values[free], clear[band].values[free])
        assert cloudy[band].dtype == np.float32
        counts = cloudy[band].values.astype(np.float64) * 1e4
        assert np.abs(counts - np.rint(counts)).max() < 0.01, "whole counts, as in products"
    s2cube.validate(cloudy, level="L2A")
    assert "SCL" not in cloudy
    assert "add_clouds(cover=0.4" in cloudy.attrs["history"]
    assert "cloud thin" not in truth["status"].attrs["flag_meanings"]


def test_clouds_look_like_clouds(clear: xr.Dataset) -> None:
    cloudy, truth = add_clouds(top_of_atmosphere(clear), cover=0.5, thin=0.5, seed=2)
    solid, veil = truth["opacity"] > 0.99, truth["status"] == Status.THIN_CLOUD
    for band in ("B02", "B04", "B08"):
        values = cloudy[band].where(solid)
        assert 0.25 < float(values.min()) < float(values.max()) <= 1
        assert float(values.std()) > 0.05, "with texture"
    means = cloudy[BANDS].where(solid).mean()
    assert abs(float(means["B02"] - means["B08"])) < 0.05
    assert float(means["B12"]) < float(means["B11"]) < 0.9 * float(means["B04"])
    added = (cloudy - clear[BANDS])[BANDS].where(veil).mean()
    assert float(added["B02"]) > float(added["B11"]) > float(added["B12"])
    # Water vapour hides low clouds in B10, not cirrus.
    high, low = add_clouds(top_of_atmosphere(clear), cover=0.5, thin=1)[0], cloudy.where(solid)
    assert float(high["B10"].max()) > 0.1
    only_low, _ = add_clouds(top_of_atmosphere(clear), cover=0.5, thin=0)
    assert float(only_low["B10"].max()) < 0.04 < float(low["B02"].min())


def test_shadows_lie_where_the_sun_casts_them(clear: xr.Dataset) -> None:
    clear = clear_cube((400, 400), "2021-07-01")
    _, truth = add_clouds(clear, cover=0.3, thin=0, seed=3)
    steps = 0
    for step in range(clear.sizes["time"]):
        at = truth.isel(time=step)
        far = float(at["cloud_height"] / np.tan(np.radians(at["sun_elevation"]))) / 10
        azimuth = np.radians(float(at["sun_azimuth"]))
        # Away from the sun; rows go south.
        down, right = round(far * np.cos(azimuth)), round(-far * np.sin(azimuth))
        assert down < 0, "in the north, shadows lie north of their clouds"
        assert right < 0, "in the morning, west of them"
        cast = np.roll(at["opacity"].values > 0.4, (down, right), (0, 1))
        seen = slice(None, down), slice(None, right)
        free = at["opacity"].values[seen] <= 0.5
        shadow = at["status"].values[seen] == Status.SHADOW
        assert (cast[seen] == shadow)[free].mean() > 0.98
        steps += int(shadow.any())
        assert 1000 <= float(at["cloud_height"]) <= 4000
    assert steps > 2


def test_sky_light_stays_in_shadows(clear: xr.Dataset) -> None:
    def kept(cube: xr.Dataset, band: str) -> float:
        cloudy, truth = add_clouds(cube, cover=0.4, thin=0, seed=3)
        shade = (truth["status"] == Status.SHADOW) & (truth["opacity"] == 0)
        return float(np.nanmedian((cloudy[band].where(shade) / cube[band]).values))

    ground = [kept(clear, band) for band in ("B02", "B08", "B12")]
    assert 0.5 > ground[0] > ground[1] > ground[2] > 0.1
    # Above the atmosphere the air shines over shadows too, in blue.
    top = top_of_atmosphere(clear)
    assert kept(top, "B02") > ground[0] + 0.1
    assert abs(kept(top, "B12") - ground[2]) < 0.02


@pytest.mark.parametrize(
    ("latitude", "date", "elevation", "azimuth"),
    [
        # At 10:30 the sun is 22.5° of its way east of the meridian.
        (0, "2021-03-20", 67.5, 90),
        (45, "2021-03-20", 40.8, 149.6),
        (45, "2021-06-21", 61.7, 132.2),
        (-45, "2021-12-21", 61.7, 47.8),
        (60, "2021-12-21", 4.6, 159.4),
    ],
)
def test_sun(latitude: float, date: str, elevation: float, azimuth: float) -> None:
    grid = GeoBox((2, 2), Affine(1e-4, 0, 10, 0, -1e-4, latitude), "EPSG:4326")
    east, north, up = sun_direction(np.array([date], "datetime64[ns]"), grid)[:, 0]
    assert east**2 + north**2 + up**2 == pytest.approx(1)
    assert math.degrees(math.asin(up)) == pytest.approx(elevation, abs=0.5)
    assert math.degrees(math.atan2(east, north)) % 360 == pytest.approx(azimuth, abs=1.5)


def test_what_is_missing_stays_so(clear: xr.Dataset) -> None:
    gone = clear["x"] > clear["x"].mean()
    status = clear["status"].copy()
    status[0, :10, :10] = Status.SATURATED
    gappy = clear.assign(B08=clear["B08"].where(~gone), status=status)
    cloudy, truth = add_clouds(gappy, cover=0.5)
    assert cloudy["B08"].where(gone).isnull().all()
    lost = np.broadcast_to(gone, truth["status"].shape)
    assert (truth["status"].values[lost] == Status.NO_DATA).all()
    assert (truth["status"].values[~lost] <= Status.SATURATED).all()
    assert (truth["status"][0, :10, :10] == Status.SATURATED).all()


def test_in_degrees_and_one_pixel() -> None:
    values = np.full((2, 80, 60), 0.05, np.float32)
    ds = xr.Dataset(
        {"B02": (("time", "y", "x"), values)},
        {
            "time": np.array(["2021-06-01T10:30", "2021-06-06T10:30"], "datetime64[ns]"),
            "y": 60 - np.arange(80) * 1e-4,
            "x": 20 + np.arange(60) * 2e-4,
        },
    )
    cube = s2cube.as_cube(ds, scale=1, offset=0, level="L2A", crs="EPSG:4326")
    _, truth = add_clouds(cube, cover=0.4)
    assert np.abs((truth["opacity"] >= 0.1).mean(("y", "x")).values - 0.4).max() < 0.03
    one = clear_cube((1, 1))
    assert add_clouds(one, cover=1)[1]["status"].shape == one["B02"].shape


def test_they_have_soft_edges_and_no_preferred_place(clear: xr.Dataset) -> None:
    _, truth = add_clouds(clear, cover=0.4, thin=0, shadows=False, seed=6)
    clouds = (truth["status"].values == Status.CLOUD).astype(np.uint8) * np.uint8(5)
    rim = grow_status(clouds, radius=(1, 1), states=(5,)) > clouds
    assert truth["opacity"].values[rim].mean() > 0.2
    assert (truth["status"] == Status.CLOUD).any("time").mean() > 0.8


def test_bad_input(clear: xr.Dataset) -> None:
    for how, words in (
        ({"cover": 1.5}, "cover is a share"),
        ({"cover": [0.1, 0.2]}, "dates"),
        ({"cover": float("nan")}, "cover is a share"),
        ({"thin": -0.1}, "thin is a share"),
        ({"seed": -1}, "seed is a whole number"),
    ):
        with pytest.raises(CubeError, match=words):
            add_clouds(clear, **how)  # type: ignore[arg-type]
    with pytest.raises(CubeError, match="level"):
        add_clouds(clear.drop_vars("processing_level"))
