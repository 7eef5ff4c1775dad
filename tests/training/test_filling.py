"""The command that fits a network and judges it: it writes one, or says why not."""

from pathlib import Path

import pytest

from s2cube.models.spec import ModelSpec
from s2cube.training import filling

pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("safetensors", reason="needs the extra 'torch'")


# What zarr says of strings and metadata in the stores that xarray writes.
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_one_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for number, cube in enumerate(filling.simulated((1, 2, 3), after=False, shape=(48, 48))):
        cube.to_zarr(tmp_path / f"{number}.zarr")
    out = tmp_path / "mine.safetensors"
    asked = ["--out", str(out), "--epochs", "6"]
    asked += ["--cube", str(tmp_path / "0.zarr"), "--cube", str(tmp_path / "1.zarr")]
    try:
        filling.main([*asked, "--judge", str(tmp_path / "2.zarr")])
    except SystemExit as refused:
        assert "similar" in str(refused)  # noqa: PT017
        assert not out.exists()
    else:
        said = capsys.readouterr().out
        for words in ("epoch 1 of 6", "mae_to", "written: network", "in95"):
            assert words in said
        assert ModelSpec.load(out).fitted_until <= filling.LEARNT


def test_what_judges_was_not_learnt(capsys: pytest.CaptureFixture) -> None:
    assert not set(filling.TAUGHT) & set(filling.UNSEEN)
    (before,), (after,) = (filling.simulated((1,), after=late, shape=(8, 8)) for late in (False, True))
    assert before["time"].max() < after["time"].min()
    with pytest.raises(SystemExit):
        filling.main(["--out", "x", "--cube", "a.zarr"])
    assert "--cube needs --judge" in capsys.readouterr().err
