"""ESA's products: the right pixels, worth what the metadata say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_same
from sources.local.safe import BANDS, SIDE, Safe, edit, old_format, old_names, zipped

import s2cube
from s2cube.errors import CatalogError, CubeError, HarmonizationError, ReadError
from s2cube.schema import Status
from s2cube.sources.local import open_local


def reflectance(counts: np.ndarray, offset: int = 0) -> np.ndarray:
    """(DN + offset) / 10000, in the only float32 that is right."""
    return (counts.astype(np.float32) + np.float32(offset)) / np.float32(10_000)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_every_band_in_its_native_pixels(tmp_path: Path, level: str, packed: bool) -> None:
    safe = Safe(level)
    path = safe.zip(tmp_path) if packed else safe.write(tmp_path)
    bands = [band for band in BANDS if level == "L1C" or band != "B10"]
    for band in bands:
        size = s2cube.schema.BANDS[band].resolution
        cube = open_local(path, bands=band, resolution=size)
        native = safe.pixels(band, size)
        np.testing.assert_array_equal(cube[band].values[0], reflectance(native, -1000), err_msg=band)
        assert ("SCL" in cube) == (level == "L2A")
    everything = open_local(path)
    assert [*everything.data_vars] == [*bands, *(["SCL"] if level == "L2A" else []), "status"]
    assert everything.sizes == {"time": 1, "y": SIDE // 10, "x": SIDE // 10}
    assert everything["x"].values[0] == 499_985
    assert everything["y"].values[0] == 5_900_035
    if level == "L2A":
        # The 20 m file, not the 60 m one.
        assert (everything["SCL"] == 4).all()
    s2cube.validate(everything, level=level)


def test_what_the_metadata_tell(tmp_path: Path) -> None:
    safe = Safe(platform="C", orbit=138)
    cube = open_local(safe.write(tmp_path), bands=["red"])
    # When the tile was sensed, not when the datatake began.
    assert cube["time"].values[0] == np.datetime64("2022-10-05T11:56:49.581767")
    assert cube["platform"].values.tolist() == ["sentinel-2c"]
    assert cube["relative_orbit"].values.tolist() == [138]
    assert cube["processing_baseline"].values.tolist() == ["04.00"]
    assert cube["datatake"].values.tolist() == ["GS2C_20221005T115411_038058"]
    assert cube["processing_level"].item() == "L2A"
    (row,) = s2cube.items(cube).to_dict("records")
    assert row["id"] == safe.name
    assert row["tile"] == "29UNU"
    assert row["offset_B04"] == -0.1
    assert (row["sun_zenith"], row["sun_azimuth"]) == (57.8206, 172.8402)
    # Of the bands that have angles; azimuths either side of north.
    assert (row["view_zenith"], row["view_azimuth"] % 360) == (4.5, 0.0)


def test_angles_of_the_product_serve_its_correction(tmp_path: Path) -> None:
    """Of level 1C, as opened: nothing is asked for, nor computed from time and place."""
    cube = open_local(Safe("L1C", bands=("B02", "B04")).write(tmp_path), bands=["blue", "red"])
    air = {"aerosol": 0.2, "water_vapour": 1.5, "elevation": 100}
    told = {"sun_zenith": 57.8206, "sun_azimuth": 172.8402, "view_zenith": 4.5, "view_azimuth": 0.0}
    own, given = cube.s2.to_l2a("given", **air), cube.s2.to_l2a("given", angles=told, **air)
    np.testing.assert_array_equal(own["B02"], given["B02"])
    other = cube.s2.to_l2a("given", angles={**told, "sun_zenith": 50.0}, **air)
    assert abs(other["B02"] - own["B02"]).max() > 0.001
    assert list(own.data_vars) == ["B02", "B04", "status"]


@pytest.mark.parametrize(
    ("baseline", "offset"), [("02.09", None), ("03.01", None), ("04.00", -1000), ("05.11", -1000)]
)
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_special_counts_first_then_the_offset(
    tmp_path: Path, level: str, baseline: str, offset: int | None
) -> None:
    counts = np.full((SIDE // 10, SIDE // 10), 3000, np.uint16)
    counts[0, :4] = [0, 65535, 900, 1]
    safe = Safe(level, baseline=baseline, offset=offset, counts={"B04": counts})
    cube = open_local(safe.write(tmp_path), bands="B04").compute()
    wanted = reflectance(counts, offset or 0)
    wanted[0, :2] = np.nan
    np.testing.assert_array_equal(cube["B04"].values[0], wanted)
    assert cube["status"].values[0, 0, :4].tolist() == [Status.NO_DATA, Status.SATURATED, 0, 0]
    if offset:
        assert cube["B04"].values[0, 0, 2] < 0


@pytest.mark.parametrize("name", ["N0209", "N0400"])
def test_known_answer(tmp_path: Path, real_data, name: str) -> None:
    """Real counts under the real metadata of their product, against the true reflectance."""
    import rasterio

    (xml,) = real_data("harmonization_tiny").glob(f"*{name}*_MTD.xml")
    base = xml.name.removesuffix("_MTD.xml")
    with (
        rasterio.open(xml.with_name(f"{base}.tif")) as raw,
        rasterio.open(xml.with_name(f"{base}_toa.tif")) as true,
    ):
        counts, toa = raw.read(), true.read()
    side = counts.shape[1:]
    for band in (1, 3, 8, 12):
        padded = np.zeros((SIDE // 60, SIDE // 60), np.uint16)
        padded[: side[0], : side[1]] = counts[band][:12, :12]
        safe = Safe(
            "L1C", baseline="02.09", offset=None, tile="32UPC", crs="EPSG:32632", bands=("B01",),
            counts={"B01": padded}, day="2020-04-06", origin=(690_300, 5_721_960),
        )  # fmt: skip
        root = safe.write(tmp_path / str(band))
        (root / "MTD_MSIL1C.xml").write_bytes(xml.read_bytes())
        cube = open_local(root, bands="B01")
        got = cube["B01"].values[0, : side[0], : side[1]]
        missing = counts[band] == 0
        np.testing.assert_array_equal(got[~missing], toa[band][~missing])
        assert np.isnan(got[missing]).all()
        assert s2cube.items(cube)["id"].tolist() == [base]
        assert cube["datatake"].values[0].startswith("GS2B_")


def test_sen2cor_by_hand_goes_by_its_own_metadata(tmp_path: Path) -> None:
    told = Safe(baseline="99.99", offset=-1000)
    cube = open_local(told.write(tmp_path / "told"), bands="B04")
    np.testing.assert_array_equal(cube["B04"].values[0], reflectance(told.pixels("B04", 10), -1000))
    assert "processing_baseline" not in cube.coords
    silent = Safe(baseline="99.99", offset=None).write(tmp_path / "silent")
    with pytest.raises(HarmonizationError, match="offset="):
        open_local(silent, bands="B04")
    cube = open_local(silent, bands="B04", offset=0)
    np.testing.assert_array_equal(cube["B04"].values[0], reflectance(told.pixels("B04", 10)))
    assert "offset=0" in cube.attrs["history"]


@pytest.mark.parametrize(
    ("baseline", "offset"), [("04.00", None), ("05.10", None), ("02.09", -1000), ("04.00", -7000)]
)
def test_metadata_that_contradict_themselves_are_refused(
    tmp_path: Path, baseline: str, offset: int | None
) -> None:
    path = Safe(baseline=baseline, offset=offset).write(tmp_path)
    with pytest.raises(HarmonizationError, match="B04 of S2A_MSIL2A"):
        open_local(path, bands="B04")
    assert s2cube.items(open_local(path, bands="B04", offset=-0.1))["offset_B04"].tolist() == [-0.1]
    by_word = open_local(path, bands="B04", offset="declared") if offset else None
    assert by_word is None or s2cube.items(by_word)["offset_B04"].tolist() == [offset / 10_000]


def test_the_quantification_value_is_the_scale(tmp_path: Path) -> None:
    safe = Safe(quantification="1000", baseline="02.04", offset=None)
    path = safe.write(tmp_path)
    cube = open_local(path, bands="B04")
    counts = safe.pixels("B04", 10).astype(np.float32)
    np.testing.assert_array_equal(cube["B04"].values[0], counts / np.float32(1000))
    for wrong in ("", "0", "many"):
        edit(path / "MTD_MSIL2A.xml", '"none">1000<', f'"none">{wrong}<')
        with pytest.raises((HarmonizationError, CatalogError), match="quantification"):
            open_local(path, bands="B04")
        edit(path / "MTD_MSIL2A.xml", f'"none">{wrong}<', '"none">1000<')


def test_old_names_in_metadata(tmp_path: Path) -> None:
    safe = Safe(baseline="02.06", offset=None)
    root = safe.write(tmp_path)
    new = open_local(root).compute()
    old_names(root)
    assert "PRODUCT_URI_2A" in (root / "MTD_MSIL2A.xml").read_text(encoding="utf-8")
    assert_same(open_local(root), new)


def test_products_of_before_december_2016(tmp_path: Path) -> None:
    """Long names, several tiles in one product: each tile is a scene of one step."""
    west = Safe("L1C", baseline="02.04", offset=None, tile="32TQR", crs="EPSG:32632")
    east = Safe(
        "L1C", baseline="02.04", offset=None, tile="32TQS", crs="EPSG:32632",
        origin=(499_980 + SIDE, 5_900_040),
        counts={"B04": np.full((SIDE // 10, SIDE // 10), 7777, np.uint16)},
    )  # fmt: skip
    path = old_format(tmp_path, [west, east])
    cube = open_local(path, bands=["B04", "B11"])
    assert cube.sizes == {"time": 1, "y": SIDE // 10, "x": 2 * SIDE // 10}
    pixels = np.hstack([west.pixels("B04", 10), east.pixels("B04", 10)])
    np.testing.assert_array_equal(cube["B04"].values[0], reflectance(pixels))
    assert sorted(s2cube.items(cube)["tile"]) == ["32TQR", "32TQS"]


def test_a_folder_of_folders_and_zips_is_a_series(tmp_path: Path) -> None:
    days = ("2021-06-03", "2021-06-13", "2022-10-05")
    safes = [
        Safe(day=day, baseline=baseline, offset=offset, counts={"B04": np.full((72, 72), n, np.uint16)})
        for day, baseline, offset, n in zip(
            days, ("03.00", "05.00", "04.00"), (None, -1000, -1000), (2000, 3000, 3000), strict=True
        )
    ]
    safes[0].write(tmp_path / "a" / "b")
    safes[1].zip(tmp_path)
    safes[2].write(tmp_path)
    (tmp_path / "to_zip").rename(tmp_path.parent / f"{tmp_path.name}_aside")
    (tmp_path / "notes.txt").write_text("not a product")
    cube = open_local(tmp_path, bands="B04")
    assert [str(t)[:10] for t in cube["time"].values] == list(days)
    # Mixed baselines: one surface, one reflectance.
    assert np.unique(cube["B04"].values).tolist() == [np.float32(0.2)]
    assert open_local(tmp_path, bands="B04", datetime="2021").sizes["time"] == 2
    with pytest.raises(CatalogError, match="No scene in '2019'"):
        open_local(tmp_path, bands="B04", datetime="2019")
    listed = open_local(sorted(tmp_path.rglob("*.SAFE")), bands="B04")
    assert listed.sizes["time"] == 2


def test_one_product_twice_and_processed_twice(tmp_path: Path) -> None:
    """As a folder and as a zip, and in an older baseline: one look."""
    safe = Safe(baseline="05.10")
    old = Safe(baseline="03.01", offset=None, counts={"B04": np.full((72, 72), 1, np.uint16)})
    path = safe.write(tmp_path)
    zipped(path, tmp_path / f"{safe.name}.zip")
    old.write(tmp_path)
    cube = open_local(tmp_path, bands="B04")
    assert_same(cube.drop_attrs(deep=False), open_local(path, bands="B04").drop_attrs(deep=False))
    assert cube["processing_baseline"].values.tolist() == ["05.10"]


def test_both_levels_in_one_folder(tmp_path: Path) -> None:
    Safe("L1C").write(tmp_path)
    Safe("L2A").write(tmp_path)
    with pytest.raises(CatalogError, match=r"MSIL1C.*MSIL2A.*level="):
        open_local(tmp_path)
    assert open_local(tmp_path, level="L1C")["processing_level"].item() == "L1C"
    assert open_local(tmp_path, level="L2A")["processing_level"].item() == "L2A"
    with pytest.raises(CatalogError, match="Nothing is of level L1C"):
        open_local(next(tmp_path.glob("*L2A*")), level="L1C")


def test_the_area_is_that_of_the_data(tmp_path: Path) -> None:
    """Tiles that the swath did not reach where it is asked for are left out."""
    footprint = "53.2 -9.0 53.2 -8.9995 53.19 -8.9995 53.19 -9.0 53.2 -9.0"
    path = Safe(footprint=footprint).write(tmp_path)
    cube = open_local(path, bands="B04")
    lon, lat = -9.0003 + 0.001, 53.2496
    with pytest.raises(CatalogError, match="lie within"):
        open_local(path, bands="B04", bbox=(lon, lat - 0.0005, lon + 0.001, lat))
    whole = Safe().write(tmp_path / "whole")
    small = open_local(whole, bands="B04", bbox=(lon, lat - 0.001, lon + 0.001, lat))
    assert 0 < small.sizes["x"] < cube.sizes["x"]
    assert set(small["x"].values) < set(cube["x"].values)


def test_across_the_antimeridian(tmp_path: Path) -> None:
    path = Safe(tile="01WCP", crs="EPSG:32601", origin=(357_640, 7_200_000)).write(tmp_path)
    cube = open_local(path, bands="B04")
    assert cube.sizes["x"] == SIDE // 10
    both = [
        open_local(path, bands="B04", bbox=box, crs="EPSG:32601", resolution=10).sizes["x"]
        for box in ((179.98, 64.8, 180, 64.95), (-180, 64.8, -179.98, 64.95))
    ]
    assert min(both) > 0
    with pytest.raises(CatalogError, match="No scene meets"):
        open_local(path, bands="B04", bbox=(0, 64.8, 1, 64.95))


def test_opening_reads_no_image(tmp_path: Path) -> None:
    """Only the metadata: images may be anything until they are asked for."""
    path = Safe().write(tmp_path)
    for image in path.rglob("*.jp2"):
        image.write_bytes(b"not read")
    cube = open_local(path)
    with pytest.raises(ReadError, match=r"_B04_10m\.jp2"):
        cube["B04"].compute()


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99, 0.9999])
def test_an_image_that_was_cut_off_never_gives_pixels(tmp_path: Path, kept: float) -> None:
    noise = np.random.default_rng(0).integers(1, 60_000, (72, 72)).astype(np.uint16)
    path = Safe(counts={"B04": noise}).write(tmp_path)
    (image,) = path.rglob("*_B04_10m.jp2")
    content = image.read_bytes()
    image.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ReadError, match=r"_B04_10m\.jp2"):
        open_local(path, bands="B04")["B04"].compute()
    marked = open_local(path, bands=["B03", "B04"], on_read_error="mark").compute()
    assert (marked["status"] == Status.READ_FAILED).all()
    assert np.isnan(marked["B04"]).all()
    assert np.isfinite(marked["B03"]).all()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "other",
    [{"origin": (500_180, 5_900_040)}, {"origin": (599_980, 5_900_040)}, {"crs": "EPSG:32630"}],
    ids=["shifted", "elsewhere", "zone"],
)
def test_an_image_that_lies_elsewhere_than_its_metadata_say(
    tmp_path: Path, other: dict[str, Any], packed: bool
) -> None:
    """Neither at its own place nor at that of the metadata, and no hole that looks like no data."""
    safe = Safe(bands=("B04", "B05"))
    path = safe.write(tmp_path)
    (image,) = path.rglob("*_B04_10m.jp2")
    Safe(**other)._image(image, safe.pixels("B04", 10), 10)
    given = zipped(path, tmp_path / "a.zip") if packed else path
    with pytest.raises(ReadError, match=r"_B04_10m\.jp2: its grid is another"):
        open_local(given, bands="B04").compute()
    marked = open_local(given, bands="B04", on_read_error="mark")
    assert (marked["status"] == Status.READ_FAILED).all()
    assert np.isfinite(open_local(given, bands="B05")["B05"]).all()


def test_an_image_of_another_size_or_type_than_its_metadata_say(tmp_path: Path) -> None:
    safe = Safe(bands=("B04",))
    path = safe.write(tmp_path)
    (image,) = path.rglob("*_B04_10m.jp2")
    safe._image(image, safe.pixels("B04", 10)[:-1], 10)
    with pytest.raises(ReadError, match=r"_B04_10m\.jp2: .*another shape"):
        open_local(path, bands="B04").compute()
    for dtype in ("int16", "uint8"):
        safe._image(image, safe.pixels("B04", 10).astype(dtype), 10)
        with pytest.raises(CubeError, match=rf"{dtype} in the file .*_B04_10m\.jp2"):
            open_local(path, bands="B04").compute()


def test_the_same_cube_twice_has_the_same_keys(tmp_path: Path) -> None:
    """So a cluster computes nothing twice, and the writer recognizes its own work."""
    from dask.base import tokenize

    path = Safe(bands=("B04", "SCL")).write(tmp_path)
    one, two = (tokenize(open_local(path)["B04"].data) for _ in range(2))
    assert one == two
    assert tokenize(open_local(path, offset=0)["B04"].data) != one


def test_what_systems_put_beside_files_is_not_read(tmp_path: Path) -> None:
    safe = Safe(bands=("B04",))
    path = safe.write(tmp_path)
    (image,) = path.rglob("*_B04_10m.jp2")
    image.with_name(f"._{image.name}").write_bytes(b"no image")
    packed = zipped(path, tmp_path / "a.zip")
    for given in (path, packed):
        assert np.isfinite(open_local(given, bands="B04")["B04"]).all()


@pytest.mark.parametrize("schedule", ["threads", "sync"])
def test_schedulers_agree(tmp_path: Path, schedule: str) -> None:
    import dask

    path = Safe().zip(tmp_path)
    bands = ["B02", "B04", "B05", "B8A", "B11"]
    eager = open_local(path, bands=bands, chunks=None)
    assert not eager.chunks
    lazy = open_local(path, bands=bands, chunks={"time": 1, "y": 20, "x": 33})
    with dask.config.set(scheduler={"threads": "threads", "sync": "synchronous"}[schedule]):
        assert_same(lazy, eager)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed.*")
def test_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels, by a path that was relative here; and an error that names the file."""
    distributed = pytest.importorskip("distributed")
    Safe().zip(tmp_path)
    broken = Safe(day="2022-11-05").write(tmp_path / "broken")
    (broken / next(iter(Safe(day="2022-11-05").images()))).with_suffix(".jp2").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    few = {"bands": ["B02", "B05", "B11"], "chunks": {"time": 1, "y": 40, "x": 40}}
    here = open_local(f"{Safe().name}.zip", **few).compute()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster),
    ):
        assert_same(open_local(f"{Safe().name}.zip", **few), here)
        with pytest.raises(ReadError, match=r"_B02_10m\.jp2"):
            open_local("broken", bands="B02")["B02"].compute()
