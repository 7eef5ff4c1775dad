"""Every answer of the service does what its table says; faults never become pixels; no key is shown."""

import itertools
import pickle
import shutil
from typing import Any

import numpy as np
import pytest
import xarray as xr
from service import KEY, Saying, assert_right, envelope, forget, paid, said

from s2cube.errors import ReadError, ServiceError
from s2cube.schema import Status
from s2cube.sources.clearsky import client, estimate_clearsky, exchange, open_clearsky
from s2cube.testing import ClearSkyStandIn, Faults, Response

REFUSALS: dict[str, tuple[Response, str]] = {
    "401": (said(401, {"title": "Unauthorized"}), r"refuses the API key \(401\).*CLEARSKY_API_KEY"),
    "403": (Response(403, b"Forbidden"), r"refuses the API key \(403\)"),
    "404": (said(404, {"title": "Not Found"}), r"no such path or identifier \(404\)"),
    "992": (envelope(992, data={"Wkt": ["malformed"]}), r"code 992.*Wkt: malformed"),
    "993": (envelope(993, data={"Bandnames": ["B99 is unknown"]}), r"code 993.*Bandnames: B99 is"),
    "ASP.NET": (
        said(400, {"title": "One or more validation errors occurred.", "status": 400,
                   "errors": {"Date": ["is not a date"]}, "traceId": "00-1"}),
        "validation errors occurred; Date: is not a date",
    ),
    "994": (envelope(994), r"Not enough.*\(code 994\).*estimated at 0\.3\d* credits for 0\.3"),
    "1006": (envelope(1006), r"No ClearSKY order covers.*code 1006"),
    "unknown": (envelope(4711, "Something new"), "status 400, code 4711.*Something new"),
    "in disguise": (envelope(1006, status=200), "No ClearSKY order covers"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_stops_at_once(source: xr.Dataset, asked: Any, name: str) -> None:
    answer, words = REFUSALS[name]
    with Saying(source, key=KEY, says=answer) as service:
        for mode in ("raise", "mark"):
            cube = open_clearsky(**asked(service), on_read_error=mode)
            before = len(paid(service))
            with pytest.raises(ServiceError, match=words) as caught:
                cube.isel(time=0).compute()
            assert isinstance(caught.value, OSError)
            assert KEY not in str(caught.value)
            assert caught.value.__cause__ is caught.value.__context__ is None
            assert len(paid(service)) == before + 1
        # And nothing is left of it: when it is cleared up, the same cube computes.
        service.times = 0
        assert_right(cube, source)


PASSING: dict[str, Response] = {
    "429": said(429, {"title": "Too Many Requests"}, {"Retry-After": "0"}),
    "1003": envelope(1003),
    "503": said(503, {"title": "later"}),
    "400 without words": Response(400, b""),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_waited_for(source: xr.Dataset, asked: Any, name: str) -> None:
    with Saying(source, key=KEY, says=PASSING[name], times=4) as service:
        assert_right(open_clearsky(**asked(service)), source)
        assert len(paid(service)) == len(service.dates) + 4


@pytest.mark.parametrize("name", PASSING)
def test_what_does_not_pass_raises_or_is_marked(source: xr.Dataset, asked: Any, name: str) -> None:
    with Saying(source, key=KEY, says=PASSING[name]) as service:
        cube = open_clearsky(**asked(service))
        with pytest.raises(ReadError, match="ClearSKY did not deliver") as caught:
            cube.isel(time=0).compute()
        assert len(paid(service)) == (
            client.THROTTLED_ATTEMPTS if name in ("429", "1003") else client.ATTEMPTS
        )
        assert "may have counted" not in str(caught.value)
        assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
        marked = open_clearsky(**asked(service), on_read_error="mark").isel(time=[0, 1]).compute()
        assert (marked["status"] == Status.READ_FAILED).all()
        assert (marked["provenance"] == 255).all()
        assert marked["B04"].isnull().all()
        service.times = 0
        assert_right(cube, source)


BROKEN: dict[str, Response] = {
    "JSON": said(200, {"Succeeded": True, "Data": {"Bytes": 12}}),
    "shorter than a header": Response(200, b"II*\0"),
    "empty": Response(200, b""),
    "a page": Response(200, b"<html>Welcome</html>"),
    "a header and noise": Response(200, b"II*\0\x08\0\0\0" + bytes(1000)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_200_that_is_no_image_is_a_failure(source: xr.Dataset, asked: Any, name: str) -> None:
    """It may have been counted as a download: it is asked once more, then raises."""
    with Saying(source, key=KEY, says=BROKEN[name]) as service:
        cube = open_clearsky(**asked(service))
        with pytest.raises(ReadError, match="may have counted it as a download"):
            cube.isel(time=0).compute()
        assert len(paid(service)) == client.RISKED
        assert not list(asked(service)["cache"].rglob("*.tif"))
        assert not list(asked(service)["cache"].rglob("*.partial"))
        forget(asked(service)["cache"])
        service.times = 1
        assert_right(cube.isel(time=[0]), source)


def test_an_answer_that_drips_is_given_up(
    source: xr.Dataset, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that keep coming, and too slowly: no silence is long enough to notice."""
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service)).isel(time=[0])
        for seconds, slow in ((20.0, False), (4000.0, True)):
            monkeypatch.setattr(exchange, "clock", itertools.count(0.0, seconds).__next__)
            if slow:
                with pytest.raises(ReadError, match=r"too slowly: \d+ bytes in 8000 seconds.*twice"):
                    cube.compute()
                with pytest.raises(ReadError, match="too slowly"):
                    open_clearsky(**asked(service))
            else:
                assert_right(cube, source)
                shutil.rmtree(asked(service)["cache"])


LENGTHS = {"no number": "abc", "negative": "-5", "more": "1000000"}


@pytest.mark.parametrize("length", LENGTHS)
def test_a_length_that_is_none_is_no_image(source: xr.Dataset, asked: Any, length: str) -> None:
    answer = Response(200, b"II*\0\x08\0\0\0" + bytes(100), {"Content-Length": LENGTHS[length]})
    with (
        Saying(source, key=KEY, says=answer) as service,
        pytest.raises(ReadError, match="may have counted it as a download, twice"),
    ):
        open_clearsky(**asked(service)).isel(time=0).compute()


def test_an_image_that_breaks_at_any_byte_is_noticed(source: xr.Dataset, asked: Any) -> None:
    """Also where the length told is that of what came: what passes has all its pixels."""
    import rasterio

    from s2cube.sources.clearsky.tiff import damage

    with ClearSkyStandIn(source, key=KEY) as service:
        open_clearsky(**asked(service, product="tile")).isel(time=0).compute()
        open_clearsky(**asked(service)).isel(time=0).compute()
    files = list(asked(service)["cache"].rglob("*.tif"))
    assert len(files) == 2
    for file in files:
        assert damage(file) == ""
        whole = file.read_bytes()
        with rasterio.open(file) as image:
            pixels = image.read()
        noticed = 0
        for end in np.linspace(0, len(whole) - 1, 60).astype(int):
            file.write_bytes(whole[:end])
            if damage(file):
                noticed += 1
                continue
            with rasterio.open(file) as image:
                np.testing.assert_array_equal(image.read(), pixels)
        assert noticed > 50


@pytest.mark.parametrize("product", ["composite", "minitile", "tile2024"])
@pytest.mark.parametrize("seed", range(3))
def test_faults_never_become_pixels(source: xr.Dataset, asked: Any, product: str, seed: int) -> None:
    """40 % of answers fail: right pixels, or an error, or read_failed."""
    kinds = [429, 503, 500, "reset", "truncate", "cut", "short"]
    with ClearSkyStandIn(source, key=KEY, tile=40, minitile=40) as service:
        opened = {
            mode: open_clearsky(**asked(service, product=product), on_read_error=mode)
            for mode in ("mark", "raise")
        }
        service.faults = Faults(share=0.4, kinds=kinds, seed=seed)
        assert_right(opened["mark"], source, failed=True)
        for step in range(opened["raise"].sizes["time"]):
            one = opened["raise"].isel(time=[step])
            try:
                one.compute()
            except ReadError:
                continue
            assert_right(one, source)
        service.faults = Faults()
        forget(asked(service)["cache"])
        assert_right(opened["raise"], source)
        assert service.leaks == 0


def test_opening_survives_faults(source: xr.Dataset, asked: Any) -> None:
    kinds = [429, 500, 503, "reset", "truncate", "cut", "short"]
    with ClearSkyStandIn(source, key=KEY, tile=24, minitile=24, generation=2024) as service:
        service.faults = Faults(share=0.4, kinds=kinds, seed=1)
        for product in ("composite", "minitile", "tile2024"):
            assert open_clearsky(**asked(service, product=product)).sizes["time"] == 7
        service.faults = Faults(share=1)
        with pytest.raises(ReadError, match=r"did not deliver \(6 attempts at 127\.0\.0\.1/api/account"):
            open_clearsky(**asked(service))


def test_a_service_that_is_away_is_told(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service))
    with pytest.raises(ReadError, match="cannot connect") as caught:
        cube.isel(time=0).compute()
    assert "may have counted" not in str(caught.value)


def test_a_damaged_download_is_named(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service)).isel(time=0)
        cube.compute()
        (file,) = asked(service)["cache"].rglob("*.tif")
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(ReadError, match=file.name) as caught:
            cube.compute()
        assert caught.value.__cause__ is caught.value.__context__ is None
        assert service.downloads == {"2021-06-01": 1}


ODD: dict[str, tuple[str, Any]] = {
    "no dates": ("/search/available", {"ModelImageDates": None}),
    "no places": ("/search/available", {"ModelImageDates": [{"Model": "Stratus2"}]}),
    "a list": ("/search/available", [1]),
    "no outline": ("/search/available", {"ModelImageDates": [
        {"Model": "Stratus2", "SatelliteConstellations": ["a"],
         "DatesByGeog": [{"Wkt": "POLYGON((", "Dates": ["2021-06-01"]}]}]}),
    "no date": ("/search/available", {"ModelImageDates": [
        {"Model": "Stratus2", "SatelliteConstellations": ["a"],
         "DatesByGeog": [{"Wkt": "POINT(1 1)", "Dates": ["soon"]}]}]}),
    "no limit": ("/account/info", {"MaxConcurrentConnections": "many"}),
    "no tile": ("/search/tiles", {"Tiles": [{"Guid": "one"}]}),
    "no image": ("/boundingbox/", [{"Zone": "33N", "XPosition": 0, "YPosition": 0,
                 "SatelliteImageZones": [{"SatelliteImageId": "../x", "ImageDate": "2021-06-01"}]}]),
    "no price": ("/estimate", None),
    "a key": ("/account/info", {"MaxConcurrentConnections": KEY}),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_is_one_error_and_nothing_is_paid(
    source: xr.Dataset, asked: Any, name: str
) -> None:
    path, data = ODD[name]
    answer = said(200, {"Succeeded": True, "Data": data, "Error": None})
    product = {"/search/tiles": "tile", "/boundingbox/": "tile2024"}.get(path, "auto")
    with Saying(source, key=KEY, says=answer, path=path) as service:
        with pytest.raises(ServiceError, match=f"answered what it should not to .*{path}") as caught:
            estimate_clearsky(**asked(service, product=product))
        assert KEY not in str(caught.value)
        assert not service.downloads
