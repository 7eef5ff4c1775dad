"""What is found below a path: through links, whatever its names look like, once, and nothing lost."""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from archive import flat
from sources.local.safe import Safe, old_format, zipped
from sources.local.test_images import COUNTS, PATTERN, tif

import s2cube
from s2cube.errors import CatalogError, CubeError, ReadError
from s2cube.sources.local import open_local

SAFE = Safe(bands=("B04", "B05", "SCL"))
DATED: dict[str, Any] = {"pattern": "{time:%Y%m%d}_{band}.tif", **COUNTS}


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return SAFE.write(tmp_path / "data")


def is_right(cube: xr.Dataset) -> bool:
    wanted = (SAFE.pixels("B04", 10).astype("f4") - 1000) / np.float32(1e4)
    return bool((cube["B04"].values == wanted).all())


def days(cube: xr.Dataset) -> list[str]:
    return [str(day)[:10] for day in cube["time"].values]


def test_products_through_links(safe: Path, tmp_path: Path) -> None:
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "link.SAFE").symlink_to(safe)
    assert is_right(open_local(tmp_path / "shelf", bands="B04"))
    # A part of a product may lie elsewhere.
    shutil.move(safe / "GRANULE", tmp_path / "large")
    (safe / "GRANULE").symlink_to(tmp_path / "large")
    assert is_right(open_local(safe, bands="B04"))
    assert is_right(open_local(tmp_path / "shelf" / "link.SAFE", bands="B04"))


def test_images_through_links(tmp_path: Path) -> None:
    tif(tmp_path / "far" / "20210101_B04.tif", flat(1))
    tif(tmp_path / "near" / "20210102_B04.tif", flat(2))
    (tmp_path / "near" / "more").symlink_to(tmp_path / "far")
    assert days(open_local(tmp_path / "near", **DATED)) == ["2021-01-01", "2021-01-02"]


def test_links_that_lead_back_end(safe: Path, tmp_path: Path) -> None:
    """Two of them beside each other would make 2^40 paths of this one product."""
    for name in ("one", "two"):
        (tmp_path / "data" / name).symlink_to(tmp_path)
        (safe / "GRANULE" / name).symlink_to(safe)
    assert len(s2cube.items(open_local(tmp_path, bands="B04"))) == 1
    tif(tmp_path / "20210101_B04.tif", flat(1))
    assert days(open_local(tmp_path, **DATED)) == ["2021-01-01"]


def test_a_folder_goes_by_its_own_place_before_that_of_a_link(tmp_path: Path) -> None:
    tif(tmp_path / "20210101" / "B04.tif", flat(1))
    (tmp_path / "00000000").symlink_to(tmp_path / "20210101")
    cube = open_local(tmp_path, pattern="{time:%Y%m%d}/{band}.tif", **COUNTS)
    assert days(cube) == ["2021-01-01"]


def test_links_that_lead_nowhere(safe: Path, tmp_path: Path) -> None:
    """A disk that is not mounted is no shorter series."""
    for name in ("more", "other.SAFE"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "gone")
        with pytest.raises(ReadError, match=rf"{name} is a link to .*gone, which is not there"):
            open_local(tmp_path / "data")
        with pytest.raises(ReadError, match=rf"{name} is a link to"):
            open_local(tmp_path / "data", **DATED)
        (tmp_path / "data" / name).unlink()
    (tmp_path / "data" / "20210101_B04.tif").symlink_to(tmp_path / "gone")
    with pytest.raises(ReadError, match=r"Cannot read .*20210101_B04\.tif: No such file"):
        open_local(tmp_path / "data", **DATED)
    # What nobody asks for may be away.
    (tmp_path / "data" / "notes.txt").symlink_to(tmp_path / "gone")
    assert is_right(open_local(tmp_path / "data", bands="B04"))


def test_folders_that_cannot_be_listed(safe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).endswith("GRANULE"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ReadError, match=r"Cannot list .*GRANULE: Permission denied"):
        open_local(safe)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("letters", [str.lower, str.upper])
def test_capitals_do_not_matter(safe: Path, tmp_path: Path, letters: Any, packed: bool) -> None:
    paths = sorted((safe, *safe.rglob("*")), key=lambda path: -len(path.parts))
    for path in paths:
        path.rename(path.with_name(letters(path.name)))
    root = safe.with_name(letters(safe.name))
    if packed:
        root = zipped(root, tmp_path / letters("a.zip"))
    assert is_right(open_local(root, bands="B04"))
    assert len(s2cube.items(open_local(root.parent, bands=["B04", "B05"]))) == 1


def test_capitals_of_images_do_not_matter(tmp_path: Path) -> None:
    tif(tmp_path / "33uuu_20200605_b04.tif", flat(1))
    tif(tmp_path / "33UUU_20200605_B8a.TIF", flat(2))
    tif(tmp_path / "33UUU_20200615_red.Tif", flat(3))
    tif(tmp_path / "33UUU_20200615_B8A.tif", flat(4))
    cube = open_local(tmp_path, pattern=PATTERN, **COUNTS)
    assert (cube.sizes["time"], s2cube.schema.bands_of(cube)) == (2, ["B04", "B8A"])
    assert s2cube.items(cube)["tile"].tolist() == ["33UUU", "33UUU"]
    name = "s2a_msil1c_20220605t100031_n0400_r122_t33uuu_20220605t160000"
    tif(tmp_path / name / "B04.tif", flat(2000))
    told = open_local(tmp_path, pattern=f"{name}/{{band}}.tif", offset="baseline")
    assert told["processing_level"].item() == "L1C"
    assert np.unique(told["B04"].values).tolist() == [np.float32(0.1)]


@pytest.mark.parametrize(
    "part", ["manifest.safe", "MTD_MSIL2A.xml", "MTD_TL.xml", "GRANULE", "IMG_DATA", "R10m"]
)
def test_a_part_of_a_product_is_the_product(safe: Path, part: str) -> None:
    (path,) = safe.rglob(part)
    cube = open_local(path)
    assert is_right(cube)
    assert s2cube.items(cube)["id"].tolist() == [SAFE.name]
    assert len(s2cube.items(open_local([path, safe]))) == 1


def test_a_part_of_one_tile_of_several_is_not_all_of_them(tmp_path: Path) -> None:
    tiles = [Safe("L1C", baseline="02.04", offset=None, tile=tile) for tile in ("32TQR", "32TQS")]
    path = old_format(tmp_path, tiles)
    for part in (next(path.glob("GRANULE/*QR*")), next(path.glob("GRANULE/*QR*/*.xml"))):
        with pytest.raises(CatalogError, match="one of the 2 tiles of a product: open that"):
            open_local(part)
    assert len(s2cube.items(open_local(path / "GRANULE", bands="B04"))) == 2


@pytest.mark.parametrize("name", ["MTD_TL.xml", "manifest.safe", "notes.xml"])
def test_metadata_of_no_product(tmp_path: Path, name: str) -> None:
    Safe(bands=("B04",)).write(tmp_path)
    (tmp_path / name).write_text("<a/>")
    with pytest.raises(CatalogError, match=rf"{name} belongs to no product"):
        open_local(tmp_path / name)


def test_what_is_listed_twice_is_one(safe: Path, tmp_path: Path) -> None:
    image = tif(tmp_path / "s" / "20210101_B04.tif", flat(1))
    for paths in ([image.parent, image], [image, tmp_path, image.parent], [image, image]):
        assert len(s2cube.items(open_local(paths, **DATED))) == 1
    # By the path below the outermost folder, which the pattern may speak of.
    pattern = "s/{time:%Y%m%d}_{band}.tif"
    assert days(open_local([image, image.parent, tmp_path], pattern=pattern, **COUNTS)) == ["2021-01-01"]
    layers = tif(tmp_path / "t" / "20210101.tif", flat(1), flat(2), names=("B04", "B08"))
    cube = open_local([layers.parent, layers], pattern="{time:%Y%m%d}.tif", **COUNTS)
    assert len(s2cube.items(cube)) == 1
    packed = zipped(safe, tmp_path / "t" / "a.zip")
    assert len(s2cube.items(open_local([packed, packed.parent, packed], bands="B04"))) == 1


def test_an_image_beside_products_is_not_passed_over(safe: Path, tmp_path: Path) -> None:
    image = tif(tmp_path / "20210101_B04.tif", flat(1))
    with pytest.raises(CatalogError, match=r"20210101_B04\.tif is an image beside products"):
        open_local([safe, image])


@pytest.mark.parametrize("name", ["", ".", "./."])
def test_zip_members_without_a_name(safe: Path, tmp_path: Path, name: str) -> None:
    path = zipped(safe, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(ReadError, match=r"a\.zip holds a member called '\.?', which is no name"):
        open_local(path)


@pytest.mark.parametrize(("start", "sign"), [("", "\\"), ("./", "/"), (".\\", "\\")])
def test_zips_made_on_windows(safe: Path, tmp_path: Path, start: str, sign: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"{start}{safe.name}{sign}"), b"")
        for file in sorted(safe.rglob("*")):
            if file.is_file():
                name = start + file.relative_to(safe.parent).as_posix().replace("/", sign)
                archive.writestr(zipfile.ZipInfo(name), file.read_bytes())
    assert is_right(open_local(path, bands="B04"))


@pytest.mark.parametrize("folder", ["a\\b", "close}x", "{open", "}{"])
def test_names_that_gdal_cannot_open(tmp_path: Path, folder: str) -> None:
    """Files by other names than their own would be another's, or a riddle on reading."""
    (tmp_path / folder).mkdir()
    packed = zipped(SAFE.write(tmp_path / "data"), tmp_path / folder / "a.zip")
    with pytest.raises(CatalogError, match=r"cannot (be )?open"):
        open_local(packed)
    if "\\" not in folder:
        return
    with pytest.raises(CatalogError, match="backslash"):
        open_local(SAFE.write(tmp_path / folder))
    with pytest.raises(CatalogError, match="backslash"):
        open_local(tif(tmp_path / folder / "20210101_B04.tif", flat(1)), **DATED)


def test_a_file_with_a_time_that_is_none_is_named(tmp_path: Path) -> None:
    tif(tmp_path / "20210101_B04.tif", flat(1))
    tif(tmp_path / "20211301_B04.tif", flat(1))
    with pytest.raises(CatalogError, match=r"20211301_B04\.tif: its time.*To leave it out, rename it"):
        open_local(tmp_path, **DATED)
    assert days(open_local([tmp_path / "20210101_B04.tif"], **DATED)) == ["2021-01-01"]


def test_a_file_of_no_known_band_is_named(tmp_path: Path) -> None:
    """It may be a misspelt one; what is known to be no band is left out as ever."""
    for day in ("20210101", "20210102"):
        for band in ("B04", "AOT", "tci", "QA60"):
            tif(tmp_path / f"{day}_{band}.tif", flat(1))
    assert s2cube.schema.bands_of(open_local(tmp_path, **DATED)) == ["B04"]
    for band in ("B4x", "ndvi"):
        tif(tmp_path / f"20210102_{band}.tif", flat(2))
    with pytest.raises(CatalogError, match=r"20210102_B4x\.tif \(and 1 more .*names=.*None.*bands="):
        open_local(tmp_path, **DATED)
    # Who names bands knows what is wanted.
    assert s2cube.schema.bands_of(open_local(tmp_path, bands="B04", **DATED)) == ["B04"]
    with pytest.raises(CatalogError, match=r"ndvi\.tif fits"):
        open_local(tmp_path, names={"B4x": "B05"}, **DATED)
    cube = open_local(tmp_path, names={"B4x": "B05", "ndvi": None}, datetime="2021-01-02", **DATED)
    assert s2cube.schema.bands_of(cube) == ["B04", "B05"]
    for wrong in ({"ndvi": 4}, ["B04", 8]):
        with pytest.raises(CubeError, match=r"names gives ids or common names, or None .* got [48]"):
            open_local(tmp_path, names=wrong, **DATED)


def test_history_tells_what_did_not_fit(tmp_path: Path) -> None:
    tif(tmp_path / "20210101_B04.tif", flat(1))
    tif(tmp_path / "20210101_AOT.tif", flat(1))
    assert "left_out" not in open_local(tmp_path, **DATED).attrs["history"]
    for day in range(2, 7):
        tif(tmp_path / f"2021010{day}-B04.tif", flat(1))
    cube = open_local(tmp_path, **DATED)
    assert days(cube) == ["2021-01-01"]
    assert "20210102-B04.tif, 20210103-B04.tif, 20210104-B04.tif and 2 more" in cube.attrs["history"]
