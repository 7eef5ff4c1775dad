"""The seam score: finds jumps where swaths end, and nothing where there are none."""

import numpy as np
import pytest
import swaths
import xarray as xr

import s2cube
from s2cube import schema
from s2cube.errors import CubeError
from s2cube.schema import Status

AREA = swaths.area(45, 2000.0, 60)
SHAPE = AREA.geobox.shape.yx
BEGIN, END = 20, 45


def strip(status: bool = False) -> xr.Dataset:
    """A cube of orbit 22 that saw columns 20 to 44 only, and of orbit 122 that saw all."""
    part = np.full(SHAPE, np.nan)
    part[:, BEGIN:END] = 0.1
    cube = swaths.cube(
        AREA.geobox,
        [(22, "2022-06-01T10", part), (22, "2022-06-11T10", part), (122, "2022-06-04T10", 0.1)],
    )
    if status:
        flags = np.where(cube["B04"].isnull(), Status.NO_DATA, Status.CLEAR).astype(np.uint8)
        cube[schema.STATUS] = schema.variable(flags, schema.status_attrs())
    return cube


def picture(values: np.ndarray, **more: np.ndarray) -> xr.Dataset:
    """One image on the grid."""
    bands = {"B04": values, **more}
    return xr.Dataset(
        {name: (("y", "x"), band.astype(np.float32)) for name, band in bands.items()},
        schema.grid_coords(AREA.geobox),
    )


@pytest.mark.parametrize("across", [0, 3, 6])
def test_finds_jumps_of_their_size_and_sign_on_both_sides(across: int) -> None:
    rng = np.random.default_rng(0)
    texture = rng.normal(0, 0.005, SHAPE)
    values = 0.2 + texture
    values[:, :BEGIN] -= 0.01  # inside it is brighter than west of it
    values[:, END:] += 0.03  # and darker than east of it
    table = s2cube.seam_score(picture(values, B08=0.3 + texture), strip(), across=across)
    assert table.columns.tolist() == ["band", "relative_orbit", "side", "jump", "error", "rows"]
    found = table.set_index(["band", "side"])
    assert len(found) == 4
    assert (found["relative_orbit"] == 22).all()
    assert (found["rows"] == SHAPE[0]).all()
    wanted = {("B04", "west"): 0.01, ("B04", "east"): -0.03, ("B08", "west"): 0, ("B08", "east"): 0}
    for where, jump in wanted.items():
        # Two pixels of noise, over the rows that the edge crosses.
        assert found["error"][where] == pytest.approx(0.005 * np.sqrt(2 / SHAPE[0]), rel=0.35)
        assert abs(found["jump"][where] - jump) < 4 * found["error"][where]
    jumps = table["jump"].to_numpy()
    assert table.attrs["score"] == pytest.approx(np.sqrt((jumps**2).mean()))


def test_without_noise_a_jump_is_exact_and_flat_is_nothing() -> None:
    values = np.full(SHAPE, 0.25)
    assert s2cube.seam_score(picture(values), strip()).attrs["score"] == 0
    values[:, BEGIN:END] += 0.0625
    table = s2cube.seam_score(picture(values), strip())
    assert table["jump"].tolist() == [0.0625, 0.0625]
    assert table["error"].tolist() == [0, 0]


def test_texture_alone_is_no_seam() -> None:
    """Over many draws the jumps scatter around zero as their errors say."""
    rng = np.random.default_rng(2)
    cube = strip()
    tables = [s2cube.seam_score(picture(rng.normal(0.2, 0.01, SHAPE)), cube) for _ in range(40)]
    ratios = np.concatenate([table["jump"] / table["error"] for table in tables])
    assert abs(ratios.mean()) < 4 / np.sqrt(len(ratios))
    assert 0.7 < ratios.std() < 1.4


def test_real_edges_are_slanted() -> None:
    cube = swaths.orbits_of(AREA)
    values = np.where(AREA.seen(22), 0.3, 0.2)
    table = s2cube.seam_score(picture(values), cube)
    assert table[["relative_orbit", "side"]].values.tolist() == [[22, "east"]]
    assert table["jump"].item() == pytest.approx(0.1, abs=1e-6)
    assert table["rows"].item() > 40


def test_clouds_make_no_edges_where_the_status_tells_them() -> None:
    """A cloud that hides all looks of an orbit is not where its swath ends."""
    values = np.full(SHAPE, 0.2)
    values[:, 30:35] = 0.6
    cube = strip(status=True)
    own = cube["relative_orbit"].values == 22
    cloudy = cube.copy(deep=True)
    cloudy["B04"].values[np.ix_(own, range(SHAPE[0]), range(30, 35))] = np.nan
    cloudy[schema.STATUS].values[np.ix_(own, range(SHAPE[0]), range(30, 35))] = Status.CLOUD
    told = s2cube.seam_score(picture(values), cloudy)
    assert told.attrs["score"] == 0
    assert (told["rows"] == SHAPE[0]).all()
    # Without a status nobody can know.
    assert s2cube.seam_score(picture(values), cloudy.drop_vars(schema.STATUS)).attrs["score"] > 0.1


def test_missing_values_are_left_out_of_the_mean() -> None:
    values = np.full(SHAPE, 0.2)
    values[:, BEGIN:END] = 0.3
    values[:10] = np.nan
    table = s2cube.seam_score(picture(values), strip())
    assert table["rows"].tolist() == [50, 50]
    np.testing.assert_allclose(table["jump"], 0.1, atol=1e-6)


def test_lazy_cubes_give_the_same() -> None:
    rng = np.random.default_rng(3)
    one, cube = picture(rng.normal(0.2, 0.01, SHAPE)), strip(status=True)
    here = s2cube.seam_score(one, cube)
    lazy = s2cube.seam_score(one.chunk(y=17, x=13), cube.chunk(time=1, y=20, x=20))
    assert lazy.equals(here)


def test_refusals() -> None:
    cube, one = strip(), picture(np.full(SHAPE, 0.2))
    with pytest.raises(CubeError, match=r"select one image, with .isel\(time=0\)"):
        s2cube.seam_score(s2cube.mosaic_orbits(cube, q=50, seasons="YS"), cube)
    with pytest.raises(CubeError, match=r".sel\(percentile=50\)"):
        s2cube.seam_score(cube.s2.percentile(), cube)
    with pytest.raises(CubeError, match="one grid"):
        s2cube.seam_score(one.isel(x=slice(1, None)), cube)
    with pytest.raises(CubeError, match="share bands"):
        s2cube.seam_score(one.rename(B04="count"), cube)
    with pytest.raises(CubeError, match="no relative_orbit"):
        s2cube.seam_score(one, cube.drop_vars("relative_orbit"))
    with pytest.raises(CubeError, match="No edge of a swath crosses at least 30 rows"):
        s2cube.seam_score(one, cube.isel(time=cube["relative_orbit"].values == 122))
    with pytest.raises(CubeError, match="across is a number of pixels, 0 or more, got -1"):
        s2cube.seam_score(one, cube, across=-1)
