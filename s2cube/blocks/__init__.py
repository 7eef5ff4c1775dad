"""The only room that builds array graphs: a kernel goes in, numpy or Dask arrays come out.

Each adapter takes plain or Dask arrays of shape ``(time, y, x)`` and gives the same numbers for
both, whatever the chunks. Graphs are deterministic: the same call has the same keys.
"""

from s2cube.blocks.maps import count_blocks, is_lazy, map_halo, map_pixels, map_time

__all__ = ["count_blocks", "is_lazy", "map_halo", "map_pixels", "map_time"]
