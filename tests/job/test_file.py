"""Job files: what they say is done, and what they must not say is refused."""

import json
from pathlib import Path
from typing import Any

import pystac
import pytest
import yaml
from archive import flat, ramp, scene

import s2cube
from s2cube.cli import main
from s2cube.errors import CubeError
from s2cube.job.area import mgrs_bounds


def job_of(**change: Any) -> dict[str, Any]:
    job = {
        "source": "items.json",
        "area": {"bbox": [15.0, 47.84, 15.003, 47.855]},
        "crs": "EPSG:32633",
        "period": "2020-06",
        "bands": ["red"],
        "mask": {"method": "scl", "buffer": 20},
        "fill": {"method": "linear", "margin": 40},
        "output": {"store": "june.zarr", "region_size": 256},
    }
    return {key: value for key, value in {**job, **change}.items() if value is not None}


def put(folder: Path, **change: Any) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job_of(**change)))
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    items = [
        scene(
            tmp_path / "files", f"S2_{month:02}{day:02}", f"2020-{month:02}-{day:02}T10:00",
            {"red": ramp((200, 40), start=month * 100 + day), "scl": flat(4, (200, 40), "uint8")},
        )
        for month in (5, 6, 7) for day in (5, 20)
    ]  # fmt: skip
    pystac.ItemCollection(items).save_object(str(tmp_path / "items.json"))
    return tmp_path


def test_a_job_is_done_and_gone_on_with(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = str(put(archive))
    assert main(["daily", job, "--explain"]) == 0
    assert "one task each" in capsys.readouterr().out
    assert not (archive / "june.zarr").exists()
    assert main(["daily", job, "--quiet"]) == 0
    assert "1 written" in capsys.readouterr().out
    daily = s2cube.open_daily(archive / "june.zarr")
    assert [str(day)[:10] for day in daily["time"].values[[0, -1]]] == ["2020-06-01", "2020-06-30"]
    # Looks of May and July helped.
    assert not (daily["provenance"] == s2cube.schema.Provenance.EXTRAPOLATED).any()
    assert main(["daily", job, "--quiet"]) == 0
    assert "0 written, 1 kept" in capsys.readouterr().out
    assert main(["daily", job, "--quiet", "--overwrite"]) == 0


def test_job_and_arguments_do_not_mix(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["daily", str(put(archive)), "--out", "x.zarr"])
    assert caught.value.code == 2
    assert "the job file says it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sorce": "x"}, "did you mean 'source'"),
        ({"output": {"store": "a", "regionsize": 3}}, "did you mean 'region_size'"),
        ({"open": {"on_read_eror": "mark"}}, "did you mean 'on_read_error'"),
        ({"area": {"bbox": [1, 2, 3, 4], "mgrs": "33UUP"}}, "one of bbox, geometry and mgrs"),
        ({"area": {"bbox": [15, 48, 14, 47]}}, "in that order"),
        ({"area": {"mgrs": "33UXX"}}, "mgrs is a tile"),
        ({"area": {"mgrs": "32UMD"}}, "Tile 32UMD is in EPSG:32632"),
        ({"area": None}, "lacks area"),
        ({"crs": None}, "EPSG:32633 is the UTM zone"),
        ({"crs": "EPSG:4326"}, "in metres"),
        ({"resolution": -1}, "resolution is a size"),
        ({"period": "2020/.."}, "a first and a last day"),
        ({"period": "noon"}, "no date or period"),
        ({"fill": "linear"}, "fill has names and values"),
        ({"fill": {"dates": "x"}}, "period says them"),
        ({"fill": {"method": "simlar"}}, "Unknown filling method 'simlar'"),
        ({"fill": {"metod": "similar"}}, "has no option metod"),
        ({"mask": {"method": "slc"}}, "Unknown mask method 'slc'"),
        ({"mask": {"bufer": 60}}, "'scl' has no option bufer"),
        ({"bands": ["rde"]}, "'rde' is no Sentinel-2 band"),
        ({"output": {"store": "../../etc/x.zarr"}}, "climbs out"),
        ({"source": "../items.json"}, "climbs out"),
        ({"area": {"geometry": "../a.json"}}, "climbs out"),
        ({"area": {"geometry": "none.json"}}, "is no GeoJSON"),
        ({"output": {"store": "s3://b/x", "secret_access_key": "hunter2"}}, "holds no credentials"),
        ({"open": {"token": "hunter2"}}, "holds no credentials"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CubeError, match=message) as caught:
        s2cube.read_job(put(tmp_path, **change))
    assert "hunter2" not in str(caught.value)


def test_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    with pytest.raises(CubeError, match="cannot be read: No such file"):
        s2cube.read_job(path)
    path.write_text("a: [1")
    with pytest.raises(CubeError, match="no YAML"):
        s2cube.read_job(path)
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(CubeError, match="no YAML"):
        s2cube.read_job(path)
    path.write_text("just words")
    with pytest.raises(CubeError, match="has keys and values"):
        s2cube.read_job(path)


def test_geometry_of_a_file(tmp_path: Path) -> None:
    ring = [[15.0, 47.0], [15.1, 47.0], [15.1, 47.1], [15.0, 47.0]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    (tmp_path / "a.json").write_text(json.dumps({"type": "Feature", "geometry": shape}))
    job = s2cube.read_job(put(tmp_path, area={"geometry": "a.json"}))
    assert job.builder.geometry == shape
    assert job.geobox.resolution.x == 10
    assert job.geobox.transform.c % 10 == 0
    edges = job.geobox.extent.to_crs("epsg:4326").boundingbox
    assert edges.left <= 15.0
    assert edges.right >= 15.1


TILES = {
    # What providers' own items say: zones of all three sets of columns, both hemispheres, all bands from
    # 72 degrees south to 82 north, both sides of the equator, and the antimeridian.
    "01CCV": (32701, 300_000, 2_000_020),
    "01KAB": (32701, 99_960, 8_200_000),
    "01LAC": (32701, 99_960, 8_300_020),
    "01VCG": (32601, 300_000, 6_700_020),
    "01WCP": (32601, 300_000, 7_400_040),
    "01WCS": (32601, 300_000, 7_700_040),
    "06VVN": (32606, 399_960, 6_800_040),
    "07HFE": (32707, 600_000, 6_500_020),
    "10SDG": (32610, 399_960, 4_200_000),
    "14TQL": (32614, 699_960, 4_600_020),
    "15TTF": (32615, 199_980, 4_600_020),
    "17SPR": (32617, 600_000, 3_600_000),
    "22HBD": (32722, 199_980, 5_900_020),
    "24XWR": (32624, 499_980, 9_100_020),
    "27VWK": (32627, 499_980, 7_000_020),
    "28QCH": (32628, 300_000, 2_300_040),
    "31QGB": (32631, 699_960, 2_200_020),
    "31TCJ": (32631, 300_000, 4_900_020),
    "32TPS": (32632, 600_000, 5_200_020),
    "33XWJ": (32633, 499_980, 8_900_040),
    "34LBP": (32734, 199_980, 8_900_020),
    "34VEL": (32634, 499_980, 6_600_000),
    "35LND": (32735, 499_980, 8_400_040),
    "35LNL": (32735, 499_980, 9_100_000),
    "35MNM": (32735, 499_980, 9_200_020),
    "37MGP": (32737, 699_960, 9_400_000),
    "42TUM": (32642, 300_000, 4_700_040),
    "46RER": (32646, 499_980, 3_100_020),
    "46XES": (32646, 499_980, 9_200_040),
    "47XMJ": (32647, 399_960, 8_900_040),
    "49SBB": (32649, 199_980, 4_200_000),
    "60CWS": (32760, 499_980, 1_200_040),
}


@pytest.mark.parametrize("tile", TILES)
def test_tiles(tile: str) -> None:
    """The grid of a tile is the one that its files have."""
    zone, left, top = TILES[tile]
    corners = (left, top - 109_800, left + 109_800, top)
    assert mgrs_bounds(tile) == mgrs_bounds(f"T{tile}") == (f"EPSG:{zone}", *corners)
