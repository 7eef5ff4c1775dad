"""open_clearsky: the right pixels, at the right place, when they are computed."""

import json
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from affine import Affine
from compare import assert_same
from odc.geo.geobox import GeoBox
from service import KEY, assert_right, on, paid

import s2cube
from s2cube import schema
from s2cube.errors import CatalogError, CubeError, ServiceError
from s2cube.schema import Provenance, Status
from s2cube.sources.clearsky import open_clearsky, read
from s2cube.testing import ClearSkyStandIn


def test_the_pixels_are_the_services(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service))
        assert_right(cube, source)
        s2cube.validate(cube, level="L2A")
        assert list(cube.data_vars) == ["B02", "B04", "B08", "status", "provenance"]
        assert (cube["sensor"], cube["processing_level"]) == ("clearsky", "L2A")
        assert (cube["time"].dt.hour == 0).all()
        assert {v.dtype for v in cube[["B02", "B04", "B08"]].values()} == {np.dtype("f4")}
        assert set(np.unique(cube["provenance"])) == {Provenance.NETWORK, Provenance.NEVER_OBSERVED}
        table = s2cube.items(cube)
        assert table["id"][0] == "clearsky-Stratus2-2021-06-01"
        assert (table[["offset_B02", "offset_B04", "offset_B08"]] == 0).all(axis=None)


def test_it_is_one_dataset_with_sentinel_2(source: xr.Dataset, asked: Any) -> None:
    """On the same geobox both have the same coordinates: nothing is aligned away."""
    grid = schema.geobox_of(source)
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service, geobox=grid))
        assert schema.geobox_of(cube) == grid
        looks = source.assign_coords(time=source["time"].dt.floor("D"))
        both = xr.Dataset(
            {n: c["B04"].reset_coords(drop=True) for n, c in (("looked", looks), ("predicted", cube))}
        )
        assert dict(both.sizes) == dict(cube.sizes)
        difference = (both["looked"] - both["predicted"]).compute()
        assert float(np.abs(difference).max()) == 0
        assert cube["spatial_ref"].variable.identical(source["spatial_ref"].variable)


def test_opening_downloads_nothing(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service), chunks={"y": 20, "x": 30})
        assert not service.downloads
        cube["B04"].sel(time="2021-06-08").compute()
        assert service.downloads == {"2021-06-08": 1}
        later = cube.isel(time=slice(-2, None))
        later.isel(y=slice(0, 3), x=slice(0, 3)).compute()
        assert service.downloads == {"2021-06-08": 1, "2021-07-03": 1, "2021-07-09": 1}


@pytest.mark.parametrize("chunks", [{"time": 1, "y": 16, "x": 25}, {"time": 3}, {}, None])
def test_chunks_change_nothing(source: xr.Dataset, asked: Any, chunks: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service), chunks=chunks)
        assert_right(cube, source)
        assert_same(cube, cube.compute(scheduler="sync"))
        whole = open_clearsky(**asked(service))
        assert_same(cube, whole)
        assert set(service.downloads.values()) == {1}
        assert len(service.downloads) == len(service.dates)


def test_one_task_reads_a_block_of_a_date(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service), chunks={"y": 26, "x": 64})
        reads = [key for key in cube.__dask_graph__() if "read_one" in str(key)]
        assert len(set(reads)) == 2 * len(service.dates)


def test_the_graph_is_named_after_the_pixels(source: xr.Dataset, asked: Any, tmp_path: Path) -> None:
    """Neither the key, nor the cache, nor the account's limits name tasks."""
    names = []
    with ClearSkyStandIn(source) as service:
        for limits, key, cache in (({}, "one", "a"), ({"MaxTotalBands": 1}, "two", "b")):
            service.key = key
            service.told |= limits
            cube = open_clearsky(**asked(service, api_key=key, cache=tmp_path / cache))
            names.append({name: cube[name].data.name for name in cube.data_vars})
            other = open_clearsky(**asked(service, api_key=key, bands=["B03"]))
    assert names[0] == names[1]
    assert other["status"].data.name != names[0]["status"]


def test_an_area_gets_a_utm_grid(source: xr.Dataset, asked: Any) -> None:
    grid = schema.geobox_of(source)
    inner = grid[10:40, 10:50].extent.to_crs("epsg:4326")
    with ClearSkyStandIn(source, key=KEY) as service:
        for area in ({"bbox": inner.boundingbox.bbox}, {"geometry": inner.json}):
            cube = open_clearsky(**asked(service, geobox=None, **area))
            got = schema.geobox_of(cube)
            assert str(got.crs) == "EPSG:32633"
            assert got.transform.a == 10
            assert got.transform.c % 10 == got.transform.f % 10 == 0
            assert inner.within(got.extent.to_crs("epsg:4326").buffer(1e-9))
            assert_right(cube, source)


@pytest.mark.parametrize(
    ("piece", "side"),
    [(1 << 22, 64), (1, 64), (1 << 22, 35), pytest.param(1, 35, marks=pytest.mark.thorough)],
)
def test_coarser_pixels_are_means(
    source: xr.Dataset, asked: Any, monkeypatch: pytest.MonkeyPatch, side: int, piece: int
) -> None:
    """A composite and tiles of the same area agree at 20 m, also where a pixel lies in two tiles."""
    monkeypatch.setattr(read, "_FINE", piece)
    whole = schema.geobox_of(source)
    coarse = GeoBox((30, 36), whole.transform * Affine.scale(2), whole.crs)
    with ClearSkyStandIn(source, key=KEY, tile=side, minitile=side) as service:
        one, other, small, old = (
            open_clearsky(
                **asked(service, geobox=coarse, product=product), chunks={"y": 16, "x": 17}
            ).compute()
            for product in ("composite", "tile", "minitile", "tile2024")
        )
    for band in ("B02", "B04", "B08"):
        counts = np.rint(source["B04" if band == "B04" else band].values * 1e4)
        cells = counts.reshape(-1, 30, 2, 36, 2)
        with np.errstate(invalid="ignore"):
            seen = np.isfinite(cells).sum((2, 4))
            means = np.where(seen, np.rint(np.nansum(cells, (2, 4)) / np.maximum(seen, 1)), np.nan)
        np.testing.assert_array_equal(one[band].values, (means / 1e4).astype("f4"))
        for tiled in (other, small, old):
            np.testing.assert_array_equal(tiled[band].values, one[band].values)


def test_indices_are_variables_besides_the_bands(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service, bands=["[B8_B4]", "red", "nir_blue"]))
        got = cube.compute()
        assert list(got.data_vars) == ["B08_B04", "B04", "B08_B02", "status", "provenance"]
        here = on(source, schema.geobox_of(cube))
        index = (here["B08"] - here["B04"]) / (here["B08"] + here["B04"])
        np.testing.assert_allclose(got["B08_B04"].values, index.values.clip(-1, 1), atol=2e-5)
        assert got["B08_B04"].dtype == np.float32
        body = json.loads(paid(service)[0].body)
        assert body["Bandnames"] == "B4, [B8_B2], [B8_B4]"
        s2cube.validate(got)
        with pytest.raises(CubeError, match="one band at least"):
            open_clearsky(**asked(service, bands=["[B8_B4]"]))
        with pytest.raises(CubeError, match="no indices"):
            open_clearsky(**asked(service, bands=["B8", "[B8_B4]"], product="tile"))


def test_all_bands(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service, bands="all"))
        assert " ".join(schema.bands_of(cube)) == "B02 B03 B04 B05 B06 B07 B08 B8A B11 B12"
        with pytest.raises(CubeError, match="does not deliver B01"):
            open_clearsky(**asked(service, bands=["coastal"]))
    with ClearSkyStandIn(source, key=KEY, model="NimbusL2") as service:
        cube = open_clearsky(**asked(service, bands="all", model="NimbusL2"))
        assert {"B01", "B09"} < set(schema.bands_of(cube))


@pytest.mark.parametrize("product", ["tile", "minitile", "tile2024"])
@pytest.mark.parametrize("side", [24, 40, 512])
def test_tiles_are_laid_together(source: xr.Dataset, asked: Any, product: str, side: int) -> None:
    with ClearSkyStandIn(source, key=KEY, tile=side, minitile=side) as service:
        cube = open_clearsky(**asked(service, product=product), chunks={"y": 17, "x": 33})
        assert not service.downloads
        assert_right(cube, source)
        before = service.downloads.copy()
        assert set(before) == set(service.dates)
        assert_right(cube, source)
        # Another area of the same tile is paid already.
        elsewhere = schema.geobox_of(source)[:9, :11]
        assert_right(open_clearsky(**asked(service, product=product, geobox=elsewhere)), source)
        if side == 512:
            assert service.downloads == before
        assert service.leaks == 0


def test_the_service_of_2024_tells_limits_elsewhere(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, generation=2024, tile=40) as service:
        assert_right(open_clearsky(**asked(service, product="tile2024")), source)
        assert [r.path for r in service.requests][:2] == ["/api/account/info", "/api/apikey/info"]
        assert_right(open_clearsky(**asked(service, product="composite")), source)


def test_auto_takes_tiles_for_large_areas(asked: Any) -> None:
    """The rule of the service: above a tenth of a tile, 262 km²."""
    large = s2cube.testing.simulate_cube(shape=(1640, 1640), bands=["red"], end="2021-06-03", seed=1)
    grid = schema.geobox_of(large)
    with ClearSkyStandIn(large, key=KEY) as service:
        told = {"bands": ["red"], "datetime": "2021-06"}
        for part, product in ((grid, "tile"), (grid[:1590], "composite")):
            cube = open_clearsky(**asked(service, geobox=part, **told))
            assert s2cube.schema.records_of(cube)[0][0]["product"] == product
        indexed = asked(service, geobox=grid, datetime="2021-06", bands=["red", "[B8_B4]"])
        assert s2cube.schema.records_of(open_clearsky(**indexed))[0][0]["product"] == "composite"


def test_dates_without_imagery_are_left_out_and_told(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, partial=["2021-06-15"], tile=24) as service:
        for product in ("composite", "tile2024"):
            cube = open_clearsky(**asked(service, datetime="2021-06", product=product))
            days = cube["time"].dt.strftime("%Y-%m-%d").values.tolist()
            assert days == ["2021-06-01", "2021-06-08", "2021-06-22", "2021-06-27"]
            missing = cube.attrs["missing_dates"].split()
            assert "2021-06-15" in missing
            assert len(missing) == 30 - 4
        # An open end is not missing.
        cube = open_clearsky(**asked(service, datetime="2021-07-01/.."))
        assert cube.attrs["missing_dates"].split()[-1] == "2021-07-08"


def test_a_date_without_imagery_when_computed_is_no_data(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, missing=["2021-06-08"]) as service:
        cube = open_clearsky(**asked(service), chunks={"y": 20})
        got = cube.compute()
        gone = got.sel(time="2021-06-08")
        assert gone["B04"].isnull().all()
        assert (gone["status"] == Status.NO_DATA).all()
        assert (gone["provenance"] == Provenance.NEVER_OBSERVED).all()
        assert_right(cube.drop_sel(time=["2021-06-08"]), source)
        # One computation hears it once; later it is asked again, for imagery may have come.
        assert sum("2021-06-08" in str(request.body) for request in paid(service)) == 1


def test_missing_imagery_is_asked_for_again_later(source: xr.Dataset, asked: Any) -> None:
    import os
    import time

    with ClearSkyStandIn(source, key=KEY, missing=["2021-06-08"]) as service:
        cube = open_clearsky(**asked(service, datetime="2021-06-08"))
        assert cube["B04"].isnull().all().compute()
        service.missing.clear()
        assert cube["B04"].isnull().all().compute()
        (note,) = asked(service)["cache"].rglob("*.note")
        long_ago = time.time() - 7200
        os.utime(note, (long_ago, long_ago))
        assert_right(cube, source)


def test_the_box_asked_for_holds_just_its_pixels(source: xr.Dataset, asked: Any) -> None:
    """A wide area: straight in degrees is metres off straight in UTM."""
    wide = s2cube.testing.simulate_cube(shape=(6, 3000), bands=["red"], end="2021-06-03", seed=1)
    with ClearSkyStandIn(wide, key=KEY) as service:
        told = {"bands": ["red"], "datetime": "2021-06", "product": "composite"}
        cube = open_clearsky(**asked(service, geobox=schema.geobox_of(wide)[1:5], **told))
        assert_right(cube, wide)


GRID = GeoBox((20, 24), Affine(10, 0, 500_000, 0, -10, 5_300_040), "EPSG:32633")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"geobox": None}, "Give an area"),
        ({"bbox": (14, 47, 15, 48)}, "not several"),
        ({"resolution": 10}, "geobox= settles"),
        ({"geobox": GRID.zoom_to((11, 24))}, "square pixels"),
        ({"geobox": GRID.translate_pix(0.5, 0)}, "no multiple of its pixel size 10"),
        ({"geobox": GRID.zoom_out(3)}, "not 30 m"),
        ({"geobox": GeoBox((4, 4), Affine(1e-4, 0, 15, 0, -1e-4, 47), "EPSG:4326")}, "take a UTM zone"),
        ({"product": "polygon"}, "product is one of"),
        ({"bands": ["infra"]}, "no Sentinel-2 band"),
        ({"bands": []}, "No band asked for"),
        ({"constellations": "Sentinel2"}, "list of names"),
        ({"chunks": {"band": 1}}, "chunks maps"),
        ({"on_read_error": "ignore"}, "'raise' or 'mark'"),
        ({"base_url": "ftp://clearsky.example"}, "no http"),
        ({"base_url": "http://clearsky.example"}, "use https"),
        ({"base_url": "https://me:pass@clearsky.example"}, "user"),
        ({"datetime": "yesterday"}, "no date or period"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_asked(
    asked: Any, tmp_path: Path, said: Any, words: str
) -> None:
    class Nowhere:
        url = "https://127.0.0.1:9"

    with pytest.raises(CubeError, match=words) as caught:
        open_clearsky(**{**asked(Nowhere, geobox=GRID), **said})
    assert "me:pass" not in str(caught.value)


def test_what_is_not_there_is_told(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, constellations=["Sentinel2"]) as service:
        with pytest.raises(CatalogError, match=r"'Nimbus3'.*there is: Stratus2 \(Sentinel2\)"):
            open_clearsky(**asked(service, model="Nimbus3"))
        with pytest.raises(CatalogError, match="of Sentinel1 for you here"):
            open_clearsky(**asked(service, constellations=["Sentinel1"]))
        with pytest.raises(CatalogError, match="nothing, so it is not ordered"):
            open_clearsky(**asked(service, datetime="2020"))
        with pytest.raises(CatalogError, match="before Sentinel-2"):
            open_clearsky(**asked(service, datetime="2010"))
        assert not service.downloads

    class Halves(ClearSkyStandIn):
        def _search_available(self, body: dict[str, Any]) -> Any:
            found = super()._search_available(body)
            places = [
                {"Wkt": half.extent.to_crs("epsg:4326").wkt, "Dates": [date]}
                for half, date in ((GRID[:, :12], "2021-06-01"), (GRID[:, 12:], "2021-06-08"))
            ]
            found["ModelImageDates"][0]["DatesByGeog"] = places
            return found

    words = "only parts of it on 2021-06-01, 2021-06-08"
    with Halves(source, key=KEY) as service, pytest.raises(CatalogError, match=words):
        open_clearsky(**asked(service))


def test_imagery_made_in_several_ways_is_asked_about(source: xr.Dataset, asked: Any) -> None:
    class Both(ClearSkyStandIn):
        def _search_available(self, body: dict[str, Any]) -> Any:
            (one,) = super()._search_available(body)["ModelImageDates"]
            return {"ModelImageDates": [one, {**one, "SatelliteConstellations": ["Sentinel1"]}]}

    with Both(source, key=KEY, constellations=["Sentinel2"]) as service:
        with pytest.raises(CubeError, match=r"say constellations=\['Sentinel1'\] or \['Sentinel2'\]"):
            open_clearsky(**asked(service))
        assert_right(open_clearsky(**asked(service, constellations=["Sentinel2"])), source)


@pytest.mark.parametrize("fault", ["shifted", "cropped", "other size", "other crs", "bytes", "bands"])
def test_an_image_on_another_grid_is_refused(source: xr.Dataset, asked: Any, fault: str) -> None:
    """Nothing is shifted by a part of a pixel, or silently cut off."""

    class Wrong(ClearSkyStandIn):
        def _composite(self, body: dict[str, Any]) -> Any:
            import rasterio
            from rasterio.io import MemoryFile

            answer = super()._composite(body)
            with rasterio.open(MemoryFile(answer.body)) as file:
                counts, profile = file.read(), file.profile
            across = {"shifted": 0.5, "other size": 0.0}.get(fault, 0.0)
            profile["transform"] *= Affine.translation(across, 0)
            if fault == "other size":
                profile["transform"] *= Affine.scale(1.001)
            if fault == "cropped":
                counts = counts[:, :-1]
                profile["height"] -= 1
            if fault == "other crs":
                profile["crs"] = "EPSG:32634"
            if fault == "bytes":
                counts = np.abs(counts).clip(0, 255).astype("u1")
                profile |= {"dtype": "uint8", "nodata": 0}
            if fault == "bands":
                counts = counts[:2]
                profile["count"] = 2
            memory = MemoryFile()
            with memory.open(**profile) as file:
                file.write(counts)
            return type(answer)(200, bytes(memory.getbuffer()))

    with Wrong(source, key=KEY) as service:
        for mode in ("raise", "mark"):
            cube = open_clearsky(**asked(service), on_read_error=mode)
            with pytest.raises(ServiceError, match="does not fit the cube"):
                cube.isel(time=0).compute()
        # It is kept: looking at it costs nothing more.
        assert set(service.downloads.values()) == {1}


def test_tiles_of_other_zones_are_not_mixed_in(source: xr.Dataset, asked: Any) -> None:
    class Elsewhere(ClearSkyStandIn):
        def _search_tiles(self, body: dict[str, Any]) -> Any:
            tiles = super()._search_tiles(body)["Tiles"]
            return {"Tiles": [{**tile, "Epsg": "32632"} for tile in tiles]}

        def _bounding_box(self, body: dict[str, Any]) -> Any:
            places = super()._bounding_box(body)
            return [{**place, "Zone": f"{33 + i}N"} for i, place in enumerate(places)]

    with Elsewhere(source, key=KEY, tile=40) as service:
        with pytest.raises(CatalogError, match="only tiles of other UTM zones"):
            open_clearsky(**asked(service, product="tile"))
        with pytest.raises(CubeError, match="do not share their pixels"):
            open_clearsky(**asked(service, product="tile2024"))
        assert not service.downloads


def test_threads_and_one_thread_agree(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service), chunks={"y": 10, "x": 12})
        with dask.config.set(num_workers=8):
            one = cube.compute(scheduler="threads")
        assert_same(one, cube.compute(scheduler="sync"))
