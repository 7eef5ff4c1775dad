"""Where cubes come from."""

from s2cube.sources.dataset import as_cube
from s2cube.sources.facts import reflectance_offset
from s2cube.sources.local import open_local
from s2cube.sources.period import period
from s2cube.sources.profiles import PROFILES, Product, Profile
from s2cube.sources.search import save_items, search
from s2cube.sources.stac import open_stac

__all__ = [
    "PROFILES",
    "Product",
    "Profile",
    "as_cube",
    "open_local",
    "open_stac",
    "period",
    "reflectance_offset",
    "save_items",
    "search",
]
