"""Marks of a whole store, packed: the same again, and small."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from compare import PIECES

import s2cube
from s2cube.store.layout import files_of, regions_in
from s2cube.store.ledger import BlockStatus, Mark
from s2cube.store.ledger.marks import pack, unpack
from s2cube.store.target import LocalTarget

BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "provenance", "clear_age"]


def a_year(regions: int) -> tuple[dict[str, Any], list[Mark]]:
    """Marks of a year of ten bands, as real ones are: sizes that vary, checksums, a tile's items."""
    rng = np.random.default_rng(0)
    layout = {
        "variables": {**dict.fromkeys(BANDS, 3), "failed_looks": 2},
        "shape": [365, 1024, 1024 * regions],
        "shards": [384, 256, 256],
        "region": [1024, 1024],
    }
    ids = [f"S2B_MSIL2A_2021{n:04d}T100029_N0500_R122_T33UXP_20230222T172321" for n in range(400)]
    marks = []
    for number, (name, region) in enumerate(regions_in(layout).items()):
        files = files_of(layout, region)
        sizes = rng.normal(9e6, 1e6, len(files)).astype(int).tolist()
        sums = rng.integers(0, 2**32, len(files)).tolist()
        counts = {"observed": int(rng.integers(1e8)), "filled": int(rng.integers(1e8)), "clamped": 0}
        items = tuple(ids[number // 50 * 5 : number // 50 * 5 + 145])
        facts = dict(zip(files, zip(sizes, sums, strict=True), strict=True))
        marks.append(Mark(name, "5a" * 32, facts, counts, "0.1.0", items=items))
    return layout, marks


def test_marks_come_back_as_they_were() -> None:
    layout, marks = a_year(4)
    nothing = dict.fromkeys(marks[1].files)
    marks[1] = Mark(marks[1].region, "5a" * 32, nothing, status=BlockStatus.NO_DATA)
    marks[2] = Mark.of_failure(marks[2].region, "5a" * 32, "OSError: link down", "0.1.0")
    assert list(unpack(pack(layout, marks)[0]).values()) == marks
    assert pack(layout, marks) == pack(layout, marks), "the same bytes, whenever"


def test_ten_thousand_regions_of_a_year_are_twenty_megabytes() -> None:
    assert len(pack(*a_year(100))[0]) < 100 * 2000


@pytest.mark.parametrize("content", [b"", b"{}", b"\x1f\x8b\x08"])
def test_what_is_no_ledger_holds_no_marks(content: bytes) -> None:
    assert unpack(content) == {}


def test_other_readers_find_an_array(small: xr.Dataset, tmp_path: Path) -> None:
    """Who walks the whole store without consolidated metadata meets nothing unknown: it is JSON."""
    store = tmp_path / "d.zarr"
    small.s2.write_daily(store, **PIECES)
    group = zarr.open_group(store, mode="r", use_consolidated=False)
    (marks,) = (node for name, node in group.members(max_depth=None) if name.startswith("ledger/"))
    assert isinstance(marks, zarr.Array)
    assert len(json.loads(marks[:].tobytes())["marks"]) == 2


def test_who_opens_a_store_does_not_read_its_marks(
    small: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked, real = tmp_path / "d.zarr", [], LocalTarget.get
    small.s2.write_daily(store, **PIECES)

    def get(self: LocalTarget, key: str) -> bytes | None:
        asked.append(key)
        return real(self, key)

    monkeypatch.setattr(LocalTarget, "get", get)
    s2cube.open_daily(store).compute()
    assert not [key for key in asked if "marks" in key]
    s2cube.open_daily(store, partial=True)
    assert [key for key in asked if key.startswith("ledger/marks-")]
