"""Products and images on this machine's disks."""

from s2cube.sources.local.verb import open_local

__all__ = ["open_local"]
