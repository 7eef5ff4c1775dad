"""Every answer of the service does what its table says; faults never become pixels; no key is shown."""

import io
import logging
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import xarray as xr
from service import COMPOSITE, KEY, Saying, assert_right, envelope, paid, said

from s2cube.errors import ReadError, ServiceError
from s2cube.schema import Status
from s2cube.sources.clearsky import client, estimate_clearsky, open_clearsky
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
    "500": Response(500, b"oops"),
    "502": Response(502, b"<html>Bad Gateway</html>"),
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
        service.times = 1
        assert_right(cube.isel(time=[0]), source)


@pytest.mark.parametrize("kind", ["reset", "truncate", "cut", "short"])
def test_a_paid_image_that_breaks_is_asked_for_twice(source: xr.Dataset, asked: Any, kind: str) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service)).isel(time=[2])
        service.faults = Faults(share=1, kinds=[kind], only=COMPOSITE, limit=1)
        assert_right(cube, source)
        assert service.downloads == {"2021-06-15": 2}
        other = open_clearsky(**asked(service)).isel(time=[3])
        service.faults = Faults(share=1, kinds=[kind], only=COMPOSITE)
        with pytest.raises(ReadError, match="may have counted"):
            other.compute()
        assert service.downloads["2021-06-22"] == 2
        assert not list(asked(service)["cache"].rglob("*.partial"))


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


@pytest.mark.parametrize(
    ("limits", "pieces"), [({"MaxCompositeAreaKm2": 0.1}, 4), ({"MaxTotalBands": 2}, 2)]
)
@pytest.mark.parametrize("known", [True, False])
def test_what_is_too_much_is_split(
    source: xr.Dataset, asked: Any, limits: dict[str, float], pieces: int, known: bool
) -> None:
    """By the account's limits beforehand, or by the service's answer (1004, 1005)."""
    told = limits if known else dict.fromkeys(limits, 10_000)
    with ClearSkyStandIn(source, key=KEY, limits=limits, told=told) as service:
        cube = open_clearsky(**asked(service), chunks={"y": 30, "x": 30})
        estimate = estimate_clearsky(**asked(service))
        assert_right(cube, source)
        assert set(service.downloads.values()) == {pieces}
        sent = len(paid(service))
        assert sent == len(service.dates) * (pieces if known else pieces * 2 - 1)
        assert estimate.requests == len(service.dates) * (pieces if known else 1)
        # How it was split is remembered: again costs nothing, and asks nothing.
        assert_right(open_clearsky(**asked(service)), source)
        assert len(paid(service)) == sent


def test_credits_that_run_out_stop_with_the_price(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, credits=1) as service:
        estimate = estimate_clearsky(**asked(service))
        assert estimate.credits is not None
        assert estimate.credits > 1
        cube = open_clearsky(**asked(service))
        with pytest.raises(ServiceError, match=r"code 994.*buy credits, or open less"):
            cube.compute()
        # What was paid is kept.
        assert sum(service.downloads.values()) >= 1
        service.credits = float("inf")
        assert_right(cube, source)
        assert set(service.downloads.values()) == {1}


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
        assert_right(opened["raise"], source)
        assert service.leaks == 0


def test_opening_survives_faults(source: xr.Dataset, asked: Any) -> None:
    kinds = [429, 503, "reset", "truncate", "cut", "short"]
    with ClearSkyStandIn(source, key=KEY, tile=24, minitile=24, generation=2024) as service:
        service.faults = Faults(share=0.4, kinds=kinds, seed=1)
        for product in ("composite", "minitile", "tile2024"):
            assert open_clearsky(**asked(service, product=product)).sizes["time"] == 7
        service.faults = Faults(share=1)
        with pytest.raises(ReadError, match=r"did not deliver \(6 attempts at 127\.0\.0\.1/api/account"):
            open_clearsky(**asked(service))


def test_a_link_that_has_expired_is_replaced(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY, expired=1) as service:
        cube = open_clearsky(**asked(service, product="tile2024")).isel(time=[0])
        assert_right(cube, source)
        assert len(paid(service, "2021-06-01")) == 2
        service.expired = 100
        with pytest.raises(ReadError, match=r"the signed link to 127\.0\.0\.1 answered 403") as caught:
            open_clearsky(**asked(service, product="tile2024")).isel(time=1).compute()
        assert "sig=" not in str(caught.value)


def test_a_link_is_read_again_not_asked_for_again(source: xr.Dataset, asked: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        cube = open_clearsky(**asked(service, product="tile2024")).isel(time=[0])
        service.faults = Faults(
            share=1, kinds=["truncate", "reset", "short", 503], only="/blob/", limit=4
        )
        assert_right(cube, source)
        assert len(paid(service, "2021-06-01")) == 1


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


def files_of(folder: Path) -> bytes:
    return b"".join(
        str(p).encode() + (p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*")
    )


def test_the_key_is_nowhere(
    source: xr.Dataset, asked: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = envelope(993, f"Your key {KEY} asked for this", {"X-API-KEY": [KEY]})
    with Saying(source, key=KEY, says=echo, times=0, generation=2024) as service:
        cube = open_clearsky(**asked(service), chunks={"y": 30})
        secret = KEY.encode()
        assert secret not in cloudpickle.dumps(cube)
        assert secret not in pickle.dumps(dict(cube.__dask_graph__()))
        page = io.StringIO()
        cube.info(page)
        shown = [page.getvalue(), cube._repr_html_(), *map(str, cube.variables.values())]
        graph = dict(cube.__dask_graph__())
        shown += [repr(graph), str(cube.attrs), str(cube["items"].values.tolist())]
        assert KEY not in " ".join(shown)
        cube.isel(time=0).compute()
        cube.drop_vars("items").isel(time=[0]).to_zarr(tmp_path / "cube.zarr", zarr_format=2)
        service.times = float("inf")
        with pytest.raises(ServiceError, match=r"Your key \*\*\* asked") as caught:
            cube.isel(time=1).compute()
        assert KEY not in repr(caught.value)
        assert secret not in pickle.dumps(caught.value)
        assert secret not in files_of(tmp_path)
        assert KEY not in caplog.text
        assert KEY not in "".join(capfd.readouterr())
        assert KEY not in repr(estimate_clearsky(**asked(service)))


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel", b"bytes"])
def test_what_is_no_key_is_not_shown(source: xr.Dataset, asked: Any, key: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        with pytest.raises(ServiceError, match="holds no ClearSKY key") as caught:
            open_clearsky(**asked(service, api_key=key))
        assert not key or str(key) not in str(caught.value)
        assert not service.requests


def test_the_key_comes_from_the_environment(
    source: xr.Dataset, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        with pytest.raises(ServiceError, match="set the environment variable CLEARSKY_API_KEY"):
            open_clearsky(**asked(service, api_key=None))
        monkeypatch.setenv("CLEARSKY_API_KEY", KEY)
        assert_right(open_clearsky(**asked(service, api_key=None)), source)
        monkeypatch.setenv("CLEARSKY_API_KEY", "another")
        with pytest.raises(ServiceError, match="refuses the API key"):
            open_clearsky(**asked(service, api_key=None))


def test_a_redirection_does_not_take_the_key_along(source: xr.Dataset, asked: Any) -> None:
    with (
        ClearSkyStandIn(source, key=KEY) as elsewhere,
        Saying(source, key=KEY, says=Response(200), path="/api/account/info") as service,
    ):
        for status in (301, 302, 303, 307, 308):
            service.says = Response(status, b"", {"Location": f"{elsewhere.url}/api/account/info"})
            with pytest.raises((ServiceError, ReadError)):
                open_clearsky(**asked(service))
        assert elsewhere.requests
        for request in elsewhere.requests:
            assert KEY not in str(request.headers)
