"""network: untrained it is its best expert; neither chunks nor the future change it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from causality import check_causal
from compare import assert_same
from dask.base import tokenize
from networks import gate

import s2cube
from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill import network, windows
from s2cube.gapfill.cells import CELL, MARGIN, PATCH, Cells
from s2cube.kernels.experts import ask
from s2cube.models import ModelSpec
from s2cube.schema import Provenance

CAUSAL = pytest.mark.parametrize("causal", [False, True])
BANDS = ("B04", "B08")


@pytest.fixture(scope="module")
def cloudy() -> xr.Dataset:
    cube = s2cube.testing.simulate_cube(shape=(70, 90), seed=1, bands=["red", "nir"])
    return cube.isel(time=slice(0, 14))


@pytest.fixture(scope="module")
def clear(cloudy: xr.Dataset) -> xr.Dataset:
    return cloudy.s2.mask_clouds("scl", buffer=20)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of which a small cube has several."""
    monkeypatch.setattr(windows, "SIDE", 32)
    monkeypatch.setattr(windows, "HALO", 12)


@CAUSAL
@pytest.mark.parametrize("smooth", [False, True])
def test_untrained_it_is_the_best_expert(clear: xr.Dataset, causal: bool, smooth: bool) -> None:
    """To the last bit, whatever is asked: what a network adds begins at nothing."""
    how: dict[str, Any] = {"freq": "15D", "causal": causal, "smooth": smooth}
    found = clear.s2.fill_gaps(gate(causal=causal, chance=0), uncertainty=(68, 95), **how)
    similar = clear.s2.fill_gaps("similar", uncertainty=True, **how)
    for band in (*BANDS, "clear_age"):
        xr.testing.assert_identical(found[band], similar[band])
    source, before = found["provenance"].values, similar["provenance"].values
    days = schema.solar_days(clear)
    seen = np.isfinite(clear["B04"].values) & np.isfinite(clear["B08"].values)
    for day, made, was in zip(schema.solar_days(found), source, before, strict=True):
        looked = seen[days == day].any(axis=0)
        assert (made[looked] == was[looked]).all()
        known = ~looked & (was != Provenance.NEVER_OBSERVED)
        assert (made[known] == Provenance.NETWORK).all()
    assert np.isnan(found["B04_uncertainty"].values[source == Provenance.NEVER_OBSERVED]).all()
    # Ones were put where quantiles are counted.
    xr.testing.assert_equal(found["B04_uncertainty"], found["B04_uncertainty95"])
    assert (found["B04_uncertainty"].values[source == Provenance.NETWORK] > 0).all()


@pytest.mark.usefixtures("small")
@CAUSAL
def test_any_chunks_give_the_same(clear: xr.Dataset, causal: bool) -> None:
    """To the last bit, and so does any part of the grid inside."""
    spec = gate(causal=causal, chance=1)

    def chain(cube: xr.Dataset) -> xr.Dataset:
        return cube.s2.fill_gaps(spec, freq="45D", causal=causal, uncertainty=True)

    whole = chain(clear)
    assert not whole["B04"].equals(clear.s2.fill_gaps("similar", freq="45D", causal=causal)["B04"])
    assert_same(chain(clear.chunk(time=3, y=25, x=33)), whole)
    part = chain(clear.isel(y=slice(3, 70), x=slice(5, 90)))
    inside = {dim: slice(48, None) for dim in ("y", "x")}
    xr.testing.assert_equal(
        part.isel(inside)[list(BANDS)],
        whole.sel({dim: part.isel(inside)[dim] for dim in inside})[list(BANDS)],
    )


def test_only_gaps_are_filled(clear: xr.Dataset) -> None:
    dates = np.unique(schema.solar_days(clear)).astype("datetime64[D]")
    found = clear.s2.fill_gaps(gate(chance=1), dates=dates)
    similar = clear.s2.fill_gaps("similar", dates=dates)
    observed = similar["provenance"].values == Provenance.OBSERVED
    np.testing.assert_array_equal(found["provenance"].values == Provenance.OBSERVED, observed)
    for band in BANDS:
        np.testing.assert_array_equal(found[band].values[observed], similar[band].values[observed])
        assert (found[band].values[~observed] != similar[band].values[~observed]).mean() > 0.9


def test_any_subset_of_bands(clear: xr.Dataset) -> None:
    found = clear[["B08"]].s2.fill_gaps(gate(chance=1), freq="30D")
    assert list(found.data_vars)[:2] == ["B08", "provenance"]
    assert found["B08"].notnull().all()


@pytest.mark.parametrize("smooth", [False, True])
def test_the_future_does_nothing(cloudy: xr.Dataset, smooth: bool) -> None:
    """From the unmasked looks to filled days."""
    spec = gate(causal=True, chance=1)

    def chain(cube: xr.Dataset) -> xr.Dataset:
        masked = cube.s2.mask_clouds("scl", buffer=20)
        return masked.s2.fill_gaps(
            spec, dates=np.arange("2021-06-05", "2021-08-05", 5, dtype="M8[D]"),
            causal=True, smooth=smooth, uncertainty=True,
        )  # fmt: skip

    days = schema.solar_days(cloudy).astype("datetime64[D]")
    check_causal(chain, cloudy, days=[str(days[k]) for k in (3, 8)])


def test_a_spec_travels(clear: xr.Dataset, tmp_path: Path) -> None:
    spec = gate(chance=1)
    path = tmp_path / "mine.safetensors"
    spec.save(path)
    loaded = ModelSpec.load(path)
    assert loaded == spec
    assert loaded.fitted_until == "2000-01-01"
    one, two = (
        clear.chunk(y=40).s2.fill_gaps(s, freq="40D") for s in (spec, pickle.loads(pickle.dumps(loaded)))
    )
    assert tokenize(one["B04"].data.name) == tokenize(two["B04"].data.name)
    assert_same(one, two)
    assert spec.described() in one.attrs["history"]
    assert "device" not in clear.s2.fill_gaps(spec, freq="60D", device="cpu").attrs["history"]


def test_batches_change_next_to_nothing(clear: xr.Dataset) -> None:
    found = [
        clear.s2.fill_gaps(gate(chance=1), freq="30D", device="cpu", batch_size=size)["B08"]
        for size in (1, 5)
    ]
    np.testing.assert_allclose(*found, atol=1e-5)


def test_never_seen_is_never_filled(clear: xr.Dataset) -> None:
    none = clear.map(lambda a: a.where(False) if a.name in BANDS else a)
    part = clear.map(lambda a: a.where(a["x"] > a["x"][8]) if a.name in BANDS else a)
    spec = gate(chance=1)
    found = none.s2.fill_gaps(spec, freq="30D", uncertainty=True)
    assert found["B04"].isnull().all()
    assert found["B08_uncertainty"].isnull().all()
    assert (found["provenance"] == Provenance.NEVER_OBSERVED).all()
    found = part.s2.fill_gaps(spec, freq="30D")
    assert found["B04"][:, :, :9].isnull().all()
    assert found["B04"][:, :, 9:].notnull().all()


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        ("network", {}, r"'network' needs weights, and none come with s2cube. Fit one .*fit_gap_filler"),
        ({"causal": True}, {}, "'chance' was fitted with causal=True and cannot fill with causal=False"),
        ({}, {"causal": True}, "fitted with causal=False and cannot fill with causal=True"),
        ({"bands": ["B04"]}, {}, "learnt from B04 and knows nothing of B08: fill cube"),
        ({"levels": ["L1C"]}, {}, "learnt from level L1C, the cube is L2A"),
        (
            {"causal": True, "fitted_until": "2021-06-20"}, {"causal": True, "dates": ["2021-06-20"]},
            "learnt from looks until 2021-06-20, so it knows the future of .*until='2021-06-19'",
        ),
        ({"causal": True, "fitted_until": ""}, {"causal": True}, "until an unknown day"),
        ({}, {"window": 3}, "'network' has no option window; its options are device, batch_size"),
        ({}, {"device": "gpu"}, "'cuda' or 'cpu'; got 'gpu'"),
        ({}, {"batch_size": 0}, "from 1; got 0"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused(clear: xr.Dataset, spec: Any, options: dict[str, Any], words: str) -> None:
    method = spec if isinstance(spec, str) else gate(chance=1, **spec)
    with pytest.raises(CubeError, match=words):
        clear.s2.fill_gaps(method, **options)


def test_other_refusals(clear: xr.Dataset) -> None:
    from networks import chance

    with pytest.raises(CubeError, match="'chance' is a 'unet', made for other work"):
        clear.s2.fill_gaps(chance())
    for option in ({"device": "cpu"}, {"batch_size": 2}):
        with pytest.raises(CubeError, match=f"'linear' has no option {next(iter(option))}"):
            clear.s2.fill_gaps("linear", **option)
    late = gate(causal=True, chance=1, fitted_until="2021-06-20")
    clear.s2.fill_gaps(late, dates=["2021-06-21"], causal=True)


def test_the_judge_takes_it(clear: xr.Dataset) -> None:
    """By itself or with options; each in the way that it was fitted for."""
    how: dict[str, Any] = {"masks": ["frame"], "daily": False, "progress": False}
    table = clear.s2.evaluate_gap_filling([gate(chance=0), "similar"], **how)
    rows = table.set_index(["causal", "method"])["mae"]
    assert rows[False, "chance"] == rows[False, "similar"]
    assert (True, "chance") not in rows
    options = {"net": {"method": gate(chance=0), "batch_size": 3, "uncertainty": (68, 95)}}
    table = clear.s2.evaluate_gap_filling(options, **how, causal=False)
    assert table["in68"].notnull().all()


@pytest.mark.parametrize("origin", [(0, 0), (5, 130), (-40, 61)])
@pytest.mark.parametrize("inside", [(slice(0, 70), slice(0, 90)), (slice(12, 44), slice(30, 90))])
def test_cells(origin: tuple[int, int], inside: tuple[slice, slice]) -> None:
    """At fixed pixels, each whole; together they are the part, and what is around comes along."""
    rng = np.random.default_rng(0)
    cells = Cells.of(origin, (70, 90), inside)
    array = rng.uniform(size=(2, 70, 90)).astype(np.float32)
    area = array[:, *cells.area]
    assert area[:, *cells.part].shape == array[:, *inside].shape
    np.testing.assert_array_equal(area[:, *cells.part], array[:, *inside])
    out, at = np.full(area.shape, np.nan, np.float32), [s.start or 0 for s in cells.area]
    beyond = np.pad(area, [(0, 0), (200, 200), (200, 200)])
    for (i, j), patch in zip(cells.corners, cells._cut(area.reshape(2, -1)), strict=True):
        assert (origin[0] + at[0] + i) % CELL == (origin[1] + at[1] + j) % CELL == 0
        assert patch.shape == (2, PATCH, PATCH)
        seen = beyond[:, 200 + i - MARGIN :, 200 + j - MARGIN :][:, :PATCH, :PATCH]
        np.testing.assert_array_equal(patch, seen.astype(np.float16))
        core = patch[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        cells.pick(out, (i, j))[...] = cells.fit(core, (i, j))
    np.testing.assert_array_equal(out[:, *cells.part], area[:, *cells.part].astype(np.float16))


@CAUSAL
def test_what_experts_tell(clear: xr.Dataset, causal: bool) -> None:
    """Differences from the best one in deviations, by which they can be found again."""
    values = np.stack([clear[band].values for band in BANDS], axis=1)
    valid, days = np.isfinite(values).all(axis=1), schema.solar_days(clear)
    targets = np.arange(days[0], days[-1], 4, dtype=np.int32)
    experts = ask(
        values, valid, days=days, targets=targets, origin=(0, 0), causal=causal, smooth=False,
        inside=(slice(0, 70), slice(0, 90)),
    )  # fmt: skip
    assert experts is not None
    lines = {
        band: clear.s2.fill_gaps(
            "last" if causal else "linear", dates=targets.astype("M8[D]"), causal=causal
        )[band]
        for band in BANDS
    }
    for t in range(len(targets)):
        own, shared = experts.tell(t)
        assert np.isfinite(own).all()
        assert np.isfinite(shared).all()
        known = experts.gaps(t)
        line = experts.bands[t] + own[:, 1] * experts.unit(t)[:, None]
        for b, band in enumerate(BANDS):
            flat = lines[band].values[t].ravel()
            np.testing.assert_allclose(line[b][known], flat[known], atol=2e-4)
            spread = own[b, 4] * experts.unit(t)[b]
            np.testing.assert_allclose(spread[known], experts.deviation[t, b][known], rtol=1e-3)
        assert (shared[1] <= shared[0]).all()
        if causal:
            assert not shared[4].any()
            assert not own[:, 3].any()


@CAUSAL
def test_declared_work_is_true(clear: xr.Dataset, causal: bool) -> None:
    import tracemalloc

    looks = [clear[band].values for band in BANDS]
    valid = np.isfinite(looks[0]) & np.isfinite(looks[1])
    days = schema.solar_days(clear)
    how: dict[str, Any] = {
        "days": days, "targets": np.arange(days[0], days[-1], 5, dtype=np.int32), "origin": (0, 0),
        "inside": (slice(5, 65), slice(5, 85)), "causal": causal, "smooth": False, "uncertain": True,
        "spec": gate(causal=causal, chance=1), "device": "cpu", "batch_size": "auto",
    }  # fmt: skip
    list(network._window(*looks, valid, **how))
    tracemalloc.start()
    made = list(network._window(*looks, valid, **how))
    measured = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    out = sum(array.nbytes for array in made)
    work = network.work_of(2, len(days), len(how["targets"]), valid[0].size) * valid[0].size
    assert measured <= out + work <= 4 * measured


def test_nothing_is_computed(clear: xr.Dataset) -> None:
    import dask

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=never):
        lazy = clear.chunk(time=1).s2.fill_gaps(gate(chance=1), uncertainty=True)
        plan = s2cube.explain(lazy, threads=2)
    assert plan.task_bytes is not None
    assert plan.task_bytes > 70 * 90 * 2 * 4 * lazy.sizes["time"]
