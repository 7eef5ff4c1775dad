"""How far each method of filling is from hidden looks, at several places: the judge's tables."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import xarray as xr

import s2cube
from s2cube.evaluate import compare_gap_filling, summarize_gap_filling
from s2cube.gapfill import DEFAULT, METHODS

INTRO = """How far filled values are from clear looks that were hidden, by
[`evaluate_gap_filling`](#s2cube.evaluate_gap_filling): mean absolute errors, reflectance × 10 000, over
all bands. Made by `make bench-docs` on {date}, with {versions}. [Evaluate](guide/evaluate.md) tells
what is hidden, and how to read it. All methods have their default options, which were chosen at these
places too: for the baselines by the least mean error, so they are as good here as they can be.

*Romania* is the place of the [demo](data.md), a square kilometre of forest of level 2A, all 140 dates
of 2015 to 2021: four bands at 10 m and, as another cube, four at 20 m; together they count as one
place. Masked by SCL, with a buffer of 40 m. *Level 1C* is a series of one's own, which `--data` names;
here 256 × 256 px of villages and fields in Italy, 30 dates of 2018, six bands, masked by s2cloudless
with a buffer of 60 m. *Simulated* is [`simulate_cube`](#s2cube.testing.simulate_cube), four bands, one
year, with noise: no real place, and its kind seasons flatter whatever knows them."""
PEERS = ("s2cloudless", "numpy", "numba")
BASELINES = ("last", "closest", "linear", "median", "whittaker", "harmonic")
OURS = tuple(name for name in METHODS if name not in BASELINES and name != "network")
MASKS = ("random", "clouds", "frame", "gap30", "gap45", "gap90")
ENOUGH = 2000
"""Values of which a share within intervals is told."""
FEW = ("B02", "B03", "B04", "B08")
COARSE = ("B03", "B04", "B8A", "B11")
REFLECTIVE = ("B02", "B03", "B04", "B08", "B11", "B12")
WAYS = {False: "two-sided", True: "past only"}

Table = tuple[str, list[str], list[list[str]]]
"""Caption, heads and cells."""


def tables(data: Path | None, tell: Callable[[str], None]) -> Iterator[Table]:
    """Yield the tables; `tell` hears what was left out, and why."""
    methods = {name: {} for name in BASELINES}
    methods |= {name: {"uncertainty": (68, 95)} for name in OURS}
    details = []
    for place, cube, rounds in _places(data, tell):
        found = s2cube.evaluate_gap_filling(
            cube, methods, rounds=rounds, seed=7, details=True, progress=False
        )
        details.append(found.assign(place=place))
        yield from _errors(place, details[-1])
    everywhere = pd.concat(details, ignore_index=True)
    # Bands at 10 and at 20 m of one place are one place; each date is drawn with both.
    merged = everywhere.assign(place=everywhere["place"].str.partition(",")[0])
    yield _against(merged)
    yield _intervals(merged)
    yield _looks(merged)


def _places(data: Path | None, tell: Callable[[str], None]) -> Iterator[tuple[str, xr.Dataset, int]]:
    """Yield name, masked cube and rounds of each place."""
    from s2cube.demo import data_file

    for resolution, bands in ((10, FEW), (20, COARSE)):
        with xr.open_dataset(data_file(resolution), mask_and_scale=False) as found:
            cube = s2cube.as_cube(
                found, scale=1e-4, offset=0, nodata=0, level="L2A", crs="EPSG:3035"
            ).s2.mask_clouds("scl", buffer=40)
        yield f"Romania, {resolution} m", cube[list(bands)].compute(), 2
    if data is None:
        tell("level 1C left out: give --data, or the variable S2CUBE_LEVEL_1C")
    else:
        with xr.open_dataset(data, mask_and_scale=False) as found:
            bands = [str(name) for name in found.data_vars if name in s2cube.schema.BANDS]
            cube = s2cube.as_cube(
                found[bands], scale=1e-4, offset=0, nodata=0, level="L1C",
                crs=found.attrs.get("crs", "EPSG:4326"),
            ).compute()  # fmt: skip
        try:
            masked = cube.s2.mask_clouds("s2cloudless", buffer=60)
        except ImportError as error:
            tell(f"level 1C left out: {error}")
        else:
            yield "Level 1C", masked[list(REFLECTIVE)].compute(), 3
    cube = s2cube.testing.simulate_cube(
        shape=(128, 128), seed=2, noise=0.006, bands=["red", "nir", "green", "swir16"]
    )
    yield "Simulated", cube.s2.mask_clouds("scl").compute(), 2


def _errors(place: str, details: pd.DataFrame) -> Iterator[Table]:
    """Yield the errors of all methods at a place, two-sided and causal."""
    table = summarize_gap_filling(details)
    floor = table["floor"].max() * 1e4
    # Where looks are five days apart, none tells how much they differ by chance.
    known = f" (noise floor {floor:.0f})" if floor > 0 else ""
    for causal, words in WAYS.items():
        own = table[table["causal"] == causal]
        masks = [name for name in MASKS if name in set(own["mask"])]
        mae = (own.pivot(index="method", columns="mask", values="mae") * 1e4).loc[:, masks]
        order = [name for name in (*BASELINES, *OURS) if name in mae.index]
        least = mae.min()
        rows = [
            [name, *(f"**{v:.0f}**" if v == least[m] else f"{v:.0f}" for m, v in mae.loc[name].items())]
            for name in order
        ]
        yield f"{place}, {words}{known}", ["Method", *masks], rows


def _against(details: pd.DataFrame) -> Table:
    """Return the default beside the usual and beside the best baseline, with bootstrapped intervals."""
    head = ["Place", "Hidden", "", "beside", "change", "95 %", "best baseline", "change", "95 %"]
    rows, changes = [], {}
    for causal, words in WAYS.items():
        usual = "last" if causal else "linear"
        own = details[details["causal"] == causal]
        mae = summarize_gap_filling(own, by="place").set_index(["place", "mask", "method"])["mae"]
        compared = {
            name: compare_gap_filling(own, to=name, by="place").set_index(["place", "mask", "method"])
            for name in BASELINES
            if name in set(own["method"])
        }
        for place in own["place"].unique():
            for mask in (name for name in MASKS if (place, name) in {key[:2] for key in mae.index}):
                best = min(compared, key=lambda name: mae[place, mask, name])
                cells = [place, mask, words]
                for name, beside in (("usual", usual), ("best", best)):
                    found = compared[beside].loc[(place, mask, DEFAULT)]
                    low, high = (found[end] / found["mae_to"] for end in ("low", "high"))
                    cells += [beside, f"{found['change']:+.0%}", f"{low:+.0%} … {high:+.0%}"]
                    if place != "Simulated":
                        changes.setdefault((mask, words, name), []).append(found["change"])
                rows.append(cells)
    for mask in MASKS:
        for words in WAYS.values():
            if (mask, words, "best") in changes:
                usual, best = (
                    f"**{pd.Series(changes[mask, words, name]).mean():+.0%}**"
                    for name in ("usual", "best")
                )
                rows.append(["**mean of real places**", mask, words, "", usual, "", "", best, ""])
    return f"`{DEFAULT}`, the default, beside other methods (change of the mean error)", head, rows


def _intervals(details: pd.DataFrame) -> Table:
    """Return how often the truth lies within the intervals of the default, by days to a clear look."""
    table = summarize_gap_filling(details[details["method"] == DEFAULT], by=("place", "days"))
    own = table[table["mask"].isin(["clouds", "frame", "gap45"]) & (table["n"] >= ENOUGH)]
    rows = [
        [row.place, row.mask, WAYS[row.causal], row.days, f"{row.in68:.0%}", f"{row.in95:.0%}"]
        for row in own.itertuples()
    ]
    head = ["Place", "Hidden", "", "Days", "within the 68 % interval", "within the 95 % interval"]
    return f"Intervals of `{DEFAULT}`: how often they hold the truth", head, rows


def _looks(details: pd.DataFrame) -> Table:
    """Return what series and frames look like, under the clouds of other dates."""
    table = summarize_gap_filling(
        details[details["mask"].isin(["clouds", "daily", "floor"])], by="place"
    )
    head = ["Place", "", "Method", "NDVI", "SAM, °", "SSIM", "step", "roughness", "seam"]
    rows = [
        [
            row.place, WAYS[row.causal], row.method, f"{row.ndvi:.4f}", f"{row.sam:.1f}",
            f"{row.ssim:.3f}", f"{row.step:.2f}", f"{row.roughness:.2f}", f"{row.seam:.2f}",
        ]
        for row in table.itertuples()
    ]  # fmt: skip
    return "Looks under clouds: index, angle, structure; roughness and seams of daily series", head, rows
