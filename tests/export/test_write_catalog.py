"""Archives of counts: what other tests do not see when they open them by their items."""

from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from rio_cogeo.cogeo import cog_validate

import s2cube
from s2cube.export import write_catalog


@pytest.fixture
def counts(cube: xr.Dataset) -> xr.Dataset:
    return (cube[["B04"]].isel(time=slice(0, 2)) * 10_000).round().astype("uint16")


def test_its_files_tell_their_place_themselves(counts: xr.Dataset, tmp_path: Path) -> None:
    """Without the item, as a GIS opens them."""
    path = write_catalog([counts], tmp_path / "a", collection="c")
    items = list(pystac.Catalog.from_file(path).get_items(recursive=True))
    assert len(items) == 2
    for step, item in enumerate(sorted(items, key=lambda item: item.datetime)):
        file = item.assets["B04"].get_absolute_href()
        assert cog_validate(file)[0]
        with rasterio.open(file) as opened:
            assert opened.crs.to_epsg() == 32633
            assert opened.transform == s2cube.schema.geobox_of(counts).transform
            assert opened.nodata == 0
            assert np.array_equal(opened.read(1), counts["B04"].values[step])


def test_interrupted_it_leaves_nothing(
    counts: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pystac.Catalog, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        write_catalog([counts], tmp_path / "a", collection="c")
    assert list(tmp_path.iterdir()) == []
