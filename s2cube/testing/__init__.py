"""Believable cubes and stand-in services: for documentation, tests and benchmarks, yours too."""

from s2cube.testing.air import simulate_l1c
from s2cube.testing.clearsky import ClearSkyStandIn
from s2cube.testing.clouds import add_clouds
from s2cube.testing.files import FileServer
from s2cube.testing.loopback import Faults, Loopback, Request, Response
from s2cube.testing.simulate import simulate_cube
from s2cube.testing.spectra import Spectra, simulate_spectra
from s2cube.testing.stac_api import StacApi

__all__ = [
    "ClearSkyStandIn",
    "Faults",
    "FileServer",
    "Loopback",
    "Request",
    "Response",
    "Spectra",
    "StacApi",
    "add_clouds",
    "simulate_cube",
    "simulate_l1c",
    "simulate_spectra",
]
