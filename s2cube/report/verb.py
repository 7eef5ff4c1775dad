"""``report``: one HTML file of a cube, a filled series, a run of the writer, an evaluation."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import progress_bar
from s2cube.composites import count
from s2cube.errors import CubeError
from s2cube.gapfill import fill_gaps
from s2cube.masks import mask_clouds
from s2cube.plot import plot_gap_filling, plot_true_color, pyplot
from s2cube.report import pictures
from s2cube.report.page import Drawing, Section, Table, as_page, drawn
from s2cube.schema import CLEAR_AGE, NO_AGE, PROVENANCE, STATUS, Provenance
from s2cube.store import VerifyReport, WriteReport, open_daily

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["report"]

SIDE: Final = 256
"""Pixels of a side of the window in which dates are hidden and filled."""
DRAWN: Final = 400
"""Pixels of a side that a map is thinned to."""
CLEAR_ENOUGH: Final = 0.9
"""Of the area: what a date must have for its frame to be hidden."""
SCORES: Final = ("mask", "causal", "method", "mae", "low", "high", "rmse", "bias", "ndvi", "n")
KEYS: Final = ("mask", "causal", "method", "mae")

Part = xr.Dataset | WriteReport | VerifyReport | Any
"""A cube, a filled cube, a report, or a table of :func:`s2cube.evaluate_gap_filling`."""


@dataclass
class _Parts:
    looks: xr.Dataset | None = None
    daily: xr.Dataset | None = None
    written: WriteReport | None = None
    verified: VerifyReport | None = None
    tables: list["pd.DataFrame"] = field(default_factory=list)


def report(
    parts: Part | Iterable[Part],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    hidden: int = 3,
    fill: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Write what is known of a cube, and of what was made of it, as one HTML file.

    Parameters
    ----------
    parts
        One or several, each at most once but for tables: a masked cube; a filled cube; what
        :func:`s2cube.write_daily` or :func:`s2cube.verify` returned; tables of
        :func:`s2cube.evaluate_gap_filling` (not split further, or ``by="days"``, ...). A ``WriteReport``
        without a filled cube opens its store, where that is a folder. Cubes are read as a whole: of
        large areas give a part, ``cube.isel(...)``.
    path
        The file; one that is there is replaced.
    title
        Of the page.
    hidden
        How many clear dates of the masked cube to hide, to show the truth beside what they are filled
        with, in the middle 256 × 256 px; 0 for none.
    fill
        Arguments of :func:`s2cube.fill_gaps` for these (``{"method": "linear"}``).
    progress
        Whether to show it.

    Returns
    -------
    pathlib.Path
        The file. It needs no other file and no network, and follows the reader's choice of light or
        dark.

    Raises
    ------
    CubeError
        There is nothing to tell of, or something that is none of these, or two of a kind.
    ModuleNotFoundError
        matplotlib is not installed (extra ``plot``).

    Examples
    --------
    >>> import s2cube, tempfile
    >>> cube = s2cube.testing.simulate_cube(seed=1, shape=(40, 40)).s2.mask_clouds("scl")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = s2cube.report([cube, cube.s2.fill_gaps()], f"{folder}/run.html", progress=False)
    ...     "<svg" in page.read_text()
    True
    """
    found = _sorted_out(parts)
    pyplot()
    facts: dict[str, str] = {}
    sections = []
    with progress_bar(progress):
        if found.looks is not None:
            sections.append(_seen(found.looks, facts))
        if found.daily is not None:
            sections.append(_filled(found.daily, facts))
        if found.looks is not None and hidden:
            sections += _beside_truth(found.looks, int(hidden), dict(fill or {}))
    if found.tables:
        sections.append(Section("How far filled values are off", _ERRORS, list(_errors(found.tables))))
    for name, told in (("Written", found.written), ("Verified", found.verified)):
        if told is not None:
            sections.append(Section(name, told.store, [Table(("", ""), told._rows())]))
    cube = found.daily if found.daily is not None else found.looks
    if cube is not None and cube.attrs.get("history"):
        sections.append(Section("How it was made", code=str(cube.attrs["history"])))
    name = title or "Sentinel-2 cube"
    page = Path(path)
    page.write_text(as_page(name, _subtitle(cube), list(facts.items()), sections), encoding="utf-8")
    return page


def _sorted_out(parts: Part | Iterable[Part]) -> _Parts:
    """Tell what each part is."""
    import pandas as pd

    kinds = (xr.Dataset, WriteReport, VerifyReport, pd.DataFrame)
    single = isinstance(parts, kinds) or not isinstance(parts, Iterable)
    several = [parts] if single else list(cast("Iterable[Any]", parts))
    found = _Parts()
    for part in several:
        if isinstance(part, pd.DataFrame):
            if missing := [name for name in KEYS if name not in part]:
                raise CubeError(
                    f"A table has no {', '.join(missing)}: give what evaluate_gap_filling() returned."
                )
            found.tables.append(part)
            continue
        if isinstance(part, xr.Dataset):
            kind = "daily" if PROVENANCE in part else "looks"
            part = schema.validate(part)
        elif isinstance(part, (WriteReport, VerifyReport)):
            kind = "written" if isinstance(part, WriteReport) else "verified"
        else:
            raise CubeError(
                "A report is made of a masked cube, a filled cube, what write_daily() or verify() "
                f"returned, and tables of evaluate_gap_filling(); got {type(part).__name__}."
            )
        if getattr(found, kind) is not None:
            raise CubeError(f"Two parts are of one kind ({kind}): make a report of each.")
        setattr(found, kind, part)
    if not several:
        raise CubeError("There is nothing to report: give at least one part.")
    if found.daily is None and found.written is not None and Path(found.written.store).is_dir():
        found.daily = open_daily(found.written.store)
    return found


def _subtitle(cube: xr.Dataset | None) -> str:
    if cube is None:
        return ""
    grid = schema.geobox_of(cube)
    first, last = (str(time.astype("datetime64[D]")) for time in cube["time"].values[[0, -1]])
    west, south, east, north = grid.geographic_extent.boundingbox.bbox
    return (
        f"{first} to {last}, {', '.join(schema.bands_of(cube))}; {grid.shape[0]} × {grid.shape[1]} px "
        f"of {abs(grid.resolution.x):g} m, {grid.crs}, around {(south + north) / 2:.3f}° N, "
        f"{(west + east) / 2:.3f}° E"
    )


def _occurring(shares: Mapping[Any, xr.DataArray], times: NDArray[Any]) -> "pd.DataFrame":
    """Return shares as a table, without what does not occur."""
    import pandas as pd

    table = pd.DataFrame({name: share.values for name, share in shares.items()}, index=times)
    return table.loc[:, table.max() > 0]


def _compute(*lazy: Any) -> Any:
    """Compute things together, so that each block is read once."""
    from dask.base import compute

    return compute(*lazy)


def _seen(looks: xr.Dataset, facts: dict[str, str]) -> Section:
    """Tell what was observed: where, and when."""
    if STATUS in looks:
        lazy = {
            name: looks[STATUS].isin([int(state) for state in states]).mean(("y", "x"))
            for name, (_, states) in pictures.STATES.items()
        }
    else:
        seen = looks[schema.bands_of(looks)[0]].notnull().mean(("y", "x"))
        lazy = {"clear": seen, "no look": 1 - seen}
    made, counts = _compute(lazy, _thinned(count(looks)["count"]))
    shares = _occurring(made, looks["time"].values)
    clear = shares.get("clear", 0 * shares.iloc[:, 0])
    clearest = np.sort(np.argsort(-clear.to_numpy(), kind="stable")[:8])
    least, most = np.percentile(counts.values, (1, 99))
    facts["looks"] = str(len(shares))
    facts["clear"] = f"{clear.mean():.0%} of all pixels and looks"
    facts["clear looks a pixel"] = f"{least:.0f} to {most:.0f}"
    never = f"{(counts.values == 0).mean():.1%} of the pixels have none"
    parts = [
        _drawing(pictures.states_over_time(shares), "What each look saw, share of the area."),
        _drawing(pictures.clear_map(counts), f"Clear looks a pixel; {never}."),
        _frames(looks, looks["time"].values[clearest], "The clearest dates, masked; grey is missing."),
    ]
    return Section("What was seen", parts=parts)


def _filled(daily: xr.Dataset, facts: dict[str, str]) -> Section:
    """Tell where the values of a filled series come from."""
    source, age = daily[PROVENANCE], daily[CLEAR_AGE]
    lazy = {int(kind): (source == int(kind)).mean(("y", "x")) for kind in Provenance}
    made, farthest = _compute(lazy, age.where(age != NO_AGE, 0).max())
    shares = _occurring(made, daily["time"].values)
    mean = shares.mean()
    observed = mean.get(int(Provenance.OBSERVED), 0.0)
    never = mean.get(int(Provenance.NEVER_OBSERVED), 0.0)
    facts["days"] = str(len(shares))
    facts["observed"] = f"{observed:.1%} of all values"
    facts["filled"] = f"{1 - observed - never:.1%}"
    facts["never observed"] = f"{never:.1%}"
    rows = [(pictures.words(Provenance(int(kind))), f"{share:.1%}") for kind, share in mean.items()]
    parts: list[Drawing | Table] = [
        _drawing(pictures.whence_over_time(shares), "Where the values of each day come from."),
        Table(("values", "share"), rows, "Over the whole series."),
        _frames(daily, None, "Days of the series, evenly spread."),
    ]
    text = f"No value is farther than {int(farthest)} days from a clear look of its pixel."
    return Section("What was filled", text, parts)


def _beside_truth(looks: xr.Dataset, most: int, how: dict[str, Any]) -> list[Section]:
    """Hide clear dates, fill them, and show both."""
    window = _middle(looks).compute()
    band = schema.bands_of(window)[0]
    clear = window[band].notnull().mean(("y", "x")).values
    days = schema.solar_days(window)
    usable = np.flatnonzero(clear >= CLEAR_ENOUGH)
    # Not the ends, where there is nothing on one side; and one look a day.
    inside = (days[usable] > days[0]) & (days[usable] < days[-1])
    usable = usable[inside & (np.array([(days == day).sum() for day in days[usable]]) == 1)]
    if not len(usable):
        return []
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, most + 2).round().astype(int)[1:-1])]
    hide: NDArray[np.bool_] = np.zeros(tuple(window.sizes[dim] for dim in schema.DIMS), bool)
    hide[chosen] = True
    gappy = mask_clouds(window, xr.DataArray(hide, {d: window[d] for d in schema.DIMS}, schema.DIMS))
    dates = days[chosen].astype("datetime64[D]")
    filled = fill_gaps(gappy, dates=dates, **how).compute()
    truth = window.isel(time=chosen)
    bands = schema.bands_of(window)
    figure = pictures.hidden_frames(truth[bands], filled[bands])
    text = (
        "These dates were clear. They were hidden and filled from the others: what was seen is the "
        "truth beside each."
    )
    caption = (
        f"Hidden dates: what was seen, what was filled, and the mean difference over {', '.join(bands)} "
        f"(white: {pictures.ERROR:g} or more)."
    )
    return [Section("Filled frames beside the truth", text, [_drawing(figure, caption)])]


_ERRORS: Final = (
    "Mean absolute error, in reflectance, of clear pixels that were hidden and filled. What is hidden "
    "matters: read rows of one mask side by side."
)


def _errors(tables: "Iterable[pd.DataFrame]") -> Iterator[Drawing | Table]:
    for table in tables:
        rows = table.reset_index() if table.index.names != [None] else table
        if "days" in rows and not rows.duplicated([*KEYS[:3], "days"]).any():
            caption = "Error by the days to the nearest clear look that is left."
            yield _drawing(pictures.by_days(rows), caption)
        elif not rows.duplicated(list(KEYS[:3])).any():
            yield _drawing(plot_gap_filling(rows), "Error by mask; the best of each is drawn full.")
        extra = [name for name in ("place", "band", "date", "days", "share") if name in rows]
        names = [*SCORES[:3], *extra, *(name for name in SCORES[3:] if name in rows)]
        yield Table(names, [[_cell(value) for value in row] for row in rows[names].to_numpy()])


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "past only" if value else "two-sided"
    if isinstance(value, float):
        return "–" if np.isnan(value) else f"{value:.4f}"
    return str(value)


def _middle(cube: xr.Dataset) -> xr.Dataset:
    """Return the middle of a cube, of at most :data:`SIDE` pixels a side."""
    cut = {}
    for dim in ("y", "x"):
        start = max(0, (cube.sizes[dim] - SIDE) // 2)
        cut[dim] = slice(start, start + SIDE)
    return cube.isel(cut)


def _thinned(array: xr.DataArray | xr.Dataset) -> Any:
    """Return every so-many-th pixel, so many as can be drawn."""
    step = max(1, -(-max(array.sizes["y"], array.sizes["x"]) // DRAWN))
    return array.isel(y=slice(None, None, step), x=slice(None, None, step))


def _frames(cube: xr.Dataset, dates: Any, caption: str) -> Drawing:
    figure = plot_true_color(_thinned(cube), dates=dates, bands=pictures.picture_bands(cube))
    return _drawing(figure, caption)


def _drawing(figure: Any, caption: str) -> Drawing:
    made = drawn(figure, caption)
    pyplot().close(figure)
    return made
