"""Damage is found, down to a bit, and only what is damaged is made anew."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from compare import PIECES, content

import s2cube
from s2cube.errors import CubeError, StoreError, UnfinishedStoreError
from s2cube.store import Damage
from s2cube.store.ledger import Claims, Ledger
from s2cube.store.target import LocalTarget


@pytest.fixture
def store(small: xr.Dataset, tmp_path: Path) -> Path:
    small.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    return tmp_path / "d.zarr"


def flip(path: Path, at: int) -> None:
    held = bytearray(path.read_bytes())
    held[at] ^= 1
    path.write_bytes(held)


SHARD = "B04/c/0/0/2"  # of the second region
REGION = "y0-300_x512-520"


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated"),
        (lambda path: flip(path, 0), "changed"),
        (lambda path: flip(path, -1), "changed"),
        (lambda path: flip(path, path.stat().st_size // 2), "changed"),
    ],
)
def test_a_damaged_shard_is_found_and_mended(
    small: xr.Dataset, store: Path, harm: object, what: str
) -> None:
    whole = content(store)
    assert s2cube.verify(store, progress=False).ok
    harm(store / SHARD)  # type: ignore[operator]
    report = s2cube.verify(store, progress=False)
    assert not report.ok
    assert report.damage == (Damage(SHARD, what, REGION),)  # type: ignore[arg-type]
    assert report.damaged == (REGION,)
    assert "repair=True" in str(report)
    assert SHARD in report._repr_html_()
    mended = s2cube.verify(store, repair=True, progress=False)
    assert mended.repaired
    assert "run the write_daily() call that made the store" in str(mended)
    with pytest.warns(UserWarning, match=rf"1 of 2 regions .* not there .*{REGION}"):
        s2cube.open_daily(store)
    with pytest.raises(UnfinishedStoreError, match=REGION):
        s2cube.open_daily(store, on_gaps="raise")
    again = small.s2.write_daily(store, **PIECES)
    assert (again.written, again.kept) == (1, 1)
    assert content(store) == whole
    assert s2cube.verify(store, progress=False).ok


@pytest.mark.parametrize("name", ["x/c/0", "B04/zarr.json", "time/zarr.json", "zarr.json"])
def test_metadata_and_coordinates_are_verified_too(small: xr.Dataset, store: Path, name: str) -> None:
    whole = content(store)
    path = store / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1) if path.suffix else path.read_bytes()[1:])
    damage = s2cube.verify(store, repair=True, progress=False).damage
    assert [(one.file, one.region) for one in damage] == [(name, "")]
    again = small.s2.write_daily(store, **PIECES)
    assert (again.written, again.kept) == (0, 2)
    assert content(store) == whole


def test_a_file_where_there_should_be_none(tmp_path: Path) -> None:
    cube = s2cube.testing.simulate_cube(shape=(300, 300), seed=2, bands=["red"], end="2021-07-01")
    cube["B04"][:, 250:] = np.nan
    filled = cube.s2.mask_clouds("scl").s2.fill_gaps(freq="5D")
    filled.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    assert s2cube.verify(tmp_path / "d.zarr", progress=False).ok
    target = tmp_path / "d.zarr" / "B04" / "c" / "0" / "1" / "0"
    assert not target.exists(), "Zarr keeps no file of fill at the edge"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"what is this")
    report = s2cube.verify(tmp_path / "d.zarr", progress=False)
    assert [one.what for one in report.damage] == ["unexpected"]


def unpublished(small: xr.Dataset, store: Path) -> Path:
    """All regions are marked, and the power fails before the root is put; returns a region's mark."""
    shutil.rmtree(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "publish", lambda *_: (_ for _ in ()).throw(OSError("power")))
        with pytest.raises(StoreError, match="power"):
            small.s2.write_daily(store, **PIECES)
    return Path(f"{store}.s2cube") / "marks" / f"{REGION}.json"


LEADS_OUT = ["../../secret", "/etc/passwd", "B04/../../secret", "B04\\..\\x"]


@pytest.mark.parametrize("name", LEADS_OUT)
def test_a_forged_mark_leads_nowhere(small: xr.Dataset, store: Path, tmp_path: Path, name: str) -> None:
    """Its files are neither read nor deleted: its region counts as not there."""
    (tmp_path / "secret").write_text("mine")
    whole = content(store)
    path = unpublished(small, store)
    mark = json.loads(path.read_text())
    mark["files"][name] = [4, 0]
    path.write_text(json.dumps(mark))
    report = s2cube.verify(store, repair=True, progress=False)
    assert report.not_there == (REGION,)
    assert not report.damage
    assert small.s2.write_daily(store, **PIECES).written == 1
    assert (tmp_path / "secret").read_text() == "mine"
    assert content(store) == whole


def test_a_mark_of_other_files_is_told(small: xr.Dataset, store: Path) -> None:
    path = unpublished(small, store)
    mark = json.loads(path.read_text())
    del mark["files"][SHARD]
    path.write_text(json.dumps(mark))
    assert [one.what for one in s2cube.verify(store, progress=False).damage] == ["mark"]
    assert small.s2.write_daily(store, **PIECES).written == 1


def test_a_mark_of_another_recipe_is_told(small: xr.Dataset, store: Path) -> None:
    """Its files may be whole: they are of other work."""
    path = unpublished(small, store)
    mark = json.loads(path.read_text())
    path.write_text(json.dumps({**mark, "recipe": mark["recipe"][::-1]}))
    assert [one.what for one in s2cube.verify(store, progress=False).damage] == ["mark"]
    assert small.s2.write_daily(store, **PIECES).written == 1


def test_nothing_is_repaired_under_a_run_that_writes(small: xr.Dataset, store: Path) -> None:
    flip(store / SHARD, 100)
    whole = content(store)
    with Claims(LocalTarget(Path(f"{store}.s2cube"))):
        with pytest.raises(StoreError, match=r"Another run is writing .* repair=True"):
            s2cube.verify(store, repair=True, progress=False)
        assert not s2cube.verify(store, progress=False).ok, "to look is allowed"
    assert content(store) == whole
    assert s2cube.verify(store, repair=True, progress=False).repaired


def test_a_ledger_that_says_nothing_vouches_for_nothing(store: Path) -> None:
    path = store / "ledger" / "zarr.json"
    group = json.loads(path.read_text())
    del group["attributes"]["ledger"]["gaps"]
    path.write_text(json.dumps(group))
    with pytest.raises(UnfinishedStoreError, match=r"2 of 2 regions .* are not there"):
        s2cube.open_daily(store, on_gaps="raise")


def packed(store: Path) -> Path:
    (path,) = (store / "ledger").glob("marks-*/c/0")
    return path


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: flip(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(gzip.compress(b'{"marks": [{}]}')),
    ],
)
def test_lost_marks_are_told_and_made_anew(small: xr.Dataset, store: Path, harm: object) -> None:
    """Days can be read all the same; what cannot be vouched for is written again."""
    whole = content(store)
    name = packed(store).relative_to(store).as_posix()
    harm(packed(store))  # type: ignore[operator]
    assert s2cube.open_daily(store).sizes == small.sizes
    report = s2cube.verify(store, progress=False)
    assert [one.file for one in report.damage] == [name]
    assert len(report.not_there) == 2
    assert small.s2.write_daily(store, **PIECES).written == 2
    assert content(store) == whole
    assert s2cube.verify(store, progress=False).ok


@pytest.mark.parametrize("name", LEADS_OUT)
def test_forged_names_in_the_ledger_lead_nowhere(
    small: xr.Dataset, store: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_text("mine")
    held = json.loads(gzip.decompress(packed(store).read_bytes()))
    held["layout"]["variables"] = {
        name if one == "B04" else one: dims for one, dims in held["layout"]["variables"].items()
    }
    packed(store).write_bytes(gzip.compress(json.dumps(held).encode()))
    assert len(s2cube.verify(store, progress=False).not_there) == 2
    group = json.loads((store / "ledger" / "zarr.json").read_text())
    group["attributes"]["ledger"]["marks"] = name
    (store / "ledger" / "zarr.json").write_text(json.dumps(group))
    assert len(s2cube.verify(store, repair=True, progress=False).not_there) == 2
    assert small.s2.write_daily(store, **PIECES).written == 2
    assert (tmp_path / "secret").read_text() == "mine"
    assert s2cube.verify(store, progress=False).ok


def test_some_regions_only(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store / SHARD).unlink()
    assert s2cube.verify(store, regions=["y0-300_x0-512"]).ok
    assert s2cube.verify(store, regions=REGION).damaged == (REGION,)
    assert capsys.readouterr() == ("", "")
    s2cube.verify(store)
    assert "region 2 of 2" in capsys.readouterr().err
    with pytest.raises(CubeError, match=r"no region 'y9'; it has y0-300_x0-512, "):
        s2cube.verify(store, regions=["y9"])


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        s2cube.verify(tmp_path / "nothing.zarr")
