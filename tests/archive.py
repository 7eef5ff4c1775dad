"""Small archives on disk: GeoTIFFs and STAC items that say exactly what a test wants."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
from affine import Affine

CRS = "EPSG:32633"
ORIGIN = (500_000.0, 5_300_040.0)


def write_tif(path: Path, counts: np.ndarray, transform: Affine, crs: str, nodata: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=counts.shape[1], height=counts.shape[0], count=1,
        dtype=counts.dtype, crs=crs, transform=transform, nodata=nodata, tiled=True,
        blockxsize=16, blockysize=16,
    ) as file:  # fmt: skip
        file.write(counts, 1)


def scene(
    folder: Path,
    name: str,
    time: str,
    bands: Mapping[str, np.ndarray],
    *,
    origin: tuple[float, float] = ORIGIN,
    resolution: Mapping[str, float] | float = 10.0,
    crs: str = CRS,
    offset: float = 0.0,
    nodata: int | None = 0,
    properties: Mapping[str, Any] | None = None,
    raster: bool = True,
) -> pystac.Item:
    """Write one scene and return its item; `bands` maps asset keys to counts."""
    from odc.geo.geobox import GeoBox

    item = None
    for key, counts in bands.items():
        size = resolution if isinstance(resolution, float) else resolution[key]
        transform = Affine(size, 0, origin[0], 0, -size, origin[1])
        geobox = GeoBox(counts.shape, transform, crs)
        if item is None:
            footprint = geobox.extent.to_crs("epsg:4326")
            item = pystac.Item(
                name,
                footprint.json,
                list(footprint.boundingbox.bbox),
                np.datetime64(time, "us").item(),
                {"processing:level": "L2A", "proj:code": crs, **(properties or {})},
                stac_extensions=["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
            )
        path = folder / name / f"{key}.tif"
        write_tif(path, counts, transform, crs, nodata)
        fields: dict[str, Any] = {
            "proj:transform": list(transform[:6]),
            "proj:shape": list(counts.shape),
        }
        kind = {"data_type": str(counts.dtype), "nodata": 0}
        if key.lower() != "scl":
            kind |= {"scale": 1e-4, "offset": offset}
        if raster:
            fields["raster:bands"] = [kind]
        item.add_asset(key, pystac.Asset(str(path), roles=["data"], extra_fields=fields))
    assert item is not None
    return item


def flat(value: int, shape: tuple[int, int] = (20, 24), dtype: str = "uint16") -> np.ndarray:
    return np.full(shape, value, dtype)


def ramp(shape: tuple[int, int] = (20, 24), start: int = 1) -> np.ndarray:
    """Every pixel another count."""
    return (np.arange(shape[0] * shape[1]).reshape(shape) + start).astype(np.uint16)


def pair(folder: Path) -> list[pystac.Item]:
    """Two dates, 10 m and 20 m bands and SCL."""
    res = {"B04": 10.0, "B11": 20.0, "SCL": 20.0}
    return [
        scene(
            folder, f"S2_{day}", f"2020-06-{day}T10:00:00",
            {"B04": ramp(start=n), "B11": ramp((10, 12), n), "SCL": flat(4, (10, 12), "uint8")},
            resolution=res,
        )
        for n, day in ((1, "05"), (7, "10"))
    ]  # fmt: skip
