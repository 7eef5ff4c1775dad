"""A believable cube from a seed: for documentation, tests and benchmarks, yours too."""

from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.schema import SCL, STATUS, Status

__all__ = ["simulate_cube"]

_SPECTRA: Final = {
    # Surface reflectance of bare season and of peak season, then SCL. Orders of magnitude as in
    # any spectral library; nothing depends on the digits.
    "crop": (
        (0.08, 0.10, 0.12, 0.15, 0.18, 0.20, 0.21, 0.24, 0.26, 0.27, 0.002, 0.32, 0.26),
        (0.02, 0.03, 0.06, 0.04, 0.10, 0.32, 0.42, 0.45, 0.47, 0.48, 0.002, 0.22, 0.11),
        4,
    ),
    "forest": (
        (0.02, 0.03, 0.04, 0.04, 0.07, 0.14, 0.17, 0.19, 0.20, 0.21, 0.002, 0.14, 0.07),
        (0.01, 0.02, 0.04, 0.02, 0.07, 0.25, 0.32, 0.35, 0.37, 0.38, 0.002, 0.16, 0.07),
        4,
    ),
    "soil": (
        (0.09, 0.11, 0.14, 0.18, 0.20, 0.22, 0.23, 0.25, 0.26, 0.27, 0.002, 0.34, 0.31),
        (0.09, 0.11, 0.15, 0.19, 0.21, 0.23, 0.25, 0.27, 0.28, 0.29, 0.002, 0.36, 0.32),
        5,
    ),
    "water": (
        (0.05, 0.05, 0.04, 0.02, 0.015, 0.01, 0.01, 0.006, 0.003, 0.002, 0.001, -0.001, -0.002),
        (0.05, 0.05, 0.05, 0.03, 0.02, 0.012, 0.012, 0.008, 0.004, 0.003, 0.001, -0.001, -0.002),
        6,
    ),
}
_CLOUD: Final = 0.75
"""Reflectance of thick cloud, nearly the same in all bands."""
_ORBITS: Final = ((36, 9.75), (79, 10.0))
"""Relative orbits that see the place, with their hour (UTC)."""


def simulate_cube(
    *,
    shape: tuple[int, int] = (64, 64),
    start: str = "2021-06-01",
    end: str = "2022-05-31",
    bands: Sequence[str] = ("B02", "B03", "B04", "B08", "B11"),
    revisit: float = 6.5,
    cloud_cover: float = 0.4,
    noise: float = 0.003,
    seed: int = 0,
    chunks: dict[str, int] | None = None,
) -> xr.Dataset:
    """Simulate a level-2A cube: fields, forest, water and seasons under drifting clouds.

    The default period straddles 2022-01-25, when processing baseline 04.00 came. Reflectance is
    harmonized, as every cube's.

    Parameters
    ----------
    shape
        Pixels of 10 m along y and x.
    start, end
        Period, both ends included.
    bands
        Bands, by id or common name.
    revisit
        Mean days between looks.
    cloud_cover
        Mean share of cloud; 0 gives the truth under the clouds of the same seed.
    noise
        Standard deviation of a look, reflectance.
    seed
        The same seed gives the same landscape, weather and noise.
    chunks
        Dask chunks; None keeps numpy arrays.

    Returns
    -------
    xarray.Dataset
        A cube with ``SCL``, ``status``, ``platform``, ``relative_orbit``, ``processing_baseline``
        and ``datatake``, in EPSG:32633.

    Raises
    ------
    CubeError
        A band is unknown, or the period holds no look.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1, bands=["red", "nir"])
    >>> list(cube.data_vars)
    ['B04', 'B08', 'SCL', 'status']
    """
    names = schema.band_ids(bands)
    sequences = np.random.SeedSequence(seed).spawn(4)
    place, weather, sensor, calendar = (np.random.default_rng(s) for s in sequences)
    times, orbits = _calendar(start, end, revisit, calendar)
    land = _land(shape, place)
    cover = _clouds((len(times), *shape), cloud_cover, weather)
    shadow = np.roll(cover, (7, -5), axis=(1, 2)) > 0.5
    clear = _surface(land, times, names, place)
    scl = _classes(land, cover, shadow)
    arrays: dict[Hashable, xr.Variable] = {}
    for band, surface in clear.items():
        look = surface * np.where(shadow, np.float32(0.45), np.float32(1))
        look = look + cover * (np.float32(_CLOUD) - look)
        look += sensor.normal(0, noise, look.shape).astype(np.float32)
        # A whole number of counts, as every product has.
        values = (np.rint(look * 10_000) / 10_000).astype(np.float32)
        arrays[band] = schema.variable(values, schema.band_attrs(band))
    arrays[SCL] = schema.variable(scl, schema.scl_attrs())
    status = np.full(scl.shape, Status.CLEAR, dtype=np.uint8)
    arrays[STATUS] = schema.variable(status, schema.status_attrs())
    baseline = np.where(times >= np.datetime64("2022-01-25"), "04.00", "03.01")
    platform = np.where(np.arange(len(times)) % 2 == 0, "sentinel-2a", "sentinel-2b")
    datatakes = [f"GS{t:%Y%m%dT%H%M%S}" for t in times.tolist()]
    cube = xr.Dataset(
        arrays,
        {
            **schema.grid_coords(_grid(shape)),
            "time": ("time", times),
            "platform": ("time", platform),
            "relative_orbit": ("time", orbits),
            "processing_baseline": ("time", baseline),
            "datatake": ("time", datatakes),
            schema.ITEMS: schema.item_records(
                [
                    [
                        {
                            "id": f"simulated-{take}",
                            "platform": str(name),
                            "relative_orbit": int(orbit),
                            "processing_baseline": str(version),
                            "offset": dict.fromkeys(names, -0.1 if version >= "04.00" else 0.0),
                        }
                    ]
                    for take, name, orbit, version in zip(
                        datatakes, platform, orbits, baseline, strict=True
                    )
                ]
            ),
            "sensor": "sentinel-2",
            "processing_level": "L2A",
        },
    )
    cube = cube.assign_coords(time=cube["time"].values.astype("datetime64[ns]"))
    cube = schema.record(cube, "simulate_cube", seed=seed)
    return cube if chunks is None else cube.chunk(chunks)


def _grid(shape: tuple[int, int]) -> Any:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox(shape, Affine(10, 0, 500_000, 0, -10, 5_300_040), "EPSG:32633")


def _calendar(
    start: str, end: str, revisit: float, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[np.int16]]:
    """Return the times of the looks, in seconds, and their relative orbits."""
    if not revisit > 0:
        raise CubeError(f"revisit is a number of days above 0, got {revisit!r}.")
    first, last = np.datetime64(start, "D"), np.datetime64(end, "D")
    count = int((last - first).astype(int) / revisit) + 1
    if count < 1:
        raise CubeError(f"No look between {start} and {end}.")
    # Orbits repeat on a strict grid of days; that some looks are missing makes it irregular.
    days = np.unique(np.round(np.arange(count) * revisit + rng.uniform(-1.5, 1.5, count)).clip(0))
    days = days[days <= (last - first).astype(int)].astype(int)
    which = np.arange(len(days)) % len(_ORBITS)
    seconds = np.array([hour * 3600 for _, hour in _ORBITS])[which] + rng.integers(0, 600, len(days))
    times = (first + days).astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    return times, np.array([orbit for orbit, _ in _ORBITS], dtype=np.int16)[which]


def _field(shape: tuple[int, ...], length: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return smooth noise with mean 0 and deviation 1; `length` px is how far it reaches."""
    white = rng.standard_normal(shape)
    fy, fx = np.fft.fftfreq(shape[-2])[:, None], np.fft.rfftfreq(shape[-1])[None, :]
    damp = np.exp(-2 * (np.pi * length) ** 2 * (fy**2 + fx**2))
    smooth = np.fft.irfft2(np.fft.rfft2(white) * damp, s=shape[-2:])
    smooth -= smooth.mean(axis=(-2, -1), keepdims=True)
    smooth /= smooth.std(axis=(-2, -1), keepdims=True) + 1e-12
    return smooth.astype(np.float32)


def _land(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the class of every pixel: patches of crop and forest, some soil, one river."""
    patches = _field(shape, 4, rng)
    land = np.select([patches > 0.9, patches > -0.1], [2, 0], default=1)
    river = np.abs(_field(shape, 16, rng)) < 0.08
    land[river] = 3
    return land


def _clouds(shape: tuple[int, int, int], cover: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the opacity of cloud, 0 to 1: some days none, some all, most in between."""
    fields = _field(shape, 6, rng) + 0.4 * _field(shape, 1.5, rng)
    share = rng.beta(0.35, 0.35 * (1 - cover) / cover, shape[0]) if 0 < cover < 1 else [cover] * shape[0]
    opacity = np.zeros(shape, dtype=np.float32)
    for field, part, result in zip(fields, share, opacity, strict=True):
        if part > 0:
            edge = np.quantile(field, max(0.0, 1 - part))
            result[:] = 1 if part >= 0.98 else np.clip((field - edge) / 0.3, 0, 1)
    return opacity


def _surface(
    land: NDArray[np.intp],
    times: NDArray[Any],
    bands: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float32]]:
    """Return the reflectance of the ground by band: a season by class, its date by patch."""
    order = list(schema.BANDS)
    day = (times - times.astype("datetime64[Y]").astype("datetime64[s]")).astype(float) / 86_400
    # Fields are sown at different times, and some do better than others.
    shift = 12 * _field(land.shape, 4, rng)
    vigour = 1 + 0.1 * _field(land.shape, 2, rng)
    season = np.exp(-(((day[:, None, None] - 170 - shift) / 70) ** 2)) * vigour
    result = {}
    for band in bands:
        table = np.array(
            [(low[order.index(band)], high[order.index(band)]) for low, high, _ in _SPECTRA.values()]
        )
        low, high = table[land, 0], table[land, 1]
        result[band] = (low + (high - low) * season).astype(np.float32)
    return result


def _classes(
    land: NDArray[np.intp], cover: NDArray[np.float32], shadow: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Return SCL as a good classifier would give it."""
    ground = np.array([scl for _, _, scl in _SPECTRA.values()], dtype=np.uint8)[land]
    classes = np.broadcast_to(ground, cover.shape).copy()
    classes[shadow] = 3
    for least, scl in ((0.05, 10), (0.35, 8), (0.7, 9)):
        classes[cover > least] = scl
    return classes
