"""``check_offsets``: look at a few pixels to tell whether what metadata say of the offset is true."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import is_lazy, progress_bar
from s2cube.errors import CubeError
from s2cube.evaluate.shifts import (
    DECISIVE,
    LINKS,
    SHIFTS,
    comparable,
    compare,
    cost_of_look,
    cost_of_pair,
    margins,
)
from s2cube.schema import ITEMS, PROVENANCE, SCL

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_offsets"]

VERDICTS: Final = ("offset removed twice", "ok", "offset not removed")
"""In the order of SHIFTS."""
UNKNOWN: Final = "unknown"
VISIBLE: Final[tuple[str, ...]] = ("B02", "B03", "B04")
INFRARED: Final[tuple[str, ...]] = ("B08", "B8A", "B07")
"""One of them: haze, which mimics an offset in the visible, does not there."""
VEGETATION, BARE, WATER, SNOW = 4, 5, 6, 11
PIXELS: Final = 65_536
"""Of a date, at most about so many are looked at."""
ENOUGH: Final = 0.05
"""Share of the pixels looked at that must be clear; and at least 50 of them."""
FEW: Final = 50
NEAR: Final = np.timedelta64(60, "D")
"""Looks farther apart differ by the season."""
HAZE: Final = 0.05
"""Difference in the visible, from which on it takes SCL and the near infrared to exclude haze."""
GREEN: Final = 0.2
"""Near infrared minus red of vegetation: no offset changes it. It serves where there is no SCL."""
AIR: Final = {"B02": 0.075, "B03": 0.045, "B04": 0.025}
"""What clear air alone reflects at sea level: the dark end of a level-1C band."""


def check_offsets(cube: xr.Dataset, *, blocks: int = 4, progress: bool = True) -> "pd.DataFrame":
    """Look at a few pixels of every date to tell whether the right offset was added.

    Metadata lie about the offset of processing baseline 04.00 and later, both ways: then all bands of
    an item are 0.1 too high or too low. This tells, date by date, from the dark end of clear land and
    water, and from its differences to the dates before and after. The series may lie in any part,
    even as a whole: what is physically possible decides, not the majority.

    Parameters
    ----------
    cube
        A cube before gap filling. With ``SCL`` it tells more; masked or not is the same then.
    blocks
        Of a lazy cube, at most so many blocks of a date are read, spread over the area.
    progress
        Whether to show how far computing is.

    Returns
    -------
    pandas.DataFrame
        A row a date: ``time``; ``ids`` (a tuple) and ``baseline``, empty where the cube does not carry
        them; ``offset``, what was added, NaN where it is not known or differs; ``clear``, the share of
        clear pixels; ``dark_end``, their reflectance at the dark end; ``shift``, by how much the visible
        bands are too high as told by the dates around, NaN where none compares; ``verdict``:

        - ``"ok"``;
        - ``"offset not removed"``: 0.1 too high; open its items with ``offset=-0.1``;
        - ``"offset removed twice"``: 0.1 too low; open its items with ``offset=0``;
        - ``"unknown"``: too little is clear, or what is there (bare ground only, haze) does not tell.

        ``attrs["summary"]`` counts the verdicts in words.

    Raises
    ------
    CubeError
        It is no cube, or a filled one.
    ReadError
        A file cannot be read.

    Notes
    -----
    This reads, now: up to four bands (B02, B03, B04, B08) and SCL of every date, in at most `blocks`
    blocks, of which about 65 000 pixels a date are kept (1 MB). ``cube.sel(time=...)`` checks fewer
    dates; but a single date tells little, as its haze cannot be told from an offset.

    A date made of several items is looked at by quarters of the area, and gets the verdict of the worst
    of them: one of its items is wrong, not each.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> table = s2cube.check_offsets(cube)
    >>> table.attrs["summary"]
    '57 dates: 39 ok, 18 unknown'
    >>> table.loc[table["verdict"].str.startswith("offset"), ["time", "ids", "verdict"]].empty
    True
    """
    import pandas as pd

    cube = schema.validate(cube)
    if PROVENANCE in cube:
        raise CubeError("The cube has been filled, so its dates are no looks: check it before that.")
    if isinstance(blocks, bool) or not isinstance(blocks, (int, np.integer)) or blocks < 1:
        raise CubeError(f"blocks is a number of blocks, 1 or more; got {blocks!r}.")
    facts = _facts(cube)
    several = max(len(ids) for ids in facts["ids"]) > 1
    with progress_bar(progress):
        sample = _sample(cube, blocks)
    parts = [_Series.of(part, facts["offset"]) for part in _parts(sample, several)]
    columns = {**facts, **_worst([part.judged() for part in parts])}
    table = pd.DataFrame({"time": cube["time"].values, **columns})
    counts = {verdict: int((table["verdict"] == verdict).sum()) for verdict in (*_ORDER, UNKNOWN)}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    table.attrs["summary"] = f"{len(table)} dates: {told}"
    return table


_ORDER: Final = (VERDICTS[1], VERDICTS[2], VERDICTS[0])


def _facts(cube: xr.Dataset) -> dict[str, Any]:
    """Return what the cube carries of the items of each step."""
    steps = schema.records_of(cube) if ITEMS in cube.coords else [[] for _ in cube["time"]]
    baselines = [{str(item.get("processing_baseline") or "") for item in step} for step in steps]
    added = [{value for item in step for value in item.get("offset", {}).values()} for step in steps]
    return {
        "ids": [tuple(str(item["id"]) for item in step) for step in steps],
        "baseline": [", ".join(sorted(names - {""})) for names in baselines],
        "offset": [values.copy().pop() if len(values) == 1 else np.nan for values in added],
    }


def _sample(cube: xr.Dataset, blocks: int) -> xr.Dataset:
    """Return the bands that tell, at a few pixels, in memory."""
    held = schema.bands_of(cube)
    names = [band for band in VISIBLE if band in held]
    names += [band for band in INFRARED if band in held][:1]
    names = names or held[:4]
    if SCL in cube:
        names.append(SCL)
    at = _places(cube[names[0]], blocks)
    return cube[names].isel(at).compute()


def _places(band: xr.DataArray, blocks: int) -> dict[str, NDArray[np.intp]]:
    """Return the rows and columns to look at: every k-th of a few blocks spread over the area."""
    chunks = dict(zip(band.dims, band.data.chunks, strict=True)) if is_lazy(band.data) else {}
    sizes = {dim: chunks.get(dim, (band.sizes[dim],)) for dim in ("y", "x")}
    down = min(len(sizes["y"]), max(1, int(np.sqrt(blocks))))
    taken = {"y": down, "x": min(len(sizes["x"]), blocks // down)}
    kept: dict[str, NDArray[np.intp]] = {}
    for dim, lengths in sizes.items():
        edges = np.cumsum((0, *lengths))
        # In the middle of each of as many equal parts: not at the edge, where swaths end.
        chosen = ((np.arange(taken[dim]) + 0.5) * len(lengths) / taken[dim]).astype(int)
        kept[dim] = np.concatenate([np.arange(edges[n], edges[n + 1]) for n in chosen])
    step = max(1, int(np.ceil(np.sqrt(len(kept["y"]) * len(kept["x"]) / PIXELS))))
    return {dim: places[step // 2 :: step] for dim, places in kept.items()}


def _parts(sample: xr.Dataset, several: bool) -> list[xr.Dataset]:
    """Return the sample, or its quarters: items of one date lie side by side."""
    if not several or min(sample.sizes["y"], sample.sizes["x"]) < 2:
        return [sample]
    halves = {dim: np.array_split(np.arange(sample.sizes[dim]), 2) for dim in ("y", "x")}
    return [sample.isel(y=rows, x=columns) for rows in halves["y"] for columns in halves["x"]]


@dataclass(frozen=True)
class _Series:
    """The looks of one area."""

    values: NDArray[np.float32]
    """Shape ``(time, band, pixel)``."""
    clear: NDArray[np.bool_]
    """Shape ``(time, pixel)``: known in all bands, and known to be clear where that can be known."""
    classes: NDArray[np.uint8] | None
    """SCL, shape ``(time, pixel)``."""
    bands: tuple[str, ...]
    times: NDArray[np.datetime64]
    applied: Sequence[float]
    top_of_atmosphere: bool

    @classmethod
    def of(cls, sample: xr.Dataset, applied: Sequence[float]) -> "_Series":
        bands = tuple(schema.bands_of(sample))
        steps = sample.sizes["time"]
        values = np.stack([sample[band].values.reshape(steps, -1) for band in bands], axis=1)
        clear = np.isfinite(values).all(axis=1)
        classes = sample[SCL].values.reshape(steps, -1) if SCL in sample else None
        if classes is not None:
            clear &= np.isin(classes, (VEGETATION, BARE, WATER))
        elif (green := _green(values, bands)) is not None:
            clear &= green
        level = sample.coords.get("processing_level")
        top = level is not None and level.item() == "L1C"
        return cls(values, clear, classes, bands, sample["time"].values, applied, top)

    @property
    def visible(self) -> NDArray[np.bool_]:
        return np.isin(self.bands, VISIBLE)

    @property
    def enough(self) -> float:
        return max(float(FEW), ENOUGH * int(self.clear.shape[1]))

    def judged(self) -> dict[str, NDArray[Any]]:
        """Return the columns of the table that pixels tell, and what the verdict costs at least."""
        count = len(self.times)
        dark, shift = np.full(count, np.nan), np.full(count, np.nan)
        cost = np.zeros((count, len(SHIFTS)))
        usable = np.flatnonzero(self.clear.sum(axis=1) >= self.enough)
        looks, pairs, differences = [], [], []
        for order, step in enumerate(usable.tolist()):
            dark[step], tells = self._dark_end(step)
            known = self.applied[step]
            looks.append(
                cost_of_look(dark[step], tells_bright=tells, applied=None if np.isnan(known) else known)
            )
            before = usable[max(0, order - LINKS) : order][::-1].tolist()
            found = [self._difference(step, other) for other in before]
            pairs.append(
                [np.zeros((3, 3)) if one is None else cost_of_pair(one, self.visible) for one in found]
            )
            differences += [
                (step, other, float(np.median(one[self.visible])))
                for other, one in zip(before, found, strict=True)
                if one is not None
            ]
        if len(usable):
            cost[usable] = margins(looks, pairs)
        best = cost.argmin(axis=1)
        margin = np.sort(cost, axis=1)[:, 1]
        decided = margin >= DECISIVE
        around: dict[int, list[float]] = {}
        for step, other, above in differences:
            if decided[other]:
                around.setdefault(step, []).append(above + SHIFTS[best[other]])
            if decided[step]:
                around.setdefault(other, []).append(SHIFTS[best[step]] - above)
        for step, told in around.items():
            shift[step] = np.round(np.median(told), 4)
        verdict = np.where(decided, np.array(VERDICTS, dtype=object)[best], UNKNOWN)
        share = self.clear.mean(axis=1)
        return {"clear": share, "dark_end": dark, "shift": shift, "verdict": verdict, "margin": margin}

    def _dark_end(self, step: int) -> tuple[float, bool]:
        """Return the dark end of a look, and whether what is there is known to be dark."""
        clear, visible = self.clear[step], self.visible
        some = max(FEW, 0.02 * clear.size)
        land = visible if visible.any() else np.ones_like(visible)
        if self.classes is None:
            known = _green(self.values[step], self.bands) is not None
            return self._low(step, clear, land), known and bool(visible.any())
        classes = self.classes[step]
        green, water = clear & (classes == VEGETATION), clear & (classes == WATER)
        if green.sum() >= some and visible.any():
            return self._low(step, green, visible), True
        # Near snow, Sen2Cor takes shaded snow for water.
        if water.sum() >= some and not visible.all() and (classes == SNOW).mean() < 0.01:
            # Turbid water is bright in the visible, not in the infrared.
            return self._low(step, water, ~visible), True
        return self._low(step, clear, land), False

    def _low(self, step: int, where: NDArray[np.bool_], bands: NDArray[np.bool_]) -> float:
        """Return the 5th percentile, in the middle one of `bands`."""
        low = np.percentile(self.values[step][:, where], 5, axis=1)
        if self.top_of_atmosphere:
            low -= [AIR.get(band, 0.0) for band in self.bands]
        return float(np.median(low[bands]))

    def _difference(self, step: int, other: int) -> NDArray[np.float64] | None:
        """Return by how much a look is above another, by band; None where they do not compare."""
        both = self.clear[step] & self.clear[other]
        far = self.times[step] - self.times[other] > NEAR
        if far or both.sum() < self.enough or not self.visible.any():
            return None
        found, contrast = compare(self.values[step][:, both], self.values[other][:, both])
        if not comparable(found, contrast, self.visible):
            return None
        # Without classes and without the infrared an even haze looks like an offset.
        sharp = self.classes is not None and not self.visible.all()
        return found if sharp or abs(np.median(found[self.visible])) < HAZE else None


def _green(values: NDArray[np.float32], bands: Sequence[str]) -> NDArray[np.bool_] | None:
    """Return where there is vegetation, by what no offset changes; None without the bands for it."""
    infrared = [band for band in bands if band in INFRARED]
    if "B04" not in bands or not infrared:
        return None
    red, near = (values[..., bands.index(band), :] for band in ("B04", infrared[0]))
    with np.errstate(invalid="ignore"):
        green: NDArray[np.bool_] = near - red > GREEN
    return green


def _worst(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Return, date by date, the columns of the part that lies, else of the one that tells most."""
    weight = np.stack([np.where(part["verdict"] == VERDICTS[1], 1, 2) for part in parts]) * 1e6
    weight[np.stack([part["verdict"] == UNKNOWN for part in parts])] = 0
    chosen = (weight + np.stack([part["margin"] for part in parts])).argmax(axis=0)
    steps = np.arange(len(chosen))
    names = ("dark_end", "shift", "verdict")
    picked = {name: np.stack([part[name] for part in parts])[chosen, steps] for name in names}
    return {"clear": np.mean([part["clear"] for part in parts], axis=0), **picked}
