"""The odc-loader driver of s2cube: the one seam between the graph and the files.

Everything about *reading* belongs here: GDAL's environment, and what happens when a read fails.
It wraps odc-loader's rasterio driver rather than deriving from it, so that rasterio is loaded only
when something is opened.
"""

import dataclasses
import warnings
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from s2cube.errors import CubeError, ReadError
from s2cube.kernels.counts import read_failed_value

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox
    from odc.loader import RasterLoadParams, RasterSource, RioDriver, RioReader

__all__ = ["Driver", "OnReadError"]

OnReadError = Literal["raise", "mark"]
_Block = tuple[tuple[slice, slice], np.ndarray]

GDAL_ENV: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "10",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_RETRY_CODES": "ALL",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": "60",
    # Dask has the threads. With several of its own, GDAL 3.10 loses the errors of blocks of JP2 that it
    # decodes ahead: a file that was cut off gives what happens to lie in memory, without an error.
    "GDAL_NUM_THREADS": "1",
}
"""Survives passing faults and never hangs. What the user has configured wins."""

_MODE: Final = "S2CUBE_ON_READ_ERROR"


@dataclasses.dataclass(frozen=True)
class Driver:
    """A ``ReaderDriver`` of odc-loader; pass it to ``odc.stac.load(driver=...)``."""

    on_read_error: OnReadError = "raise"
    """``"raise"``: a :class:`~s2cube.errors.ReadError` that names the file. ``"mark"``: the pixels
    that the file covers get the count that means "read failed"."""

    sign: Any = None
    gdal: tuple[tuple[str, str], ...] = ()

    md_parser = None
    dask_reader = None
    aux_reader = None

    def __post_init__(self) -> None:
        if self.on_read_error not in ("raise", "mark"):
            raise CubeError(f"on_read_error is 'raise' or 'mark', got {self.on_read_error!r}.")

    @property
    def _rio(self) -> "RioDriver":
        from odc.loader import RioDriver

        return RioDriver()

    def new_load(self, geobox: "GeoBox", *, chunks: dict[str, int] | None = None) -> Any:
        return self._rio.new_load(geobox, chunks=chunks)

    def finalise_load(self, load_state: Any) -> Any:
        return self._rio.finalise_load(load_state)

    def capture_env(self) -> dict[str, Any]:
        # rasterio warns about the geotransform of the array that it resamples into, before it sets
        # it: noise, whatever the files are.
        from rasterio.errors import NotGeoreferencedWarning

        warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=r"rasterio\.warp")
        # The mode rides in the environment because odc-loader names tasks after that, not after the
        # driver: cubes that differ in it must not share keys on a cluster.
        return {**GDAL_ENV, **self._rio.capture_env(), _MODE: self.on_read_error}

    def restore_env(self, env: dict[str, Any], load_state: Any) -> AbstractContextManager[Any]:
        gdal = {key: value for key, value in env.items() if key != _MODE}
        return self._rio.restore_env(gdal, load_state)

    def open(self, src: "RasterSource", ctx: Any) -> "Reader":
        return Reader(src, self._rio.open(src, ctx), self.on_read_error)


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads one band of one asset."""

    source: "RasterSource"
    rio: "RioReader"
    on_read_error: OnReadError

    def read(
        self,
        cfg: "RasterLoadParams",
        dst_geobox: "GeoBox",
        *,
        dst: np.ndarray | None = None,
        selection: Any = None,
    ) -> _Block:
        """Read onto `dst_geobox`; see ``odc.loader.types.RasterReader``."""
        from rasterio.errors import RasterioError

        # Files that declare no no-data get the catalogue's: else resampling would mix the zeros
        # beyond a swath's edge into its last pixels.
        cfg = dataclasses.replace(cfg, src_nodata_fallback=cfg.fill_value)
        try:
            return self.rio.read(cfg, dst_geobox, dst=dst, selection=selection)
        except (RasterioError, OSError) as error:
            reason = str(error)
        if self.on_read_error == "mark":
            return self._failed(cfg, dst_geobox)
        # Raised here, not above: GDAL's error in its context could not be pickled, and a cluster
        # would then show neither.
        raise ReadError(
            f"Cannot read {self.source.uri}: {reason}. Nothing was put in its place; to go on and have "
            "such pixels recorded as read_failed, open with on_read_error='mark'."
        )

    def _failed(self, cfg: "RasterLoadParams", geobox: "GeoBox") -> _Block:
        """Return the part of `geobox` that the file covers, filled with the "read failed" count."""
        from odc.geo.overlap import compute_reproject_roi

        roi: Any = (slice(0, geobox.shape.y), slice(0, geobox.shape.x))
        if self.source.geobox is not None:
            roi = compute_reproject_roi(self.source.geobox, geobox).roi_dst
        shape = tuple(part.stop - part.start for part in roi)
        dtype = np.dtype(cfg.dtype)
        return roi, np.full(shape, read_failed_value(dtype), dtype=dtype)
