"""What is on disk is used wherever it holds what is asked for, and nowhere else."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from service import KEY, assert_right, paid

import s2cube
from s2cube import schema
from s2cube.errors import StoreError
from s2cube.schema import Status
from s2cube.sources.clearsky import estimate_clearsky, open_clearsky
from s2cube.sources.clearsky.cache import Cache, _try_lock
from s2cube.sources.clearsky.opening import prepare
from s2cube.sources.clearsky.read import Reader
from s2cube.testing import ClearSkyStandIn, Response


@pytest.mark.parametrize(
    "limits",
    [{"MaxTotalBands": 2}, {"MaxTotalBands": 1}, {"MaxCompositeAreaKm2": 0.1},
     {"MaxCompositeAreaKm2": 0.05, "MaxTotalBands": 1}],
)  # fmt: skip
def test_limits_that_shrink_cost_nothing(source: xr.Dataset, asked: Any, limits: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        assert_right(open_clearsky(**asked(service)), source)
        before = service.downloads.copy()
        service.limits |= limits
        service.told |= limits
        estimate = estimate_clearsky(**asked(service))
        assert estimate.credits == 0
        assert estimate.cached == estimate.requests > len(service.dates)
        assert_right(open_clearsky(**asked(service), chunks={"y": 30, "x": 30}), source)
        assert service.downloads == before


def test_less_of_what_is_there_costs_nothing(source: xr.Dataset, asked: Any) -> None:
    """Fewer bands, and a smaller area; more of either, other pixels and other dates are downloaded."""
    grid = schema.geobox_of(source)
    with ClearSkyStandIn(source, key=KEY) as service:
        told = {"datetime": "2021-06-08"}
        first = {"geobox": grid[4:56, 3:67], "bands": ["red", "nir", "[B8_B4]"]}
        cube = open_clearsky(**asked(service, **told, **first))
        assert_right(cube[["B04", "B08", "status", "provenance", "time"]], source)
        less: list[dict[str, Any]] = [
            {"bands": ["red"]},
            {"bands": ["nir", "[B8_B4]"]},
            {"geobox": grid[4:56, 3:66]},
            {"geobox": grid[20:30, 50:67], "bands": ["nir"]},
        ]
        for part in less:
            cube = open_clearsky(**asked(service, **{**told, **first, **part}))
            right = [name for name in cube.data_vars if name != "B08_B04"]
            assert_right(cube[right], source)
            assert estimate_clearsky(**asked(service, **{**told, **first, **part})).cached == 1
            assert service.downloads == {"2021-06-08": 1}
        more: list[dict[str, Any]] = [
            {"bands": ["red", "blue"]},
            {"geobox": grid[4:56, 3:68], "bands": ["red"]},
            {"geobox": grid[3:55, 3:67], "bands": ["red"]},
            {"geobox": grid[4:56, 4:66].zoom_out(2), "bands": ["red"]},
        ]
        for number, part in enumerate(more, start=2):
            open_clearsky(**asked(service, **{**told, **first, **part})).compute()
            assert service.downloads == {"2021-06-08": number}


def test_bands_that_are_there_are_joined_with_those_that_are_not(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        told = {"datetime": "2021-06-08"}
        open_clearsky(**asked(service, **told, bands=["blue", "green", "red"])).compute()
        # In pairs: the first is in the file that is there, the second is not, though half of it is.
        service.told["MaxTotalBands"] = 2
        cube = open_clearsky(**asked(service, **told, bands=["blue", "green", "red", "nir"]))
        assert_right(cube, source)
        assert [b'"B4, B8"' in request.body for request in paid(service)] == [False, True]


def test_an_estimate_counts_what_was_split(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(
        source, key=KEY, limits={"MaxTotalBands": 2}, told={"MaxTotalBands": 100}
    ) as service:
        open_clearsky(**asked(service)).compute()
        estimate = estimate_clearsky(**asked(service))
        assert (estimate.requests, estimate.cached, estimate.credits) == (14, 14, 0)


def test_what_another_service_has_is_another_thing(source: xr.Dataset, asked: Any) -> None:
    """Two stand-ins of one machine; also a client that holds both keeps them apart."""
    other = s2cube.testing.simulate_cube(shape=(60, 72), seed=9, end="2021-07-10")
    told = {"datetime": "2021-06-08"}
    with ClearSkyStandIn(source, key=KEY) as one, ClearSkyStandIn(other, key=KEY) as two:
        two.cube = other.assign_coords(time=source["time"].values[: other.sizes["time"]])
        first, second = (open_clearsky(**asked(service, **told)) for service in (one, two))
        assert_right(first, source)
        assert_right(second, two.cube)
        assert first["B04"].data.name != second["B04"].data.name


def test_what_one_account_lacks_another_may_have(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key="one", missing=["2021-06-08"]) as service:
        cube = open_clearsky(**asked(service, api_key="one", datetime="2021-06-08"))
        assert (cube["status"] == Status.NO_DATA).all().compute()
        service.key = "two"
        service.missing.clear()
        cube = open_clearsky(**asked(service, api_key="two", datetime="2021-06-08"))
        assert_right(cube, source)
        # The note that nothing was there is gone, too.
        assert not list(asked(service)["cache"].rglob("*.note"))
        assert not any(word in files_in(asked(service)["cache"]) for word in (b'one"', b'two"'))


def files_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*.note"))


def reader_of(told: dict[str, Any], **changed: Any) -> Reader:
    rest = dict.fromkeys(("bbox", "geometry", "resolution", "crs", "constellations"))
    opening = prepare(**{**rest, "model": "Stratus2", "product": "auto", **told, **changed})
    return Reader(opening.plan, opening.dates, opening.service, opening.cache, "mark")


def test_a_worker_that_does_not_see_the_cache_pays_nothing(
    source: xr.Dataset, asked: Any, tmp_path: Path
) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        reader = reader_of(asked(service))
        assert reader.bring((0, 0))
        far = dataclasses.replace(reader, cache=Cache(tmp_path / "elsewhere", 4))
        for _ in range(2):
            with pytest.raises(StoreError, match=rf"{tmp_path}/elsewhere.*not shared by the workers"):
                far.read(((0, 1), (0, 4), (0, 20), (0, 20)), [])
        assert service.downloads == {"2021-06-01": 1}


class Overlapping(ClearSkyStandIn):
    """Two tiles over all of the cube; the first has data in the west only, the second other counts."""

    def _tiles(self, kind: str) -> Any:
        for number in range(2):
            yield f"{kind}-{number}", self.grid, (number, 0)

    def _search_tiles(self, body: dict[str, Any]) -> Any:
        found = super()._search_tiles(body)["Tiles"]
        return {"Tiles": [tile for tile in found if not tile["MiniTile"]]}

    def _tile(self, body: dict[str, Any], kind: str) -> Response:
        whole = self.cube
        east = whole["x"] > whole["x"][29]
        bands = schema.bands_of(whole)
        first = body["TileGuid"].endswith("0")
        self.cube = whole.assign(
            {band: whole[band].where(~east) if first else whole[band] + 0.01 for band in bands}
        )
        try:
            return super()._tile(body, kind)
        finally:
            self.cube = whole


def test_a_pixel_is_of_the_first_tile_that_has_it(source: xr.Dataset, asked: Any) -> None:
    """Also where another tile could not be read: what is there is not lost for it."""
    grid = schema.geobox_of(source)
    ask = {"geobox": grid, "product": "tile", "datetime": "2021-06-08", "bands": ["red"]}
    known = source.sel(time="2021-06-08")["B04"].squeeze()
    known = known.where((known["x"] > known["x"][8]) & (known["y"] > known["y"][40]))
    with Overlapping(source, key=KEY) as service, dask.config.set(scheduler="synchronous"):
        got = open_clearsky(**asked(service, **ask)).compute()["B04"].values[0]
        there = np.isfinite(known.values)
        west = there & (np.arange(72) <= 29)
        counts = np.rint(known.values * 1e4)
        assert west.any()
        assert (there & ~west).any()
        np.testing.assert_array_equal(got[west], (counts[west] / 1e4).astype("f4"))
        assert (np.abs(got - counts / 1e4)[there & ~west] > 0.009).all()

        service.gateway = [504] * 2
        reader = reader_of(asked(service, **ask, cache=asked(service)["cache"] / "new"))
        assert [reader.bring((0, number)) for number in range(2)] == [False, True]
        block = reader.read(((0, 1), (0, 2), (0, 60), (0, 72)), [(0, 0)])
        np.testing.assert_array_equal(block[0, 1] == 1, block[0, 0] == -32768)
        assert (block[0, 1][there] == 0).all()


def test_a_coarse_pixel_with_an_unread_part_is_unread(source: xr.Dataset, asked: Any) -> None:
    """Half of it would look like all of it."""
    coarse = schema.geobox_of(source).zoom_out(2)
    ask = {"geobox": coarse, "product": "minitile", "datetime": "2021-06-08", "bands": ["red"]}
    with ClearSkyStandIn(source, key=KEY, minitile=37) as service:
        reader = reader_of(asked(service, **ask))
        needs = reader.needs(((0, 1), (0, 2), (0, 30), (0, 36)))
        assert len(needs) == 4
        assert all(reader.bring(need) for need in needs)
        # The first is the largest, rows and columns 0 to 36 of the source.
        block = reader.read(((0, 1), (0, 2), (0, 30), (0, 36)), [needs[0]])
        assert (block[0, 1, :19, :19] == 1).all()
        assert (block[0, 0, :19, :19] == -32768).all()
        assert (block[0, 1, 20:, 20:] == 0).all()


def test_a_service_that_wants_less_gets_less(source: xr.Dataset, asked: Any) -> None:
    """Four are announced and one is allowed. Who is turned away comes back with fewer beside it."""

    class Busy(ClearSkyStandIn):
        refused = threading.Event()

        def answer(self, request: Any) -> Response:
            response = super().answer(request)
            if response.status == 400:
                self.refused.set()
            return response

        def _look(self, date: str) -> xr.Dataset:
            # The first image is being made until somebody else has asked, too.
            assert self.refused.wait(60)
            return super()._look(date)

    with Busy(
        source, key=KEY, limits={"MaxConcurrentConnections": 1}, told={"MaxConcurrentConnections": 4}
    ) as service:
        cube = open_clearsky(**asked(service))
        with dask.config.set(scheduler="threads", num_workers=8):
            assert_right(cube, source)
        # The third attempt has all four slots, so it is alone.
        assert len(service.dates) < len(paid(service)) <= 3 * len(service.dates)
        assert set(service.downloads.values()) == {1}


def free(cache: Cache) -> int:
    """Return how many slots can be had."""
    held = [file for path in cache.slot_files() if (file := _try_lock(path)) is not None]
    for file in held:
        file.close()
    return len(held)


@pytest.mark.skipif("sys.platform == 'win32'", reason="the system has no such locks")
def test_a_throttled_request_holds_more_slots_each_time(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 5)
    with cache.slot() as slot:
        seen = [free(cache)]
        for _ in range(4):
            slot.narrow()
            seen.append(free(cache))
    assert seen == [4, 3, 1, 0, 0]
    assert free(cache) == 5


def test_many_that_are_throttled_wait_in_turn(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 4)
    together = threading.Barrier(4)
    alone = threading.Lock()
    done: list[bool] = []

    def work() -> None:
        with cache.slot() as slot:
            together.wait(60)
            slot.narrow()
            slot.narrow()
            done.append(alone.acquire(blocking=False))
            alone.release()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [True] * 4
