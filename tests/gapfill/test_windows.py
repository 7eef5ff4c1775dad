"""Methods of windows: what the kernel is given, what is made of it, and where windows lie."""

import tracemalloc
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from compare import assert_same, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

import s2cube
from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill import windows
from s2cube.kernels import fill
from s2cube.schema import Provenance

SIDE, HALO = 16, 4
REACH = SIDE + SIDE // 2


class Window(NamedTuple):
    """As the kernel returns it."""

    bands: np.ndarray
    deviation: np.ndarray
    source: np.ndarray


def means(
    values: np.ndarray, valid: np.ndarray, *, days: np.ndarray, targets: np.ndarray,
    origin: tuple[int, int], inside: tuple[slice, slice], same_date: bool, causal: bool, smooth: bool,
    uncertain: bool, sensors: Any = (),
) -> Window:  # fmt: skip
    """A kernel to which all that it is given matters: windows cut otherwise give other means."""
    assert (values.dtype, valid.dtype, values.ndim) == (np.float32, np.bool_, 4)
    reach: fill.Reach = "past" if causal else "both"
    told: dict[str, Any] = {"days": days, "targets": targets, "reach": reach}
    here = [values[:, band] for band in range(values.shape[1])]
    bands = np.stack([fill.fill_last(band, valid, **told) for band in here], axis=1)
    between = Provenance.SAME_DATE if same_date else Provenance.INTERPOLATED
    on_look = between if smooth else Provenance.OBSERVED
    source = fill.provenance(valid, **told, between=between, on_look=on_look)
    middle = np.nanmean(np.where(valid[:, None], values, np.nan), axis=(0, 2, 3), dtype=np.float64)
    middle += np.hypot(*origin) * 1e-6 + valid.shape[1] * 1e-3 + valid.shape[2] * 1e-5
    filled = np.broadcast_to(source[:, None] != Provenance.OBSERVED, bands.shape)
    np.add(bands, middle.astype(np.float32)[:, None, None], out=bands, where=filled)
    bands = bands[:, :, *inside]
    return Window(bands, np.abs(bands if uncertain else bands[:0]) / 10, source[:, *inside])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel above, in small windows."""
    monkeypatch.setattr(windows, "fill_window", means)
    monkeypatch.setattr(windows, "SIDE", SIDE)
    monkeypatch.setattr(windows, "HALO", HALO)


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    cube = s2cube.testing.simulate_cube(shape=(70, 90), seed=1, bands=["red", "nir"])
    return cube.isel(time=slice(0, 20)).s2.mask_clouds("scl", buffer=20)


@pytest.mark.usefixtures("fake")
@settings(max_examples=10)
@given(chunks=st.fixed_dictionaries({d: st.integers(9, 90) for d in ("time", "y", "x")}))
def test_any_chunks_give_the_same(clear: xr.Dataset, chunks: dict[str, int]) -> None:
    def chain(cube: xr.Dataset) -> xr.Dataset:
        return cube.s2.fill_gaps("similar", freq="9D", uncertainty=(68, 95))

    lazy = chain(clear.chunk(chunks))
    # One set of chunks for the whole cube, which xarray asks for.
    assert set(lazy.chunks) == {"time", "y", "x"}
    assert_same(lazy, chain(clear))


@pytest.mark.usefixtures("fake")
@settings(max_examples=20)
@given(
    top=st.integers(0, 12), left=st.integers(0, 20), bottom=st.integers(0, 5), right=st.integers(0, 9)
)
def test_any_part_of_a_grid_gives_the_same_inside(
    clear: xr.Dataset, top: int, left: int, bottom: int, right: int
) -> None:
    part = {"y": slice(top, 70 - bottom), "x": slice(left, 90 - right)}
    whole = clear.s2.fill_gaps("seasonal", freq="20D")
    cut = clear.isel(part).s2.fill_gaps("seasonal", freq="20D")
    inner = {
        "y": slice(top + REACH, 70 - bottom - REACH),
        "x": slice(left + REACH, 90 - right - REACH),
    }
    # As far from the edge of the whole, too, where that is the nearer one.
    inside = {dim: slice(REACH, -REACH) for dim in ("y", "x")}
    assert_same(whole.isel(inner), cut.isel(inside))
    assert not cut.equals(whole.isel(part)) or part == {"y": slice(0, 70), "x": slice(0, 90)}


def test_what_the_kernel_is_given(clear: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of the grid, whatever part of it was opened; NaN and what is masked as they are."""
    seen: list[dict[str, Any]] = []

    def look(values: np.ndarray, valid: np.ndarray, **told: Any) -> Window:
        seen.append({"values": values, "valid": valid, **told})
        return means(values, valid, **told)

    monkeypatch.setattr(windows, "fill_window", look)
    part = clear.isel(y=slice(10, 40), x=slice(5, 30))
    part.s2.fill_gaps("similar", dates=["2021-06-20"], causal=True, smooth=True)
    (told,) = seen
    box = schema.geobox_of(part)
    assert told["origin"] == (round(box.transform.f / -10), round(box.transform.c / 10))
    assert same_bits(told["values"], np.stack([part["B04"].values, part["B08"].values], axis=1))
    np.testing.assert_array_equal(told["valid"], part["B04"].notnull() & part["B08"].notnull())
    np.testing.assert_array_equal(told["days"], schema.solar_days(part))
    assert told["targets"].astype("M8[D]").tolist() == [np.datetime64("2021-06-20").item()]
    assert (told["same_date"], told["causal"], told["smooth"]) == (True, True, True)


@given(
    crs=st.sampled_from([("EPSG:32633", 10.0), ("EPSG:32733", 20.0), ("EPSG:4326", 0.0001)]),
    first=st.tuples(st.integers(-40_000, 900_000), st.integers(-400_000, 900_000)),
    shift=st.sampled_from([0.0, 0.5, 0.3]),
    part=st.tuples(st.integers(0, 90), st.integers(0, 90)),
)
def test_all_parts_of_a_grid_count_alike(
    crs: tuple[str, float], first: tuple[int, int], shift: float, part: tuple[int, int]
) -> None:
    """From coordinates alone, in metres and degrees, on grids that begin at half pixels too."""
    name, size = crs
    row, column = first
    affine = Affine(size, 0, (column + shift) * size, 0, -size, -(row + shift) * size)
    cube = xr.Dataset(coords=schema.grid_coords(GeoBox((100, 100), affine, name)))
    cut = cube.isel(y=slice(part[0], None), x=slice(part[1], None))
    assert schema.first_pixel(schema.geobox_of(cube)) == (row, column)
    assert schema.first_pixel(schema.geobox_of(cut)) == (row + part[0], column + part[1])


@pytest.mark.usefixtures("fake")
def test_provenance_is_the_kernels_and_age_as_ever(clear: xr.Dataset) -> None:
    similar, seasonal, linear = (
        clear.s2.fill_gaps(method, freq="3D") for method in ("similar", "seasonal", "linear")
    )
    between = linear["provenance"].values == Provenance.INTERPOLATED
    assert (similar["provenance"].values[between] == Provenance.SAME_DATE).all()
    np.testing.assert_array_equal(seasonal["provenance"], linear["provenance"])
    for one in (similar, seasonal):
        np.testing.assert_array_equal(one["clear_age"], linear["clear_age"])
        assert list(one.data_vars) == list(linear.data_vars)
        assert one["B04"].attrs == linear["B04"].attrs


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("causal", [False, True])
def test_uncertainty(clear: xr.Dataset, causal: bool) -> None:
    plain = clear.s2.fill_gaps("similar", freq="3D", causal=causal)
    told = clear.s2.fill_gaps("similar", freq="3D", causal=causal, uncertainty=(95, 68))
    one = clear.s2.fill_gaps("similar", freq="3D", causal=causal, uncertainty=True)
    for band in ("B04", "B08"):
        narrow, wide = told[f"{band}_uncertainty"], told[f"{band}_uncertainty95"]
        assert narrow.dtype == wide.dtype == np.float32
        assert "68 %" in narrow.attrs["long_name"]
        assert "95 %" in wide.attrs["long_name"]
        observed = told["provenance"].values == Provenance.OBSERVED
        assert (narrow.values[observed] == 0).all()
        known = np.isfinite(plain[band].values) & ~observed
        assert (narrow.values[known] < wide.values[known]).all()
        never = told["provenance"].values == Provenance.NEVER_OBSERVED
        assert np.isnan(narrow.values[never]).all()
        xr.testing.assert_identical(one[f"{band}_uncertainty"], narrow)
        xr.testing.assert_equal(told[band], plain[band])
    assert "B04_uncertainty95" not in one
    assert not [name for name in plain.data_vars if "uncertainty" in str(name)]
    assert told["B04_uncertainty"].encoding["grid_mapping"] == "spatial_ref"


def test_uncertainty_is_refused(clear: xr.Dataset) -> None:
    for method, level, words in (
        (
            "linear",
            True,
            "'linear' does not know how far it is off: uncertainty= goes with seasonal, sim",
        ),
        ("similar", 50, "uncertainty is True, False, or percents out of 68 and 95; got 50"),
        ("similar", (68, "95"), "got '95'"),
    ):
        with pytest.raises(CubeError, match=words):
            clear.s2.fill_gaps(method, uncertainty=level)
    with pytest.raises(CubeError, match="'similar' has no option window; it has no options"):
        clear.s2.fill_gaps("similar", window=3)


@pytest.mark.usefixtures("fake")
def test_nothing_is_computed_and_the_plan_knows_what_it_takes(clear: xr.Dataset) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    import dask

    with dask.config.set(scheduler=never):
        daily = clear.chunk(time=1, y=32, x=32).s2.fill_gaps("similar", uncertainty=True)
        plan = s2cube.explain(daily, threads=2)
    assert plan.task_bytes is not None
    side = SIDE + 2 * HALO
    assert plan.task_bytes > side * side * 2 * 4 * (20 + 2 * daily.sizes["time"])
    with dask.config.set(scheduler=never), pytest.raises(AssertionError, match="computed"):
        daily.compute()


@pytest.mark.usefixtures("fake")
def test_regions_of_a_store_are_the_whole(
    clear: xr.Dataset, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regions are cut out of one graph, which sees beyond their edges."""
    from s2cube.store import layout

    monkeypatch.setitem(layout._SHAPES, "series", ((64, 16, 16), (64, 32, 32)))
    lazy = clear.chunk(time=1, y=32, x=32).s2.fill_gaps("seasonal", freq="30D")
    report = lazy.s2.write_daily(tmp_path / "a.zarr", region_size=32, progress=False)
    assert report.written == 9
    whole = lazy.compute()
    stored = s2cube.open_daily(tmp_path / "a.zarr")
    np.testing.assert_allclose(stored["B04"], whole["B04"], atol=5.1e-5)
    np.testing.assert_array_equal(stored["provenance"], whole["provenance"])


@pytest.mark.parametrize("method", ["seasonal", "similar"])
@pytest.mark.parametrize("causal", [False, True])
def test_the_real_kernel_knows_nothing_but_its_window(
    clear: xr.Dataset, method: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not chunks, not the part of the grid that is open, to the last bit."""
    monkeypatch.setattr(windows, "SIDE", SIDE)
    monkeypatch.setattr(windows, "HALO", HALO)

    def chain(cube: xr.Dataset) -> xr.Dataset:
        return cube.s2.fill_gaps(method, freq="9D", causal=causal, uncertainty=True)

    whole = chain(clear)
    assert_same(chain(clear.chunk(time=3, y=25, x=33)), whole)
    part = chain(clear.isel(y=slice(9, 69), x=slice(11, 80)))
    inside = {dim: slice(REACH, -REACH) for dim in ("y", "x")}
    assert_same(part.isel(inside), whole.sel({dim: part.isel(inside)[dim] for dim in inside}))


@pytest.mark.parametrize("same_date", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_declared_work_is_true(clear: xr.Dataset, same_date: bool, causal: bool) -> None:
    looks = [clear[band].values for band in ("B04", "B08")]
    valid = np.isfinite(looks[0]) & np.isfinite(looks[1])
    days = schema.solar_days(clear)
    how: dict[str, Any] = {
        "days": days, "targets": np.arange(days[0], days[-1], 3, dtype=np.int32), "origin": (0, 0),
        "inside": (slice(5, 65), slice(5, 85)), "same_date": same_date, "causal": causal,
        "smooth": False, "uncertain": True,
    }  # fmt: skip
    list(windows._window(*looks, valid, **how))
    tracemalloc.start()
    made = list(windows._window(*looks, valid, **how))
    measured = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    out = sum(array.nbytes for array in made)
    work = windows.work_of(2, len(days), len(how["targets"]), same_date=same_date) * valid[0].size
    assert measured <= out + work <= 3 * measured
