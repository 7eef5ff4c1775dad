"""Builders that tests use: of a module, so that workers find them."""

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox

import s2cube
from s2cube import schema


@functools.cache
def _simulated(shape: tuple[int, int], end: str) -> xr.Dataset:
    """Return a place as it is in memory: once, however many boxes are cut out of it."""
    return s2cube.testing.simulate_cube(
        shape=shape, seed=4, bands=["red", "nir"], start="2021-06-01", end=end
    )


@dataclass(frozen=True)
class Simulated:
    """A simulated place, cut out of it; as if it were opened."""

    shape: tuple[int, int]
    mask: dict[str, Any] = field(default_factory=dict)
    fill: dict[str, Any] = field(default_factory=lambda: {"method": "linear"})
    end: str = "2021-07-20"
    chunks: tuple[int, int] = (150, 170)
    nothing: tuple[int, int] = (0, 0)
    """Boxes that lie in these first rows and columns hold nothing."""

    def place(self) -> xr.Dataset:
        """Return the whole place."""
        return _simulated(self.shape, self.end).chunk(time=1, y=self.chunks[0], x=self.chunks[1])

    def geobox(self) -> GeoBox:
        """Return its grid."""
        return schema.geobox_of(self.place())

    def dates(self) -> pd.DatetimeIndex:
        """Return some days."""
        return pd.date_range("2021-06-05", "2021-07-10", freq="5D")

    def of(self, looks: xr.Dataset, dates: Any) -> xr.Dataset:
        """Return what becomes of some looks."""
        return looks.s2.mask_clouds("scl", **self.mask).s2.fill_gaps(dates=dates, **self.fill)

    def __call__(self, geobox: GeoBox, dates: Any) -> xr.Dataset | None:
        looks = self.place()
        whole = schema.geobox_of(looks)
        rows = round((geobox.transform.f - whole.transform.f) / whole.transform.e)
        columns = round((geobox.transform.c - whole.transform.c) / whole.transform.a)
        height, width = geobox.shape
        if rows + height <= self.nothing[0] and columns + width <= self.nothing[1]:
            return None
        part = looks.isel(y=slice(rows, rows + height), x=slice(columns, columns + width))
        return self.of(part, dates)


@dataclass(frozen=True)
class Flat:
    """The same number everywhere, computed at once; what it is called with is noted in a folder."""

    notes: str = ""
    dies: int = 0
    """How often the process that builds the second region is killed."""
    fails: int = 0
    """How often that region fails by what may pass."""

    def __call__(self, geobox: GeoBox, dates: Any) -> xr.Dataset:
        second = geobox.shape[1] != 64 and geobox.transform.c >= 500_000
        tried = self._tried() if second and self.notes else self.dies + self.fails + 1
        if tried <= self.dies:
            os._exit(1)
        if tried <= self.dies + self.fails:
            raise OSError("link down")
        size = (len(dates), *geobox.shape)
        arrays = {
            "B04": schema.variable(np.full(size, 0.25, np.float32), schema.band_attrs("B04")),
            "provenance": schema.variable(
                np.ones(size, np.uint8), schema.flag_attrs(schema.Provenance, "whence")
            ),
        }
        return xr.Dataset(arrays, {**schema.grid_coords(geobox), "time": dates.values})

    def _tried(self) -> int:
        folder = Path(self.notes)
        number = len(list(folder.iterdir())) + 1
        (folder / str(number)).touch()
        return number
