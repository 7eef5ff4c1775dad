"""Filling beside its peers."""

import bottleneck
import numpy as np
import xarray as xr
from table import Row, best
from whittaker_eilers import WhittakerSmoother

import s2cube
from s2cube.kernels.counts import decode, encode
from s2cube.kernels.fill import fill_closest, fill_last, fill_linear, fill_median
from s2cube.kernels.harmonic import fill_harmonic
from s2cube.kernels.whittaker import fill_whittaker
from s2cube.kernels.window import fill_window

SAMPLE = 4096
"""Pixels that peers smooth one by one."""


def rows() -> list[Row]:
    """Return the work, each checked to give the same numbers on both sides."""
    xr.set_options(use_bottleneck=True)
    cube = s2cube.testing.simulate_cube(shape=(256, 256), seed=1, bands=["nir"]).s2.mask_clouds()
    looks = cube["B08"]
    values = looks.values
    valid = np.isfinite(values)
    days = looks["time"].values.astype("datetime64[D]").astype(np.int64).astype(np.int32)
    targets = np.arange(days[0], days[-1] + 1, dtype=np.int32)
    dated = looks.assign_coords(time=days.astype("datetime64[D]").astype("datetime64[ns]"))
    daily = targets.astype("datetime64[D]").astype("datetime64[ns]")
    out = 4 * len(targets) * values[0].size
    filled = fill_linear(values, valid, days=days, targets=targets)
    counts = np.random.default_rng(0).integers(1, 10_000, (64, 512, 512)).astype(np.uint16)

    def xarray_linear() -> np.ndarray:
        return dated.reindex(time=daily).interpolate_na("time").values

    def xarray_last() -> np.ndarray:
        return dated.reindex(time=daily).ffill("time").values

    def numpy_decode() -> np.ndarray:
        return np.where(counts == 0, np.nan, counts * 1e-4 - 0.1).astype(np.float32)

    def numpy_encode() -> np.ndarray:
        return np.where(np.isnan(filled), -32768, np.rint(filled * 1e4)).astype(np.int16)

    return [
        *whittakers(values, valid, days, targets),
        *without_peer(values, valid, days, targets),
        Row(
            "linear to daily",
            "xarray reindex + interpolate_na",
            lambda: fill_linear(values, valid, days=days, targets=targets),
            xarray_linear,
            values.nbytes + out,
        ),
        Row(
            "last to daily",
            "xarray reindex + ffill",
            lambda: fill_last(values, valid, days=days, targets=targets, reach="past"),
            xarray_last,
            values.nbytes + out,
        ),
        Row(
            "last on the looks' own days",
            "bottleneck.push",
            lambda: fill_last(values, valid, days=days, targets=days, reach="past"),
            lambda: bottleneck.push(values, axis=0),
            2 * values.nbytes,
        ),
        Row(
            "counts to reflectance",
            "numpy, one expression",
            lambda: decode(counts, nodata=0, scale=1e-4, offset=-0.1),
            numpy_decode,
            3 * counts.nbytes,
        ),
        Row(
            "reflectance to counts",
            "numpy, one expression",
            lambda: encode(filled),
            numpy_encode,
            filled.nbytes * 3 // 2,
        ),
    ]


def whittakers(
    values: np.ndarray, valid: np.ndarray, days: np.ndarray, targets: np.ndarray
) -> list[Row]:
    """Return Whittaker's smoother of both orders, beside one that takes series one by one."""
    some = values.reshape(len(days), -1)[:, :SAMPLE], valid.reshape(len(days), -1)[:, :SAMPLE]
    looks, seen = (array[:, None] for array in some)
    daily = np.zeros((2, SAMPLE, len(targets)))
    at = days - targets[0]
    daily[0][:, at], daily[1][:, at] = np.where(seen, looks, 0)[:, 0].T, seen[:, 0].T

    def theirs(order: int) -> np.ndarray:
        smoother = WhittakerSmoother(100.0, order, len(targets), weights=daily[1][0])
        out = []
        for series, weights in zip(*daily, strict=True):
            smoother.update_weights(weights)
            out.append(smoother.smooth(series))
        return np.array(out).T[:, None]

    def ours(order: int) -> np.ndarray:
        return fill_whittaker(
            looks, seen, days=days, targets=targets, reach="both", smooth=True, order=order,
            smoothness=100.0, slope_days=None, robust=False,
        )  # fmt: skip

    moved = looks.nbytes + 4 * SAMPLE * len(targets)
    return [
        Row(
            f"Whittaker's smoother of order {order}, daily",
            "whittaker-eilers",
            lambda order=order: ours(order),
            lambda order=order: theirs(order),
            moved,
        )
        for order in (1, 2)
    ]


def without_peer(
    values: np.ndarray, valid: np.ndarray, days: np.ndarray, targets: np.ndarray
) -> list[Row]:
    """Return the other methods beside xarray's linear interpolation, as there is no peer."""
    dated = xr.DataArray(
        np.where(valid, values, np.nan).astype(np.float32),
        dims=("time", "y", "x"),
        coords={"time": days.astype("datetime64[D]").astype("datetime64[ns]")},
    )
    daily = targets.astype("datetime64[D]").astype("datetime64[ns]")

    def xarray_linear() -> np.ndarray:
        return dated.reindex(time=daily).interpolate_na("time").values

    how = {"days": days, "targets": targets, "reach": "both", "smooth": False}
    work = {
        "median of 25 days on each side, daily": lambda: fill_median(values, valid, window=25, **how),
        "Whittaker's smoother, robust, daily": lambda: fill_whittaker(
            values, valid, order=1, smoothness=3.0, slope_days=None, robust=True, **how
        ),
        "three harmonics, daily": lambda: fill_harmonic(values, valid, harmonics=3, ridge=1.0, **how),
    }
    moved = values.nbytes + 4 * len(targets) * values[0].size
    peer = "xarray reindex + interpolate_na"
    return [Row(name, peer, ours, xarray_linear, moved, "other work") for name, ours in work.items()]


RATES = """Values a second: bands × pixels × days that one core makes of a window of 192 × 192 px with
four bands and 57 looks of one year. *Boosted trees* are scikit-learn's `HistGradientBoostingRegressor`,
fitted for each date and band on the clear pixels of the date, with the straight line and the
closest look of all bands as features: what `similar` does in closed form. (For context: the
published code of CLEAR, which fills dates by classes and similar pixels, took 3,660 CPU-minutes for
a tile.)

"""


def rates() -> str:
    """Return how many values a second methods of windows make, as a table."""
    cube = s2cube.testing.simulate_cube(
        shape=(192, 192), seed=3, bands=["blue", "red", "nir", "swir16"]
    ).s2.mask_clouds()
    bands = s2cube.schema.bands_of(cube)
    values = np.stack([cube[band].values for band in bands], axis=1)
    valid = np.isfinite(values).all(axis=1)
    days = s2cube.schema.solar_days(cube)
    daily = np.arange(days[0], days[-1] + 1, dtype=np.int32)
    share = valid.mean(axis=(1, 2))
    partly = days[np.flatnonzero((share > 0.3) & (share < 0.9))[5:8]]
    how = {"days": days, "origin": (0, 0), "causal": False, "uncertain": False}

    def window(targets: np.ndarray, *, same_date: bool) -> np.ndarray:
        return fill_window(values, valid, targets=targets, same_date=same_date, **how).bands

    def straight() -> np.ndarray:
        looks = [
            fill_linear(np.ascontiguousarray(values[:, b]), valid, days=days, targets=daily)
            for b in range(len(bands))
        ]
        return np.stack(looks)

    work = {
        "linear, daily": (straight, len(daily)),
        "seasonal, daily": (lambda: window(daily, same_date=False), len(daily)),
        "similar, daily": (lambda: window(daily, same_date=True), len(daily)),
        "similar, three cloudy dates": (lambda: window(partly, same_date=True), len(partly)),
    }
    try:
        import sklearn  # noqa: F401
    except ImportError:
        pass
    else:
        work["boosted trees, three cloudy dates"] = (
            lambda: [boosted(values, valid, days, int(day)) for day in partly],
            len(partly),
        )
    for run, _ in work.values():
        run()
    times = best(*(run for run, _ in work.values()))
    lines = ["| work | million values a second |", "| --- | ---: |"]
    for (name, (_, count)), taken in zip(work.items(), times, strict=True):
        lines.append(f"| {name} | {len(bands) * valid[0].size * count / taken / 1e6:.3g} |")
    return RATES + "\n".join(lines)


def boosted(values: np.ndarray, valid: np.ndarray, days: np.ndarray, day: int) -> np.ndarray:
    """Return one date, made whole by trees that are fitted on its clear pixels."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    step = int(np.searchsorted(days, day))
    others = valid.copy()
    others[step] = False
    at = days[[step]]
    lines = [
        fill(np.ascontiguousarray(values[:, b]), others, days=days, targets=at)[0].ravel()
        for fill in (fill_linear, fill_closest)
        for b in range(values.shape[1])
    ]
    features, clear = np.stack(lines, axis=1), valid[step].ravel()
    whole = values[step].reshape(values.shape[1], -1).copy()
    for band in whole:
        trees = HistGradientBoostingRegressor(max_iter=100).fit(features[clear], band[clear])
        band[~clear] = trees.predict(features[~clear])
    return whole
