"""Small products of ESA's: the real tree, names and metadata (PSD 14), tiny tiles, lossless JP2."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
NATIVE = dict(zip(BANDS, (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20), strict=True))
# Level 2A: bands by pixel size, as since baseline 04.00.
L2A = {
    10: ("B02", "B03", "B04", "B08"),
    20: ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12", "SCL"),
    60: ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11", "B12", "SCL"),
}
SIDE = 720
"""Metres: 72, 36 and 12 px."""


@dataclass
class Safe:
    """What a product says; every part can be wrong."""

    level: str = "L2A"
    platform: str = "A"
    day: str = "2022-10-05"
    clock: str = "11:54:11"
    sensed: str = "11:56:49.581767"
    baseline: str = "04.00"
    orbit: int = 23
    tile: str = "29UNU"
    generated: str = "2022-10-05T16:44:54.000000Z"
    crs: str = "EPSG:32629"
    origin: tuple[float, float] = (499_980, 5_900_040)
    offset: int | None = -1000
    """In counts; None leaves the list out, as before 04.00."""
    quantification: str = "10000"
    bands: tuple[str, ...] = (*BANDS, "SCL")
    counts: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By band, in native pixel size; others are a ramp."""
    footprint: str | None = None
    angles: bool = True

    @property
    def name(self) -> str:
        day, clock = self.day.replace("-", ""), self.clock.replace(":", "")
        made = re.sub(r"[-:]|\..*", "", self.generated)
        return (
            f"S2{self.platform}_MSI{self.level}_{day}T{clock}_N{self.baseline.replace('.', '')}"
            f"_R{self.orbit:03}_T{self.tile}_{made}"
        )

    @property
    def _strip(self) -> str:
        return f"{self.day.replace('-', '')}T{re.sub(r'[:]|[.].*', '', self.sensed)}"

    @property
    def granule(self) -> str:
        return f"{self.level}_T{self.tile}_A038058_{self._strip}"

    def images(self) -> dict[str, tuple[str, int]]:
        """Path of each image within the product, its band and pixel size."""
        day, clock = self.day.replace("-", ""), self.clock.replace(":", "")
        stem = f"T{self.tile}_{day}T{clock}"
        folder = f"GRANULE/{self.granule}/IMG_DATA"
        if self.level == "L1C":
            wanted = (band for band in BANDS if band in self.bands)
            return {f"{folder}/{stem}_{band}": (band, NATIVE[band]) for band in wanted}
        return {
            f"{folder}/R{size}m/{stem}_{band}_{size}m": (band, size)
            for size, bands in L2A.items()
            for band in bands
            if band in self.bands
        }

    def pixels(self, band: str, size: int) -> np.ndarray:
        """Counts of a band; a size that is not native gives other counts, to be told apart."""
        native = 20 if band == "SCL" else NATIVE[band]
        if band in self.counts and size == native:
            return np.asarray(self.counts[band])
        side = SIDE // size
        if band == "SCL":
            return np.full((side, side), 4 if size == 20 else 9, np.uint8)
        first = 1000 + 100 * BANDS.index(band) + (0 if size == native else 20_000)
        return (first + np.arange(side * side).reshape(side, side) % 97).astype(np.uint16)

    def write(self, folder: Path) -> Path:
        """Write the product as a folder."""
        root = folder / f"{self.name}.SAFE"
        for name, (band, size) in self.images().items():
            self._image(root / f"{name}.jp2", self.pixels(band, size), size)
        (root / "GRANULE" / self.granule / "QI_DATA").mkdir()
        (root / f"MTD_MSI{self.level}.xml").write_text(self.product_xml(), encoding="utf-8")
        (root / "GRANULE" / self.granule / "MTD_TL.xml").write_text(self.tile_xml(), encoding="utf-8")
        (root / "manifest.safe").write_text("<xfdu/>")
        return root

    def _image(self, path: Path, counts: np.ndarray, size: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            path, "w", driver="JP2OpenJPEG", width=counts.shape[1], height=counts.shape[0], count=1,
            dtype=counts.dtype, crs=self.crs, QUALITY="100", REVERSIBLE="YES", BLOCKXSIZE="64",
            BLOCKYSIZE="64", transform=Affine(size, 0, self.origin[0], 0, -size, self.origin[1]),
        ) as file:  # fmt: skip
            file.write(counts, 1)

    def zip(self, folder: Path) -> Path:
        """Write the product as ESA and CDSE deliver it."""
        return zipped(self.write(folder / "to_zip"), folder / f"{self.name}.zip")

    def product_xml(self) -> str:
        two = self.level[1:]
        files = "".join(f"<IMAGE_FILE>{name}</IMAGE_FILE>" for name in self.images())
        tag, listing = (
            ("RADIO_ADD_OFFSET", "Radiometric_Offset_List")
            if self.level == "L1C"
            else ("BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST")
        )
        offsets = "".join(f'<{tag} band_id="{i}">{self.offset}</{tag}>' for i in range(13))
        offsets = "" if self.offset is None else f"<{listing}>{offsets}</{listing}>"
        worth = (
            f'<QUANTIFICATION_VALUE unit="none">{self.quantification}</QUANTIFICATION_VALUE>'
            if self.level == "L1C"
            else '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">'
            f"{self.quantification}</BOA_QUANTIFICATION_VALUE>"
            '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>'
            "</QUANTIFICATION_VALUES_LIST>"
        )
        start = f"{self.day}T{self.clock}.024Z"
        day, clock = self.day.replace("-", ""), self.clock.replace(":", "")
        footprint = "" if self.footprint is None else f"<EXT_POS_LIST>{self.footprint} </EXT_POS_LIST>"
        return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{two}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{two}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{start}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{start}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{self.name}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-{two}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{two}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{self.baseline}</PROCESSING_BASELINE>
      <GENERATION_TIME>{self.generated}</GENERATION_TIME>
      <Datatake datatakeIdentifier="GS2{self.platform}_{day}T{clock}_038058_N{self.baseline}">
        <SPACECRAFT_NAME>Sentinel-2{self.platform}</SPACECRAFT_NAME>
        <DATATAKE_SENSING_START>{start}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>{self.orbit}</SENSING_ORBIT_NUMBER>
      </Datatake>
      <Product_Organisation><Granule_List>
        <Granule granuleIdentifier="{self._tile_id}" imageFormat="JPEG2000">{files}</Granule>
      </Granule_List></Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
      <Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
      {worth}{offsets}
      <Reflectance_Conversion><Solar_Irradiance_List>
        <SOLAR_IRRADIANCE bandId="0" unit="W/m²/µm">1884.69</SOLAR_IRRADIANCE>
      </Solar_Irradiance_List></Reflectance_Conversion>
    </Product_Image_Characteristics>
  </n1:General_Info>
  <n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint>
    {footprint}
  </Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
</n1:Level-{two}_User_Product>
"""

    @property
    def _tile_id(self) -> str:
        return (
            f"S2{self.platform}_OPER_MSI_{self.level}_TL_ATOS_{self._strip}_A038058_T{self.tile}"
            f"_N{self.baseline}"
        )

    def tile_xml(self) -> str:
        two = self.level[1:]
        x, y = self.origin
        sizes = "".join(
            f'<Size resolution="{size}"><NROWS>{SIDE // size}</NROWS>'
            f"<NCOLS>{SIDE // size}</NCOLS></Size>"
            for size in (10, 20, 60)
        )
        places = "".join(
            f'<Geoposition resolution="{size}"><ULX>{x:.0f}</ULX><ULY>{y:.0f}</ULY><XDIM>{size}</XDIM>'
            f"<YDIM>-{size}</YDIM></Geoposition>"
            for size in (10, 20, 60)
        )
        views = "".join(
            f'<Mean_Viewing_Incidence_Angle bandId="{i}"><ZENITH_ANGLE unit="deg">{zenith}'
            f'</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">{azimuth}</AZIMUTH_ANGLE>'
            "</Mean_Viewing_Incidence_Angle>"
            for i, (zenith, azimuth) in enumerate((("4.0", "359.0"), ("5.0", "1.0"), ("NaN", "NaN")))
        )
        angles = (
            '<Mean_Sun_Angle><ZENITH_ANGLE unit="deg">57.820574</ZENITH_ANGLE>'
            '<AZIMUTH_ANGLE unit="deg">172.840207</AZIMUTH_ANGLE></Mean_Sun_Angle>'
            f"<Mean_Viewing_Incidence_Angle_List>{views}</Mean_Viewing_Incidence_Angle_List>"
        )
        return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{two}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{two}_Tile_Metadata.xsd">
  <n1:General_Info>
    <TILE_ID metadataLevel="Brief">{self._tile_id}</TILE_ID>
    <DATASTRIP_ID>S2{self.platform}_OPER_MSI_{self.level}_DS_ATOS_20221005T164454_S{self._strip}_N{self.baseline}</DATASTRIP_ID>
    <SENSING_TIME metadataLevel="Standard">{self.day}T{self.sensed}Z</SENSING_TIME>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding metadataLevel="Brief">
      <HORIZONTAL_CS_NAME>WGS84 / UTM zone</HORIZONTAL_CS_NAME>
      <HORIZONTAL_CS_CODE>{self.crs}</HORIZONTAL_CS_CODE>
      {sizes}{places}
    </Tile_Geocoding>
    <Tile_Angles>{angles if self.angles else ""}</Tile_Angles>
  </n1:Geometric_Info>
</n1:Level-{two}_Tile_ID>
"""


def zipped(root: Path, path: Path) -> Path:
    """Zip a product folder; its members begin with the folder's name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(root.parent).as_posix())
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Change a text in a metadata file."""
    text = path.read_text(encoding="utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new), encoding="utf-8")


OLD_NAMES = {
    # PSD 14.2: level 2A of baselines 02.04 to 02.06.
    "Product_Info": "L2A_Product_Info",
    "Product_Organisation": "L2A_Product_Organisation",
    "IMAGE_FILE": "IMAGE_FILE_2A",
    "PRODUCT_URI": "PRODUCT_URI_2A",
    "Product_Image_Characteristics": "L2A_Product_Image_Characteristics",
    "QUANTIFICATION_VALUES_LIST": "L1C_L2A_Quantification_Values_List",
    "BOA_QUANTIFICATION_VALUE": "L2A_BOA_QUANTIFICATION_VALUE",
}


def old_names(root: Path) -> None:
    """Turn the product's metadata into those of PSD 14.2."""
    path = root / "MTD_MSIL2A.xml"
    text = path.read_text(encoding="utf-8")
    for new, old in OLD_NAMES.items():
        text = re.sub(rf"<(/?){new}([ >])", rf"<\g<1>{old}\2", text)
    path.write_text(text, encoding="utf-8")


def old_format(folder: Path, safes: list[Safe]) -> Path:
    """Write one level-1C product of before December 2016: long names, several tiles."""
    first = safes[0]
    name = "S2A_OPER_PRD_MSIL1C_PDMC_20160714T201533_R022_V20160714T103022_20160714T103022"
    root = folder / f"{name}.SAFE"
    for safe in safes:
        granule = f"GRANULE/{safe._tile_id}"
        stem = safe._tile_id.removesuffix(f"_N{safe.baseline}")
        for band, size in safe.images().values():
            image = root / granule / "IMG_DATA" / f"{stem}_{band}.jp2"
            safe._image(image, safe.pixels(band, size), size)
        xml = f"{stem.replace('_MSI_L1C_TL_', '_MTD_L1C_TL_')}.xml"
        (root / granule / xml).write_text(safe.tile_xml(), encoding="utf-8")
    text = first.product_xml().replace(first.name, name)
    text = re.sub(r"<Granule .*</Granule>", "", text)
    (root / name.replace("_PRD_MSIL1C_", "_MTD_SAFL1C_")).with_suffix(".xml").write_text(text)
    return root
