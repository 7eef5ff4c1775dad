"""Regions: the unit of reading, writing, marking and retry."""

from dataclasses import dataclass

from s2cube.errors import CubeError

__all__ = ["Region", "regions_of"]


@dataclass(frozen=True)
class Region:
    """A rectangle of whole shards, with all its days."""

    y: slice
    x: slice

    @property
    def id(self) -> str:
        """Name by absolute pixel indices, so that it does not depend on the other regions."""
        return f"y{self.y.start}-{self.y.stop}_x{self.x.start}-{self.x.stop}"

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels along y and x."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.shape[0] * self.shape[1]


def regions_of(shape: tuple[int, int], size: int, shard: tuple[int, int]) -> list[Region]:
    """Cut a grid into regions of whole shards.

    Parameters
    ----------
    shape
        Pixels along y and x.
    size
        Side of a region, px; rounded up to whole shards.
    shard
        Pixels of a shard along y and x.

    Raises
    ------
    CubeError
        `size` is not positive.

    Examples
    --------
    >>> from s2cube.plan import regions_of
    >>> [region.id for region in regions_of((300, 500), 256, (256, 256))]
    ['y0-256_x0-256', 'y0-256_x256-500', 'y256-300_x0-256', 'y256-300_x256-500']
    """
    if size < 1:
        raise CubeError(f"region_size is a number of pixels above 0, got {size!r}.")
    steps = [-(-size // side) * side for side in shard]
    return [
        Region(slice(y, min(y + steps[0], shape[0])), slice(x, min(x + steps[1], shape[1])))
        for y in range(0, shape[0], steps[0])
        for x in range(0, shape[1], steps[1])
    ]
