"""Archives of many ranges a file, behind links, opened with a driver that waits for nothing."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import archive
import numpy as np
import pystac
import rasterio.shutil
import xarray as xr

from s2cube.sources.assemble import assemble
from s2cube.sources.items import read_items, scenes_of
from s2cube.sources.profiles import Profile
from s2cube.sources.reader import Driver
from s2cube.sources.retry import Retry

# A read is three answers or more, all of which must come well in one attempt: with 40 % of answers bad,
# one attempt in five does. So many attempts that luck does not decide.
QUICK = Retry(attempts=100, wait=0.002, longest=0.02)
GDAL = {"GDAL_HTTP_RETRY_DELAY": "0.01"}
SIZE = 512

COG = {"driver": "COG", "blocksize": 128, "compress": "deflate", "overview_resampling": "average"}
JP2 = {
    "driver": "JP2OpenJPEG",
    "quality": 100,
    "reversible": "yes",
    "blockxsize": 128,
    "blockysize": 128,
}


def counts(seed: int, side: int = SIZE) -> np.ndarray:
    """Noise: a byte in the wrong place shows."""
    return np.random.default_rng(seed).integers(1, 10_000, (side, side)).astype(np.uint16)


def made(folder: Path, how: Mapping[str, Any] = COG, days: int = 2) -> list[pystac.Item]:
    """Some dates, 10 m and 20 m bands and SCL, each file of many ranges."""
    items = []
    for day in range(1, days + 1):
        scl = (counts(30 + day, SIZE // 2) % 7 + 4).astype(np.uint8)
        item = archive.scene(
            folder, f"S2_{day}", f"2020-06-0{day}T10:00:00",
            {"B04": counts(day), "B11": counts(10 + day, SIZE // 2), "SCL": scl},
            resolution={"B04": 10.0, "B11": 20.0, "SCL": 20.0},
        )  # fmt: skip
        for asset in item.assets.values():
            plain = Path(asset.href)
            suffix = ".jp2" if how is JP2 else ".cog.tif"
            asset.href = str(plain.with_suffix(suffix))
            rasterio.shutil.copy(plain, asset.href, **how)
        items.append(item)
    return items


def served(
    items: Sequence[pystac.Item], href: Callable[[str], str], query: str = ""
) -> list[pystac.Item]:
    """The same items, behind links."""
    copies = [item.clone() for item in items]
    for item in copies:
        for asset in item.assets.values():
            asset.href = href(asset.href) + query
    return copies


def opened(items: Sequence[pystac.Item], driver: Driver, **how: Any) -> xr.Dataset:
    """As open_stac() does, with a driver of our own."""
    scenes, bands = scenes_of(read_items(list(items)), None, Profile("test"))
    chunks = {"time": 1, "y": 256, "x": 256}
    words = {"area": None, "resolution": None, "crs": None, "geobox": None, "resampling": None}
    how = {"verb": "open_stac", **words, "chunks": chunks, "groupby": "datatake", **how}
    return assemble(scenes, bands, **how, driver=driver)


def driver(**how: Any) -> Driver:
    return Driver(**{"gdal": GDAL, "retry": QUICK, **how})


MIXED = (429, 500, 503, "reset", "truncate", "cut", "short")
