"""fit_segmentation: it learns what it is shown, says what it was, and refuses what teaches nothing."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import s2cube
from s2cube.errors import CubeError
from s2cube.masks import fit_segmentation
from s2cube.schema import Status

pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("safetensors", reason="needs the extra 'torch'")

BANDS = ("B02", "B04", "B08")
SMALL: dict[str, Any] = {
    "bands": BANDS, "side": 32, "parameters": {"widths": [8, 12, 16, 24]}, "progress": False,
    "device": "cpu",
}  # fmt: skip
HALF = partial(s2cube.testing.add_clouds, cover=0.5)


def frames(seed: int, **how: Any) -> xr.Dataset:
    told = {"shape": (64, 64), "cloud_cover": 0, "end": "2021-09-30", "bands": BANDS, **how}
    return s2cube.testing.simulate_cube(seed=seed, **told)


@pytest.mark.thorough
def test_it_learns_simulated_clouds(tmp_path: Path) -> None:
    """On a landscape and on clouds that it has not seen."""
    spec = fit_segmentation(
        frames(3), clouds=HALF, epochs=8, seed=1, name="mine", licence="CC0", **SMALL
    )
    assert (spec.name, spec.licence, spec.levels, spec.bands) == ("mine", "CC0", ("L2A",), BANDS)
    assert "simulated clouds yes, seed 1" in spec.notes
    assert len(spec.source) < 300_000
    cloudy, truth = s2cube.testing.add_clouds(frames(9), cover=0.2, seed=7)
    path = tmp_path / "mine.safetensors"
    spec.save(path)
    mask = s2cube.cloud_mask(cloudy, "segmentation", model=path)
    table = s2cube.evaluate_masks({"all": cloudy["B02"] > -1, "net": mask}, truth).set_index(
        ["mask", "class"]
    )["f1"]
    assert table["net", "cloud_or_shadow"] > table["all", "cloud_or_shadow"] + 0.15
    assert table["net", "cloud"] > 0.6


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_weights() -> None:
    cube = frames(3, shape=(32, 32), end="2021-07-15", cloud_cover=0.4)
    few = {"classes": ["clear", "cloud"], "epochs": 2, **SMALL}
    one, again, other = (fit_segmentation(cube, seed=seed, **few) for seed in (0, 0, 1))
    assert one.sha256 == again.sha256 != other.sha256
    lazy = fit_segmentation(cube.chunk(time=2, y=20), seed=0, **few)
    assert lazy.sha256 == one.sha256


@pytest.mark.thorough
def test_labels_by_hand() -> None:
    cube = frames(5, end="2021-07-31", shape=(40, 40))
    white = cube["B02"].copy(data=np.zeros(cube["B02"].shape, np.uint8)).rename("status")
    white.values[:, :, 20:] = Status.CLOUD
    white.values[:, :5] = Status.READ_FAILED
    bright = cube.assign({band: cube[band] + 0.4 * (white == Status.CLOUD) for band in BANDS})
    bright = bright.map(lambda array: array.astype(np.float32) if array.name in BANDS else array)
    few = {"classes": ["clear", "cloud"], "epochs": 6, **SMALL}
    for labels in (white, xr.Dataset({"status": white}), [white]):
        spec = fit_segmentation(bright, labels, **few)
    assert "labels given" in spec.notes
    mask = s2cube.cloud_mask(bright, "segmentation", model=spec)["status"]
    agree = (mask == white).values[:, 5:][~bright["B02"].isnull().values[:, 5:]]
    assert agree.mean() > 0.9


@pytest.mark.thorough
def test_whole_places_are_held_out() -> None:
    cubes = [frames(seed, shape=(32, 32), end="2021-06-30", cloud_cover=0.4) for seed in range(5)]
    spec = fit_segmentation(cubes, classes=["clear", "cloud"], epochs=1, **SMALL)
    steps = [cube.sizes["time"] for cube in cubes]
    taught, held = (int(part.split(" windows")[0].split()[-1]) for part in spec.notes.split("held out"))
    assert held in steps
    assert taught + held == sum(steps)


def test_progress_is_told(capsys: pytest.CaptureFixture) -> None:
    cube = frames(3, shape=(32, 32), end="2021-07-15", cloud_cover=0.4)
    fit_segmentation(cube, classes=["clear", "cloud"], epochs=1, **{**SMALL, "progress": True})
    assert "epoch 1 of 1: held-out loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (None, {"bands": ["B11"]}, "holds no B11"),
        (None, {"classes": ["clear", "mist"]}, r"\['mist'\] are no states"),
        (None, {"classes": ["clear", "snow", "cloud"]}, "never show snow: leave that out of `classes`"),
        (None, {"side": 30}, "multiple of 8 from 16; got 30"),
        (None, {"held_out": 0}, "held_out is a share"),
        (None, {"epochs": 0}, "from 1; got"),
        (None, {"device": "gpu"}, "'cuda' or 'cpu'"),
        (None, {"labels": "mine"}, "Unknown mask method 'mine'"),
        (None, {"labels": []}, "one for each cube; got 0 for 1"),
        (None, {"labels": [5]}, "Labels 0 is a int: a mask is"),
        (None, {"parameters": {"widths": 8}}, "widths of a 'unet'"),
        (lambda cube: cube.drop_vars("processing_level"), {}, "of one level, said by"),
        (lambda cube: cube.isel(time=[0]), {}, "two dates at least"),
        (lambda cube: cube.drop_vars("SCL"), {}, "no scene classification"),
        (
            lambda cube: cube.assign(SCL=(cube["SCL"].dims, np.zeros(cube["SCL"].shape, np.uint8))),
            {}, "nothing to learn from",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_teaches_nothing(change: Callable | None, options: dict[str, Any], words: str) -> None:
    cube = frames(3, shape=(32, 32), end="2021-06-30", cloud_cover=0.4)
    told = {"classes": ["clear", "cloud"], **SMALL, **options}
    with pytest.raises(CubeError, match=words):
        fit_segmentation(change(cube) if change else cube, epochs=told.pop("epochs", 1), **told)
