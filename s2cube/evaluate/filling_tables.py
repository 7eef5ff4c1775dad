"""From sums of errors to tables: scores, intervals, differences between methods."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError
from s2cube.kernels.bootstrap import draws, middle
from s2cube.kernels.score import BINS, SUMS, unit_of
from s2cube.schema import BANDS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ANGLE",
    "DAILY",
    "FLOOR",
    "INDEX",
    "LOOK_STEP",
    "SIMILARITY",
    "STEP",
    "compare_gap_filling",
    "daily_record",
    "records",
    "summarize_gap_filling",
]

INDEX: Final = "NDVI"
ANGLE: Final = "SAM"
SIMILARITY: Final = "SSIM"
STEP, LOOK_STEP = "step", "look_step"
"""From the clear look before to the filled value, and to the hidden one."""
FLOOR: Final = "floor"
DAILY: Final = "daily"
KEYS: Final = ("mask", "causal", "method")
SPLITS: Final = ("place", "band", "date", "days", "share")
"""What a table of scores may be split by."""
SHARES: Final = (0.1, 0.3, 0.6)
SHARE_BINS: Final = ("under 10 %", "10-30 %", "30-60 %", "over 60 %")
DETAILS: Final = (*KEYS, "band", "date", "days", "share", *SUMS, "varied", "looks_varied", "seam")


def records(
    key: dict[str, Any], dates: NDArray[Any], pixels: int, sums: NDArray[np.int64], seen: Any
) -> "pd.DataFrame":
    """Return the details of one band (or angle, or index) of one method under one mask.

    Parameters
    ----------
    key
        Mask, causal, method and band.
    dates
        The day of each step.
    pixels
        Of the area.
    sums
        As :func:`s2cube.kernels.score.tally` makes them.
    seen
        How many pixels the method sees on each step.
    """
    import pandas as pd

    table = sums.reshape(len(dates), len(BINS), len(SUMS))
    step, days = np.nonzero(table[..., :2].any(axis=-1))
    found = table[step, days]
    facts = {
        "date": dates[step],
        "days": np.asarray(BINS)[days],
        "share": np.asarray(seen)[step] / pixels,
        **{name: found[:, k] * unit_of(name) for k, name in enumerate(SUMS)},
    }
    named = {name: [value] * len(step) for name, value in key.items()}
    table = pd.DataFrame({**named, **facts, "varied": 0.0, "looks_varied": 0.0, "seam": float("nan")})
    return table[list(DETAILS)]


def daily_record(
    key: dict[str, Any],
    varied: NDArray[np.int64],
    filled: NDArray[np.int64],
    clear: NDArray[np.int64],
) -> "pd.DataFrame":
    """Return the details of one band of a daily series.

    Parameters
    ----------
    key
        As for :func:`records`.
    varied
        As :func:`s2cube.kernels.score.variation` makes it.
    filled, clear
        Steps between neighbours in the filled series and in its looks, as
        :func:`s2cube.kernels.score.profile` makes them.
    """
    import pandas as pd

    facts = {
        **key,
        "date": np.datetime64("NaT"),
        "days": BINS[-1],
        "share": float("nan"),
        **dict.fromkeys(SUMS, 0),
        "varied": varied[0] * unit_of("abs"),
        "looks_varied": varied[1] * unit_of("abs"),
        "seam": _seam(filled, clear),
    }
    return pd.DataFrame([facts])[list(DETAILS)]


def _seam(filled: NDArray[np.int64], clear: NDArray[np.int64]) -> float:
    """Return the largest step across an edge, beside that of the looks, as a multiple of the median.

    Where looks hardly differ, as in pixels that were doubled, a quarter of their usual step counts.
    """
    (n, total), (n_clear, total_clear) = filled.reshape(2, -1), clear.reshape(2, -1)
    known = (n > 0) & (total_clear > 0)
    if not known.any():
        return float("nan")
    natural = total_clear[known] / n_clear[known]
    beside = (total[known] / n[known]) / np.maximum(natural, np.median(natural) / 4)
    middle = np.median(beside)
    return float(beside.max() / middle) if middle > 0 else float("nan")


def summarize_gap_filling(details: "pd.DataFrame", by: str | Iterable[str] = ()) -> "pd.DataFrame":
    """Make a table of scores from details.

    Parameters
    ----------
    details
        What :func:`~s2cube.evaluate_gap_filling` returned with ``details=True``; of several places, one
        after the other (:func:`pandas.concat`), each with its name in a column ``place``.
    by
        What to tell apart besides mask, causal and method: any of ``"place"``, ``"band"``, ``"date"``,
        ``"days"`` (to the nearest clear look that the method may lean on) and ``"share"`` (of the area
        that is clear on the date).

    Returns
    -------
    pandas.DataFrame
        As :func:`~s2cube.evaluate_gap_filling` returns it. What needs several bands (``ndvi``, ``sam``,
        ``ssim``, ``step``) is NaN by band.

    Raises
    ------
    CubeError
        The table has no details, or cannot be split so.

    Examples
    --------
    >>> import s2cube
    >>> from s2cube.evaluate import summarize_gap_filling
    >>> cube = s2cube.testing.simulate_cube(seed=1, bands=["red", "nir"]).s2.mask_clouds()
    >>> details = cube.s2.evaluate_gap_filling(
    ...     ["linear"], masks=["frame"], causal=False, details=True, progress=False
    ... )
    >>> summarize_gap_filling(details, by="band")["band"].tolist()
    ['B04', 'B08']
    """
    import pandas as pd

    names = _splits(details, by)
    table = _ready(details)
    keys = [*KEYS, *names]
    scored = table[table["mask"].ne(FLOOR) & table["mask"].ne(DAILY)]
    if "band" in names:
        scored = scored[scored["band"].isin(list(BANDS))]
    rows = [
        {**dict(zip(keys, key, strict=True)), **_scores(group)}
        for key, group in scored.groupby(keys, observed=True)
    ]
    return _with_daily(pd.DataFrame(rows), table, [n for n in names if n in ("place", "band")])


def _ready(details: "pd.DataFrame") -> "pd.DataFrame":
    """Return the details with shares in bins, and a number for each date of a place.

    What has an order of its own, or was asked for in one, is put into it when rows are grouped.
    """
    import pandas as pd

    keys = [name for name in ("place", "date") if name in details]
    drawn = details.groupby(keys, sort=True, dropna=False).ngroup()
    orders = {name: details[name].unique() for name in ("place", "mask", "method", "band")
              if name in details} | {"days": BINS}  # fmt: skip
    ordered = {name: pd.Categorical(details[name], list(order)) for name, order in orders.items()}
    return details.assign(**ordered, share=_share_bins(details["share"]), drawn=drawn)


def _splits(details: "pd.DataFrame", by: str | Iterable[str]) -> list[str]:
    names = [by] if isinstance(by, str) else list(by)
    if missing := [name for name in DETAILS if name not in details]:
        raise CubeError(
            f"The table has no {', '.join(missing)}: it takes what "
            "evaluate_gap_filling(..., details=True) returned."
        )
    known = [name for name in SPLITS if name in details]
    if unknown := [name for name in names if name not in known]:
        raise CubeError(f"The table cannot be split by {unknown}; known: {', '.join(known)}.")
    return names


def _share_bins(share: "pd.Series") -> Any:
    import pandas as pd

    bins = np.searchsorted(SHARES, share.to_numpy(), side="right")
    return pd.Categorical.from_codes(bins, list(SHARE_BINS), ordered=True)


def _scores(group: "pd.DataFrame") -> dict[str, Any]:
    """Return the scores of rows that belong together."""
    kinds = group["band"].to_numpy(str)
    columns = {name: group[name].to_numpy(float) for name in SUMS}

    def ratio(name: str, kind: str | None = None, of: str = "n") -> float:
        own = np.isin(kinds, list(BANDS)) if kind is None else kinds == kind
        count = columns[of][own].sum()
        return float(columns[name][own].sum() / count) if count else float("nan")

    drawn, *sums = _by_date(group)
    n = int(sums[1].sum())
    missing = ratio("missing")
    mae, rmse = ratio("abs"), ratio("square") ** 0.5
    low, high = _interval(*sums)
    return {
        "n": n,
        "dates": len(drawn),
        "missing": missing / (1 + missing) if n else 1.0,
        "mae": mae,
        "low": low,
        "high": high,
        # Squares are rounded by themselves; where all errors are equal it would be the smaller one.
        "rmse": max(rmse, mae) if n else rmse,
        "bias": ratio("sum"),
        "ndvi": ratio("abs", INDEX),
        "sam": float(np.degrees(ratio("abs", ANGLE))),
        "ssim": ratio("sum", SIMILARITY),
        "step": _share(ratio("abs", STEP), ratio("abs", LOOK_STEP)),
        "in68": ratio("in68", of="n68"),
        "in95": ratio("in95", of="n95"),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _with_daily(summary: "pd.DataFrame", table: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
    """Add what was measured of daily series, and the noise floor."""
    import pandas as pd

    daily = table[table["mask"] == DAILY]
    if len(daily):
        groups = daily.groupby(["causal", "method", *keys], observed=True)
        changes = groups[["varied", "looks_varied"]].sum()
        rough = changes["varied"] / changes["looks_varied"].where(changes["looks_varied"] > 0)
        extra = pd.DataFrame({"roughness": rough, "seam": groups["seam"].max()}).reset_index()
        summary = summary.merge(extra, how="left", on=["causal", "method", *keys])
    floor = table[(table["mask"] == FLOOR) & table["band"].isin(list(BANDS))]
    if keys and len(floor):
        sums = floor.groupby(keys, observed=True)[["abs", "n"]].sum()
        column = (sums["abs"] / sums["n"]).rename("floor").reset_index()
        return summary.merge(column, how="left", on=keys)
    count = floor["n"].sum()
    return summary.assign(floor=float(floor["abs"].sum() / count) if count else float("nan"))


def _by_date(
    group: "pd.DataFrame",
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the dates of some rows (by number), their sums of absolute errors, and of values."""
    bands = np.isin(group["band"].to_numpy(str), list(BANDS))
    drawn, code = np.unique(group["drawn"].to_numpy()[bands], return_inverse=True)
    errors, counts = (
        np.bincount(code, group[name].to_numpy(float)[bands], len(drawn)).astype(np.float64)
        for name in ("abs", "n")
    )
    known = counts > 0
    return drawn[known], errors[known], counts[known]


def _interval(*sums: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of the mean error, by drawing whole dates: pixels of one are no others."""
    errors, counts = sums
    if len(errors) < 2:
        return float("nan"), float("nan")
    weights = draws(len(errors))
    return middle((weights @ errors) / (weights @ counts))


def compare_gap_filling(
    details: "pd.DataFrame", to: str = "linear", *, by: str | Sequence[str] = ()
) -> "pd.DataFrame":
    """Compare methods with one of them, on the same dates.

    Parameters
    ----------
    details, by
        As for :func:`~s2cube.summarize_gap_filling`; not by date.
    to
        The method that the others are compared with. Where it was not run, as ``"linear"`` when causal,
        rows are left out.

    Returns
    -------
    pandas.DataFrame
        One row a mask, causal, method and `by`: ``dates`` (that both have), ``mae``, ``mae_to`` (of the
        other one), ``difference`` (negative where the method is better), ``low`` and ``high`` (95 % of
        it, by drawing whole dates of a place 1000 times) and ``change``, the difference as a share of
        ``mae_to``.

    Raises
    ------
    CubeError
        The table has no details, cannot be split so, or does not hold `to`.

    Examples
    --------
    >>> import s2cube
    >>> from s2cube.evaluate import compare_gap_filling
    >>> cube = s2cube.testing.simulate_cube(seed=1, bands=["red", "nir"]).s2.mask_clouds()
    >>> details = cube.s2.evaluate_gap_filling(
    ...     ["last", "linear"], masks=["frame"], causal=False, details=True, progress=False
    ... )
    >>> row = compare_gap_filling(details, "linear").iloc[0]
    >>> row["method"], bool(row["difference"] > 0)
    ('last', True)
    """
    import pandas as pd

    names = _splits(details, by)
    if "date" in names:
        raise CubeError("Dates are what is drawn: compare by anything else.")
    if to not in set(details["method"]):
        raise CubeError(
            f"The table has no method {to!r}; it has {', '.join(map(str, details['method'].unique()))}."
        )
    table = _ready(details)
    table = table[table["band"].isin(list(BANDS)) & ~table["mask"].isin([FLOOR, DAILY])]
    keys = [*KEYS, *names]
    sums = {
        key: dict(zip(*_keyed(group), strict=True)) for key, group in table.groupby(keys, observed=True)
    }
    rows = []
    for key, own in sums.items():
        facts = dict(zip(keys, key, strict=True))
        other = sums.get(tuple({**facts, "method": to}.values()))
        if facts["method"] == to or other is None:
            continue
        shared = [place for place in own if place in other]
        rows.append({**facts, **_difference(*(np.array([x[k] for k in shared]) for x in (own, other)))})
    columns = [*keys, "dates", "mae", "mae_to", "difference", "low", "high", "change"]
    return pd.DataFrame(rows, columns=columns)


def _keyed(group: "pd.DataFrame") -> tuple[list[Any], list[tuple[float, float]]]:
    drawn, errors, counts = _by_date(group)
    return drawn.tolist(), list(zip(errors.tolist(), counts.tolist(), strict=True))


def _difference(own: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    if not len(own):
        return {"dates": 0}
    mae, reference = (sums[:, 0].sum() / sums[:, 1].sum() for sums in (own, other))
    low = high = float("nan")
    if len(own) > 1:
        weights = draws(len(own))
        one, two = ((weights @ sums[:, 0]) / (weights @ sums[:, 1]) for sums in (own, other))
        low, high = middle(one - two)
    return {
        "dates": len(own),
        "mae": mae,
        "mae_to": reference,
        "difference": mae - reference,
        "low": low,
        "high": high,
        "change": (mae - reference) / reference if reference else float("nan"),
    }
