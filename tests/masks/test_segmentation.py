"""segmentation: any model, the same mask for any chunks, and clear words where there is none."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from compare import assert_same, same_bits
from dask.base import tokenize
from networks import chance

import s2cube
from s2cube.errors import CubeError, ReadError
from s2cube.masks import segmentation
from s2cube.schema import Status

CLASSES = ("cloud", "clear", "shadow")
BANDS = ("B02", "B08")


class Bright:
    """White is cloud, black is shadow; it notes what it is given."""

    name = "bright 1.0"
    bands = BANDS
    classes = CLASSES
    side = 32

    def __init__(self) -> None:
        self.calls: list[np.ndarray] = []

    def __call__(self, looks: np.ndarray) -> np.ndarray:
        self.calls.append(looks)
        cloud = np.clip(looks[:, 0] * 3, 0, 1)
        shadow = (1 - cloud) * (looks[:, 1] < 0.1)
        return np.stack([cloud, 1 - cloud - shadow, shadow], axis=1)

    def __dask_tokenize__(self) -> str:
        return self.name


@pytest.fixture(scope="module")
def wide() -> xr.Dataset:
    bands = ("B02", "B04", "B08")
    return s2cube.testing.simulate_cube(shape=(70, 90), seed=4, bands=bands).isel(time=slice(5))


@pytest.fixture(scope="module")
def spec() -> Any:
    """Weights of chance: the same as any for all but truth."""
    return chance(3, bands=["B04", "B02", "B08"], levels=["L2A"])


def test_a_callable(wide: xr.Dataset) -> None:
    """What looks at single pixels gives them back: windows and blending change nothing."""
    found = s2cube.cloud_mask(wide, "segmentation", model=Bright(), probability=True)
    cloud = np.clip(wide["B02"].values * 3, 0, 1)
    shadow = (1 - cloud) * (wide["B08"].values < 0.1)
    missing = np.isnan(cloud + shadow)
    np.testing.assert_allclose(found["cloud_probability"], np.where(missing, np.nan, cloud), atol=1e-5)
    bad = cloud + shadow
    sure = ~missing & (np.abs(bad - 0.5) > 1e-4) & (np.abs(cloud - shadow) > 1e-4)
    expected = np.where(bad < 0.5, Status.CLEAR, np.where(cloud > shadow, Status.CLOUD, Status.SHADOW))
    np.testing.assert_array_equal(found["status"].values[sure], expected[sure])
    np.testing.assert_array_equal(found["status"] == Status.NO_DATA, missing)
    assert len(np.unique(expected[sure])) == 3


def test_what_a_callable_gets(wide: xr.Dataset) -> None:
    model = Bright()
    gone = wide.where(wide["x"] > wide["x"][20])
    segmentation.detect(gone, model=model)
    assert {call.shape for call in model.calls} == {(1, 2, 32, 32)}
    assert {call.dtype for call in model.calls} == {np.dtype(np.float32)}
    assert any(np.isnan(call).any() for call in model.calls)
    model.calls.clear()
    segmentation.detect(gone, model=model, batch_size=4)
    assert {call.shape for call in model.calls} == {(4, 2, 32, 32)}


def test_without_any_look_it_is_not_asked(wide: xr.Dataset) -> None:
    model = Bright()
    found = segmentation.detect(wide * np.float32(np.nan), model=model)
    assert model.calls == []
    assert (found.status == Status.NO_DATA).all()
    assert np.isnan(found.probability).all()


@pytest.mark.parametrize(
    "chunks", [{"time": 1, "y": 33, "x": 50}, {"time": 3, "y": 70, "x": 7}, {"time": 5}], ids=str
)
def test_any_chunks_give_the_same(wide: xr.Dataset, spec: Any, chunks: dict[str, int]) -> None:
    seen = (wide["x"] > wide["x"][20]) | (wide["time"] != wide["time"][1])
    gone = wide[["B02", "B04", "B08"]].where(seen)
    for model in (spec, Bright()):
        whole = s2cube.cloud_mask(gone, "segmentation", model=model, buffer=20, probability=True)
        lazy = s2cube.cloud_mask(
            gone.chunk(chunks), "segmentation", model=model, buffer=20, probability=True
        )
        assert_same(lazy, whole)


def test_a_network_sees_no_seams(wide: xr.Dataset, spec: Any) -> None:
    """Where windows meet, the probability is no rougher than elsewhere."""
    found = segmentation.detect(wide, model=spec).probability
    jumps = np.abs(np.diff(found, axis=2)).mean(axis=(0, 1))
    assert jumps.max() < 4 * np.median(jumps)
    assert found.std() > 0.02


def test_file_and_spec_are_one(wide: xr.Dataset, spec: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    spec.save(path)
    lazy = wide.chunk(time=1)
    masks = [
        s2cube.cloud_mask(lazy, "segmentation", model=m)
        for m in (spec, path, str(path), spec.embedded())
    ]
    assert len({tokenize(mask["status"].data) for mask in masks}) == 1
    assert len({mask.attrs["history"] for mask in masks}) == 1
    told = masks[0].attrs["history"].splitlines()[-1]
    assert told == (
        f"cloud_mask(method='segmentation', model='chance (sha256 {spec.sha256})', threshold=0.5, "
        "buffer=None)"
    )
    other = s2cube.cloud_mask(lazy, "segmentation", model=spec, threshold=0.4)
    assert tokenize(other["status"].data) != tokenize(masks[0]["status"].data)


def test_a_graph_holds_the_weights_once(wide: xr.Dataset, spec: Any) -> None:
    status = segmentation.detect(wide.chunk(time=1, y=10, x=10), model=spec).status
    graph = dict(status.__dask_graph__())
    heavy = [key for key, task in graph.items() if len(pickle.dumps(task)) > len(spec.source)]
    assert [str(key).partition("-")[0] for key in heavy] == ["shared"]


def test_a_higher_threshold_masks_less(wide: xr.Dataset) -> None:
    masked = [
        float((segmentation.detect(wide, model=Bright(), threshold=level).status >= 3).mean())
        for level in (0.1, 0.5, 0.9)
    ]
    assert masked == sorted(masked, reverse=True)
    assert masked[0] > masked[2]


def test_its_mask_is_a_mask(wide: xr.Dataset) -> None:
    mask = s2cube.cloud_mask(wide, "segmentation", model=Bright())
    clear = wide.s2.mask_clouds(mask)
    np.testing.assert_array_equal(
        clear["B04"].isnull(), wide["B04"].isnull() | (mask["status"] >= Status.THIN_CLOUD)
    )


def changed(**attributes: Any) -> Bright:
    model = Bright()
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def _nan(looks: np.ndarray) -> np.ndarray:
    return np.full((len(looks), 3, 32, 32), np.nan, np.float32)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            lambda looks: np.zeros((len(looks), 2, 32, 32)),
            r"of shape \(1, 3, 32, 32\).*got float64 \(1, 2",
        ),
        (lambda looks: np.zeros((len(looks), 3, 32, 32), int), "returns floats of shape.*got int64"),
        (
            lambda looks: np.zeros((len(looks), 3, 32, 32)),
            "gave no probabilities: .* between 0 and 0, not",
        ),
        (lambda looks: np.full((len(looks), 3, 32, 32), 4.0), "A softmax makes them of logits"),
        (_nan, "gave no probabilities"),
    ],
    ids=["shape", "type", "zeros", "logits", "nan"],
)
def test_answers_that_are_none(wide: xr.Dataset, answer: Callable, words: str) -> None:
    class Odd(Bright):
        def __call__(self, looks: np.ndarray) -> np.ndarray:
            return answer(looks)

    with pytest.raises(CubeError, match=words):
        segmentation.detect(wide, model=Odd())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"no weights come with s2cube\. Train some .*fit_segmentation.*or a callable"),
        ({"model": 5}, "a ModelSpec or a callable; got 5"),
        ({"model": len}, "by attributes; len lacks bands, classes, side"),
        (
            {"model": changed(classes=("clear", "haze"))},
            r"classes \['haze'\] are no states; those are clear",
        ),
        (
            {"model": changed(classes=("clear", "cloud", "cloud"))},
            "'clear' and 'cloud' apart, each class",
        ),
        ({"model": changed(classes=("clear", "shadow"))}, "'clear' and 'cloud' apart"),
        ({"model": changed(classes=("shadow", "cloud"))}, "'clear' and 'cloud' apart"),
        ({"model": changed(classes="cloud")}, "'clear' and 'cloud' apart"),
        ({"model": changed(bands=("B02", "thermal"))}, "'thermal' is no Sentinel-2 band"),
        ({"model": changed(bands=("B02", "B11"))}, r"needs B11 \(swir16\), .*will do for 'scl'"),
        ({"model": changed(levels=("L1C",))}, r"needs level L1C, the cube is L2A: bright 1\.0 was made"),
        ({"model": changed(side=0)}, "number of pixels from 4; got 0"),
        ({"model": changed(side=32.0)}, "number of pixels from 4"),
        ({"model": Bright(), "threshold": 50}, "between 0 and 1; got 50"),
        ({"model": Bright(), "threshold": True}, "between 0 and 1; got True"),
        ({"model": Bright(), "device": "cpu"}, "a callable chooses for itself"),
        ({"model": Bright(), "batch_size": 0}, "batch_size is 'auto' or"),
        (
            {"model": Bright(), "average_over": 2},
            "no option average_over; its options are model, threshold",
        ),
    ],
    # Not of the options: an object's address is another in each process.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_are_none(wide: xr.Dataset, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CubeError, match=words):
        s2cube.cloud_mask(wide, "segmentation", **options)


def test_models_that_do_not_fit(wide: xr.Dataset, spec: Any, tmp_path: Path) -> None:
    with pytest.raises(CubeError, match=r"needs B02 \(blue\)"):
        segmentation.detect(wide.drop_vars("B02"), model=spec)
    with pytest.raises(CubeError, match="needs level L2A, the cube is L1C: chance"):
        segmentation.detect(wide.assign_coords(processing_level="L1C"), model=spec)
    with pytest.raises(CubeError, match="'cuda' or 'cpu'; got 'gpu'"):
        segmentation.detect(wide, model=spec, device="gpu")
    with pytest.raises(ReadError, match=r"none\.safetensors cannot be read"):
        segmentation.detect(wide, model=tmp_path / "none.safetensors")


def test_errors_of_other_methods_do_not_offer_it(wide: xr.Dataset) -> None:
    with pytest.raises(CubeError, match=r"This cube will do for 'scl'\."):
        s2cube.cloud_mask(wide, "csmask")


def test_it_is_a_protocol() -> None:
    assert isinstance(Bright(), segmentation.Segmenter)
    assert not isinstance(len, segmentation.Segmenter)


def test_the_taper_leaves_no_pixel_out() -> None:
    for side in (4, 5, 32, 33, 512):
        taper = segmentation._taper(side)
        assert same_bits(taper, taper[::-1].copy())
        assert taper.min() > 0
        assert taper.max() == 1
