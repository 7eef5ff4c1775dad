"""Lies about the offset: found where pixels can tell, never seen where there are none."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import s2cube
from s2cube.errors import CubeError
from s2cube.evaluate import check_offsets
from s2cube.evaluate.shifts import LINKS, cost_of_look, margins
from s2cube.schema import ITEMS, item_records, records_of

BANDS = ["B02", "B03", "B04", "B08"]
LIES = {0.1: "offset not removed", -0.1: "offset removed twice"}


def shifted(cube: xr.Dataset, steps: Sequence[int] | np.ndarray, by: float) -> xr.Dataset:
    """The cube as it is where metadata lie about some steps."""
    add = xr.DataArray(np.zeros(cube.sizes["time"], np.float32), dims="time")
    add[np.asarray(steps)] = by
    return cube.assign({band: cube[band] + add for band in s2cube.schema.bands_of(cube)})


def false_alarms(table: pd.DataFrame) -> int:
    return int(table["verdict"].str.startswith("offset").sum())


@pytest.fixture(scope="module")
def simulated() -> xr.Dataset:
    return s2cube.testing.simulate_cube(seed=3, bands=BANDS)


@pytest.fixture
def romania(real_data: Callable[[str], Path]) -> xr.Dataset:
    """140 dates of forest over five years, snow, haze, shade and smoke among them."""
    path = real_data("nrt_romania/sentinel2_cube_subset_romania_10m.nc")
    with xr.open_dataset(path, mask_and_scale=False) as ds:
        return s2cube.as_cube(ds, scale=1e-4, offset=0, nodata=0).compute()


HALVES = {
    "all": range(140),
    "first half": range(70),
    "second half": range(70, 140),
    "every other": range(0, 140, 2),
    "most": [n for n in range(140) if n % 4],
}


def test_real_and_true(romania: xr.Dataset, real_data: Callable[[str], Path]) -> None:
    """No false alarm in any of the ways in which one may hold the same cube."""
    path = real_data("nrt_romania/sentinel2_cube_subset_romania_20m.nc")
    with xr.open_dataset(path, mask_and_scale=False) as ds:
        coarse = s2cube.as_cube(ds, scale=1e-4, offset=0, nodata=0).compute()
    masked = romania.s2.mask_clouds("scl")
    for cube, least in (
        (romania, 95),
        (coarse, 95),
        (romania.s2.mask_clouds("scl", buffer=60), 90),
        (romania.drop_vars("SCL"), 75),
        (masked.drop_vars("SCL"), 70),
        (romania.drop_vars("B08"), 95),
        (romania[["B04", "SCL"]], 95),
        (romania[["B04"]], 0),
        (romania[["B08", "SCL"]], 0),
        (romania.isel(time=slice(100, 140)), 25),
    ):
        table = check_offsets(cube)
        assert false_alarms(table) == 0, list(cube.data_vars)
        assert (table["verdict"] == "ok").sum() >= least


@pytest.mark.parametrize("by", LIES)
@pytest.mark.parametrize("which", HALVES)
def test_real_and_lied_to(romania: xr.Dataset, which: str, by: float) -> None:
    steps = np.array(HALVES[which])
    table = check_offsets(shifted(romania, steps, by))
    lied, rest = table.iloc[steps], table.drop(index=steps)
    told = lied[lied["dark_end"].notna()]
    # Clear enough to be looked at, and found: most of +0.1, nearly all of -0.1.
    assert (told["verdict"] == LIES[by]).mean() >= (0.6 if by > 0 else 0.9)
    assert (told["verdict"] == "ok").sum() <= 1
    assert (told["verdict"] == LIES[-by]).sum() == 0
    assert false_alarms(rest) == 0
    assert (rest["verdict"] == "ok").sum() >= 0.6 * len(rest)


@pytest.mark.thorough
def test_real_and_lied_to_about_one_date(romania: xr.Dataset) -> None:
    clear = np.flatnonzero(check_offsets(romania)["dark_end"].notna())
    for by, lie in LIES.items():
        told = []
        for step in clear[::3]:
            table = check_offsets(shifted(romania, [step], by))
            told.append(table["verdict"][step])
            assert false_alarms(table.drop(index=step)) == 0
        assert np.mean([verdict == lie for verdict in told]) >= (0.6 if by > 0 else 0.9)
        assert told.count("ok") <= 1


def test_real_top_of_atmosphere(real_data: Callable[[str], Path]) -> None:
    """Level 1C, without classes, of another place: nothing was fitted to it."""
    path = real_data("sen12mscrts_p0/sen12mscrts_ROIs2017_146_p0_s2l1c.nc")
    with xr.open_dataset(path, mask_and_scale=False) as ds:
        cube = s2cube.as_cube(ds[BANDS], scale=1e-4, offset=0, nodata=0, level="L1C", crs="EPSG:4326")
        cube = cube.compute()
    table = check_offsets(cube)
    assert false_alarms(table) == 0
    assert (table["verdict"] == "ok").sum() >= 18
    for by, lie in LIES.items():
        told = check_offsets(shifted(cube, range(15, 30), by))
        assert false_alarms(told[:15]) == 0
        assert (told["verdict"] == lie).sum() >= 7


@pytest.mark.parametrize("seed", range(4, 8))
def test_simulated(seed: int) -> None:
    """Winters too: every date that is clear enough is told right."""
    cube = s2cube.testing.simulate_cube(seed=seed, bands=BANDS)
    table = check_offsets(cube)
    seen = table["dark_end"].notna()
    assert (table["verdict"] == np.where(seen, "ok", "unknown")).all()
    lied = np.arange(cube.sizes["time"]) % 2 == 0
    for by, lie in LIES.items():
        found = check_offsets(shifted(cube, np.flatnonzero(lied), by))
        assert (found["verdict"][seen & lied] == lie).all()
        assert (found["verdict"][seen & ~lied] == "ok").all()
        assert found["shift"][seen & lied].dropna().sub(by).abs().max() < 0.03


@pytest.mark.parametrize("seed", range(10, 14))
def test_haze_is_no_offset(seed: int) -> None:
    """On every tenth date SCL misses haze that adds up to 0.14 to the blue."""
    rng = np.random.default_rng(seed)
    cube = s2cube.testing.simulate_cube(seed=seed, bands=BANDS)
    count = cube.sizes["time"]
    depth = np.where(rng.random(count) < 0.1, rng.uniform(0, 0.4, count), 0).astype(np.float32)
    for band, blueness in zip(BANDS, (1, 0.85, 0.75, 0.6), strict=True):
        thick = xr.DataArray(depth * np.float32(blueness), dims="time")
        cube[band] = (cube[band] * (1 - thick) + thick * np.float32(0.35)).astype(np.float32)
    assert false_alarms(check_offsets(cube)) == 0


def test_bare_ground_does_not_tell(simulated: xr.Dataset) -> None:
    """A desert is bright: 0.1 more or less is no less possible there, however many dates agree."""
    desert = simulated.assign(
        SCL=simulated["SCL"].where(~simulated["SCL"].isin([4, 6]), 5).astype(np.uint8),
        **{
            band: (simulated[band] * 0.2 + np.float32(bright)).astype(np.float32)
            for band, bright in zip(BANDS, (0.15, 0.22, 0.3, 0.38), strict=True)
        },
    )
    for by in (0, 0.1, -0.1):
        table = check_offsets(shifted(desert, range(30), by))
        assert set(table["verdict"]) == {"unknown"}
    # Below zero nothing is.
    far = check_offsets(shifted(desert, range(30), -0.4))
    assert (far["verdict"][:30] == LIES[-0.1]).sum() == far["dark_end"][:30].notna().sum()


def test_what_differs_shows_even_where_nobody_knows_who_is_right(simulated: xr.Dataset) -> None:
    table = check_offsets(shifted(simulated, [18], 0.1))
    assert table["shift"][18] == pytest.approx(0.1, abs=0.02)


def test_too_little_clear_is_unknown(simulated: xr.Dataset) -> None:
    table = check_offsets(simulated)
    assert (table["verdict"][table["clear"] < 0.05] == "unknown").all()
    clouds = simulated.assign(SCL=xr.full_like(simulated["SCL"], 9))
    assert set(check_offsets(clouds)["verdict"]) == {"unknown"}
    snow = simulated.assign(SCL=xr.full_like(simulated["SCL"], 11))
    assert set(check_offsets(snow)["verdict"]) == {"unknown"}


def test_one_date(simulated: xr.Dataset) -> None:
    """Alone, what is too dark tells; what is too bright may be haze."""
    one = simulated.isel(time=[18])
    assert check_offsets(one)["verdict"].tolist() == ["ok"]
    assert check_offsets(shifted(one, [0], -0.1))["verdict"].tolist() == [LIES[-0.1]]
    assert check_offsets(shifted(one, [0], 0.1))["verdict"].tolist() == ["unknown"]


def test_the_table_names_the_items(simulated: xr.Dataset) -> None:
    table = check_offsets(shifted(simulated, [50, 52], -0.1))
    assert list(table.columns) == [
        "time", "ids", "baseline", "offset", "clear", "dark_end", "shift", "verdict"
    ]  # fmt: skip
    bad = table[table["verdict"] == LIES[-0.1]]
    assert set(bad.index) <= {50, 52}
    assert len(bad)
    row = bad.iloc[0]
    assert row["ids"] == (records_of(simulated)[bad.index[0]][0]["id"],)
    assert (row["baseline"], row["offset"]) == ("04.00", -0.1)
    assert table["time"].tolist() == pd.DatetimeIndex(simulated["time"].values).tolist()
    assert f"{len(bad)} offset removed twice" in table.attrs["summary"]
    bare = check_offsets(simulated.drop_vars(ITEMS))
    assert bare["ids"][0] == ()
    assert bare["offset"].isna().all()


def test_a_date_of_several_items(simulated: xr.Dataset) -> None:
    """Only its eastern half lies: the date is named, with both items."""
    halves = [
        [{**item, "id": f"{item['id']}-{side}"} for item in step for side in "WE"]
        for step in records_of(simulated)
    ]
    cube = simulated.assign_coords({ITEMS: item_records(halves)})
    assert false_alarms(check_offsets(cube)) == 0
    east = cube["x"] > cube["x"].mean()
    for by, lie in LIES.items():
        steps = [17, 18, 20]
        moved = shifted(cube, steps, by)
        mixed = cube.assign({band: cube[band].where(~east, moved[band]) for band in BANDS})
        table = check_offsets(mixed)
        bad = table[table["verdict"] == lie]
        assert set(bad.index) <= set(steps)
        assert len(bad) >= 1
        assert all(len(ids) == 2 for ids in bad["ids"])
        assert false_alarms(table) == len(bad)


def test_lazy_is_the_same_and_cheap(simulated: xr.Dataset) -> None:
    expected = check_offsets(simulated)
    pd.testing.assert_frame_equal(check_offsets(simulated.chunk(time=1)), expected)
    read = []

    def watched(block: np.ndarray, block_info: dict) -> np.ndarray:
        read.append(block_info[0]["chunk-location"])
        return block

    lazy = s2cube.testing.simulate_cube(seed=3, shape=(96, 96), bands=[*BANDS, "B11"]).chunk(
        time=1, y=16, x=16
    )
    for name in lazy.data_vars:
        lazy[name] = lazy[name].copy(data=lazy[name].data.map_blocks(watched, dtype=lazy[name].dtype))
    read.clear()  # what Dask tried out
    with dask.config.set(scheduler="sync"):
        table = check_offsets(lazy, blocks=5)
    places = {place[1:] for place in read}
    assert places == {(1, 1), (1, 4), (4, 1), (4, 4)}
    # Four bands and SCL, each block once.
    assert len(read) == 5 * 4 * lazy.sizes["time"]
    assert false_alarms(table) == 0


def test_large_areas_are_sampled() -> None:
    cube = s2cube.testing.simulate_cube(
        shape=(700, 600), seed=2, bands=BANDS, start="2021-06-01", end="2021-08-10"
    )
    table = check_offsets(shifted(cube, [0, 2, 4], -0.1))
    assert false_alarms(table) == (table["verdict"][[0, 2, 4]] == LIES[-0.1]).sum() >= 2


def test_refusals(simulated: xr.Dataset) -> None:
    with pytest.raises(CubeError, match="filled"):
        check_offsets(simulated.s2.mask_clouds().s2.fill_gaps("linear"))
    for blocks in (0, 1.5, True):
        with pytest.raises(CubeError, match="blocks"):
            check_offsets(simulated, blocks=blocks)  # type: ignore[arg-type]


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_margins_are_those_of_all_combinations(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    looks = [rng.random(3) * 5 for _ in range(count)]
    pairs = [[rng.random((3, 3)) * 5 for _ in range(min(n, LINKS))] for n in range(count)]
    least = np.full((count, 3), np.inf)
    for labels in itertools.product(range(3), repeat=count):
        cost = sum(look[label] for look, label in zip(looks, labels, strict=True))
        for n, before in enumerate(pairs):
            cost += sum(pair[labels[n], labels[n - back]] for back, pair in enumerate(before, 1))
        for n, label in enumerate(labels):
            least[n, label] = min(least[n, label], cost)
    expected = least - least.min(axis=1, keepdims=True)
    np.testing.assert_allclose(margins(looks, pairs), expected, atol=1e-9)


def test_what_was_added_bears_on_it() -> None:
    """-0.1 cannot have been added twice where nothing was added: then it takes more to say so."""
    unsaid, none, added = (
        cost_of_look(-0.04, tells_bright=True, applied=applied) for applied in (None, 0.0, -0.1)
    )
    assert none[0] > unsaid[0] == added[0]
    assert added[2] > unsaid[2] == none[2]
