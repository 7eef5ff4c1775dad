"""What masks by other people's models refuse: said before anything is computed, with a way out."""

from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import xarray as xr
from compare import assert_same

import s2cube
from s2cube.errors import CubeError
from s2cube.masks import cloudless, csmask, needs


def test_the_wrong_level(top: xr.Dataset, cube: xr.Dataset) -> None:
    ground = top.assign_coords(processing_level="L2A")
    with pytest.raises(
        CubeError,
        match=r"'s2cloudless' needs level L1C, the cube is L2A: .*B10, which level 2A lacks\. "
        r"This cube will do for 'spectral', 'spectral-temporal' and 'csmask'\.",
    ):
        cloudless.detect(ground)
    with pytest.raises(CubeError, match=r"will do for 'scl', .* and 'csmask'\."):
        cloudless.detect(cube)


def test_an_unknown_level(top: xr.Dataset) -> None:
    unknown = top.drop_vars("processing_level")
    for detect in (cloudless.detect, csmask.detect):
        with pytest.raises(CubeError, match=r"of unknown level: .*Say the level .*level='L1C'"):
            detect(unknown)


def test_a_missing_band(top: xr.Dataset, cube: xr.Dataset) -> None:
    with pytest.raises(
        CubeError,
        match=r"'s2cloudless' needs B01 \(coastal\), B10 \(cirrus\), which the cube does not hold\. "
        r"This cube will do for 'spectral', 'spectral-temporal' and 'csmask'\.",
    ):
        cloudless.detect(top.drop_vars(["B01", "B10"]))
    with pytest.raises(CubeError, match=r"'csmask' needs B03 \(green\).* will do for 's2cloudless'"):
        csmask.detect(top.drop_vars("B03"))
    with pytest.raises(CubeError, match=r"needs B08 \(nir\), .* will do for 'scl'\."):
        csmask.detect(cube.drop_vars("B08"))
    with pytest.raises(
        CubeError, match="Open it with more bands: of level L2A, 'scl' needs SCL; 'spectral' needs B02"
    ):
        csmask.detect(cube[["B04"]])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 40}, "a probability from 0 to 1; got 40"),
        ({"threshold": True}, "a probability from 0 to 1; got True"),
        ({"threshold": float("nan")}, "a probability"),
        ({"threshold": "0.4"}, "a probability"),
        ({"average_over": -1}, "average_over is a whole number of pixels, 0 to 200, or None; got -1"),
        ({"average_over": 2.5}, "average_over is a whole number"),
        ({"dilation_size": 1000}, "dilation_size is a whole number of pixels, 0 to 200"),
        ({"dilation_size": True}, "dilation_size is a whole number"),
    ],
)
def test_options_that_are_none(top: xr.Dataset, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CubeError, match=words):
        cloudless.detect(top, **options)


def _none(package: str) -> str:
    raise PackageNotFoundError(package)


def test_without_the_extra(top: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "version", _none)
    with pytest.raises(ImportError, match=r"python -m pip install 's2cube-ard\[s2cloudless\]'"):
        cloudless.detect(top)
    with pytest.raises(ImportError, match=r"python -m pip install 's2cube-ard\[csmask\]'"):
        csmask.detect(top)


def test_with_half_the_extra(top: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """ukis-csmask installs without a runtime for its networks."""
    monkeypatch.setattr(needs, "version", lambda _: "1.0.0")
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(ImportError, match=r"s2cube-ard\[csmask\]"):
        csmask.detect(top)


def test_a_worker_with_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "version", lambda _: "1.7.2")
    needs.check_version("s2cloudless", "1.7.2")
    with pytest.raises(ImportError, match=r"made with s2cloudless 1\.7\.3, this worker has 1\.7\.2"):
        needs.check_version("s2cloudless", "1.7.3")
    monkeypatch.setattr(needs, "version", _none)
    with pytest.raises(ImportError, match="this worker has none"):
        needs.check_version("s2cloudless", "1.7.3")


@pytest.mark.parametrize(
    ("method", "package"), [("s2cloudless", "s2cloudless"), ("csmask", "ukis_csmask")]
)
def test_by_name(top: xr.Dataset, method: str, package: str) -> None:
    """Through the face: distances, what was masked before, the probability, lazily the same."""
    if find_spec(package) is None:
        with pytest.raises(ImportError, match=rf"s2cube-ard\[{method}\]"):
            s2cube.cloud_mask(top, method)
        return
    whole = s2cube.cloud_mask(top, method, buffer=20, probability=True)
    assert set(whole.data_vars) == {"status", "cloud_probability"}
    assert whole["cloud_probability"].dtype == np.float32
    assert_same(
        s2cube.cloud_mask(top.chunk(time=1, y=30, x=40), method, buffer=20, probability=True), whole
    )
    masked = top.s2.mask_clouds(method, buffer=20)
    dropped = np.isin(whole["status"], [3, 4, 5])
    assert masked["B04"].isnull().values[dropped].all()
