"""Job files: a whole job in YAML, and what it is once it is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from s2cube.errors import CubeError
from s2cube.job.area import below, grid_of, only
from s2cube.job.builder import DailyBuilder
from s2cube.sources import PROFILES, period
from s2cube.store import RegionsPlan, WriteReport, explain_regions, write_daily_regions

if TYPE_CHECKING:
    import pandas as pd
    from odc.geo.geobox import GeoBox

__all__ = ["DailyJob", "read_job"]

KEYS: Final = (
    "source", "area", "crs", "resolution", "period", "bands", "open", "mask", "fill", "output",
)  # fmt: skip
NEEDED: Final = ("source", "area", "period", "bands", "output")
OUTPUT: Final = ("store", "region_size", "profile", "max_failed_fraction", "retries", "resources")
OPEN: Final = ("collection", "groupby", "resampling", "on_read_error", "profile", "offset")
_SECRET: Final = ("key", "secret", "token", "password", "credential", "storage_options")


@dataclass(frozen=True)
class DailyJob:
    """A daily series to be made, as a job file says."""

    builder: DailyBuilder
    geobox: "GeoBox"
    dates: "pd.DatetimeIndex"
    store: str
    output: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of :func:`s2cube.write_daily_regions`."""

    def explain(self, *, workers: int = 1, threads: int = 1, memory: int | None = None) -> RegionsPlan:
        """Tell what the job will take; see :func:`s2cube.explain_regions`. The catalogue is searched."""
        told = {key: self.output[key] for key in ("region_size", "profile") if key in self.output}
        return explain_regions(
            self.builder,
            self.store,
            geobox=self.geobox,
            dates=self.dates,
            workers=workers,
            threads=threads,
            memory=memory,
            **told,
        )

    def write(self, *, overwrite: bool = False, progress: bool = True) -> WriteReport:
        """Do it, or the rest of it; see :func:`s2cube.write_daily_regions`."""
        return write_daily_regions(
            self.builder,
            self.store,
            geobox=self.geobox,
            dates=self.dates,
            overwrite=overwrite,
            progress=progress,
            **self.output,
        )


def read_job(path: str | Path) -> DailyJob:
    """Read a job file. Nothing is opened or searched.

    Parameters
    ----------
    path
        A file of YAML. ``source``, ``area`` (``bbox`` in degrees, ``geometry``: GeoJSON or the name of a
        file of it, or ``mgrs``: a tile), ``period``, ``bands`` and ``output`` (``store``, and
        ``region_size``, ``profile``, ``max_failed_fraction``, ``retries``, ``resources`` of
        :func:`s2cube.write_daily_regions`) are needed; also ``crs`` where the area is no tile.
        ``resolution`` is 10 by default. ``open`` has more of :func:`s2cube.open_stac`, ``mask``
        those of :func:`s2cube.mask_clouds`, ``fill`` those of :func:`s2cube.fill_gaps`, and ``margin``,
        the days before and after the period whose looks help (60). Relative paths begin in the folder
        of the file.

    Raises
    ------
    CubeError
        It is no such file, something is missing or unknown, or it holds what is to be kept secret.

    Examples
    --------
    >>> import pathlib, s2cube, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "job.yaml"
    ...     _ = path.write_text('''
    ... source: earth-search
    ... area: {mgrs: 33UUP}
    ... period: 2023
    ... bands: [red, nir]
    ... mask: {method: scl, buffer: 60}
    ... fill: {method: similar}
    ... output: {store: daily.zarr}
    ... ''')
    ...     job = s2cube.read_job(path)
    >>> job.geobox.shape, len(job.dates)
    (Shape2d(x=10980, y=10980), 365)
    """
    path = Path(path)
    job = only(_parsed(path), KEYS, f"{path.name}")
    if missing := [key for key in NEEDED if job.get(key) is None]:
        raise CubeError(f"{path.name} lacks {', '.join(missing)}.")
    _refuse_secrets(job, path.name)
    geobox, geometry = grid_of(job["area"], job.get("crs"), job.get("resolution", 10), path.parent)
    fill = dict(_mapping(job, "fill"))
    told = {"margin": fill.pop("margin")} if "margin" in fill else {}
    if "mask" in job:
        told["mask"] = _mapping(job, "mask")
    output = only(job["output"], OUTPUT, "output")
    if "dates" in fill:
        raise CubeError("fill has no 'dates': period says them.")
    bands = job["bands"]
    return DailyJob(
        DailyBuilder(
            _source(job["source"], path.parent),
            tuple(map(str, bands)) if isinstance(bands, (list, tuple)) else (str(bands),),
            fill=fill,
            open=only(_mapping(job, "open"), OPEN, "open"),
            geometry=geometry,
            **told,
        ),
        geobox,
        _days(job["period"]),
        _store(output.pop("store", None), path.parent),
        output,
    )


def _parsed(path: Path) -> Any:
    import yaml  # Dask, which reads its own settings with it, brings it along.

    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise CubeError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CubeError(f"{path.name} is no YAML: {error}") from None


def _mapping(job: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    given = job.get(key) or {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise CubeError(f"{key} has names and values, such as {{method: ...}}; got {given!r}.")
    return given


def _refuse_secrets(given: Any, where: str) -> None:
    """Raise where a file that people share holds what they must not."""
    if isinstance(given, Mapping):
        for key, value in given.items():
            if any(word in str(key).lower() for word in _SECRET):
                raise CubeError(
                    f"{where} has {key!r}: a job file holds no credentials. They come from the "
                    "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...)."
                )
            _refuse_secrets(value, where)


def _days(given: Any) -> "pd.DatetimeIndex":
    import pandas as pd

    ends = period(str(given) if isinstance(given, int) else given)
    first, last = (pd.Timestamp(end).normalize() for end in ends)
    if first.year == 1 or last.year == 9999:
        raise CubeError("period needs a first and a last day, such as 2019-01-01/2020-12-31.")
    return pd.date_range(first, last)


def _source(given: Any, folder: Path) -> str:
    if given in PROFILES or (isinstance(given, str) and "://" in given):
        return str(given)
    return str(folder / below(given, "source"))


def _store(given: Any, folder: Path) -> str:
    if isinstance(given, str) and "://" in given:
        return given
    return str(folder / below(given, "output: store"))
