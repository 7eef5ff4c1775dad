"""The training's command: it writes a model that masks, and says what it was judged by."""

from pathlib import Path

import pytest

import s2cube
from s2cube.models.spec import ModelSpec
from s2cube.training import segmentation

pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("safetensors", reason="needs the extra 'torch'")
pytest.importorskip("nrt.data", reason="needs the extra 'demo'")


@pytest.mark.thorough
def test_one_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "mine.safetensors"
    segmentation.main(["--out", str(path), "--epochs", "1"])
    said = capsys.readouterr().out
    for words in (
        "scl, 60 m",
        "labels alone, 0 m",
        "simulated 903",
        "cloud_or_shadow",
        "written: romania",
    ):
        assert words in said
    spec = ModelSpec.load(path)
    assert "EUPL-1.2" in spec.licence
    cube = s2cube.testing.simulate_cube(shape=(40, 40), bands=segmentation.BANDS, end="2021-06-30")
    assert s2cube.cloud_mask(cube, "segmentation", model=path)["status"].dtype == "uint8"


def test_what_judges_was_not_learnt() -> None:
    west, east = segmentation.romania()
    assert west["x"].max() < east["x"].min()
    assert west["time"].max() < east["time"].min()
    assert not set(segmentation.TAUGHT) & set(segmentation.UNSEEN)
