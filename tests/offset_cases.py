"""What each provider says of the offset, and what is right: known cases, from real items.

The facts stand here, so that the cases run everywhere; where the real item lies beside the repository,
it is asked too. The documentation's table of providers is made from this list.
"""

from dataclasses import dataclass, field
from typing import Any

V0, V1 = "sentinel:boa_offset_applied", "earthsearch:boa_offset_applied"
ODC = "stac/odc-stac/tests/data"
TOOLS = "stac/odc-tools/apps/dc_tools/tests/data"
PARQUET = "stac/stac-geoparquet/tests/data"
STACTOOLS = "stac/stactools-sentinel2"


@dataclass(frozen=True)
class Case:
    id: str
    provider: str
    """As the documentation names it."""
    said: str
    """What its items say, in words."""
    asset: str
    properties: dict[str, Any]
    """Those properties of the real item that matter."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Those fields of its asset."""
    expected: float | None = 0.0
    """Reflectance to add; None: refused."""
    why: str = ""
    """What the error says, where refused."""
    item: str = "S2A_1"
    """The item's id."""
    href: str = "B04.tif"
    file: str = ""
    """The real item beside the repository; `item` is its id where the file holds several."""


def counts(offset: float | None) -> dict[str, Any]:
    told = {"nodata": 0, "data_type": "uint16", "scale": 0.0001}
    return {"raster:bands": [told if offset is None else {**told, "offset": offset}]}


CASES = [
    Case(
        "earth-search-v0-old", "Earth Search v0", "product name N0214", "B04",
        {"sentinel:product_id": "S2A_MSIL2A_20200714T115221_N0214_R123_T28QCH_20200714T191310"},
        expected=0.0, item="S2A_28QCH_20200714_0_L2A", file=f"{TOOLS}/S2A_28QCH_20200714_0_L2A_old.json",
    ),
    Case(
        "earth-search-v0-removed", "Earth Search v0", f"04.00, `{V0}` true", "B04",
        {V0: True, "sentinel:processing_baseline": "04.00"},
        expected=0.0, item="S2A_17SPR_20221106_0_L2A", file=f"{TOOLS}/S2A_17SPR_20221106_0_L2A.json",
    ),
    Case(
        "earth-search-v0-late-date", "Earth Search v0", "N0301, acquired in January 2022", "B04",
        {"sentinel:product_id": "S2B_MSIL2A_20220107T063239_N0301_R077_T42TUM_20220107T084202"},
        expected=0.0, item="S2B_42TUM_20220107_0_L2A", file=f"{TOOLS}/S2B_42TUM_20220107_0_L2A.json",
    ),
    Case(
        "earth-search-v1-before", "Earth Search v1", f"02.14, `{V1}` false, declares 0", "red",
        {V1: False, "s2:processing_baseline": "02.14"}, counts(0),
        expected=0.0, item="S2B_31QGB_20200831_0_L2A", file=f"{TOOLS}/S2B_31QGB_20200831_0_L2A.json",
    ),
    Case(
        "earth-search-v1-before-jp2", "Earth Search v1", "02.14, the JP2", "red-jp2",
        {V1: False, "s2:processing_baseline": "02.14"}, counts(0), href="B04.jp2",
        expected=0.0, item="S2B_31QGB_20200831_0_L2A", file=f"{TOOLS}/S2B_31QGB_20200831_0_L2A.json",
    ),
    Case(
        "earth-search-v1-removed", "Earth Search v1", f"04.00, `{V1}` true, declares -0.1", "red",
        {V1: True, "s2:processing_baseline": "04.00"}, counts(-0.1),
        expected=0.0, item="S2B_31TCJ_20220803_0_L2A",
        file="stac/earthdaily/tests/test_legacy/test_data.json",
    ),
    Case(
        "earth-search-v1-removed-jp2", "Earth Search v1", f"05.09, `{V1}` true, the JP2", "red-jp2",
        {V1: True, "s2:processing_baseline": "05.09"}, counts(-0.1), href="s3://sentinel-s2-l2a/B04.jp2",
        expected=-0.1, item="S2A_32TPS_20230602_0_L2A",
        file="stac/openeo-processes-dask/tests/data/stac/s2_l2a_test_item.json",
    ),
    Case(
        "earth-search-v1-removed-jp2-link", "Earth Search v1", "the same, its link does not end in .jp2",
        "red-jp2", {V1: True, "s2:processing_baseline": "05.09"}, counts(-0.1),
        href="https://example.org/files/17", expected=-0.1,
    ),
    Case(
        "earth-search-v1-not-removed", "Earth Search v1", f"04.00, `{V1}` false, declares -0.1", "red",
        {V1: False, "s2:processing_baseline": "04.00"}, counts(-0.1),
        expected=-0.1, item="S2B_31TCJ_20220823_0_L2A",
        file="stac/earthdaily/tests/test_legacy/test_data.json",
    ),
    Case(
        "earth-search-v1-not-removed-declares-0", "Earth Search v1",
        f"04.00, `{V1}` false, declares 0", "red",
        {V1: False, "s2:processing_baseline": "04.00"}, counts(0), expected=None,
        why="one of the two is wrong",
    ),
    Case(
        "flag-as-text", "any", f'05.09, `{V1}` is the text "false"', "red",
        {V1: "false", "s2:processing_baseline": "05.09"}, expected=-0.1,
    ),
    Case(
        "flag-as-text-true", "any", f'05.09, `{V1}` is the text "True"', "red",
        {V1: "True", "s2:processing_baseline": "05.09"}, expected=0.0,
    ),
    Case(
        "flag-odd", "any", f"05.09, `{V1}` is 1", "red",
        {V1: 1, "s2:processing_baseline": "05.09"}, expected=None, why="neither true nor false",
    ),
    Case(
        "flags-disagree", "any", f"05.09, `{V1}` false, `{V0}` true", "red",
        {V1: False, V0: True, "s2:processing_baseline": "05.09"}, expected=None, why="says both",
    ),
    Case(
        "earth-search-v1-scl", "Earth Search v1", "classes, aerosol, water vapour, pictures", "scl",
        {V1: True, "s2:processing_baseline": "05.09"}, {"raster:bands": [{"data_type": "uint8"}]},
        expected=0.0, item="S2A_32TPS_20230602_0_L2A",
        file="stac/openeo-processes-dask/tests/data/stac/s2_l2a_test_item.json",
    ),
    Case(
        "earth-search-v1-l1c", "Earth Search v1, level 1C", "05.10, no flag, declares -0.1", "red",
        {"s2:processing_baseline": "05.10"}, counts(-0.1), href="s3://sentinel-s2-l1c/B04.jp2",
        expected=-0.1, item="S2B_27VWK_20240206_0_L1C",
        file="stac/eodag/tests/resources/provider_responses/earth_search_search.json",
    ),
    Case(
        "earth-search-c1", "Earth Search, Collection 1", "05.10, no flag, declares -0.1", "red",
        {"s2:processing_baseline": "05.10"}, counts(-0.1),
        expected=-0.1, item="S2B_T37MGP_20240710T073012_L2A",
        file=f"{TOOLS}/S2B_T37MGP_20240710T073012_L2A_C1.json",
    ),
    Case(
        "planetary-computer-before", "Planetary Computer", "02.12, declares nothing", "B04",
        {"s2:processing_baseline": "02.12"},
        expected=0.0, item="S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531",
        file=f"{ODC}/S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531.json",
    ),
    Case(
        "planetary-computer-0400", "Planetary Computer", "04.00, declares nothing", "B04",
        {"s2:processing_baseline": "04.00"},
        expected=-0.1, file="stac/stac-geoparquet/tests/sentinel-2-item.json", item="",
    ),
    Case(
        "planetary-computer-0510", "Planetary Computer", "05.10, declares nothing", "B04",
        {"s2:processing_baseline": "05.10"},
        expected=-0.1, item="S2B_MSIL2A_20240419T095549_R122_T47XML_20240419T123458",
        file=f"{PARQUET}/sentinel-2-l2a-pc.json",
    ),
    Case(
        "cdse-reprocessed", "CDSE", "acquired in 2020, processed anew at 05.00", "B04_10m",
        {
            "processing:version": "05.00",
            "s2:datatake_id": "GS2A_20200815T005251_026883_N05.00",
            "title": "S2A_MSIL1C_20200815T005251_N0500_R002_T55PBS_20230405T155830",
        },
        href="s3://eodata/Sentinel-2/B04_10m.jp2",
        expected=-0.1, item="S2A_MSIL1C_20200815T005251_N0500_R002_T55PBS_20230405T155830",
        file="stac/eodag/tests/resources/eodag_search_result_cop_dataspace.geojson",
    ),
    Case(
        "cdse-number", "CDSE", "the baseline as a number (5.0)", "B04_10m",
        {"processing:version": 5.0}, href="s3://eodata/Sentinel-2/B04_10m.jp2", expected=-0.1,
        item="S2B_MSIL1C_20190302T105029_N0500_R051_T31TCJ_20221113T065937",
        file="stac/eodag/tests/resources/eodag_search_result_creodias.geojson",
    ),
    Case(
        "cdse-declared", "CDSE", "05.11, STAC 1.1, declares -0.1", "B02_10m",
        {"processing:version": "05.11"},
        {"raster:offset": -0.1, "raster:scale": 0.0001, "data_type": "uint16", "nodata": 0},
        href="s3://eodata/Sentinel-2/B02_10m.jp2", expected=-0.1,
    ),
    Case(
        "cdse-two-baselines", "CDSE", "`processing:version` 05.00, `s2:processing_baseline` 02.14",
        "B04_10m", {"processing:version": "05.00", "s2:processing_baseline": "02.14"},
        href="s3://eodata/Sentinel-2/B04_10m.jp2", expected=None, why="several processing baselines",
    ),
    Case(
        "version-of-a-processor", "self-made", "`processing:version` 2.11 (Sen2Cor's), no baseline",
        "B04", {"processing:version": "2.11"}, expected=None, why="Nothing tells the offset",
    ),
    Case(
        "version-of-some-chain", "self-made", "`processing:version` 5.0 (its own), no baseline",
        "B04", {"processing:version": "5.0"}, expected=None, why="Nothing tells the offset",
    ),
    Case(
        "version-beside-a-baseline", "self-made", "05.09, `processing:version` 02.11", "B04",
        {"s2:processing_baseline": "05.09", "processing:version": "02.11"}, expected=-0.1,
    ),
    Case(
        "version-as-a-baseline", "self-made", "`processing:version` 05.09, no baseline", "B04",
        {"processing:version": "05.09"}, expected=-0.1,
    ),
    Case(
        "sentinel-2c", "any", "Sentinel-2C, 05.11, declares nothing", "B04",
        {"s2:processing_baseline": "05.11", "platform": "sentinel-2c"}, expected=-0.1,
        item="S2C_MSIL2A_20250301T100021_N0511_R122_T33UUU_20250301T140000",
    ),
    Case(
        "declared-in-bands", "self-made, STAC 1.1", "declares -0.1 in `bands`, no baseline", "B04",
        {}, {"bands": [{"name": "B04", "raster:offset": -0.1, "raster:scale": 0.0001}]}, expected=-0.1,
    ),
    Case(
        "declared-zero", "self-made", "05.09, declares 0 (removed)", "B04",
        {"s2:processing_baseline": "05.09"}, counts(0), expected=0.0,
    ),
    Case(
        "declared-zero-on-a-jp2", "any", "05.09, ESA's own file, declares 0", "B04",
        {"s2:processing_baseline": "05.09"}, counts(0), href="B04.jp2", expected=None,
        why="one of the two is wrong",
    ),
    Case(
        "rio-stac", "self-made (rio-stac)", "05.09, declares scale 1 and offset 0, GDAL's defaults",
        "B04", {"s2:processing_baseline": "05.09"},
        {"raster:bands": [{"data_type": "uint16", "scale": 1.0, "offset": 0.0}]}, expected=-0.1,
    ),
    Case(
        "reflectance-in-floats", "self-made", "05.09, float32, declares scale 1 and offset 0", "B04",
        {"s2:processing_baseline": "05.09"},
        {"raster:bands": [{"data_type": "float32", "scale": 1.0, "offset": 0.0}]}, expected=0.0,
    ),
    Case(
        "floats-without-offset", "self-made", "05.09, float32, declares scale 1 only", "B04",
        {"s2:processing_baseline": "05.09"},
        {"raster:bands": [{"data_type": "float32", "scale": 1.0}]}, expected=None,
        why="holds float32 and declares no offset",
    ),
    Case(
        "floats-without-scale", "self-made", "05.09, float32, declares nothing else", "B04",
        {"s2:processing_baseline": "05.09"}, {"raster:bands": [{"data_type": "float32"}]},
        expected=None, why="holds float32 and declares no scale",
    ),
    Case(
        "scale-upside-down", "self-made", "05.09, declares scale 10000", "B04",
        {"s2:processing_baseline": "05.09"},
        {"raster:bands": [{"data_type": "uint16", "scale": 10000, "offset": 0}]}, expected=None,
        why="is not the reflectance of one count",
    ),
    Case(
        "offset-in-counts", "self-made", "05.09, declares -1000", "B04",
        {"s2:processing_baseline": "05.09"}, counts(-1000), expected=None, why="can only be in counts",
    ),
    Case(
        "sen2cor-by-hand", "self-made", "99.99 (Sen2Cor by hand), declares -0.1", "B04",
        {"s2:processing_baseline": "99.99"}, counts(-0.1), expected=-0.1,
    ),
    Case(
        "sen2cor-by-hand-silent", "self-made", "99.99 (Sen2Cor by hand), declares nothing", "B04",
        {"s2:processing_baseline": "99.99"}, expected=None, why="Nothing tells the offset",
    ),
    Case(
        "sen2cor-by-hand-named", "self-made", "99.99 (Sen2Cor by hand), product name N0500", "B04",
        {
            "s2:processing_baseline": "99.99",
            "s2:product_uri": "S2A_MSIL2A_20200714T115221_N0500_R123_T28QCH_20230404T191310.SAFE",
        },
        expected=None, why="Nothing tells the offset",
    ),
    Case(
        "end-of-a-name", "any", "no baseline, a datatake that ends in _N05.09", "B04",
        {"s2:datatake_id": "GS2A_20230701T171901_041908_N05.09"}, expected=-0.1,
    ),
    Case(
        "end-of-a-name-by-hand", "any", "99.99 (by hand), a datatake that ends in _N05.09", "B04",
        {
            "s2:processing_baseline": "99.99",
            "s2:datatake_id": "GS2A_20230701T171901_041908_N05.09",
        },
        expected=None, why="Nothing tells the offset",
    ),
    Case(
        "end-before-a-version", "any", "a datatake that ends in _N05.09, a version 02.11", "B04",
        {"s2:datatake_id": "GS2A_20230701T171901_041908_N05.09", "processing:version": "02.11"},
        expected=-0.1,
    ),
    Case(
        "baseline-unknown", "any", 'baseline "unknown", product name N0500', "B04",
        {"s2:processing_baseline": "unknown"}, expected=-0.1,
        item="S2B_MSIL2A_20190629T212529_N0500_R043_T06VVN_20201006T080531",
    ),
    Case(
        "name-shortened", "any", "a title without baseline, an id with N0500", "B04",
        {"title": "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531"}, expected=-0.1,
        item="S2B_MSIL2A_20190629T212529_N0500_R043_T06VVN_20201006T080531",
    ),
    Case(
        "self-made-0.7", "self-made", "declares -0.7", "B04",
        {"s2:processing_baseline": "99.99"}, counts(-0.7), expected=None, why="ESA's is 0 or -0.1",
    ),
    Case(
        "nothing", "any", "no baseline, declares nothing", "B04",
        {"datetime": "2023-06-01T10:00:00Z"}, expected=None, why="Nothing tells the offset",
    ),
    Case(
        "contradiction", "any", "02.14, declares -0.1", "B04",
        {"s2:processing_baseline": "02.14"}, counts(-0.1), expected=None, why="one of the two is wrong",
    ),
    Case(
        "two-baselines", "any", "property 02.14, product name N0500", "B04",
        {
            "s2:processing_baseline": "02.14",
            "s2:product_uri": "S2A_MSIL2A_20200714T115221_N0500_R123_T28QCH_20230404T191310.SAFE",
        },
        expected=None, why="several processing baselines",
    ),
]  # fmt: skip
