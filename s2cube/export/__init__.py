"""Out of xarray again: Cloud-Optimized GeoTIFFs and STAC items."""

from s2cube.export.catalog import write_catalog

__all__ = ["write_catalog"]
