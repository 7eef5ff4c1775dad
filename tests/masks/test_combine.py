"""Several masks of one cube: votes, unions, agreement; opening and closing."""

import numpy as np
import pytest
import xarray as xr
from compare import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st

import s2cube
from s2cube.errors import CubeError
from s2cube.schema import Status


def with_scl(cube: xr.Dataset, classes: np.ndarray) -> xr.Dataset:
    return cube.assign(SCL=(cube["SCL"].dims, np.broadcast_to(classes, cube["SCL"].shape).astype("u1")))


def masks_of(cube: xr.Dataset, *classes: int) -> list[xr.Dataset]:
    """Return a mask of one class everywhere for each."""
    return [s2cube.cloud_mask(with_scl(cube, np.full((1, 1, 1), value))) for value in classes]


@pytest.mark.parametrize(
    ("classes", "votes", "expected"),
    [
        ((4, 9, 4), "any", Status.CLOUD),
        ((4, 9, 4), "most", Status.CLEAR),
        ((4, 9, 3), "most", Status.CLOUD),  # cloud and shadow: dropped by two, as cloud
        ((4, 9, 9, 4), "most", Status.CLEAR),  # half is not more than half
        ((4, 9, 9, 3), "most", Status.CLOUD),
        ((6, 9, 3), "all", Status.CLEAR_WATER),
        ((3, 9, 10), "all", Status.CLOUD),
        ((3, 3, 4), 2, Status.SHADOW),
        ((11, 4, 9), 2, Status.SNOW),  # nothing to drop: what the others see
        ((4, 0, 4), "any", Status.NO_DATA),
        ((9, 1, 9), "any", Status.SATURATED),
    ],
)
def test_votes(cube: xr.Dataset, classes: tuple[int, ...], votes: object, expected: Status) -> None:
    plain = cube.drop_vars("status")
    status = s2cube.combine_masks(masks_of(plain, *classes), votes=votes)["status"]
    assert set(np.unique(status)) == {expected}


def test_a_state_that_did_not_vote_is_not_given(cube: xr.Dataset) -> None:
    """Thin cloud alone is asked about: what another mask calls cloud does not make it cloud."""
    plain = cube.drop_vars("status")
    masks = masks_of(plain, 10, 9)
    found = s2cube.combine_masks(masks, votes="any", classes=["thin_cloud"])["status"]
    assert set(np.unique(found)) == {Status.THIN_CLOUD}
    found = s2cube.combine_masks(masks, votes="all", classes=["thin_cloud"])["status"]
    assert set(np.unique(found)) == {Status.CLOUD}, "the highest of the others"


def test_agreement_and_refusals(cube: xr.Dataset) -> None:
    plain = cube.drop_vars("status")
    share = s2cube.mask_agreement(masks_of(plain, 9, 4, 3, 4))["masked_share"]
    assert share.dtype == np.float32
    assert set(np.unique(share)) == {np.float32(0.5)}
    assert bool(s2cube.mask_agreement(masks_of(plain, 9, 0))["masked_share"].isnull().all())
    one = s2cube.cloud_mask(cube)
    for masks, votes, words in (
        ([one], "any", "at least two"),
        ([one, one], 3, "1 to 2"),
        ([one, one], "none", "'any', 'most', 'all'"),
        ([one, one.isel(y=slice(1, None))], "any", "differs along 'y'"),
        ([one, cube[["B04"]]], "any", "has no 'status'"),
    ):
        with pytest.raises(CubeError, match=words):
            s2cube.combine_masks(masks, votes=votes)


def test_combined_masks_apply(cube: xr.Dataset) -> None:
    narrow, wide = (s2cube.cloud_mask(cube, buffer=metres) for metres in (0, 60))
    either = cube.s2.mask_clouds(s2cube.combine_masks({"narrow": narrow, "wide": wide}))
    np.testing.assert_array_equal(either["B04"], cube.s2.mask_clouds("scl", buffer=60)["B04"])


def test_opening_drops_specks_and_closing_fills_holes(cube: xr.Dataset) -> None:
    """10 m pixels: a disk of 20 m is five pixels wide."""
    classes = np.full((1, *cube["SCL"].shape[1:]), 4)
    classes[0, 5, 5] = 9  # a roof
    classes[0, 10:12, :] = 9  # a road
    classes[0, 20:31, 20:31] = 9
    classes[0, 25, 25] = 4  # a hole in a cloud
    classes[0, 40:47, :] = 3  # shadow up to the border of the image
    one = with_scl(cube.drop_vars("status"), classes).isel(time=[0])
    opened = s2cube.cloud_mask(one, opening=20)["status"].values[0]
    assert (opened[:14] == Status.CLEAR).all()
    assert opened[20, 25] == Status.CLOUD
    assert opened[25, 25] == Status.CLEAR
    assert (opened[40:47] == Status.SHADOW).all()
    closed = s2cube.cloud_mask(one, closing=20)["status"].values[0]
    assert closed[25, 25] == Status.CLOUD
    assert closed[5, 5] == Status.CLOUD
    assert closed[5, 8] == Status.CLEAR
    assert (closed[33:38] == Status.CLEAR).all()
    assert closed[36, 0] == Status.CLEAR


@settings(max_examples=15)
@given(
    seed=st.integers(0, 99),
    opening=st.sampled_from([None, 10.0, 25.0]),
    closing=st.sampled_from([None, 15.0, 30.0]),
    buffer=st.sampled_from([None, 20.0]),
    chunk=st.integers(7, 40),
)
def test_the_same_for_any_chunks(
    seed: int, opening: float | None, closing: float | None, buffer: float | None, chunk: int
) -> None:
    cube = s2cube.testing.simulate_cube(
        seed=seed, shape=(43, 37), bands=["red"], start="2021-06-01", end="2021-06-20"
    )
    distances = {"opening": opening, "closing": closing, "buffer": buffer}
    whole = s2cube.cloud_mask(cube, **distances)
    lazy = s2cube.cloud_mask(cube.chunk(time=1, y=chunk, x=chunk + 3), **distances)
    assert_same(lazy, whole)


def test_options_and_probability_are_refused_where_there_are_none(cube: xr.Dataset) -> None:
    with pytest.raises(CubeError, match="no option threshold; it has no options"):
        s2cube.cloud_mask(cube, "scl", threshold=0.4)
    with pytest.raises(CubeError, match="gives no probability"):
        s2cube.cloud_mask(cube, "scl", probability=True)
    with pytest.raises(CubeError, match="closing is a distance"):
        s2cube.cloud_mask(cube, closing=-1)


def test_booleans_are_masks_too() -> None:
    cube = s2cube.testing.simulate_cube(seed=2, shape=(20, 20))
    scl = s2cube.cloud_mask(cube)
    bright = (cube["B02"] > 0.2).drop_attrs()
    either = s2cube.combine_masks([bright, scl])
    masked = (scl["status"] >= Status.THIN_CLOUD) | bright
    assert ((either["status"] >= Status.THIN_CLOUD) == masked).all()
    assert "combine_masks" in either.attrs["history"]
    with pytest.raises(CubeError, match="boolean"):
        s2cube.combine_masks([scl, cube["B02"]])
