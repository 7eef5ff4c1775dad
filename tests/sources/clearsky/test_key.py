"""The key is in no graph, file, message or log, and goes to nobody else."""

import io
import logging
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
import xarray as xr
from service import COMPOSITE, KEY, Saying, assert_right, envelope, paid

from s2cube.errors import ReadError, ServiceError
from s2cube.sources.clearsky import client, estimate_clearsky, key, open_clearsky
from s2cube.testing import ClearSkyStandIn, Response


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


@pytest.mark.parametrize("word", ["", "two words", "line\nbreak", "schlüssel", b"bytes"])
def test_what_is_no_key_is_not_shown(source: xr.Dataset, asked: Any, word: Any) -> None:
    with ClearSkyStandIn(source, key=KEY) as service:
        with pytest.raises(ServiceError, match="holds no ClearSKY key") as caught:
            open_clearsky(**asked(service, api_key=word))
        assert not word or str(word) not in str(caught.value)
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


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/api/account/info", COMPOSITE])
def test_a_redirection_is_not_followed(source: xr.Dataset, asked: Any, status: int, path: str) -> None:
    """It could be paid there too, and would take the key along."""
    with (
        ClearSkyStandIn(source, key=KEY) as elsewhere,
        Saying(source, key=KEY, says=Response(200), path=path) as service,
    ):
        service.says = Response(status, b"", {"Location": f"{elsewhere.url}/api/anywhere?key={KEY}"})
        with pytest.raises(ServiceError, match=rf"redirection \({status}\).*not followed") as caught:
            open_clearsky(**asked(service)).isel(time=0).compute()
        assert KEY not in str(caught.value)
        assert len(paid(service, path)) == 1
        assert not elsewhere.requests


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("http://blob.example/1.tif?sig=secret", "is not encrypted"),
        ("file:///etc/passwd?sig=secret", r"is no http\(s\) URL"),
        ("ftp://blob.example/1.tif?sig=secret", r"is no http\(s\) URL"),
        ("", r"is no http\(s\) URL"),
    ],
)
def test_a_link_that_leads_astray_is_not_followed(link: str, why: str) -> None:
    """A link is a credential, and says what is read: never from this machine, never in the open."""

    class Told(client.Service):
        def _ask(self, *_: Any, **__: Any) -> Any:
            return {"FileAzureSasUri": link}

    service = Told("https://clearsky.example", key.give(KEY), "account")
    with pytest.raises(ServiceError, match=f"with a link that {why}") as caught:
        service.save_link("/api/images/1", io.BytesIO(), lambda: "")
    assert "secret" not in str(caught.value)


def test_workers_are_told_the_key_and_logs_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask's workers log the plugins that they get."""
    told: list[Any] = []
    ambient = SimpleNamespace(status="running", asynchronous=False, register_plugin=told.append)
    dask = SimpleNamespace(default_client=lambda: ambient, WorkerPlugin=object)
    monkeypatch.setitem(sys.modules, "distributed", dask)
    handle = key.give(KEY)
    key.share(handle)
    (plugin,) = told
    assert KEY not in f"{plugin} {plugin!r} {plugin.name}"
    monkeypatch.setattr(key, "_given", {})
    monkeypatch.delenv(key.VARIABLE, raising=False)
    with pytest.raises(ServiceError, match="does not know the ClearSKY key"):
        key.key_of(handle)
    plugin.setup(None)
    assert key.key_of(handle) == KEY


def test_a_proxy_does_not_see_what_stays_here(
    source: xr.Dataset, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Saying(source, key=KEY, says=Response(502), path="") as proxy,
        ClearSkyStandIn(source, key=KEY) as service,
    ):
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert_right(open_clearsky(**asked(service)), source)
        assert not proxy.requests


@pytest.mark.parametrize("status", [404, 500])
def test_the_key_is_not_shown_cut(source: xr.Dataset, asked: Any, status: int) -> None:
    for before in range(380, 420):
        says = Response(status, b"x" * before + KEY.encode())
        with (
            Saying(source, key=KEY, says=says, path="/models") as service,
            pytest.raises((ServiceError, ReadError)) as caught,
        ):
            client.service(service.url, key.give(KEY)).ask("/api/tasking/models", None, str)
        assert KEY[:3] not in str(caught.value)
