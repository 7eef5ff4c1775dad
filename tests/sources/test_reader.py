"""Reading over HTTP and S3: right pixels or an honest failure, whatever goes wrong on the way."""

import pickle
import threading
from pathlib import Path
from typing import Any

import archive
import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import xarray as xr
from compare import assert_same
from remote import GDAL, JP2, MIXED, driver, made, opened, served

import s2cube
from s2cube.schema import Status
from s2cube.sources.reader import _DEFINITE, _UNSAID, Driver
from s2cube.sources.retry import Retry
from s2cube.testing import Faults, FileServer, Request, Response


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def items(folder: Path) -> list[pystac.Item]:
    return made(folder)


@pytest.mark.parametrize(
    "kinds", [(429, 500, 503), ("reset",), ("truncate",), ("cut",), ("short",), MIXED]
)
@pytest.mark.parametrize("resolution", [None, 25.0, 80.0], ids=["native", "warped", "overview"])
def test_faults_that_pass_leave_the_right_pixels(
    folder: Path, items: list[pystac.Item], kinds: tuple[int | str, ...], resolution: float | None
) -> None:
    """40 % of all answers go wrong; the cube is that of the local files, to the bit."""
    expected = opened(items, driver(), resolution=resolution)
    with FileServer(folder, faults=Faults(0.4, kinds, seed=3)) as server:
        assert_same(opened(served(items, server.href), driver(), resolution=resolution), expected)


@pytest.mark.parametrize("kinds", [("truncate",), ("short",), (404,), MIXED])
def test_jpeg2000_is_never_wrong_in_silence(tmp_path: Path, kinds: tuple[int | str, ...]) -> None:
    """GDAL decodes it beside the thread that asked, unless told not to: errors there were lost."""
    items = made(tmp_path, JP2, days=1)
    expected = opened(items, driver())
    with FileServer(tmp_path, faults=Faults(0.3, kinds, seed=5)) as server:
        found = opened(served(items, server.href), driver(on_read_error="mark")).compute()
    wanted = expected.compute()
    read = found["status"] != Status.READ_FAILED
    for band in ("B04", "B11"):
        np.testing.assert_array_equal(found[band].where(read), wanted[band].where(read))
    np.testing.assert_array_equal(found["status"].where(read), wanted["status"].where(read))
    if kinds != (404,):
        assert read.all()


def test_the_users_number_of_threads_does_not_make_pixels_wrong(tmp_path: Path) -> None:
    """The one setting of GDAL that the user cannot have."""
    items = made(tmp_path, JP2, days=1)
    expected = opened(items, driver())
    with (
        rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"),
        FileServer(tmp_path, faults=Faults(0.4, ("truncate",), seed=5)) as server,
    ):
        assert_same(opened(served(items, server.href), driver()), expected)


@pytest.mark.parametrize("how", ["gone", "broken"])
def test_what_never_works_is_raised_or_marked(folder: Path, items: list[pystac.Item], how: str) -> None:
    """The pixels of the failing file only, all of them, as read_failed and not as no data."""
    kinds = (404,) if how == "gone" else ("truncate",)
    few = Retry(attempts=4, wait=0.002)
    with FileServer(folder, faults=Faults(1.0, kinds, only="S2_1/B11")) as server:
        there = served(items, server.href, "?sig=secret")
        with pytest.raises(s2cube.errors.ReadError) as error:
            opened(there, driver(retry=few)).compute()
        cube = opened(there, driver(retry=few, on_read_error="mark")).compute()
    assert f"{server.folder.name}" not in str(error.value)
    assert "S2_1/B11.cog.tif" in str(error.value)
    assert "sig" not in str(error.value)
    assert ("code: 404" in str(error.value)) == (how == "gone")
    assert "on_read_error='mark'" in str(error.value)
    pickle.loads(pickle.dumps(error.value))
    assert (cube["status"][0] == Status.READ_FAILED).all()
    assert cube["B11"][0].isnull().all()
    expected = opened(items, driver()).compute()
    assert_same(cube.isel(time=[1]).drop_attrs(), expected.isel(time=[1]).drop_attrs())
    np.testing.assert_array_equal(cube["B04"][0], expected["B04"][0])


def test_a_missing_file_fails_after_a_few_requests(folder: Path, items: list[pystac.Item]) -> None:
    """With the waits that users have: about a second, not a minute."""
    with FileServer(folder) as server:
        item = items[0].clone()
        for asset in item.assets.values():
            asset.href = server.url + "/none.tif"
        with pytest.raises(s2cube.errors.ReadError, match=r"none\.tif: HTTP response code: 404"):
            s2cube.open_stac([item], bands=["B04"], chunks=None)
        # One pixel block each of B04 and SCL may be under way at once.
        assert len(server.requests) <= 2 * 2 * 3


def test_a_404_that_passes_does_not_stick(folder: Path, items: list[pystac.Item]) -> None:
    """GDAL keeps it for as long as the process lives: a catalogue may be ahead of its files."""
    with FileServer(folder, faults=Faults(1.0, (404,), limit=1)) as server:
        cube = opened(served(items, server.href), driver())
        assert_same(cube, opened(items, driver()))


def test_failures_of_one_read_do_not_reach_the_next(folder: Path, items: list[pystac.Item]) -> None:
    """What GDAL keeps of a broken body or a status is not used again."""
    with FileServer(folder, faults=Faults(1.0, ("truncate", 403))) as server:
        there = served(items, server.href)
        cube = opened(there, driver(retry=Retry(attempts=2, wait=0.001), on_read_error="mark"))
        assert (cube["status"] == Status.READ_FAILED).all()
        server.faults = Faults()
        assert_same(opened(there, driver(retry=Retry(attempts=1))), opened(items, driver()))


def test_hangs_are_cut(folder: Path, items: list[pystac.Item]) -> None:
    """Two answers hang; the pixels are there while they still do."""
    gdal = {**GDAL, "GDAL_HTTP_LOW_SPEED_TIME": "1"}
    with FileServer(folder, faults=Faults(1.0, ("hang",), hang=300, limit=2)) as server:
        assert_same(opened(served(items, server.href), driver(gdal=gdal)), opened(items, driver()))
        assert server.hanging == 2


def test_reading_one_block_takes_few_requests(folder: Path, items: list[pystac.Item]) -> None:
    """Size, header, and a range for each row of tiles: what an estimate of requests may count on."""
    with FileServer(folder) as server:
        cube = opened(served(items[:1], server.href), driver())
        assert server.requests == []
        cube["B04"][0, :256, :256].compute()
        first = [(request.method, request.path) for request in server.requests]
        assert len(first) == 4
        assert {path for _, path in first} == {"/S2_1/B04.cog.tif"}
        assert [method for method, _ in first] == ["HEAD", "GET", "GET", "GET"]
        # The header is kept by GDAL: the next block of the file costs its tiles only.
        cube["B04"][0, 256:, 256:].compute()
        assert len(server.requests) <= 4 + 2


def test_saturated_pixels_cost_no_request(tmp_path: Path) -> None:
    """They are set aside in memory: what is resampled is read once."""
    requests = []
    for name, value in (("dim", 3000), ("bright", 65535)):
        (item,) = made(tmp_path / name, days=1)
        with rasterio.open(item.assets["B11"].href, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            pixels = file.read(1)
            pixels[100:102, 100:102] = value
            file.write(pixels, 1)
        with FileServer(tmp_path / name) as server:
            cube = opened(served([item], server.href), driver(), resolution=10.0)
            band = cube[["B11", "status"]].isel(y=slice(0, 256), x=slice(0, 256))
            band["B11"].compute(scheduler="synchronous")
            requests.append([(one.method, one.headers.get("Range")) for one in server.requests])
            if value == 65535:
                assert (band["status"] == Status.SATURATED).sum() == 36
    assert requests[0] == requests[1]


def test_the_same_cube_has_the_same_names(folder: Path, items: list[pystac.Item]) -> None:
    """Opened twice, before and after reading, and with another signature in its links."""

    def keys(cube: xr.Dataset) -> set[Any]:
        return set(cube.__dask_keys__()[0][0][0]) | set(cube["B04"].data.dask)

    with FileServer(folder) as server:
        sign = Known()
        one = opened(served(items, server.href, "?sig=one&se=2026"), driver(sign=sign))
        one["B04"][0].compute(scheduler="synchronous")
        two = opened(served(items, server.href, "?sig=two&se=2027"), driver(sign=sign))
        other = opened(served(items, server.href), driver(sign=sign, on_read_error="mark"))
    assert keys(one) == keys(two)
    assert one["B04"].data.name != other["B04"].data.name
    assert b"sig=" not in pickle.dumps(one["B04"].data.dask)


class Known:
    """Signs with what it was told; equal to all of its kind, and its name is its token."""

    def __call__(self, href: str) -> str:
        return href + "?sig=known"

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known)

    def __dask_tokenize__(self) -> str:
        return "known"


class Guarded(FileServer):
    """Serves to those who say the word."""

    word = "Bearer open sesame"

    def answer(self, request: Request) -> Response:
        if request.headers.get("Authorization") != self.word:
            return Response(401)
        return super().answer(request)


def test_settings_of_gdal_reach_the_threads_that_read(folder: Path, items: list[pystac.Item]) -> None:
    """From the profile; from rasterio.Env, which wins; both as they were when the cube was opened."""
    right = {"GDAL_HTTP_AUTH": "BEARER", "GDAL_HTTP_BEARER": "open sesame"}
    wrong = {**right, "GDAL_HTTP_BEARER": "shut"}
    # Another try, because GDAL keeps a 401 by the link, whoever was refused.
    few = Retry(attempts=3, wait=0.001)
    expected = opened(items, driver())
    with Guarded(folder) as server:
        there = served(items, server.href)
        with pytest.raises(s2cube.errors.ReadError, match="401"):
            opened(there, driver(retry=few)).compute()
        assert_same(opened(there, driver(gdal=right, retry=few)), expected)
        with rasterio.Env(**right):
            cube = opened(there, driver(gdal=wrong, retry=few))
        assert_same(cube, expected)
        odc.stac.configure_rio(**right)
        try:
            cube = opened(there, driver(retry=few))
        finally:
            odc.stac.configure_rio()
        assert_same(cube, expected)


def test_settings_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, the shell's, the profile's, the user's; no secret and no folder of this machine travels."""
    # What odc-loader captures where nothing is configured; the second where another test did and undid.
    assert Driver()._rio.capture_env() in (_UNSAID, {"_aws": None})
    assert "_aws" not in Driver().capture_env()
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "33")
    monkeypatch.setenv("AWS_S3_ENDPOINT", "from.the.shell")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush hush")
    ours = Driver(gdal={"AWS_S3_ENDPOINT": "from.the.profile", "GDAL_HTTP_MAX_RETRY": "7"})
    plain = ours.capture_env()
    assert plain["GDAL_HTTP_TIMEOUT"] == "33"
    assert plain["AWS_S3_ENDPOINT"] == "from.the.profile"
    assert plain["AWS_REGION"] == "eu-central-1"
    assert plain["GDAL_HTTP_MAX_RETRY"] == "7"
    with rasterio.Env(GDAL_HTTP_MAX_RETRY="9", AWS_S3_ENDPOINT="from.the.user"):
        said = ours.capture_env()
    assert (said["GDAL_HTTP_MAX_RETRY"], said["AWS_S3_ENDPOINT"]) == ("9", "from.the.user")
    assert "hush" not in repr((plain, said))
    assert not {"GDAL_DATA", "PROJ_DATA"} & (plain.keys() | said.keys())


def test_drivers_refuse_what_they_cannot_use() -> None:
    with pytest.raises(s2cube.errors.CubeError, match="on_read_error is 'raise' or 'mark'"):
        Driver("ignore")  # type: ignore[arg-type]
    with pytest.raises(s2cube.errors.CubeError, match="function of a link"):
        Driver(sign="key")  # type: ignore[arg-type]
    with pytest.raises(s2cube.errors.CubeError, match="frozen dataclass"):
        Driver(sign=Unhashable())
    with pytest.raises(s2cube.errors.CubeError, match="attempts"):
        Retry(attempts=0)


@pytest.mark.parametrize("mode", ["raise", "mark"])
@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("uint8", [1, 253, 254, 255]),
        ("int8", [-128, -127, 126, 127]),
        ("int16", [-32768, -32767, 32766, 32767]),
        ("uint16", [1, 65532, 65533]),
        ("float32", [-1.0, 3e38, -3.4e38]),
    ],
)
def test_no_measurement_is_taken_for_a_failed_read(
    tmp_path: Path, dtype: str, values: list[float], mode: Any
) -> None:
    """The largest and the smallest counts too; nor is a failed read taken for one."""
    counts = np.resize(np.array(values, dtype), (20, 24))
    item = archive.scene(tmp_path, "S2", "2020-06-05T10:00", {"B04": counts})
    with FileServer(tmp_path) as server:
        there = served([item], server.href)
        cube = opened(there, driver(on_read_error=mode)).compute()
        exact = counts.astype(np.float64) * 1e-4
        np.testing.assert_allclose(cube["B04"].values[0], exact, rtol=1e-6)
        assert (cube["status"] == Status.CLEAR).all()
        server.faults = Faults(1.0, (404,))
        if mode == "mark":
            few = Retry(attempts=1)
            lost = opened(
                served([item], server.href, "?other"), driver(on_read_error=mode, retry=few)
            ).compute()
            assert (lost["status"] == Status.READ_FAILED).all()
            assert lost["B04"].isnull().all()


@pytest.mark.parametrize("mode", ["raise", "mark"])
def test_what_is_not_finite_is_missing(tmp_path: Path, mode: Any) -> None:
    """Not unread; and it is not mixed into its neighbours."""
    values = np.full((20, 24), 2000, "float32")
    values[4:6, 4] = np.inf, -np.inf
    values[8, 8] = np.nan
    item = archive.scene(tmp_path, "S2", "2020-06-05T10:00", {"B04": values})
    for resolution in (10.0, 7.0, 20.0):
        cube = opened([item], driver(on_read_error=mode), resolution=resolution).compute()
        missing = cube["status"].values == Status.NO_DATA
        assert missing.any() == (resolution < 20)
        assert (cube["status"].values[~missing] == Status.CLEAR).all()
        np.testing.assert_allclose(cube["B04"].values[~missing], 0.2, rtol=1e-6)


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, href: str) -> str:
        return href


def test_logs_hold_no_signature(
    folder: Path,
    items: list[pystac.Item],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """rasterio and GDAL tell of each failing link."""
    with FileServer(folder, faults=Faults(0.5, MIXED, seed=1)) as server:
        cube = opened(served(items, server.href), driver(sign=Known()))
        with caplog.at_level("DEBUG"):
            cube.compute()
    text = caplog.text + "".join(capfd.readouterr())
    assert "Retrying" in text
    assert "sig=" not in text
    assert "Failed to load" not in text


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, folder: Path, items: list[pystac.Item]) -> Any:
    """The files in S3 (moto), and the items that point there."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    for key, value in keys.items():
        monkeypatch.setenv(key, value)
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="pixels")
    for path in folder.rglob("*.cog.tif"):
        client.upload_file(str(path), "pixels", path.relative_to(folder).as_posix())
    client.close()
    for key, value in {
        "AWS_S3_ENDPOINT": f"{host}:{port}", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    yield served(items, lambda path: f"s3://pixels/{Path(path).relative_to(folder).as_posix()}")
    server.stop()


def test_s3_is_read_with_settings_and_keys_of_the_shell(
    bucket: list[pystac.Item], items: list[pystac.Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = s2cube.open_stac(bucket)
    assert b"testing" not in pickle.dumps(cube["B04"].data.dask)
    # The settings have travelled with the cube: only the keys must be there when it is read.
    for key in ("AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING"):
        monkeypatch.delenv(key)
    assert_same(cube, s2cube.open_stac(items))


def test_s3_tells_what_is_missing(bucket: list[pystac.Item]) -> None:
    item = bucket[0].clone()
    for asset in item.assets.values():
        asset.href = asset.href.replace("S2_1", "none")
    with pytest.raises(s2cube.errors.ReadError, match=r"Cannot read s3://pixels/none/B04\.cog\.tif: .+"):
        s2cube.open_stac([item], bands=["B04"], chunks=None)


def test_s3_survives_faults(folder: Path, items: list[pystac.Item]) -> None:
    """Public buckets, by path: a folder is a bucket."""
    with FileServer(folder.parent, faults=Faults(0.3, MIXED, seed=2)) as server:
        gdal = {
            **GDAL, "AWS_S3_ENDPOINT": server.url.removeprefix("http://"), "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES",
        }  # fmt: skip
        there = served(items, lambda p: f"s3://{Path(p).relative_to(folder.parent).as_posix()}")
        assert_same(opened(there, driver(gdal=gdal)), opened(items, driver()))
        assert len(server.requests) > 20


def test_threads_share_what_is_right(folder: Path, items: list[pystac.Item]) -> None:
    """Many threads read the same files under faults, each its own cube."""
    expected = opened(items, driver()).compute()
    found: list[xr.Dataset] = []
    with FileServer(folder, faults=Faults(0.3, MIXED, seed=9)) as server:
        there = served(items, server.href)

        def one() -> None:
            found.append(opened(there, driver()).compute(scheduler="synchronous"))

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 4
    for cube in found:
        assert_same(cube, expected)


@pytest.mark.parametrize(("status", "definite"), [(404, True), (403, True), (429, False), (503, False)])
def test_which_answers_are_tried_again_to_the_end(status: int, definite: bool) -> None:
    """What a server says once and for all gets few attempts; what passes gets all of them."""
    said = f"HTTP response code: {status}"
    assert bool(_DEFINITE.search(said)) is definite
