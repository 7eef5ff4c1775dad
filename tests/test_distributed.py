"""On a cluster: the same numbers, and one task a region."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from archive import flat, ramp, scene
from clusters import ON_A_CLUSTER, distributed
from compare import assert_same

import s2cube
from s2cube.store.run import workers as run

pytestmark = ON_A_CLUSTER


def test_every_verb_gives_the_same_numbers(client: Any, tmp_path: Path) -> None:
    items = [
        scene(
            tmp_path, f"S2_{day}", f"2020-06-{day}T10:00",
            {"B04": ramp(start=int(day)), "SCL": flat(scl, dtype="uint8")},
        )
        for day, scl in (("05", 4), ("10", 9), ("20", 5))
    ]  # fmt: skip
    cube = s2cube.open_stac(items, chunks={"time": 1, "y": 8, "x": 9})
    for verb in (
        lambda c: c,
        lambda c: s2cube.cloud_mask(c, buffer=30),
        lambda c: c.s2.mask_clouds("scl", buffer=30),
        lambda c: c.s2.mask_clouds("scl", buffer=30).s2.fill_gaps("linear"),
        lambda c: c.s2.mask_clouds("scl").s2.fill_gaps("last", causal=True),
    ):
        lazy = verb(cube)
        here = lazy.compute(scheduler="threads")
        assert_same(lazy.compute(), here)
        assert_same(lazy.compute(scheduler="sync"), here)


def test_simulated_cube_gives_the_same_numbers(client: Any, cube: xr.Dataset) -> None:
    def chain(c: xr.Dataset) -> xr.Dataset:
        return c.s2.mask_clouds("scl", buffer=50).s2.fill_gaps("linear", freq="5D")

    lazy = chain(cube.chunk(time=5, y=17, x=20))
    assert_same(lazy.compute(), chain(cube))


def test_any_dataset_gives_the_same_cube(client: Any) -> None:
    counts = np.random.default_rng(0).integers(0, 9000, (4, 30, 40)).astype(np.uint16)
    ds = xr.Dataset(
        {"B4": (("t", "y", "x"), counts), "SCL": (("t", "y", "x"), (counts % 12).astype("u1"))},
        {
            "t": np.array(["2020-01-01", "2020-01-06", "2020-01-11", "2020-02-01"], "M8[ns]"),
            "y": 5_000_000.0 - 10 * np.arange(30),
            "x": 400_000.0 + 10 * np.arange(40),
        },
    )
    told = {"scale": 1e-4, "offset": [0, 0, -0.1, -0.1], "nodata": 0, "crs": "EPSG:32633"}
    lazy = s2cube.as_cube(ds.chunk(t=1, y=7, x=40), **told)
    assert_same(lazy.compute(), s2cube.as_cube(ds, **told))


def test_read_errors_keep_their_name(client: Any, tmp_path: Path) -> None:
    item = scene(tmp_path, "a", "2020-06-05T10:00", {"B04": flat(1)})
    cube = s2cube.open_stac(item)
    (tmp_path / "a" / "B04.tif").unlink()
    with pytest.raises(s2cube.errors.ReadError, match=r"a/B04\.tif"):
        cube["B04"].compute()


def test_the_scheduler_sees_regions_and_nothing_else(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = s2cube.testing.simulate_cube(
        shape=(300, 800), seed=3, bands=["red", "nir"], start="2021-06-01", end="2021-07-15",
        chunks={"time": 1, "y": 256, "x": 256},
    )  # fmt: skip
    daily = cube.s2.mask_clouds("scl", buffer=30).s2.fill_gaps("linear")
    how = {"region_size": 256, "progress": False}

    def forget(dask_scheduler: Any) -> None:
        dask_scheduler.transition_log.clear()

    def seen(dask_scheduler: Any) -> set[str]:
        return {str(story[0]) for story in dask_scheduler.transition_log}

    client.run_on_scheduler(forget)
    report = daily.s2.write_daily(tmp_path / "cluster.zarr", **how)
    keys = client.run_on_scheduler(seen)
    assert report.written == len(keys) == 8
    assert all(key.startswith("s2cube-region-") for key in keys)
    monkeypatch.setattr(run, "_ambient_client", lambda: None)
    daily.s2.write_daily(tmp_path / "threads.zarr", **how)
    one, two = (
        s2cube.open_daily(tmp_path / f"{name}.zarr").compute(scheduler="threads")
        for name in ("cluster", "threads")
    )
    assert_same(one.drop_attrs(deep=False), two.drop_attrs(deep=False))


def test_an_unfinished_store_is_finished_by_a_cluster(client: Any, tmp_path: Path) -> None:
    cube = s2cube.testing.simulate_cube(
        shape=(300, 300), seed=3, bands=["red"], start="2021-06-01", end="2021-07-15"
    )
    daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear")
    how = {"region_size": 256, "progress": False}
    daily.s2.write_daily(tmp_path / "d.zarr", **how)
    (tmp_path / "d.zarr" / "B04" / "c" / "0" / "0" / "1").unlink()
    report = daily.s2.write_daily(tmp_path / "d.zarr", **how)
    assert (report.written, report.kept) == (1, 3)
    assert np.isfinite(s2cube.open_daily(tmp_path / "d.zarr")["B04"].values).any()


def test_a_cluster_that_vanishes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PATIENCE", 1)
    cube = s2cube.testing.simulate_cube(shape=(300, 300), seed=3, bands=["red"], end="2021-07-15")
    daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        submit = run._submit

        def and_lose_the_workers(*args: Any) -> Any:
            cluster.scale(0)
            while run._workers(client, {}):
                time.sleep(0.05)
            return submit(*args)

        monkeypatch.setattr(run, "_submit", and_lose_the_workers)
        with pytest.raises(s2cube.errors.StoreError, match="All Dask workers are gone"):
            daily.s2.write_daily(tmp_path / "d.zarr", progress=False)
        monkeypatch.undo()
        with pytest.raises(s2cube.errors.StoreError, match="has no workers"):
            daily.s2.write_daily(tmp_path / "d.zarr", progress=False)
