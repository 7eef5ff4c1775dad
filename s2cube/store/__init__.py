"""Daily Zarr series: written region by region, resumed after any interruption, read back right."""

from s2cube.store.read import open_daily
from s2cube.store.write import WriteReport, write_daily

__all__ = ["WriteReport", "open_daily", "write_daily"]
