"""The only room that builds array graphs: a kernel goes in, numpy or Dask arrays come out.

Each adapter takes plain or Dask arrays of shape ``(time, y, x)`` and gives the same numbers for
both, whatever the chunks. Graphs are deterministic: the same call has the same keys.
"""

from s2cube.blocks.area import count_steps, count_values, map_grid
from s2cube.blocks.graph import GraphFacts, Reading, look_at_graph, reach_of
from s2cube.blocks.maps import count_blocks, is_lazy, map_halo, map_pixels, map_time
from s2cube.blocks.patches import map_windows
from s2cube.blocks.peak import Peak
from s2cube.blocks.progress import progress_bar
from s2cube.blocks.reach import NOWHERE, Reach
from s2cube.blocks.read import Location, Need, read_blocks
from s2cube.blocks.reduce import reduce_time
from s2cube.blocks.sums import sum_blocks
from s2cube.blocks.tiles import cut_alike, map_tiles

__all__ = [
    "NOWHERE",
    "GraphFacts",
    "Location",
    "Need",
    "Peak",
    "Reach",
    "Reading",
    "count_blocks",
    "count_steps",
    "count_values",
    "cut_alike",
    "is_lazy",
    "look_at_graph",
    "map_grid",
    "map_halo",
    "map_pixels",
    "map_tiles",
    "map_time",
    "map_windows",
    "progress_bar",
    "reach_of",
    "read_blocks",
    "reduce_time",
    "sum_blocks",
]
