"""Out of xarray again: Cloud-Optimized GeoTIFFs and STAC items."""

from s2cube.export.catalog import write_catalog
from s2cube.export.cog import write_cogs

__all__ = ["write_catalog", "write_cogs"]
