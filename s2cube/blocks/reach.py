"""How far computing a pixel looks around it."""

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["NOWHERE", "Reach"]


@dataclass(frozen=True)
class Reach:
    """Which pixels around a box decide the values in it."""

    y: int = 0
    x: int = 0
    """Pixels beyond the box, or beyond the tiles that it touches."""
    tile: int = 1
    """Side of the tiles of the grid that are computed as a whole; 1: there are none."""
    step: int = 1
    """The wider box begins at a multiple of it, counted from the first pixel of the whole area: windows
    that overlap lie there."""

    def after(self, below: "Reach") -> "Reach":
        """Return the reach of what looks this far at something that itself looks as far as `below`."""
        y, x = self.y, self.x
        if below.tile > 1:
            # What lies beyond is in tiles of its own. Their grids may differ: then a whole one more.
            y, x = (-(-far // below.tile) * below.tile for far in (y, x))
            if self.tile not in (1, below.tile):
                y, x = y + below.tile, x + below.tile
        tile = self.tile if self.tile > 1 else below.tile
        return Reach(y + below.y, x + below.x, tile, math.lcm(self.step, below.step))

    def beside(self, other: "Reach") -> "Reach":
        """Return the reach of two things that are needed both."""
        return Reach(
            max(self.y, other.y),
            max(self.x, other.x),
            math.lcm(self.tile, other.tile),
            math.lcm(self.step, other.step),
        )

    def around(self, part: slice, axis: int, first: int, length: int) -> slice:
        """Return the pixels along an axis that are needed for some of them.

        Parameters
        ----------
        part
            Of the whole area.
        axis
            0: y, 1: x.
        first
            Number of the area's first pixel in the grid.
        length
            Of the area: nothing lies beyond it.
        """
        far = (self.y, self.x)[axis]
        start = (first + part.start) // self.tile * self.tile - first - far
        stop = -(-(first + part.stop) // self.tile) * self.tile - first + far
        return slice(max(start, 0) // self.step * self.step, min(stop, length))


NOWHERE: Final = Reach()
"""Of what looks at one pixel."""
