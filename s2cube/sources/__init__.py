"""Where cubes come from."""

from s2cube.sources.clearsky import ClearSkyEstimate, estimate_clearsky, open_clearsky
from s2cube.sources.dataset import as_cube
from s2cube.sources.facts import reflectance_offset
from s2cube.sources.kept import ItemFile, items_around, keep_items
from s2cube.sources.local import open_local
from s2cube.sources.period import period
from s2cube.sources.profiles import PROFILES, Product, Profile
from s2cube.sources.signing import PlanetaryComputer, Signed
from s2cube.sources.stac import open_stac
from s2cube.sources.stac_api import save_items, search

__all__ = [
    "PROFILES",
    "ClearSkyEstimate",
    "ItemFile",
    "PlanetaryComputer",
    "Product",
    "Profile",
    "Signed",
    "as_cube",
    "estimate_clearsky",
    "items_around",
    "keep_items",
    "open_clearsky",
    "open_local",
    "open_stac",
    "period",
    "reflectance_offset",
    "save_items",
    "search",
]
