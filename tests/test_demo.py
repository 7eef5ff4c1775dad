"""The main job, end to end, on real data."""

import os
import shutil
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr

import s2cube
from s2cube import demo
from s2cube.errors import CubeError, StoreMismatchError
from s2cube.export import write_catalog
from s2cube.schema import Provenance


@pytest.fixture(scope="session")
def raw() -> dict[int, xr.Dataset]:
    pytest.importorskip("netCDF4", reason="needs the extra 'demo'")
    try:
        paths = {size: demo.data_file(size) for size in (10, 20)}
    except FileNotFoundError as error:
        pytest.skip(str(error))
    found = {}
    for size, path in paths.items():
        with xr.open_dataset(path, mask_and_scale=False, decode_coords="all") as ds:
            found[size] = ds.sel(time=slice(*demo.ARCHIVED)).load()
    return found


@pytest.fixture(scope="session")
def output(raw: dict[int, xr.Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo leaves; in CI that of `make demo`, which has run before."""
    if made := os.environ.get("DEMO_OUTPUT"):
        return Path(made)
    folder = tmp_path_factory.mktemp("demo") / "out"
    demo.run_demo(folder, progress=False)
    return folder


@pytest.mark.slow
def test_the_archive_holds_the_data_and_invents_nothing(
    output: Path, raw: dict[int, xr.Dataset]
) -> None:
    catalog = pystac.Catalog.from_file(output / "archive" / "catalog.json")
    items = sorted(catalog.get_items(), key=lambda item: item.id)
    assert len(items) == raw[10].sizes["time"] == 100
    item = items[17]
    assert not {"platform", "sat:relative_orbit", "s2:processing_baseline"} & set(item.properties)
    kind = item.assets["B8A"].extra_fields["raster:bands"][0]
    assert kind == {"data_type": "uint16", "scale": 1e-4, "offset": 0.0, "nodata": 0}
    for key, size, name in (("B04", 10, "B4"), ("B8A", 20, "B8A"), ("SCL", 20, "SCL")):
        with rasterio.open(item.assets[key].get_absolute_href()) as file:
            np.testing.assert_array_equal(file.read(1), raw[size][name].values[17])
            assert file.crs.to_epsg() == 3035
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.slow
def test_opened_pixels_are_the_datas(output: Path, raw: dict[int, xr.Dataset]) -> None:
    cube = s2cube.open_stac(output / "archive" / "catalog.json", bands=["red", "nir08"]).compute()
    np.testing.assert_array_equal(cube["B04"].values, (raw[10]["B4"].values / 10_000).astype(np.float32))
    np.testing.assert_array_equal(cube["SCL"].values[:, ::2, ::2], raw[20]["SCL"].values)
    np.testing.assert_array_equal(cube["SCL"].values[:, 1::2, 1::2], raw[20]["SCL"].values)
    # Interpolated from 20 m: the mean of the scene stays.
    means = cube["B8A"].mean(("y", "x")).values, raw[20]["B8A"].mean(("y", "x")).values / 10_000
    np.testing.assert_allclose(*means, rtol=0.01)


@pytest.mark.slow
def test_the_series_is_gap_free_and_true_to_the_looks(output: Path, raw: dict[int, xr.Dataset]) -> None:
    daily = s2cube.open_daily(output / "daily.zarr").compute()
    assert daily.sizes["time"] == 731
    assert [str(t)[:10] for t in daily["time"].values[[0, -1]]] == ["2019-01-01", "2020-12-31"]
    never = daily["provenance"].values == Provenance.NEVER_OBSERVED
    for band in ("B02", "B03", "B04", "B08", "B8A", "B11"):
        np.testing.assert_array_equal(np.isnan(daily[band].values), never)
    observed = daily["provenance"] == Provenance.OBSERVED
    for name, source in (("B04", "B4"), ("B08", "B8")):
        looks = raw[10][source].sel(time=slice("2019", "2020"))
        on = daily[name].sel(time=looks["time"]).values * 10_000
        seen = observed.sel(time=looks["time"]).values
        np.testing.assert_allclose(on[seen], looks.values[seen], atol=0.01)


@pytest.mark.slow
def test_it_leaves_what_it_promises_and_resumes(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = {"before-after.png", "series.png", "report.html"}
    names = {"archive", "daily.zarr", "daily.zarr.item.json", "summary.json"} | pictures
    assert {path.name for path in output.iterdir()} == names
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    for name in ("write_catalog", "_measure", "_draw"):
        monkeypatch.setattr(demo, name, never)
    summary = demo.run_demo(output)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert (summary.report.written, summary.report.kept) == (0, 1)
    table = str(summary)
    for words in ("100 looks", "731, 2019-01-01 to 2020-12-31", "never observed", "last (past only)"):
        assert words in table
    errors = {
        (row["mask"], row["causal"], row["method"]): row["mae"]
        for row in summary.errors
        if row["band"] == "B08"
    }
    for mask, most in (("clouds", 0.6), ("frame", 0.95)):
        assert errors[mask, False, "similar"] < most * errors[mask, False, "linear"]
        assert errors[mask, True, "similar"] < most * errors[mask, True, "last"]
    assert "daily series" in capsys.readouterr().err


@pytest.mark.thorough
def test_after_an_upgrade_it_just_works(output: Path, tmp_path: Path) -> None:
    """What another version left in the folder is made anew; what it did not make is never touched."""
    folder = tmp_path / "out"
    shutil.copytree(output, folder)
    root = folder / "daily.zarr" / "zarr.json"
    root.write_text(root.read_text().replace("buffer=30.0", "buffer=99.0"))
    summary = demo.run_demo(folder, progress=False)
    assert (summary.report.written, summary.report.kept) == (1, 0)
    shutil.rmtree(folder / "daily.zarr")
    (folder / "daily.zarr").mkdir()
    (folder / "daily.zarr" / "mine").write_text("")
    with pytest.raises(StoreMismatchError, match="not made by s2cube"):
        demo.run_demo(folder, progress=False)


def test_a_catalogue_is_whole_or_not_there(cube: xr.Dataset, tmp_path: Path) -> None:
    counts = (cube[["B04"]].isel(time=slice(0, 2)) * 10_000).round().astype("uint16")
    counts["B04"].encoding["grid_mapping"] = "spatial_ref"
    path = write_catalog(
        [counts], tmp_path / "a", collection="c", properties={"processing:level": "L2A"}
    )
    opened = s2cube.open_stac(path)
    np.testing.assert_allclose(opened["B04"].values, cube["B04"].values[:2], atol=1e-6)
    with pytest.raises(FileExistsError, match="exists"):
        write_catalog([counts], tmp_path / "a", collection="c")
    with pytest.raises(CubeError, match="one grid"):
        write_catalog([counts, counts], tmp_path / "b", collection="c")
    other = counts.rename(B04="B08").isel(time=[0])
    with pytest.raises(CubeError, match="same dates"):
        write_catalog([counts, other], tmp_path / "b", collection="c")
    assert not (tmp_path / "b").exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="remove it yourself"):
        write_catalog([counts], tmp_path / "own", collection="c")
    assert (tmp_path / "own" / "thesis.tex").exists()


def test_without_its_data_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def missing(_: str) -> None:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(FileNotFoundError, match=r"s2cube-ard\[demo\]"):
        demo.data_file(10)
