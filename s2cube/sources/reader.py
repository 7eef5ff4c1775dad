"""The odc-loader driver of s2cube: the one seam between the graph and the files.

GDAL's environment, signatures, and what happens when a read fails belong here; what is read then, into
:mod:`s2cube.sources.pixels`. It wraps odc-loader's rasterio driver rather than deriving from it, so that
rasterio is loaded only when something is opened.

What GDAL does under faults was measured (3.10.3, 40 % of the answers of a server on loopback). It
survives statuses such as 503, and resets, by trying a range again. A body that ends too early it keeps,
as a short block, for every later read of that link in the process, and a 404 or 403 too. So a read that
failed is made again under another name of the same link (see :func:`_named`), whose cache is empty; keys
of object stores have one name only, and are read with CPL_VSIL_CURL_NON_CACHED then. Not from the start:
with it threads that read the same file stall each other, now and then, until a time-out. A GeoTIFF that
is cut in its header it opens all the same, without a place: that is a read that failed.
"""

import dataclasses
import itertools
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from s2cube.errors import CubeError, ReadError
from s2cube.kernels.counts import read_failed_value
from s2cube.sources import quiet
from s2cube.sources.pixels import Block, read_pixels
from s2cube.sources.retry import Retry
from s2cube.sources.signing import Signed, forget, sign, unsigned
from s2cube.sources.told import MisplacedError, Told, ToldParser

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from odc.loader import RasterLoadParams, RasterSource, RioDriver

__all__ = ["Driver", "OnReadError"]

OnReadError = Literal["raise", "mark"]

GDAL_ENV: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # Few: a status or reset that outlives them is ours to retry. Not GDAL_HTTP_RETRY_CODES=ALL, with
    # which a file that is missing takes minutes to fail.
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    # What hangs is cut when nothing comes for so long; a slow line that moves may take its time. GDAL
    # does not retry it, so it costs one such wait, not four as GDAL_HTTP_TIMEOUT does.
    "GDAL_HTTP_LOW_SPEED_TIME": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_TIMEOUT": "120",
}
"""Survives passing faults and never hangs. What the user has configured wins."""

FORCED: Final = {
    # With more threads GDAL decodes JPEG 2000 beside the thread that asked, and what fails there is
    # reported nowhere: measured with 40 % of truncated bodies, 13 of 15 reads gave wrong pixels and no
    # error; with one thread none did. Dask reads blocks in parallel anyway.
    "GDAL_NUM_THREADS": "1",
}

_SETTINGS: Final = (
    "AWS_S3_ENDPOINT", "AWS_HTTPS", "AWS_VIRTUAL_HOSTING", "AWS_NO_SIGN_REQUEST", "AWS_REQUEST_PAYER",
    "AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_STORAGE_ACCOUNT", "AZURE_NO_SIGN_REQUEST",
    "GS_NO_SIGN_REQUEST", "OSS_ENDPOINT", "SWIFT_STORAGE_URL",
)  # fmt: skip
"""Settings of object stores that are no secret: they travel. Keys do not: a worker has its own."""
_UNSAID: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "10",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
}
"""What odc-loader captures where the user has configured nothing."""
_ELSEWHERE: Final = ("GDAL_DATA", "PROJ_DATA", "PROJ_LIB")
"""Folders of this machine."""
_SELF: Final = "S2CUBE_DRIVER"

_REMOTE: Final = re.compile(
    r"(?!file:|vrt:)\w+(?:\+\w+)*://|/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs)\b"
)
_DEFINITE: Final = re.compile(
    r"(?:response|error) code\D{0,3}4(?!08|25|29)\d\d|does not exist|Access ?Denied|InvalidAccessKeyId"
    r"|SignatureDoesNotMatch|InvalidCredentials"
)
"""What a server says once and for all: a few attempts are enough."""
_REFUSED: Final = re.compile(r"(?:response|error) code\D{0,3}40[13]")
_FEW: Final = 3
_NON_CACHED: Final = "CPL_VSIL_CURL_NON_CACHED"


@dataclasses.dataclass(frozen=True)
class Driver:
    """A ``ReaderDriver`` of odc-loader; pass it to ``odc.stac.load(driver=...)``.

    The items' assets must hold :meth:`s2cube.sources.told.Told.fields`.

    Raises
    ------
    CubeError
        A field is not what it should be.
    """

    on_read_error: OnReadError = "raise"
    """``"raise"``: a :class:`~s2cube.errors.ReadError` that names the file. ``"mark"``: the pixels
    that the file covers get the count that means "read failed"."""
    sign: Callable[[str], Any] | None = None
    """A :class:`~s2cube.sources.signing.Signer`, called in the task that reads."""
    gdal: Mapping[str, object] | tuple[tuple[str, str], ...] = ()
    """Settings of GDAL that the files need; what the user has configured wins."""
    retry: Retry = dataclasses.field(default_factory=Retry)
    """How a read that failed is tried again."""
    saturated: bool = False
    """Whether 65535 means saturated in files of ``uint16``, as in Sentinel-2's."""

    md_parser = ToldParser()
    dask_reader = None
    aux_reader = None

    def __post_init__(self) -> None:
        if self.on_read_error not in ("raise", "mark"):
            raise CubeError(f"on_read_error is 'raise' or 'mark', got {self.on_read_error!r}.")
        if self.sign is not None and not callable(self.sign):
            raise CubeError(f"sign is a function of a link, or None; got {self.sign!r}.")
        if getattr(self.sign, "__hash__", None) is None and self.sign is not None:
            raise CubeError(
                f"What sign returns is kept by signer, so it must be hashable; {self.sign!r} is not: "
                "make its class a frozen dataclass."
            )
        told = tuple(sorted((str(key), str(value)) for key, value in dict(self.gdal).items()))
        object.__setattr__(self, "gdal", told)

    @property
    def _rio(self) -> "RioDriver":
        from odc.loader import RioDriver

        return RioDriver()

    def plain(self, href: str) -> str:
        """Return `href` as it belongs into a graph: without a signature that will be made anew."""
        return href if self.sign is None else unsigned(href)

    def new_load(self, geobox: "GeoBox", *, chunks: dict[str, int] | None = None) -> Any:
        return self._rio.new_load(geobox, chunks=chunks)

    def finalise_load(self, load_state: Any) -> Any:
        return self._rio.finalise_load(load_state)

    def capture_env(self) -> dict[str, Any]:
        """Return what travels to the workers: settings, and secrets only where the user gave them here.

        Weakest first: :data:`GDAL_ENV`, the shell's variables, the source's settings, and what was set
        with ``rasterio.Env`` or ``odc.stac.configure_rio``.
        """
        shell = {key: os.environ[key] for key in (*GDAL_ENV, *_SETTINGS) if key in os.environ}
        env = {**GDAL_ENV, **shell, **dict(self.gdal), **self._said()}
        # The driver rides in the environment because odc-loader names tasks after that, not after the
        # driver: cubes that differ in it must not share keys on a cluster.
        return {**env, _SELF: self}

    def _said(self) -> dict[str, Any]:
        """Return what the user has configured in Python."""
        import rasterio.env

        said = self._rio.capture_env()
        # What odc-loader takes where nothing was configured.
        if said == _UNSAID:
            said = {}
        if rasterio.env.hasenv():
            now = rasterio.env.getenv()
            said |= {key: now[key] for key in _SETTINGS if key in now}
        # None: odc.stac.configure_rio() was called, without credentials.
        return {key: value for key, value in said.items() if key not in _ELSEWHERE and value is not None}

    def restore_env(self, env: dict[str, Any], load_state: Any) -> AbstractContextManager[Any]:
        quiet.install()
        gdal = {key: value for key, value in env.items() if key != _SELF}
        return self._rio.restore_env({**gdal, **FORCED}, load_state)

    def open(self, src: "RasterSource", ctx: Any) -> "Reader":
        return Reader(src, ctx, self)


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads one band of one asset."""

    source: "RasterSource"
    ctx: Any
    driver: Driver

    def read(
        self,
        cfg: "RasterLoadParams",
        dst_geobox: "GeoBox",
        *,
        dst: np.ndarray | None = None,
        selection: Any = None,
    ) -> Block:
        """Read onto `dst_geobox`; see ``odc.loader.types.RasterReader``."""
        assert dst is None, "odc-loader fuses what it is given"
        assert selection is None, "bands have two dimensions"

        def read(link: str) -> Block:
            saturated = self.driver.saturated
            return read_pixels(link, self.source.band, self._told, cfg, dst_geobox, saturated=saturated)

        found = self._tried(read)
        if not isinstance(found, str):
            return found
        if self.driver.on_read_error == "mark":
            return self._failed(cfg, dst_geobox)
        # Raised here, where GDAL's error is no context of it: that could not be pickled, and a cluster
        # would then show neither.
        raise ReadError(
            f"Cannot read {quiet.plain(self.source.uri)}: {found}. Nothing was put in its place; to go "
            "on and have such pixels recorded as read_failed, open with on_read_error='mark'."
        )

    @property
    def _told(self) -> Told:
        told: Told = self.source.driver_data
        return told

    def _tried(self, read: Callable[[str], Block]) -> Block | str:
        """Return the block, or why it could not be read after all attempts."""
        from rasterio.errors import RasterioError

        uri, reason, definite, refused = self.source.uri, "", 0, False
        name = first = _name_of(uri)
        for number, pause in enumerate(self.driver.retry.pauses()):
            link = None
            try:
                link = self._link()
                with quiet.reading(), _uncached(link.href if number else ""):
                    return read(_named(link.href, name))
            except ReadError as error:
                # The signer's, which has tried again itself.
                return quiet.plain(str(error))
            except MisplacedError as error:
                reason = str(error)
                definite += error.definite
            except (RasterioError, OSError) as error:
                reason = _reason(error)
            if not _REMOTE.match(uri):
                break
            # A name of this read alone, and a new one for others: none inherits what was kept here.
            name = next(_numbers)
            _rename(uri, first, next(_numbers))
            if self.driver.sign and link and not refused and _REFUSED.search(reason):
                # It may have expired, or been revoked, since it was kept: once it is signed anew.
                forget(self.driver.sign, uri, link)
                refused = True
                continue
            definite += bool(_DEFINITE.search(reason))
            if definite >= _FEW or not pause():
                break
        return reason

    def _link(self) -> Signed:
        """Return the link to read now."""
        uri = self.source.uri
        return Signed(uri) if self.driver.sign is None else sign(self.driver.sign, uri)

    def _failed(self, cfg: "RasterLoadParams", geobox: "GeoBox") -> Block:
        """Return the part of `geobox` that the file covers, filled with the "read failed" count."""
        from odc.geo.overlap import compute_reproject_roi

        roi: Any = (slice(0, geobox.shape.y), slice(0, geobox.shape.x))
        if self._told.grid is not None:
            roi = compute_reproject_roi(self._told.grid, geobox).roi_dst
        shape = tuple(part.stop - part.start for part in roi)
        dtype = np.dtype(cfg.dtype)
        return roi, np.full(shape, read_failed_value(dtype), dtype=dtype)


def _reason(error: BaseException) -> str:
    """Return what GDAL said, without the queries of links: they may hold signatures."""
    words = [str(error)]
    while (cause := error.__cause__) is not None:
        error = cause
        # rasterio's exceptions around GDAL's errors: class, number, text.
        words.append(str(getattr(error, "errmsg", error)))
    told = [word.rstrip(". ") for word in words if "See previous exception" not in word]
    return quiet.plain("; ".join(dict.fromkeys(told or words)))


@contextmanager
def _uncached(uri: str) -> Iterator[None]:
    """Have GDAL forget what it keeps of a key of an object store, once the file is closed."""
    from rasterio.env import getenv, hasenv, setenv

    scheme, _, rest = uri.partition("://")
    if scheme not in ("s3", "gs", "az", "oss") or not hasenv():
        yield
        return
    before = getenv().get(_NON_CACHED, "")
    setenv(**{_NON_CACHED: f"/vsi{scheme}/{rest}"})
    try:
        yield
    finally:
        setenv(**{_NON_CACHED: before})


_names: OrderedDict[str, int] = OrderedDict()
_numbers: Final = itertools.count(1)
_naming: Final = threading.Lock()
_MOST_NAMES: Final = 10_000


def _name_of(uri: str) -> int:
    """Return the name under which this process reads a link; 0 is the link itself."""
    with _naming:
        return _names.get(uri, 0)


def _rename(uri: str, old: int, new: int) -> None:
    """Have the next reads of `uri` use the name `new`, unless `old` is no longer in use."""
    with _naming:
        if _names.get(uri, 0) == old:
            _names[uri] = new
            _names.move_to_end(uri)
        while len(_names) > _MOST_NAMES:
            _names.popitem(last=False)


def _named(href: str, name: int) -> str:
    """Return `href` by a name of it, with which GDAL opens the same file.

    GDAL keeps blocks and statuses by the whole link, its fragment included, which is never sent.
    """
    if name == 0 or not href.startswith(("http://", "https://")) or "#" in href:
        return href
    return f"/vsicurl/{href}#{name}"
