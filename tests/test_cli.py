"""The command line, as a newcomer meets it."""

from pathlib import Path

import numpy as np
import pystac
import pytest
from archive import flat, ramp, scene

import s2cube
from s2cube.cli import main


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    items = [
        scene(
            tmp_path / "files", f"S2_{month:02}{day:02}", f"2020-{month:02}-{day:02}T10:00",
            {"red": ramp(start=month * 100 + day), "nir": flat(3000), "scl": flat(4, dtype="uint8")},
        )
        for month in (5, 6, 7) for day in (5, 20)
    ]  # fmt: skip
    path = tmp_path / "items.json"
    pystac.ItemCollection(items).save_object(str(path))
    return path


def test_help_tells_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--help"], ["demo", "daily", "gap-free"]),
        (["daily", "--help"], ["--source", "--bbox", "WEST", "--datetime", "--out", "Example:"]),
        (["demo", "--help"], ["real Sentinel-2 data", "default: demo-output"]),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in words)


def test_wrong_use_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["daily"], ["nothing"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "usage: s2cube" in capsys.readouterr().err


def test_daily(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "june.zarr"
    arguments = ["daily", "--source", str(archive), "--datetime", "2020-06", "--out", str(out)]
    assert main([*arguments, "--bands", "red", "--quiet"]) == 0
    daily = s2cube.open_daily(out)
    assert [str(t)[:10] for t in daily["time"].values[[0, -1]]] == ["2020-06-01", "2020-06-30"]
    # Looks of May and July helped: nothing in June is extrapolated.
    assert set(np.unique(daily["provenance"])) == {0, 1}
    shown = capsys.readouterr().out
    assert "30 days" in shown
    assert "6, bands B04" in shown
    assert main([*arguments, "--bands", "red", "--quiet"]) == 0
    assert "0 written, 1 kept" in capsys.readouterr().out


def test_errors_are_one_line_and_status_1(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "x.zarr")]
    for arguments, message in (
        (["--source", "nowhere.json", "--datetime", "2020"], "Cannot read a STAC catalogue"),
        (["--source", str(archive), "--datetime", "1999"], "No item in"),
        (["--source", str(archive), "--datetime", "2020-06", "--bands", "purple"], "no Sentinel-2 band"),
        (
            ["--source", str(archive), "--datetime", "2020-06", "--method", "linear", "--causal"],
            "cannot be causal",
        ),
        (["--source", str(archive), "--datetime", "../2020-06"], "a first and a last day"),
        (
            ["--source", str(archive), "--datetime", "2020-06", "--bbox", "0", "0", "1", "1"],
            "No item meets the area",
        ),
    ):
        assert main(["daily", *arguments, *out]) == 1
        shown = capsys.readouterr()
        assert shown.err.startswith("s2cube: ")
        assert message in shown.err
        assert "Traceback" not in shown.err
