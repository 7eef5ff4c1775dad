"""Cells of one shape at fixed pixels of the grid: what a network is shown of a window."""

from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.kernels.experts import Experts

__all__ = ["CELL", "MARGIN", "PATCH", "Cells"]

CELL: Final = 64
"""Side of a cell, px."""
MARGIN: Final = 8
"""How far the network looks beyond it, px."""
PATCH: Final = CELL + 2 * MARGIN
"""Side of what the network is shown."""


@dataclass(frozen=True)
class Cells:
    """The cells that touch a part of a window. They begin at multiples of :data:`CELL` in the grid."""

    area: tuple[slice, slice]
    """Rows and columns of the window that are told of: the part, and what is around it."""
    part: tuple[slice, slice]
    """The part, in pixels of the area."""
    first: tuple[tuple[int, ...], tuple[int, ...]]
    """First row and first column of each cell, in pixels of the area; they may lie outside."""

    @classmethod
    def of(cls, origin: tuple[int, int], shape: tuple[int, ...], inside: tuple[slice, slice]) -> "Cells":
        """Return the cells of a part.

        Parameters
        ----------
        origin
            Row and column of the window's first pixel in the grid.
        shape
            Rows and columns of the window.
        inside
            The part, in pixels of the window.
        """
        area, part, first = [], [], []
        for start, length, wanted in zip(origin, shape, inside, strict=True):
            begin, end, _ = wanted.indices(length)
            low, high = max(begin - MARGIN, 0), min(end + MARGIN, length)
            area.append(slice(low, high))
            part.append(slice(begin - low, end - low))
            lowest = (start + begin) // CELL * CELL
            first.append(tuple(k - start - low for k in range(lowest, start + end, CELL)))
        return cls((area[0], area[1]), (part[0], part[1]), (first[0], first[1]))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the area."""
        rows, columns = (side.stop - side.start for side in self.area)
        return rows, columns

    @property
    def corners(self) -> list[tuple[int, int]]:
        """First row and column of each cell, in pixels of the area."""
        return list(product(*self.first))

    def tell(
        self, experts: Experts, target: int
    ) -> tuple[list[NDArray[np.float16]], list[NDArray[np.float16]]]:
        """Return what is told of a target by cell: of each band ``(band, OWN, y, x)``, and of all.

        0 beyond the area. Half precision: these are deviations, and half as much goes to a device.
        """
        own, shared = experts.tell(target)
        return self._cut(own), self._cut(shared)

    def _cut(self, told: NDArray[np.float32]) -> list[NDArray[np.float16]]:
        rows, columns = self.shape
        (top, *_, bottom), (left, *_, right) = ((one[0], one[-1]) for one in self.first)
        size = (bottom - top + PATCH, right - left + PATCH)
        whole = np.zeros((*told.shape[:-1], *size), np.float16)
        # The first cell begins before the part or with it, so no later than its margin.
        y, x = MARGIN - top, MARGIN - left
        seen = told.reshape(*told.shape[:-1], rows, columns)[..., : size[0] - y, : size[1] - x]
        whole[..., y : y + seen.shape[-2], x : x + seen.shape[-1]] = seen
        return [
            whole[..., i - top : i - top + PATCH, j - left : j - left + PATCH] for i, j in self.corners
        ]

    def pick(self, array: NDArray[Any], corner: tuple[int, int]) -> NDArray[Any]:
        """Return the view of a cell, as far as it lies in the area, of an array ``(..., y, x)``."""
        i, j = corner
        return array[..., max(i, 0) : max(i + CELL, 0), max(j, 0) : max(j + CELL, 0)]

    def fit(self, made: NDArray[Any], corner: tuple[int, int]) -> NDArray[Any]:
        """Return of what was made of a cell ``(..., CELL, CELL)`` what lies in the area."""
        (rows, columns), (i, j) = self.shape, corner
        return made[..., max(-i, 0) : rows - i, max(-j, 0) : columns - j]
