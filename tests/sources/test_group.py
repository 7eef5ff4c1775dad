"""Steps, duplicates, overlaps: which scene gives which pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from archive import ORIGIN, flat, scene

import s2cube
from s2cube.errors import CubeError
from s2cube.schema import Status

FACTS: dict[str, Any] = {
    "platform": "sentinel-2a",
    "sat:relative_orbit": 79,
    "s2:datatake_id": "GS2A_20200605T100031_025870_N02.14",
    "s2:mgrs_tile": "33UUU",
    "s2:processing_baseline": "02.14",
}


def test_older_versions_of_a_tile_are_dropped_by_number(tmp_path: Path) -> None:
    """05.10 is later than 05.09 and 02.14, whatever their ids or dates of creation."""
    versions = [
        scene(
            tmp_path, name, "2020-06-05T10:00:31", {"B04": flat(value)},
            properties={**FACTS, "s2:processing_baseline": baseline},
        )
        for name, baseline, value in (("c", "02.14", 1), ("a", "05.10", 2), ("b", "05.09", 3))
    ]  # fmt: skip
    cube = s2cube.open_stac(versions)
    assert cube.sizes["time"] == 1
    assert (cube["B04"].values == np.float32(2e-4)).all()
    assert cube["processing_baseline"].values.tolist() == ["05.10"]
    assert cube["platform"].values.tolist() == ["sentinel-2a"]
    assert cube["relative_orbit"].values.tolist() == [79]
    assert cube["datatake"].values.tolist() == ["GS2A_20200605T100031_025870"]


@pytest.mark.parametrize("groupby", ["datatake", "solar_day"])
def test_steps_are_in_time_however_items_come(tmp_path: Path, groupby: Any) -> None:
    taken = {
        value: scene(tmp_path, f"s{value}", f"2020-06-{value:02}T10:00:31", {"B04": flat(value)})
        for value in (15, 5, 10)
    }
    cube = s2cube.open_stac(list(taken.values()), groupby=groupby)
    assert cube.indexes["time"].is_monotonic_increasing
    assert (cube["B04"].values[:, 0, 0] * 1e4).round().tolist() == [5, 10, 15]


def test_parts_of_a_split_tile_stay_both(tmp_path: Path) -> None:
    north, south = flat(5), flat(6)
    north[10:], south[:10] = 0, 0
    parts = [
        scene(
            tmp_path, name, f"2020-06-05T10:00:{second}", {"B04": counts},
            properties={**FACTS, "s2:datastrip_id": f"S2A_DS_VGS1_S20200605T1000{second}_N02.14"},
        )
        for name, counts, second in (("n", north, "31"), ("s", south, "45"))
    ]  # fmt: skip
    cube = s2cube.open_stac(parts)
    assert cube.sizes["time"] == 1
    np.testing.assert_array_equal(cube["B04"].values[0, :, 0], np.float32([5e-4] * 10 + [6e-4] * 10))


def neighbours(folder: Path, **second: Any) -> list[pystac.Item]:
    """Two tiles of one datatake that overlap by 8 columns; the first lacks B08 in two of them."""
    left = {"B04": flat(100), "B08": flat(200), "SCL": flat(4, dtype="uint8")}
    left["B08"][:, 18:20] = 0
    right = {"B04": flat(300), "B08": flat(400), "SCL": flat(5, dtype="uint8")}
    return [
        scene(folder, "L", "2020-06-05T10:00:31", left, properties={**FACTS, "s2:mgrs_tile": "33UUU"}),
        scene(
            folder, "R", "2020-06-05T10:00:45", right, origin=(ORIGIN[0] + 160, ORIGIN[1]),
            properties={**FACTS, "s2:mgrs_tile": "33UVU", **second},
        ),
    ]  # fmt: skip


def test_one_scene_gives_a_pixel_all_its_bands(tmp_path: Path) -> None:
    cube = s2cube.open_stac(neighbours(tmp_path)).isel(time=0, y=3)
    assert cube.sizes["x"] == 40
    rows = np.stack([cube[b].values * 1e4 for b in ("B04", "B08")] + [cube["SCL"].values]).round()
    left, right = [100, 200, 4], [300, 400, 5]
    expected = [left] * 18 + [right] * 2 + [left] * 4 + [right] * 16
    np.testing.assert_array_equal(rows.T, expected)
    assert (cube["status"] == Status.CLEAR).all()


def test_offsets_are_applied_before_tiles_merge(tmp_path: Path) -> None:
    """One datatake, two baselines: the seam must not show."""
    items = neighbours(tmp_path)
    for item, baseline in zip(items, ("03.01", "05.00"), strict=True):
        item.properties["s2:processing_baseline"] = baseline
        item.assets["B04"].extra_fields["raster:bands"][0].pop("offset")
    with rasterio.open(items[1].assets["B04"].href, "r+") as file:
        file.write(flat(1100), 1)
    cube = s2cube.open_stac(items)
    # 100 counts on the left, 1100 - 1000 on the right: no seam.
    np.testing.assert_allclose(cube["B04"].values, 0.01, atol=1e-7)
    assert s2cube.items(cube)["offset_B04"].tolist() == [-0.1, 0.0], "the newer baseline first"


def test_tiles_side_by_side_with_unlike_offsets(tmp_path: Path) -> None:
    """One datatake, two baselines, a shared edge and no overlap: each tile by its own offset."""
    items = []
    for n, (baseline, counts) in enumerate((("03.01", 2000), ("05.10", 3000))):
        item = scene(
            tmp_path, f"t{n}", f"2020-06-05T10:00:0{n}", {"B04": flat(counts)},
            origin=(ORIGIN[0] + 240 * n, ORIGIN[1]),
            properties={**FACTS, "s2:mgrs_tile": f"33UU{n}", "s2:processing_baseline": baseline},
        )  # fmt: skip
        item.assets["B04"].extra_fields["raster:bands"][0].pop("offset")
        items.append(item)
    cube = s2cube.open_stac(items)
    assert cube.sizes == {"time": 1, "y": 20, "x": 48}
    assert (cube["B04"] == np.float32(0.2)).all()


def test_of_equal_baselines_the_later_made_is_kept(tmp_path: Path) -> None:
    versions = [
        scene(
            tmp_path, name, "2020-06-05T10:00:31", {"B04": flat(value)},
            properties={**FACTS, "created": created},
        )
        for name, value, created in (("b", 1, "2020-06-06"), ("c", 2, "2021-01-01"), ("a", 3, "2020-09"))
    ]  # fmt: skip
    assert (s2cube.open_stac(versions)["B04"] == np.float32(2e-4)).all()


def test_two_datatakes_of_one_platform_on_one_day(tmp_path: Path) -> None:
    """At high latitudes: the same tile seen twice is no duplicate."""
    south, north = flat(5), flat(6)
    south[:10], north[10:] = 0, 0
    looks = [
        scene(
            tmp_path, name, f"2020-06-05T{hour}:00", {"B04": counts},
            properties={**FACTS, "s2:datatake_id": f"GS2A_20200605T{hour}0031_0258{hour}_N02.14"},
        )
        for name, counts, hour in (("s", south, 10), ("n", north, 11))
    ]  # fmt: skip
    day = s2cube.open_stac(looks, groupby="solar_day")
    assert day.sizes["time"] == 1
    assert sorted(s2cube.items(day)["id"]) == ["n", "s"]
    np.testing.assert_array_equal(day["B04"].values[0, :, 0], np.float32([6e-4] * 10 + [5e-4] * 10))


def test_an_item_without_a_datatake_id_joins_the_one_of_its_pass(tmp_path: Path) -> None:
    with_id = scene(tmp_path, "a", "2020-06-05T10:00", {"B04": flat(1)}, properties=FACTS)
    facts = {key: value for key, value in FACTS.items() if key != "s2:datatake_id"}
    without = scene(
        tmp_path, "b", "2020-06-05T10:00", {"B04": flat(2)}, origin=(ORIGIN[0] + 240, ORIGIN[1]),
        properties={**facts, "s2:mgrs_tile": "33UVU"},
    )  # fmt: skip
    cube = s2cube.open_stac([with_id, without])
    assert cube.sizes == {"time": 1, "y": 20, "x": 48}
    assert cube["datatake"].values.tolist() == ["GS2A_20200605T100031_025870"]
    # Of another platform it is another look; that both have the same time cannot be.
    without.properties["platform"] = "sentinel-2b"
    with pytest.raises(CubeError, match=r"(a and b|b and a) have the same time .* complete the items"):
        s2cube.open_stac([with_id, without])


def test_steps_by_datatake_or_solar_day(tmp_path: Path) -> None:
    morning = scene(tmp_path, "a", "2020-06-05T09:50", {"B04": flat(1)}, properties={"platform": "s2a"})
    later = scene(tmp_path, "b", "2020-06-05T10:00", {"B04": flat(2)}, properties={"platform": "s2b"})
    assert s2cube.open_stac([later, morning]).sizes["time"] == 2
    day = s2cube.open_stac([later, morning], groupby="solar_day")
    assert day.sizes["time"] == 1
    assert "platform" not in day.coords, "two platforms in a step: neither is true of it"
    with pytest.raises(CubeError, match="groupby is"):
        s2cube.open_stac([later], groupby="month")  # type: ignore[arg-type]


def test_datatakes_without_an_id_are_told_by_platform_orbit_and_time(tmp_path: Path) -> None:
    def at(name: str, time: str, x: float) -> pystac.Item:
        return scene(
            tmp_path, name, time, {"B04": flat(3)}, origin=(ORIGIN[0] + x, ORIGIN[1]),
            properties={"platform": "sentinel-2a"},
        )  # fmt: skip

    items = [
        at("a", "2020-06-05T10:00:10", 0),
        at("b", "2020-06-05T10:00:25", 240),
        at("c", "2020-06-05T11:40", 0),
    ]
    cube = s2cube.open_stac(items)
    assert cube.sizes["time"] == 2
    assert np.isfinite(cube["B04"].values[0]).all()


def test_same_time_of_two_datatakes_is_said(tmp_path: Path) -> None:
    two = [
        scene(tmp_path, name, "2020-06-05", {"B04": flat(1)}, properties={"platform": name})
        for name in ("s2a", "s2b")
    ]
    with pytest.raises(CubeError, match="solar_day"):
        s2cube.open_stac(two)


def test_versions_of_one_datatake(tmp_path: Path) -> None:
    """The id of a datatake ends in the baseline, so a reprocessed scene has another."""
    versions = [
        scene(
            tmp_path, f"v{baseline}", f"2020-06-05T10:00:3{n}", {"B04": flat(n)},
            properties={**FACTS, "s2:processing_baseline": baseline,
                        "s2:datatake_id": f"GS2A_20200605T100031_025870_N{baseline}"},
        )
        for n, baseline in ((1, "02.14"), (2, "05.00"))
    ]  # fmt: skip
    cube = s2cube.open_stac(versions)
    assert cube.sizes["time"] == 1
    assert (cube["B04"] == np.float32(2e-4)).all()


def test_scales_within_a_step(tmp_path: Path) -> None:
    """Neighbours whose counts mean different things: each by its own."""
    left, right = neighbours(tmp_path)
    for key in ("B04", "B08"):
        right.assets[key].extra_fields["raster:bands"][0]["scale"] = 2e-4
    cube = s2cube.open_stac([left, right]).isel(time=0, y=3)
    np.testing.assert_allclose(cube["B04"].values[[0, -1]], [0.01, 0.06], atol=1e-7)


def test_a_failed_read_loses_to_a_good_one(tmp_path: Path) -> None:
    items = neighbours(tmp_path)
    (tmp_path / "L" / "B04.tif").unlink()
    cube = s2cube.open_stac(items, on_read_error="mark").isel(time=0, y=3)
    assert (cube["status"].values == [Status.READ_FAILED] * 16 + [Status.CLEAR] * 24).all()
    np.testing.assert_array_equal(cube["B04"].values[16:], np.float32([0.03] * 24))
