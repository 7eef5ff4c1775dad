"""The dry run: what it tells is what computing does, and it reads nothing."""

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pystac
import pytest
import xarray as xr
from archive import flat, pair, ramp, scene

import s2cube
from s2cube.blocks import look_at_graph
from s2cube.errors import CubeError
from s2cube.plan import explain
from s2cube.schema import ITEMS, item_records, records_of

CHUNKS = {"time": 1, "y": 10, "x": 12}
READS = {"B04": [480, 2, 4], "B11": [120, 2, 4], "SCL": [120, 1, 4]}
"""As a source would note 20 x 24 px in files of blocks as large as CHUNKS."""


def noted(cube: xr.Dataset, reads: dict[str, list[int]] | None = None) -> xr.Dataset:
    """A cube whose items say what is to be read of them."""
    steps = [
        [{**item, "reads": READS if reads is None else reads} for item in step]
        for step in records_of(cube)
    ]
    return cube.assign_coords({ITEMS: item_records(steps)})


@pytest.fixture
def opened(tmp_path: Path) -> xr.Dataset:
    """Two dates of one item each, from files, lazily."""
    return noted(s2cube.open_stac(pair(tmp_path), chunks=CHUNKS))


def test_it_tells_what_will_be_read(opened: xr.Dataset) -> None:
    plan = explain(opened)
    assert (plan.steps, plan.looks, plan.items) == (2, 2, 2)
    assert plan.read_bytes == 2 * (480 * 2 + 120 * 2 + 120)
    # A header and four blocks of three files, twice.
    assert plan.requests == 2 * 3 * 5
    assert plan.result_bytes == opened.nbytes - sum(opened[c].nbytes for c in opened.coords)
    assert plan.notes == ()


def test_nothing_is_read(opened: xr.Dataset, tmp_path: Path) -> None:
    for path in tmp_path.rglob("*.tif"):
        path.unlink()
    assert explain(opened.s2.mask_clouds().s2.fill_gaps("linear")).tasks > 0


def test_tasks_are_those_that_dask_runs(opened: xr.Dataset) -> None:
    """Fused as it fuses them, without those that nothing needs."""
    for cube in (
        opened,
        opened.isel(time=[0], x=slice(0, 5)),
        opened.s2.mask_clouds(buffer=20)[["B04"]].isel(y=slice(0, 2)),
        opened.s2.mask_clouds().s2.fill_gaps("linear")[["B11"]],
    ):
        ran = []

        class Watch(dask.callbacks.Callback):
            def _posttask(self, key: Any, *_: Any, ran: list[Any] = ran) -> None:
                ran.append(key)

        with Watch():
            dask.compute(*[array.data for array in cube.values()], scheduler="sync")
        # Dask puts each array together at the end, and does not run what is in memory already.
        assert explain(cube).tasks == pytest.approx(len(ran), rel=0.15)


def test_it_follows_a_selection_of_dates(opened: xr.Dataset) -> None:
    plan, whole = explain(opened.isel(time=[1])), explain(opened)
    assert (plan.steps, plan.looks, plan.items) == (1, 1, 1)
    assert plan.read_bytes == whole.read_bytes / 2
    assert plan.requests == whole.requests / 2


def test_it_follows_a_selection_in_space(opened: xr.Dataset) -> None:
    """By blocks: of those that are still needed all is read."""
    plan, whole = explain(opened.isel(y=slice(0, 5), x=slice(0, 5))), explain(opened)
    assert plan.read_bytes == whole.read_bytes / 4
    assert plan.requests == 2 * 3 * 2
    assert plan.tasks < whole.tasks
    across = explain(opened.isel(y=slice(9, 11), x=slice(0, 5)))
    assert across.read_bytes == whole.read_bytes / 2


def test_it_follows_a_selection_of_bands(opened: xr.Dataset) -> None:
    assert explain(opened[["B04"]]).read_bytes == 2 * 480 * 2
    # The status of a look is that of all its bands, so all are read for it.
    assert explain(opened[["B04", "status"]]).read_bytes == 2 * (480 * 2 + 120 * 2)


def test_chunks_smaller_than_blocks_read_them_again(tmp_path: Path) -> None:
    cube = s2cube.open_stac(pair(tmp_path), chunks={"time": 1, "y": 5, "x": 6})
    plan = explain(noted(cube))
    assert plan.requests == 2 * 3 * 17
    assert plan.read_bytes == 4 * 2 * (480 * 2 + 120 * 2 + 120)
    assert "read 4.0 times" in plan.notes[0]


def test_what_is_not_known_is_not_guessed(opened: xr.Dataset, tmp_path: Path) -> None:
    for cube in (
        opened.drop_vars(ITEMS),
        noted(opened, {}),
        noted(opened, {"B04": READS["B04"]}),
        opened.s2.mask_clouds().s2.fill_gaps("linear"),
    ):
        plan = explain(cube)
        assert plan.read_bytes is None
        assert plan.requests is None
        assert "unknown" in repr(plan)
        assert plan.looks == 2


def test_a_filled_cube(opened: xr.Dataset) -> None:
    plan = explain(opened.s2.mask_clouds().s2.fill_gaps("linear", freq="1D"), threads=3, memory=2**30)
    assert (plan.steps, plan.looks, plan.items) == (6, 2, None)
    assert plan.largest == "map_time"
    # Two bands and what is valid: all dates of one chunk.
    assert plan.held_bytes == 2 * 10 * 12 * (4 + 4 + 1 + 1)
    assert plan.worker_bytes == 3 * plan.task_bytes + plan.held_bytes


def test_layers_of_one_step_count_once_each(tmp_path: Path) -> None:
    """Two items with unlike offsets are read apart and laid over each other."""
    items = [
        scene(
            tmp_path, f"S2_{n}", "2022-06-05T10:00", {"B04": ramp()}, offset=offset,
            properties={"s2:processing_baseline": baseline},
        )
        for n, (offset, baseline) in enumerate(((0.0, "03.01"), (-0.1, "04.00")))
    ]  # fmt: skip
    for number, item in enumerate(items):
        item.properties["s2:mgrs_tile"] = f"33UU{'UV'[number]}"
    plan = explain(noted(s2cube.open_stac(items, chunks=CHUNKS), {"B04": READS["B04"]}))
    assert plan.items == 2
    assert plan.read_bytes == 2 * 480 * 2


def test_joined_cubes_are_summed(tmp_path: Path) -> None:
    """Opened in parts, with other chunks and other items: as both parts told apart."""
    items = pair(tmp_path)
    parts = [
        noted(s2cube.open_stac(item, chunks=chunks))
        for item, chunks in zip(items, (CHUNKS, {"time": 1, "y": 5, "x": 6}), strict=True)
    ]
    plans = [explain(part) for part in parts]
    for order in (parts, parts[::-1]):
        plan = explain(xr.concat(order, "time").sortby("time"))
        assert (plan.steps, plan.looks, plan.items) == (2, 2, 2)
        assert plan.requests == pytest.approx(sum(one.requests for one in plans), rel=0.05)
        assert plan.read_bytes == pytest.approx(sum(one.read_bytes for one in plans), rel=0.05)


def test_dates_read_for_new_dates(tmp_path: Path, opened: xr.Dataset) -> None:
    """After filling only the graph tells; of a joined cube not even that."""
    assert "made of 2 read" in repr(explain(opened.s2.mask_clouds().s2.fill_gaps("linear", freq="1D")))
    others = [s2cube.open_stac(item, chunks=CHUNKS) for item in pair(tmp_path / "apart")]
    filled = explain(xr.concat(others, "time").s2.mask_clouds().s2.fill_gaps("linear", freq="1D"))
    assert filled.looks is None
    assert "made of" not in repr(filled)


def test_in_memory_there_is_nothing_to_do(cube: xr.Dataset) -> None:
    plan = explain(cube, threads=2)
    assert (plan.tasks, plan.read_bytes, plan.requests, plan.worker_bytes) == (0, 0, 0, 0)
    assert plan.steps == cube.sizes["time"]


def wide(dates: int, side: int, chunk: int) -> xr.Dataset:
    """A cube of one band on a large grid, of nothing."""
    cube = s2cube.testing.simulate_cube(shape=(2, 2), bands=["B04"], start="2018-01-01").isel(
        time=slice(dates)
    )
    from affine import Affine
    from odc.geo.geobox import GeoBox

    grid = s2cube.schema.grid_coords(GeoBox((side, side), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633"))
    data = da.zeros((dates, side, side), dtype=np.float32, chunks=(1, chunk, chunk))
    times = {"time": cube["time"].values, "processing_level": "L2A"}
    return xr.Dataset({"B04": s2cube.schema.variable(data, {})}, {**grid, **times})


def test_it_warns_of_a_graph_that_is_too_large() -> None:
    plan = explain(wide(100, 10_980, 100), threads=1, memory=2**60)
    assert plan.tasks > 1_000_000
    assert not plan.exact
    assert "at most 1,210,000" in repr(plan)
    assert plan.notes[0].startswith("1,210,000 tasks are many")


def test_it_warns_of_blocks_that_do_not_fit() -> None:
    cube = wide(60, 2048, 1024).s2.fill_gaps("linear", freq="1D")
    notes = explain(cube, threads=8, memory=2**30).notes
    assert any(note.startswith("A worker has 1.00 GiB") and "room for" in note for note in notes)
    notes = explain(cube, threads=1, memory=2**26).notes
    assert any("not even one task fits" in note for note in notes)
    assert any("write_daily" in note for note in notes)
    assert explain(cube, threads=1, memory=2**34).notes == ()


def test_workers_share_the_machine(opened: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    one, four = explain(opened), explain(opened, workers=4)
    assert (one.threads, four.threads) == (8, 2)
    assert one.memory == pytest.approx(4 * four.memory, abs=4)
    assert "4 x 2 threads" in repr(four)


@pytest.mark.parametrize("how", [{"workers": 0}, {"threads": 1.5}, {"memory": -1}, {"workers": True}])
def test_numbers_are_numbers(cube: xr.Dataset, how: dict[str, Any]) -> None:
    with pytest.raises(CubeError, match=next(iter(how))):
        explain(cube, **how)


def test_it_prints_as_a_table(opened: xr.Dataset) -> None:
    plan = explain(opened)
    assert repr(plan).splitlines()[0] == "dates:       2 from 2020-06-05 to 2020-06-10"
    page = plan._repr_html_()
    assert page.count("<tr>") == len(repr(plan).splitlines())


def test_peaks_bound_what_opening_and_filling_take(tmp_path: Path) -> None:
    """The whole way on one thread, traced: below the peak that is told, with the result on top."""
    import tracemalloc

    items: list[pystac.Item] = [
        scene(
            tmp_path, f"S2_{day}", f"2020-06-{day}T10:00",
            {"B04": flat(day, (256, 256)), "SCL": flat(4, (256, 256), "uint8")},
        )
        for day in range(10, 22)
    ]  # fmt: skip
    cube = s2cube.open_stac(items, chunks={"time": 1, "y": 128, "x": 128}).s2.mask_clouds()
    daily = cube.s2.fill_gaps("linear", freq="1D")[["B04"]]
    plan = explain(daily, threads=1)
    daily.compute(scheduler="sync")
    tracemalloc.start()
    daily.compute(scheduler="sync")
    measured = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The result lies in its blocks first, and is then put together; the graph is counted by tasks.
    assert measured <= plan.worker_bytes + 2 * plan.result_bytes + 2000 * plan.tasks


def test_the_same_graph_tells_the_same(opened: xr.Dataset) -> None:
    arrays = [opened["B04"].data, opened["status"].data]
    assert look_at_graph(arrays) == look_at_graph(arrays)


def test_what_it_tells_is_what_a_server_is_asked_for(tmp_path: Path) -> None:
    """Noise, which does not compress, in blocks of 1024 px, a window of it, over HTTP."""
    import rasterio.shutil

    noise = np.random.default_rng(0).integers(1, 10_000, (3072, 3072)).astype(np.uint16)
    item = scene(tmp_path, "one", "2020-06-05T10:00", {"B04": noise, "B11": noise[:1536, :1536]},
                 resolution={"B04": 10.0, "B11": 20.0})  # fmt: skip
    with s2cube.testing.FileServer(tmp_path) as server:
        for asset in item.assets.values():
            plain = Path(asset.href)
            cog = plain.with_suffix(".cog.tif")
            rasterio.shutil.copy(plain, cog, driver="COG", blocksize=1024, compress="deflate")
            asset.href = server.href(cog)
        cube = s2cube.open_stac(item).isel(y=slice(0, 2048), x=slice(0, 2048))
        plan = explain(cube)
        assert server.requests == []
        cube.compute()
        asked = [request for request in server.requests if request.method == "GET"]
    served = 0
    for request in asked:
        first, last = request.headers["Range"].removeprefix("bytes=").split("-")
        served += int(last) - int(first) + 1
    assert plan.read_bytes is not None
    assert plan.requests is not None
    # 2048 px of the 10 m band, 1024 of the other: whole blocks, and headers.
    assert plan.read_bytes <= served <= 1.5 * plan.read_bytes
    assert len(asked) / 2 <= plan.requests <= 2 * len(asked)


def test_images_too(opened: xr.Dataset) -> None:
    """Percentiles, geomedians and counts, of all dates and by period; in memory too."""
    for image in (
        opened.s2.percentile(),
        opened.s2.percentile(50, period="MS"),
        opened.s2.geomedian(),
        opened.s2.count(period={"june": ("2020-06-01", "2020-06-30")}),
    ):
        plan = explain(image, threads=2, memory=2**33)
        lazy = [array.data for array in image.data_vars.values()]
        assert plan.tasks == pytest.approx(len(dask.optimize(*lazy)[0].__dask_graph__()), rel=0.15)
        assert "reduce_time" in plan.largest
        assert plan.result_bytes == sum(array.nbytes for array in image.data_vars.values())
        assert (plan.steps, plan.looks, plan.notes) == (1, 2, ())
        assert explain(image.compute()).tasks == 0
    assert repr(explain(opened.s2.geomedian())).splitlines()[0].endswith("one image, made of 2 read")


def test_the_peak_of_an_image_follows_the_block(tmp_path: Path) -> None:
    """Not the area: ten times as large, the same peak."""

    def peak(side: int, chunk: int) -> int | None:
        cube = s2cube.testing.simulate_cube(shape=(side, side), bands=["red"], seed=1)
        lazy = cube.chunk(time=1, y=chunk, x=chunk)
        return explain(lazy.s2.percentile(), threads=1).task_bytes

    assert peak(512, 256) == peak(256, 256)
    # Less what kernels work with, whatever the block.
    assert peak(512, 512) > 1.5 * peak(512, 256)


@pytest.mark.parametrize(
    "what", [xr.Dataset(), None, xr.Dataset({"B04": (("y", "x"), np.zeros((2, 2)))})]
)
def test_what_is_on_no_grid_is_refused(what: Any) -> None:
    with pytest.raises(CubeError):
        explain(what)
