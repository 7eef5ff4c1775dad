"""Stores that are built region by region: the same as those of the whole cube."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from builders import Flat, Simulated
from compare import assert_same
from odc.geo.geobox import GeoBox

import s2cube
from s2cube.blocks import Reach, reach_of
from s2cube.errors import CatalogError, CubeError, StoreError, StoreMismatchError

PIECES: dict[str, Any] = {"region_size": 256, "progress": False}
AREA = GeoBox.from_bbox((497_440, 5_300_000, 502_560, 5_302_560), "EPSG:32633", resolution=10)
DAYS = pd.date_range("2021-06-01", "2021-06-04")


def stored(path: Path) -> xr.Dataset:
    return s2cube.open_daily(path).compute().drop_attrs(deep=False)


@pytest.mark.parametrize(
    ("mask", "fill"),
    [
        ({"buffer": 100, "opening": 20}, {"method": "linear"}),
        ({}, {"method": "last", "causal": True}),
        pytest.param({"buffer": 60}, {"method": "similar", "uncertainty": True}, marks=pytest.mark.slow),
        pytest.param({}, {"method": "seasonal"}, marks=pytest.mark.slow),
    ],
)
def test_by_regions_as_of_the_whole(tmp_path: Path, mask: Any, fill: Any) -> None:
    """Array for array, within regions, at their edges and at the area's."""
    builder = Simulated((300, 560), mask, fill, end="2021-06-30" if len(mask) < 2 else "2021-07-20")
    dates = builder.dates()[:4]
    builder.of(builder.place(), dates).s2.write_daily(tmp_path / "whole.zarr", **PIECES)
    report = s2cube.write_daily_regions(
        builder, tmp_path / "regions.zarr", geobox=builder.geobox(), dates=dates, **PIECES
    )
    assert (report.written, report.failed, report.days) == (6, {}, 4)
    assert_same(stored(tmp_path / "whole.zarr"), stored(tmp_path / "regions.zarr"))
    assert s2cube.verify(tmp_path / "regions.zarr", progress=False).ok
    again = s2cube.write_daily_regions(
        builder, tmp_path / "regions.zarr", geobox=builder.geobox(), dates=dates, **PIECES
    )
    assert (again.written, again.kept, again.counts) == (0, 6, report.counts)


def test_less_around_would_show(tmp_path: Path) -> None:
    """The test above would notice: without the pixels around, buffers end at the regions' edges."""
    builder = Simulated((300, 560), {"buffer": 100})
    for name, halo in (("declared", None), ("enough", 10), ("none", 0)):
        s2cube.write_daily_regions(
            builder, tmp_path / name, geobox=builder.geobox(), dates=builder.dates(), halo=halo, **PIECES
        )
    right = stored(tmp_path / "declared")
    assert_same(right, stored(tmp_path / "enough"))
    assert not right["B04"].equals(stored(tmp_path / "none")["B04"])
    with pytest.raises(StoreMismatchError, match="other settings"):
        s2cube.write_daily_regions(
            builder, tmp_path / "none", geobox=builder.geobox(), dates=builder.dates(), **PIECES
        )


def test_where_there_is_nothing(tmp_path: Path) -> None:
    """Such a region costs no file, and reads as never observed."""
    builder = Simulated((300, 560), nothing=(256, 256))
    store = tmp_path / "d.zarr"
    how: dict[str, Any] = {"geobox": builder.geobox(), "dates": builder.dates(), **PIECES}
    report = s2cube.write_daily_regions(builder, store, **how)
    daily = stored(store)
    empty = daily.isel(y=slice(0, 256), x=slice(0, 256))
    assert (empty["provenance"] == 255).all()
    assert empty["B04"].isnull().all()
    assert daily["B04"].isel(x=slice(256, None)).notnull().any()
    assert not (store / "B04" / "c" / "0" / "0" / "0").exists()
    assert s2cube.verify(store, progress=False).ok
    assert report.counts["never_observed"] >= 256 * 256 * len(builder.dates())
    assert s2cube.write_daily_regions(builder, store, **how).kept == 6
    # What had data before has none now.
    every = Simulated((300, 560))
    s2cube.write_daily_regions(every, tmp_path / "e.zarr", **how)
    part = s2cube.open_daily(tmp_path / "e.zarr")
    assert part["B04"].isel(y=slice(0, 256), x=slice(0, 256)).notnull().any()


def test_nothing_anywhere_is_said(tmp_path: Path) -> None:
    def nothing(geobox: Any, dates: Any) -> None:
        return None

    with pytest.raises(CatalogError, match="nothing at 21 places"):
        s2cube.write_daily_regions(nothing, tmp_path / "d.zarr", geobox=AREA, dates=DAYS)
    assert not list(tmp_path.iterdir())


def test_history_is_that_of_the_store(tmp_path: Path) -> None:
    """What is true of one box only is left out, and the same for every region size."""

    def build(geobox: Any, dates: Any) -> xr.Dataset:
        cube = Flat()(geobox, dates)
        line = f"open_stac(items={geobox.shape[0]}, datetime='d', grid='64 x 64', bands=['B04'])"
        return cube.assign_attrs(history=f"{line}\nfill_gaps(method='linear')\nby hand")

    s2cube.write_daily_regions(build, tmp_path / "d.zarr", geobox=AREA, dates=DAYS, halo=0, **PIECES)
    history = xr.open_zarr(tmp_path / "d.zarr").attrs["history"]
    assert history == "open_stac(bands=['B04'])\nfill_gaps(method='linear')\nby hand"


def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, "halo": 0, **PIECES}
    report = s2cube.write_daily_regions(Flat(str(notes), fails=2), tmp_path / "d.zarr", **how)
    assert (report.written, report.failed) == (2, {})
    for note in notes.iterdir():
        note.unlink()
    with pytest.raises(StoreError, match=r"1 of 2 regions.*link down"):
        s2cube.write_daily_regions(Flat(str(notes), fails=2), tmp_path / "e.zarr", retries=1, **how)
    # The same call does the rest.
    again = s2cube.write_daily_regions(Flat(str(notes), fails=2), tmp_path / "e.zarr", **how)
    assert (again.written, again.kept) == (1, 1)


def test_items_decide_which_regions_are_done_again(tmp_path: Path) -> None:
    class Known(Flat):
        """Tells its items; a test adds one on the right-hand side."""

        more = ""

        def item_ids(self, geobox: Any) -> list[str]:
            return ["a", self.more] if self.more and geobox.transform.c >= 500_000 else ["a"]

        def __dask_tokenize__(self) -> str:
            return "known"

    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, "halo": 0, **PIECES}
    builder = Known()
    assert s2cube.write_daily_regions(builder, tmp_path / "d.zarr", **how).written == 2
    assert s2cube.verify(tmp_path / "d.zarr", progress=False).ok
    Known.more = "b"
    again = s2cube.write_daily_regions(builder, tmp_path / "d.zarr", **how)
    assert (again.written, again.kept) == (1, 1)
    assert s2cube.verify(tmp_path / "d.zarr", progress=False).ok


def wrong(what: str) -> Any:
    """Return a builder that does not keep to what it is asked for."""

    def build(geobox: GeoBox, dates: Any) -> Any:
        good = Flat()(geobox, dates)
        return {
            "no cube": good.to_array(),
            "not filled": good.drop_vars("provenance"),
            "grid": good.assign_coords(x=good["x"] + 10),
            "part": good.isel(x=slice(1, None)),
            "dates": good.isel(time=slice(1, None)),
        }[what]

    return build


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no cube", "returns an xarray.Dataset.*got DataArray"),
        ("not filled", "no 'provenance'"),
        ("grid", r"64 x 64 px of 10.*got 64 x 64 px of 10 from .*Pass it on"),
        ("part", "got 64 x 63 px"),
        ("dates", "4 from 2021-06-01 to 2021-06-04; got 3 others"),
    ],
)
def test_builders_that_do_something_else_are_refused(tmp_path: Path, what: str, message: str) -> None:
    with pytest.raises(CubeError, match=message):
        s2cube.write_daily_regions(wrong(what), tmp_path / "d.zarr", geobox=AREA, dates=DAYS, halo=0)
    assert not list(tmp_path.iterdir())


def test_refusals(tmp_path: Path) -> None:
    how: dict[str, Any] = {"geobox": AREA, "dates": DAYS, "halo": 0}
    store = tmp_path / "d.zarr"

    class Unknown:
        def __init__(self) -> None:
            self.lock = __import__("threading").Lock()

        def __call__(self, *_: Any) -> None:
            return None

    for change, message in (
        ({"halo": None}, "computed already.*pass halo="),
        ({"halo": -1}, "halo is a whole number"),
        ({"geobox": "here"}, "geobox is an odc.geo.geobox.GeoBox"),
        ({"geobox": AREA.flipy()}, "north up"),
        ({"dates": ["2021-06-01T12:00"]}, "whole days"),
        ({"dates": []}, "at least one"),
        ({"dates": "noon"}, "names no dates"),
        ({"retries": 1.5}, "retries is a whole number"),
        ({"region_size": 0}, "region_size"),
        ({"resources": {"GPU": "one"}}, "maps names to numbers"),
    ):
        with pytest.raises(CubeError, match=message):
            s2cube.write_daily_regions(Flat(), store, **{**how, **change})
    with pytest.raises(CubeError, match=r"cannot be told.*frozen dataclass"):
        s2cube.write_daily_regions(Unknown(), store, **how)
    with pytest.raises(CubeError, match=r"got Dataset.*write_daily\(\)"):
        s2cube.write_daily_regions(Flat()(AREA, DAYS), store, **how)
    with pytest.raises(StoreError, match="connect a Dask client"):
        s2cube.write_daily_regions(Flat(), store, resources={"GPU": 1}, progress=False, **how)


def test_reach_is_told_by_the_graph() -> None:
    looks = Simulated((60, 70), chunks=(30, 30)).place()

    def reach(cube: xr.Dataset) -> Reach | None:
        return reach_of([array.data for array in cube.data_vars.values()])

    for chunks in (30, 100):  # in one block nothing overlaps: it is told all the same
        cube = looks.chunk(y=chunks, x=chunks)
        assert reach(cube) == Reach(0, 0)
        assert reach(cube.s2.mask_clouds("scl", buffer=60)) == Reach(6, 6)
        assert reach(cube.s2.mask_clouds("scl", buffer=60, opening=20)) == Reach(10, 10)
        assert reach(cube.s2.mask_clouds("scl").s2.fill_gaps("similar")) == Reach(64, 64, 128)
        both = cube.s2.mask_clouds("scl", buffer=60).s2.fill_gaps("similar")
        assert reach(both) == Reach(70, 70, 128)
    rolled = looks[["B04"]].rolling(x=5, center=True).mean()
    assert reach(rolled) == Reach(0, 4)
    assert reach(looks.compute()) is None


def test_reach_around_a_box() -> None:
    assert Reach(6, 8).around(slice(256, 512), 0, 1000, 600) == slice(250, 518)
    assert Reach(6, 8).around(slice(0, 512), 1, 1000, 600) == slice(0, 520)
    # Whole tiles of the grid, then half a tile.
    assert Reach(64, 64, 128).around(slice(256, 512), 0, 60, 2000) == slice(256 - 60 - 64, 512 + 68 + 64)
    assert Reach(64, 64, 128).around(slice(256, 512), 0, 0, 2000) == slice(192, 576)
    # Windows that lie at multiples of 96 px of the whole.
    assert Reach(128, 128, step=96).around(slice(256, 512), 0, 7, 2000) == slice(96, 640)
    # What lies beyond a tile is in another one.
    assert Reach(6, 6).after(Reach(64, 64, 128)) == Reach(192, 192, 128)
    assert Reach(64, 64, 128).after(Reach(6, 6)) == Reach(70, 70, 128)
    assert Reach(64, 64, 128).after(Reach(64, 64, 96)) == Reach(256, 256, 128)


def test_reach_is_enough(tmp_path: Path) -> None:
    """A function that looks at its neighbours, found by Dask's own layers, twice over."""

    def build(geobox: Any, dates: Any) -> xr.Dataset:
        cube = Simulated((60, 90), fill={"method": "linear"}, chunks=(20, 25))(geobox, dates)
        assert cube is not None
        soft = cube["B04"].rolling(x=5, center=True, min_periods=1).mean().astype("f4")
        return cube.assign(B04=soft.assign_attrs(cube["B04"].attrs).chunk(x=30))

    base = Simulated((60, 90))
    whole = build(base.geobox(), base.dates())
    from s2cube.plan import Region
    from s2cube.store.builder import _built, example_of, wider

    reach = example_of(build, base.geobox(), base.dates(), halo=None).reach
    region = Region(slice(20, 40), slice(32, 64))
    around = wider(region, reach, base.geobox())
    assert around.x == slice(28, 68)
    inside = {"y": slice(0, 20), "x": slice(4, 36)}
    box = base.geobox()[around.y, around.x]
    part = _built(build, box, base.dates(), inside, list(whole.data_vars))
    assert part is not None
    expected = whole.isel(y=region.y, x=region.x)
    np.testing.assert_array_equal(part["B04"].values, expected["B04"].values)
