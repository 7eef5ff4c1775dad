"""What is no product, or not a whole one: an error that names the file and says what to do."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
from sources.local.safe import Safe, edit, zipped

from s2cube.errors import CatalogError, CubeError, ReadError
from s2cube.sources.local import open_local
from s2cube.sources.local.metadata import parse

BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<n>&c;</n>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE n [<!ENTITY f SYSTEM "file:///etc/hostname">]><n>&f;</n>"""


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return Safe(bands=("B04", "SCL")).write(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"There is no .*nowhere"):
        open_local(tmp_path / "nowhere")
    with pytest.raises(CatalogError, match="holds no Sentinel-2 product"):
        open_local(tmp_path)
    with pytest.raises(CatalogError, match="empty list"):
        open_local([])
    for wrong in (5, None, [5]):
        with pytest.raises(CubeError, match="path is a path"):
            open_local(wrong)


def test_images_without_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "one.tif").write_bytes(b"")
    with pytest.raises(CatalogError, match=r"one\.tif.*pattern="):
        open_local(tmp_path)
    with pytest.raises(CatalogError, match=r"None of 1 images fits pattern='\*\.jp2'"):
        open_local(tmp_path, pattern="*.jp2")


@pytest.mark.parametrize("name", ["cube.nc", "cube.zarr", "cube.h5"])
def test_what_xarray_reads_goes_to_as_cube(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(CatalogError, match=r"as_cube"):
            open_local(path)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"scale": 0}, "scale"), ({"scale": "1e-4"}, "scale"), ({"offset": "rule"}, "offset"),
        ({"offset": float("nan")}, "offset"), ({"offset": True}, "offset"),
        ({"nodata": "none"}, "nodata"), ({"level": "L2"}, "level"), ({"names": "B04"}, "names"),
        ({"on_read_error": "skip"}, "on_read_error"),
        ({"groupby": "day"}, "groupby"), ({"chunks": 5}, "chunks"), ({"bands": "B99"}, "B99"),
        ({"bands": []}, "bands"), ({"bbox": (1, 2)}, "bbox"),
    ],
)  # fmt: skip
def test_arguments_that_mean_nothing(safe: Path, said: dict[str, Any], word: str) -> None:
    with pytest.raises(CubeError, match=word):
        open_local(safe, **said)


def test_no_data_is_as_the_metadata_say(safe: Path) -> None:
    assert "B04" in open_local(safe, nodata=0)
    with pytest.raises(CubeError, match="0 is missing, and nodata=5"):
        open_local(safe, nodata=5)


def test_a_folder_that_only_has_the_name(tmp_path: Path) -> None:
    (tmp_path / "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE").mkdir()
    with pytest.raises(CatalogError, match=r"T29UNU.*MTD_MSIL2A\.xml.*not complete"):
        open_local(tmp_path)


def test_a_product_by_its_metadata_file(safe: Path) -> None:
    assert open_local(safe / "MTD_MSIL2A.xml").sizes == open_local(safe).sizes


def test_a_product_without_its_granule(safe: Path) -> None:
    (xml,) = safe.rglob("MTD_TL.xml")
    xml.unlink()
    with pytest.raises(CatalogError, match="no granule"):
        open_local(safe)


def test_bands_that_are_not_there(tmp_path: Path) -> None:
    path = Safe().write(tmp_path)
    for image in path.rglob("*_B8A_*.jp2"):
        image.unlink()
    with pytest.raises(CatalogError, match=r"\.SAFE is not complete: its metadata list B8A"):
        open_local(path)
    # Who names bands knows what is wanted.
    assert "B8A" not in open_local(path, bands=["B04", "B11"])
    with pytest.raises(CatalogError, match="has no B8A; it has B01, B02"):
        open_local(path, bands=["B04", "B8A"])
    with pytest.raises(CatalogError, match="has no B10"):
        open_local(path, bands="cirrus")
    for image in path.rglob("*.jp2"):
        image.unlink()
    with pytest.raises(CatalogError, match="no image of a band"):
        open_local(path)


def test_a_band_that_is_there_in_another_size(tmp_path: Path) -> None:
    safe = Safe()
    path = safe.write(tmp_path)
    (native,) = path.rglob("*_B04_10m.jp2")
    native.unlink()
    cube = open_local(path, bands="B04")
    assert abs(cube["x"].values[1] - cube["x"].values[0]) == 20


def test_scl_alone_is_no_cube(safe: Path) -> None:
    with pytest.raises(CatalogError, match="SCL alone"):
        open_local(safe, bands="SCL")


@pytest.mark.parametrize("name", ["MTD_MSIL2A.xml", "MTD_TL.xml"])
@pytest.mark.parametrize(
    ("text", "error"),
    [("", ReadError), ("<a><b></a>", ReadError), (BOMB, ReadError), (OUTSIDE, ReadError),
     ("<other/>", CatalogError), (None, ReadError)],
)  # fmt: skip
def test_metadata_that_are_none(safe: Path, name: str, text: str | None, error: type[Exception]) -> None:
    (path,) = safe.rglob(name)
    content = path.read_text(encoding="utf-8")
    path.write_text(content[: len(content) // 2] if text is None else text, encoding="utf-8")
    with pytest.raises(error, match=name.replace(".", r"\.")):
        open_local(safe)


def test_entities_are_refused_in_any_encoding() -> None:
    for encoding in ("utf-8", "utf-16"):
        data = BOMB.replace('"1.0"', f'"1.0" encoding="{encoding}"').encode(encoding)
        with pytest.raises(ReadError, match="document type"):
            parse(data, "here.xml")


def test_absurdly_large_metadata_are_not_read(safe: Path) -> None:
    with (safe / "MTD_MSIL2A.xml").open("r+b") as file:
        file.truncate(10**9)  # sparse
    with pytest.raises(ReadError, match=r"MTD_MSIL2A\.xml has 954 MB"):
        open_local(safe)


@pytest.mark.parametrize(
    ("name", "old", "new", "word"),
    [
        ("MTD_MSIL2A.xml", "PROCESSING_BASELINE", "BASE", "PROCESSING_BASELINE"),
        ("MTD_MSIL2A.xml", ">NODATA<", ">NONE<", "NODATA"),
        ("MTD_MSIL2A.xml", "65535", "4095", "saturated"),
        ("MTD_MSIL2A.xml", 'band_id="3"', 'band_id="33"', "band_id '33'"),
        ("MTD_MSIL2A.xml", 'band_id="3"', 'band_id="2"', "no offset of B04"),
        ("MTD_MSIL2A.xml", ">-1000<", ">much<", "BOA_ADD_OFFSET"),
        ("MTD_TL.xml", "Geoposition", "Position", "Tile_Geocoding"),
        ("MTD_TL.xml", "<NROWS>", "<ROWS>", None),
        ("MTD_TL.xml", "EPSG:32629", "EPSG:99999", "EPSG:99999"),
        ("MTD_TL.xml", "HORIZONTAL_CS_CODE", "CODE", "HORIZONTAL_CS_CODE"),
        ("MTD_TL.xml", "T11:56:49", "T11:66:49", "no time"),
        ("MTD_TL.xml", "_T29UNU_", "_", "names no tile"),
        ("MTD_TL.xml", "Level-2A_Tile_ID", "Level-1C_Tile_ID", "no metadata of a L2A granule"),
        ("MTD_TL.xml", "<XDIM>10<", "<XDIM>15<", "10 m grid"),
    ],
)  # fmt: skip
def test_metadata_that_lack_what_is_needed(
    safe: Path, name: str, old: str, new: str, word: str | None
) -> None:
    (path,) = safe.rglob(name)
    edit(path, old, new)
    with pytest.raises((CubeError, CatalogError, ReadError), match=word or name.replace(".", r"\.")):
        open_local(safe, bands="B04")


def test_metadata_of_two_products_in_one_folder(safe: Path) -> None:
    (safe / "MTD_MSIL1C.xml").write_text("<a/>")
    with pytest.raises(CatalogError, match="metadata of 2 products"):
        open_local(safe)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_zip_whose_download_was_cut_off(tmp_path: Path, kept: float) -> None:
    path = Safe(bands=("B04",)).zip(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    for given in (path, tmp_path):
        with pytest.raises(ReadError, match=r"\.zip.*Was its download cut off"):
            open_local(given)


@pytest.mark.parametrize(
    "name", ["../MTD_MSIL2A.xml", "/etc/MTD_MSIL2A.xml", "a/../../b.jp2", "..\\b", "C:/b"]
)
def test_a_zip_whose_members_lie_outside(safe: Path, tmp_path: Path, name: str) -> None:
    path = zipped(safe, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "<a/>")
    with pytest.raises(ReadError, match=r"a\.zip.*lies outside"):
        open_local(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_members_of_one_name(safe: Path, tmp_path: Path) -> None:
    path = zipped(safe, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{safe.name}/MTD_MSIL2A.xml", "<a/>")
    with pytest.raises(ReadError, match="two members of one name"):
        open_local(path)


def test_a_zip_with_a_damaged_member(safe: Path, tmp_path: Path) -> None:
    """Its checksum tells, where the XML itself would still be read."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(safe.rglob("*")):
            if file.is_file():
                archive.write(file, f"{safe.name}/{file.relative_to(safe).as_posix()}")
    content = path.read_bytes()
    path.write_bytes(content.replace(b">-1000<", b">-2000<"))
    with pytest.raises(ReadError, match=r"MTD_MSIL2A\.xml.*CRC"):
        open_local(path)


def test_a_zip_without_a_product(safe: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(CatalogError, match="holds no Sentinel-2 product"):
        open_local(path)
    # Beside a product it does no harm.
    assert open_local([safe, path]).sizes["time"] == 1


def test_a_zip_whose_product_has_no_folder(safe: Path, tmp_path: Path) -> None:
    path = tmp_path / "flat.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(safe.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(safe).as_posix())
    assert (open_local(path)["B04"] == open_local(safe)["B04"]).all()
