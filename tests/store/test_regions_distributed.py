"""Stores built region by region on a cluster: what the scheduler sees, and workers that die."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import Flat, Simulated
from clusters import ON_A_CLUSTER, distributed
from compare import assert_same
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.errors import StoreError
from s2cube.store.run import workers as run

pytestmark = ON_A_CLUSTER

PIECES: dict[str, Any] = {"region_size": 256, "progress": False}
AREA = GeoBox.from_bbox((497_440, 5_300_000, 502_560, 5_302_560), "EPSG:32633", resolution=10)
DAYS = pd.date_range("2021-06-01", "2021-06-04")


def test_the_scheduler_sees_regions_and_the_client_nothing(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Simulated((300, 560), {"buffer": 60})
    how: dict[str, Any] = {"geobox": builder.geobox(), "dates": builder.dates(), **PIECES}
    client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_log.clear())
    sent: list[int] = []
    submit = run._submit

    def measured(client: Any, make: Any, *rest: Any) -> Any:
        import cloudpickle

        sent.append(len(cloudpickle.dumps((make, *rest[:-2]))))
        return submit(client, make, *rest)

    monkeypatch.setattr(run, "_submit", measured)
    report = s2cube.write_daily_regions(builder, tmp_path / "cluster.zarr", **how)
    keys = client.run_on_scheduler(
        lambda dask_scheduler: {str(story[0]) for story in dask_scheduler.transition_log}
    )
    assert report.written == len(keys) == 6
    assert all(key.startswith("s2cube-region-") for key in keys)
    # What travels is the builder and two boxes, not a graph.
    assert max(sent) < 20_000
    monkeypatch.setattr(run, "_ambient_client", lambda: None)
    s2cube.write_daily_regions(builder, tmp_path / "threads.zarr", **how)
    one, two = (
        s2cube.open_daily(tmp_path / f"{name}.zarr").compute(scheduler="threads")
        for name in ("cluster", "threads")
    )
    assert_same(one.drop_attrs(deep=False), two.drop_attrs(deep=False))


def test_the_region_of_a_worker_that_dies_is_done_by_another(client: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, "halo": 0, **PIECES}
    report = s2cube.write_daily_regions(Flat(str(notes), dies=2), tmp_path / "d.zarr", **how)
    assert (report.written, report.failed) == (2, {})
    assert len(list(notes.iterdir())) == 3
    assert s2cube.verify(tmp_path / "d.zarr", progress=False).ok


def test_a_region_that_kills_every_worker_is_given_up(client: Any, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, "halo": 0, **PIECES}
    with pytest.raises(StoreError, match=r"1 of 2 regions.*worker died 4 times"):
        s2cube.write_daily_regions(Flat(str(notes), dies=99), tmp_path / "d.zarr", **how)
    client.wait_for_workers(1)
    again = s2cube.write_daily_regions(Flat(str(notes)), tmp_path / "e.zarr", **how)
    assert again.written == 2


def test_resources_and_workers_that_come_later(tmp_path: Path) -> None:
    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, "halo": 0, **PIECES}
    place = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, resources={"GPU": 1}, **place
        ) as cluster,
        distributed.Client(cluster),
    ):
        report = s2cube.write_daily_regions(Flat(), tmp_path / "d.zarr", resources={"GPU": 1}, **how)
        assert report.written == 2
        with pytest.raises(StoreError, match=r"No Dask worker has resources \{'FPGA': 1\}"):
            s2cube.write_daily_regions(Flat(), tmp_path / "e.zarr", resources={"FPGA": 1}, **how)
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, **place) as cluster,
        distributed.Client(cluster),
    ):
        cluster.adapt(minimum=0, maximum=2, interval="100ms")
        assert s2cube.write_daily_regions(Flat(), tmp_path / "f.zarr", **how).written == 2


def test_one_region_a_worker_at_a_time(client: Any, tmp_path: Path) -> None:
    """Also where Dask gives a worker two: regions of one that died."""
    jobs = [client.submit(run._write_pickled, run._Piece(_slow(tmp_path)), pure=False) for _ in range(4)]
    results = client.gather(jobs)
    assert all(isinstance(error, OSError) and "alone" in str(error) for error in results)


def _slow(folder: Path) -> bytes:
    import cloudpickle

    def make() -> None:
        import os
        import time

        mine = folder / str(os.getpid())
        alone = not mine.exists()
        mine.touch()
        time.sleep(0.2)
        mine.unlink()
        raise OSError("alone" if alone else "beside another")

    content: bytes = cloudpickle.dumps((make, None))
    return content
