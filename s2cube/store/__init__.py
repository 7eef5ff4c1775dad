"""Daily Zarr series: written region by region, resumed after any interruption, read back right."""

from s2cube.store.append import append_daily
from s2cube.store.explain import RegionsPlan, explain_regions
from s2cube.store.kept import Kept
from s2cube.store.read import open_daily
from s2cube.store.regions import write_daily_regions
from s2cube.store.report import WriteReport
from s2cube.store.verify import Damage, VerifyReport, verify
from s2cube.store.write import write_daily

__all__ = [
    "Damage",
    "Kept",
    "RegionsPlan",
    "VerifyReport",
    "WriteReport",
    "append_daily",
    "explain_regions",
    "open_daily",
    "verify",
    "write_daily",
    "write_daily_regions",
]
