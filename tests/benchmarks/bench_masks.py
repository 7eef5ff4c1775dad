"""What each mask finds, what it costs, and what comes of it, on the same pixels in one run."""

import json
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from process_memory import forget_peak, memory

import s2cube
from s2cube.schema import Status

INTRO = """Which mask finds what, what it costs, and what comes of it: all methods on the same pixels, in
one run. Made by `make bench-docs` on {date}, on {machine}, with {versions}.

*Romania* is the place of the [demo](data.md): a square kilometre of forest, level 2A, 10 m, six bands,
100 dates. *Level 1C* is a series of one's own, which `--data` names; here 256 × 256 px of villages and
fields in Italy, 13 bands, 30 dates.

Simulated clouds
: [`add_clouds`](#s2cube.testing.add_clouds), cover 40 %, over the dates that are clear, within the
  real series. `scl` has no classes of these pixels. The spectral methods learnt from spectra that are
  made by the same formulas of light, so this judge is **not independent of them**: it shows what a
  method cannot do, not which is best. Clear dates were chosen by looking; at level 1C they are those
  of which s2cloudless and csmask together mask less than 10 %, and the eye agrees. *Times as long*,
  seconds and memory (the most that a process takes on top of the cube, with libraries and weights) are
  of the whole series, in one thread.

Real clouds
: In Romania, precision and recall are against SCL, where the looks of that season agree with it (cloud
  is brighter than usual, shadow darker, clear ground neither); at level 1C against what s2cloudless
  and csmask agree on. Both without edges of 30 m. No method is judged by itself. *Masked* is the share
  of frames that are one thing all over, chosen by looking and without a mask: of clear ones 0 % is
  right, of overcast and hazy ones 100 %. The rest is [`check_masks`](#s2cube.check_masks): *outside*
  and *spikes* are better when low, beside an equal share that is *called clear*.

Errors
: Mean absolute differences over all bands, reflectance × 10 000. With simulated clouds: the median and
  the geomedian, against those of the looks that the truth leaves; and `linear`, against what clouds
  and shadows hide. With the real ones: the geomedian of June to September, against that of the clear
  dates; and `linear`, against every second clear date, which is held out. *Truth* is what a perfect
  mask would give: filling has errors of its own."""
PEERS = ("s2cloudless", "ukis-csmask", "lightgbm", "onnxruntime", "numpy")
METHODS = ("scl", "spectral", "spectral-temporal", "s2cloudless", "csmask")
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
MASKED = (Status.THIN_CLOUD, Status.SHADOW, Status.CLOUD)
CLEAR_SHARE = 0.1
"""A date of which two peers together mask less is clear: what they mask there are roofs."""
OPENED = ", opening of 15 m, buffer of 30 m"
EDGE = 30.0
"""Metres: looks so near another class of a truth that is itself a mask do not count."""
SUMMER = (6, 7, 8, 9)
# Found by looking at all dates of the demo's place, without any mask: frames that are one thing all
# over.
CLEAR = (
    "2018-04-12", "2018-04-22", "2018-04-27", "2018-05-02", "2018-05-22", "2018-07-01", "2018-08-25",
    "2018-09-19", "2018-10-04", "2018-10-09", "2018-10-14", "2018-11-13", "2019-06-16", "2019-07-01",
    "2019-07-06", "2019-08-10", "2019-10-09", "2019-10-14", "2019-10-19", "2020-04-16", "2020-05-11",
    "2020-05-16", "2020-06-30", "2020-07-05", "2020-07-10", "2020-08-04", "2020-08-29", "2020-10-03",
    "2020-11-07",
)  # fmt: skip
OVERCAST = (
    "2018-03-13", "2018-05-07", "2018-05-27", "2018-06-11", "2018-09-29", "2019-02-01", "2019-06-11",
    "2020-02-06",
)  # fmt: skip
HAZE = ("2018-10-29", "2019-04-22", "2019-08-25", "2020-09-03", "2020-09-18")

Table = tuple[str, list[str], list[list[str]]]
"""Caption, heads and cells."""


@dataclass(frozen=True)
class Place:
    """A series, what is known of it, and the masks of it."""

    name: str
    cube: xr.Dataset
    masks: Mapping[str, xr.Dataset]
    clear: np.ndarray
    """Numbers of the dates that are clear."""
    truth: xr.Dataset
    """Of real clouds, ``no_data`` where it is not known."""
    peers: tuple[str, ...]
    """The methods of which the truth is made, which it does not judge."""
    seen: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Numbers of the dates that are one thing all over, by name."""


def tables(data: Path | None, tell: Callable[[str], None]) -> Iterator[Table]:
    """Yield the tables, place by place; `tell` hears what was left out, and why."""
    for make in (_romania, _level_1c):
        place = make(data, tell)
        if place is None:
            continue
        mixed, truth = _with_clouds(place)
        found = masks_of(mixed, tell)
        yield _scores(place, found, truth, costs(place))
        yield _real(place)
        yield _products(place, mixed, found, truth)
        yield _variants(place)


def masks_of(cube: xr.Dataset, tell: Callable[[str], None]) -> dict[str, xr.Dataset]:
    """Return the masks of all methods that take `cube` and are installed, computed."""
    masks = {}
    for method in METHODS:
        try:
            masks[method] = s2cube.cloud_mask(cube, method).compute()
        except ImportError as error:
            tell(f"{method} left out: {error}")
        except s2cube.errors.CubeError:
            # Of another level, or without the bands.
            continue
    return masks


def _romania(data: Path | None, tell: Callable[[str], None]) -> Place:
    """Return the demo's square kilometre: level 2A, six bands, 10 m, 100 dates in three years."""
    from s2cube.demo import publish_archive

    with tempfile.TemporaryDirectory() as folder:
        cube = s2cube.open_stac(publish_archive(folder)).compute()
    cube = cube.drop_vars("items")
    days = _days(cube)
    seen = {
        name: np.flatnonzero(np.isin(days, np.array(dates, "M8[ns]")))
        for name, dates in (("clear", CLEAR), ("overcast", OVERCAST), ("haze", HAZE))
    }
    masks = masks_of(cube, tell)
    truth = _cleaned(cube, masks["scl"])
    return Place("Romania, level 2A", cube, masks, seen["clear"], truth, ("scl",), seen)


def _cleaned(cube: xr.Dataset, scl: xr.Dataset) -> xr.Dataset:
    """Return what SCL says where the looks near that day of the year agree, else ``no_data``.

    Cloud must be brighter than what is usual at the pixel in that season, shadow darker, clear ground
    neither.
    """
    status = scl["status"].values
    day = cube["time"].dt.dayofyear.values
    more = {}
    for band in ("B02", "B8A"):
        looks = np.where(status <= Status.CLEAR_WATER, cube[band].values, np.nan)
        usual = np.full_like(looks, np.nan)
        for number, today in enumerate(day):
            apart = np.minimum(abs(day - today), 365 - abs(day - today))
            near = apart <= 45
            near[number] = False
            with warnings.catch_warnings():
                # Of pixels without a clear look in that season.
                warnings.simplefilter("ignore", RuntimeWarning)
                usual[number] = np.nanmedian(looks[near], axis=0)
        more[band] = cube[band].values - usual
    agree = {
        Status.CLEAR: (abs(more["B02"]) < 0.03) & (abs(more["B8A"]) < 0.08),
        Status.THIN_CLOUD: more["B02"] > 0.015,
        Status.SHADOW: more["B8A"] < -0.08,
        Status.CLOUD: more["B02"] > 0.05,
    }
    known = np.zeros(status.shape, bool)
    for state, here in agree.items():
        known |= (status == state) & here
    return scl.assign(status=scl["status"].where(known, Status.NO_DATA).astype(np.uint8))


def _level_1c(data: Path | None, tell: Callable[[str], None]) -> Place | None:
    """Return a level-1C series of one's own, if one is given and both peers are installed."""
    if data is None:
        tell("level 1C left out: give --data, or the variable S2CUBE_LEVEL_1C")
        return None
    with xr.open_dataset(data, mask_and_scale=False) as found:
        crs = found.attrs.get("crs", "EPSG:4326")
        cube = s2cube.as_cube(
            found[list(BANDS)], scale=1e-4, offset=0, nodata=0, level="L1C", crs=crs
        ).compute()
    masks = masks_of(cube, tell)
    peers = ("s2cloudless", "csmask")
    if not all(peer in masks for peer in peers):
        tell("level 1C left out: its truth is made of s2cloudless and csmask")
        return None
    pixels, pictures = (masks[peer]["status"] for peer in peers)
    cloud = (pixels == Status.CLOUD).astype(int) + (pictures == Status.CLOUD)
    shadow = (pictures == Status.SHADOW) & (cloud == 0)
    share = ((cloud > 0) | shadow).mean(("y", "x")).values
    agreed = xr.where(cloud == 2, int(Status.CLOUD), int(Status.NO_DATA))
    agreed = xr.where((cloud == 0) & ~shadow, int(Status.CLEAR), agreed)
    truth = masks["csmask"].assign(status=agreed.astype(np.uint8))
    return Place("Level 1C", cube, masks, np.flatnonzero(share < CLEAR_SHARE), truth, peers)


def _with_clouds(place: Place) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the whole series with clouds put over its clear dates, and their truth there."""
    clear = place.cube.isel(time=place.clear)
    cloudy, truth = s2cube.testing.add_clouds(clear, cover=0.4, seed=1)
    rest = place.cube.drop_vars("SCL", errors="ignore")
    mixed = rest.copy(deep=True)
    for band in s2cube.schema.bands_of(mixed):
        mixed[band].values[place.clear] = cloudy[band].values
    return mixed, truth.compute()


def _scores(
    place: Place,
    found: Mapping[str, xr.Dataset],
    truth: xr.Dataset,
    cost: Mapping[str, tuple[float, float]],
) -> Table:
    """Return how simulated clouds and shadows are found, and what it costs."""
    here = {name: mask.isel(time=place.clear) for name, mask in found.items()}
    scores = s2cube.evaluate_masks(here, truth, classes=["cloud", "shadow"])
    by = scores.set_index(["mask", "class"])
    rows = []
    for name in place.masks:
        cells = ["–"] * 5
        if name in here:
            cloud, shadow, both = (
                by.loc[(name, word)] for word in ("cloud", "shadow", "cloud_or_shadow")
            )
            cells = [
                *(f"{cloud[word]:.2f}" for word in ("precision", "recall", "f1")),
                f"{shadow['f1']:.2f}" if shadow["tp"] else "–",
                f"{both['f1']:.2f}",
            ]
        seconds, size = cost[name]
        ratio = seconds / cost["spectral"][0]
        rows.append([f"`{name}`", *cells, f"{ratio:.2g}", f"{seconds:.2g}", f"{size:.0f}"])
    head = ["method", "cloud: precision", "recall", "F1", "shadow: F1", "either: F1",
            "times as long as spectral", "s/Mpx", "MB/Mpx"]  # fmt: skip
    caption = (
        f"{place.name}: simulated clouds over {len(place.clear)} of {place.cube.sizes['time']} dates"
    )
    return caption, head, rows


def _real(place: Place) -> Table:
    """Return how real clouds are found, by the truth at hand, by the eye, and by consistency."""
    judged = {name: mask for name, mask in place.masks.items() if name not in place.peers}
    scores = s2cube.evaluate_masks(judged, place.truth, classes=["cloud", "shadow"], erode=EDGE)
    by = scores[scores["erode"] == EDGE].set_index(["mask", "class"])
    checks = s2cube.check_masks(place.cube, dict(place.masks)).set_index("mask")
    shaded = bool((place.truth["status"] == Status.SHADOW).any())
    rows = []
    for name, mask in place.masks.items():
        cells = ["–"] * (3 + shaded)
        if name in judged:
            cloud, both = by.loc[(name, "cloud")], by.loc[(name, "cloud_or_shadow")]
            cells = [f"{cloud[word]:.2f}" for word in ("precision", "recall", "f1")]
            cells += [f"{both['f1']:.2f}"] * shaded
        eye = [f"{float(_dropped(mask)[dates].mean()):.0%}" for dates in place.seen.values()]
        check = checks.loc[name]
        told = [f"{check[word]:.1%}" for word in ("clear", "outside", "spikes")]
        rows.append([f"`{name}`", *cells, *eye, *told])
    eyes = [f"masked, {word} ({len(dates)})" for word, dates in place.seen.items()]
    either = ["either: F1"] * shaded
    checked = ["called clear", "outside", "spikes"]
    head = ["method", "cloud: precision", "recall", "F1", *either, *eyes, *checked]
    return f"{place.name}: real clouds", head, rows


def _products(
    place: Place, mixed: xr.Dataset, found: Mapping[str, xr.Dataset], truth: xr.Dataset
) -> Table:
    """Return errors of composites and of filled series that use each mask, counts of 0.0001."""
    ground = place.cube.drop_vars("SCL", errors="ignore")
    clear, cloudy = (cube.isel(time=place.clear) for cube in (ground, mixed))
    none = truth.assign(status=xr.zeros_like(truth["status"]))
    here = {name: mask.isel(time=place.clear) for name, mask in found.items()}
    wanted = _images(cloudy.s2.mask_clouds(truth))
    hidden = _dropped(truth).values
    rows = []
    for name in ("none", *place.masks, "truth"):
        cells = ["–"] * 4
        mask = {"none": none, "truth": truth, **here}.get(name)
        if mask is not None:
            masked = cloudy.s2.mask_clouds(mask)
            images = _images(masked)
            cells = [
                f"{float(masked['B02'].notnull().mean()):.0%}",
                *(f"{_error(images[way], wanted[way]):.0f}" for way in ("median", "geomedian")),
                f"{_error(_filled(masked, clear), clear, hidden):.0f}",
            ]
        real = ["–"] * 2 if name == "truth" else _held_out(place, place.masks.get(name))
        rows.append([name if name in ("none", "truth") else f"`{name}`", *cells, *real])
    head = ["mask", "looks left", "median", "geomedian", "filled", "real clouds: geomedian", "filled"]
    return f"{place.name}: errors of what is made with each mask (reflectance × 10 000)", head, rows


def _variants(place: Place) -> Table:
    """Return what buffers, one reference for the year, and votes do with the real clouds."""
    masks = {f"`{name}`": mask for name, mask in place.masks.items()}
    for name in place.masks:
        masks[f"`{name}`, buffer of 30 m"] = s2cube.cloud_mask(place.cube, name, buffer=30)
        masks[f"`{name}`{OPENED}"] = s2cube.cloud_mask(place.cube, name, opening=15, buffer=30)
    ours = "spectral-temporal"
    masks[f"`{ours}`, reference of the year"] = s2cube.cloud_mask(place.cube, ours, reference="year")
    others = {name: mask for name, mask in place.masks.items() if name != ours}
    for name, mask in others.items():
        masks[f"`{ours}` or `{name}`"] = s2cube.combine_masks([place.masks[ours], mask], votes="any")
    masks[f"two of the {len(place.masks)}"] = s2cube.combine_masks(place.masks, votes=2)
    rows = []
    for name, mask in masks.items():
        masked = _dropped(mask)
        shares = [f"{1 - float(masked.mean()):.0%}", f"{float(masked[place.clear].mean()):.1%}"]
        rows.append([name, *shares, *_held_out(place, mask)])
    head = ["mask", "looks left", "masked on clear dates", "geomedian", "filled"]
    return f"{place.name}: what options and votes change, with the real clouds", head, rows


def _dropped(mask: xr.Dataset) -> xr.DataArray:
    return mask["status"].isin([int(state) for state in MASKED])


def _held_out(place: Place, mask: xr.Dataset | None) -> list[str]:
    """Return errors with the real clouds: of the summers' geomedian, and of hidden clear dates."""
    cube = place.cube.drop_vars("SCL", errors="ignore")
    masked = cube if mask is None else cube.s2.mask_clouds(mask)
    clear = cube.isel(time=place.clear)
    summer = np.isin(cube["time"].dt.month, SUMMER)
    wanted = clear.isel(time=np.isin(clear["time"].dt.month, SUMMER)).s2.geomedian(deviations=False)
    image = masked.isel(time=summer).s2.geomedian(deviations=False)
    hidden = place.clear[1::2]
    rest = masked.isel(time=np.setdiff1d(np.arange(cube.sizes["time"]), hidden))
    target = cube.isel(time=hidden)
    return [f"{_error(image, wanted):.0f}", f"{_error(_filled(rest, target), target):.0f}"]


def _images(cube: xr.Dataset) -> dict[str, xr.Dataset]:
    return {"median": cube.s2.median(), "geomedian": cube.s2.geomedian(deviations=False)}


def _filled(cube: xr.Dataset, like: xr.Dataset) -> xr.Dataset:
    return cube.s2.fill_gaps("linear", dates=_days(like))


def _days(cube: xr.Dataset) -> np.ndarray:
    return s2cube.schema.solar_days(cube).astype("datetime64[D]").astype("datetime64[ns]")


def _error(one: xr.Dataset, other: xr.Dataset, where: np.ndarray | None = None) -> float:
    """Return the mean absolute difference over all bands, where both have a value."""
    apart = [
        np.abs(one[band].values.squeeze() - other[band].values.squeeze())
        for band in s2cube.schema.bands_of(other)
    ]
    chosen = apart if where is None else [values[where] for values in apart]
    return 1e4 * float(np.nanmean(chosen))


def costs(place: Place) -> dict[str, tuple[float, float]]:
    """Return seconds and megabytes a megapixel, by method, each in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cube"
        path.write_bytes(pickle.dumps(place.cube))
        for method in place.masks:
            command = [sys.executable, __file__, method, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, size = json.loads(done.stdout.splitlines()[-1])
            pixels = place.cube["B02"].size / 1e6
            found[method] = (seconds / pixels, size / 1e6 / pixels)
    return found


def _cost(method: str, path: str) -> None:
    """Print the seconds that a method takes once it is loaded, and the most memory it took."""
    cube = pickle.loads(Path(path).read_bytes())
    before = memory("VmRSS")
    # The peak counts from here on, weights and libraries of the method among it.
    forget_peak()
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        s2cube.cloud_mask(cube, method).compute()
        taken.append(time.perf_counter() - began)
    print(json.dumps([min(taken), memory("VmHWM") - before]))


if __name__ == "__main__":
    _cost(*sys.argv[1:])
