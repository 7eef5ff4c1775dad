"""Networks at work: loaded once, the same numbers in any company, and never more than fits."""

import threading
from typing import Any

import numpy as np
import pytest
from compare import same_bits
from networks import chance

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("safetensors", reason="needs the extra 'torch'")

from s2cube.errors import CubeError  # noqa: E402
from s2cube.models import run  # noqa: E402
from s2cube.models.spec import ModelSpec  # noqa: E402


@pytest.fixture
def windows() -> np.ndarray:
    rng = np.random.default_rng(0)
    looks = rng.uniform(0, 0.5, (7, 3, 32, 32)).astype(np.float32)
    looks[2, :, :9] = np.nan
    looks[5] = np.nan
    return looks


def test_a_window_does_not_depend_on_others(windows: np.ndarray) -> None:
    spec = chance()
    found = run.run_network(windows, spec, device="cpu")
    assert found.shape == (7, 4, 32, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert found.std() > 0.05
    for order in ([0], [6, 3], [4, 2, 0, 1]):
        assert same_bits(run.run_network(windows[order], spec, device="cpu"), found[order])
    batches = run.run_network(windows, spec, device="cpu", batch_size=4)
    np.testing.assert_allclose(batches, found, atol=1e-5)
    assert same_bits(run.run_network(windows[5:], spec, device="cpu", batch_size=4), batches[5:])


def test_any_threads_give_the_same(windows: np.ndarray) -> None:
    spec = chance()
    expected = run.run_network(windows, spec, device="cpu")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert same_bits(run.run_network(windows, spec, device="cpu"), expected)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_thread_a_task() -> None:
    with run.one_thread():
        assert torch.get_num_threads() == 1


def test_a_network_is_loaded_once_whatever_the_threads(windows: np.ndarray) -> None:
    spec = chance()
    run._load.cache_clear()
    start, seen = threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        seen.append(run.network_of(spec, "cpu"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run._load.cache_info().misses == 1
    assert len({id(network) for network in seen}) == 1
    assert not seen[0].training


def test_file_and_memory_are_one_network(tmp_path: Any) -> None:
    spec = chance()
    saved = spec.save(tmp_path / "mine.safetensors")
    assert run.network_of(spec, "cpu") is run.network_of(saved, "cpu")


def test_loading_leaves_chance_alone() -> None:
    run._load.cache_clear()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run.network_of(chance(), "cpu")
    assert torch.equal(torch.rand(3), expected)


def test_weights_of_another_shape(windows: np.ndarray) -> None:
    spec = chance()
    other = ModelSpec.of(
        spec.weights(), name="other", architecture="unet", bands=["B02", "B04"], side=32,
        classes=spec.classes, parameters=dict(spec.parameters),
    )  # fmt: skip
    with pytest.raises(
        CubeError,
        match=r"not those of a 'unet' with 2 bands and 4 classes: 3 differ, 'deviation' is \(3,\)",
    ):
        run.run_network(windows[:, :2], other)
    weights = spec.weights()
    del weights["head.bias"]
    short = ModelSpec.of(
        weights, name="short", architecture="unet", bands=spec.bands, side=32,
        classes=spec.classes, parameters=dict(spec.parameters),
    )  # fmt: skip
    with pytest.raises(CubeError, match=r"'head\.bias' is missing"):
        run.run_network(windows, short)


@pytest.mark.parametrize(
    "parameters",
    [{"widths": [4]}, {"depth": 3}, {"widths": "wide"}, {"widths": [-4, 6, 8, 10]}],
    ids=str,
)
def test_parameters_that_build_nothing(parameters: dict[str, Any]) -> None:
    spec = chance()
    odd = ModelSpec.of(
        spec.weights(), name="odd", architecture="unet", bands=spec.bands, side=32,
        classes=spec.classes, parameters=parameters,
    )  # fmt: skip
    with pytest.raises(CubeError, match=r"(cannot be built with parameters|widths of a 'unet' are)"):
        run.network_of(odd, "cpu")


def test_batches_have_one_shape() -> None:
    shapes = []

    def double(batch: np.ndarray) -> np.ndarray:
        shapes.append(batch.shape)
        return batch * 2

    values = np.arange(7, dtype=np.float32)[:, None]
    found, left = run.in_batches(double, values, 3)
    assert same_bits(found, values * 2)
    assert left == 0
    assert shapes == [(3, 1)] * 3


class ShortError(Exception):
    """No memory."""


@pytest.mark.parametrize(("fits", "expected"), [(1, 1), (2, 2), (3, 2), (8, 8)])
def test_batches_are_halved_until_they_fit(fits: int, expected: int) -> None:
    sizes, emptied = [], []

    def double(batch: np.ndarray) -> np.ndarray:
        if len(batch) > fits:
            raise ShortError
        sizes.append(len(batch))
        return batch * 2

    values = np.arange(11, dtype=np.float32)[:, None]
    found, left = run.in_batches(
        double, values, 8, smaller=[ShortError], emptied=lambda: emptied.append(1)
    )
    assert same_bits(found, values * 2)
    assert left == 0
    assert set(sizes) == {expected}
    assert 8 >> len(emptied) == expected


def test_what_does_not_fit_is_left() -> None:
    def picky(batch: np.ndarray) -> np.ndarray:
        if (batch == 4).any():
            raise ShortError
        return batch

    values = np.arange(7, dtype=np.float32)[:, None]
    found, left = run.in_batches(picky, values, 2, smaller=[ShortError])
    assert found.ravel().tolist() == [0, 1, 2, 3]
    assert left == 3


def test_other_errors_are_not_swallowed() -> None:
    def fail(batch: np.ndarray) -> np.ndarray:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        run.in_batches(fail, np.zeros((2, 1), np.float32), 2, smaller=[ShortError])


@pytest.mark.parametrize("fits", [0, 2])
def test_a_device_without_memory(
    windows: np.ndarray, monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    """A device that is not there, whose memory ends: the numbers are the processor's all the same."""
    spec, forward = chance(), run._forward
    expected = run.run_network(windows, spec, device="cpu")
    sizes = []

    def short(spec: Any, batch: np.ndarray, where: Any) -> np.ndarray:
        if where.type == "cuda":
            sizes.append(len(batch))
            if len(batch) > fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            parts = [forward(spec, batch[k : k + 1], torch.device("cpu")) for k in range(len(batch))]
            return np.concatenate(parts)
        return forward(spec, batch, where)

    monkeypatch.setattr(run, "_forward", short)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**34, 2**34))
    if fits:
        found = run.run_network(windows, spec, device="cuda")
        assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    else:
        with pytest.warns(RuntimeWarning, match="cuda has no memory for one window of 'chance'"):
            found = run.run_network(windows, spec, device="cuda")
        assert sizes == [7, 3, 1]
    assert same_bits(found, expected)


def test_a_batch_fits_the_device(windows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, sizes = chance(), []

    def look(spec: Any, batch: np.ndarray, where: Any) -> np.ndarray:
        sizes.append(len(batch))
        return np.zeros((len(batch), 4, 32, 32), np.float32)

    monkeypatch.setattr(run, "_forward", look)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5 * run.bytes_of_window(spec), 2**34))
    run.run_network(windows, spec, device="cuda")
    assert sizes == [3, 3, 3]


def test_the_processor_without_memory(windows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> np.ndarray:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(run, "_forward", none)
    with pytest.raises(MemoryError, match="no memory for one window of 'chance'"):
        run.run_network(windows, chance(), device="cpu")


def test_auto_is_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.here("cpu") == "cpu"
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert run.here("auto") == expected


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "all", None])
def test_sizes_that_are_none(size: Any) -> None:
    with pytest.raises(CubeError, match="batch_size is 'auto' or a number of windows from 1; got"):
        run.check_run("cpu", size, "it")


def test_devices_that_are_none() -> None:
    run.check_run("auto", "auto", "it")
    with pytest.raises(CubeError, match="'cuda' or 'cpu'; got 'gpu'"):
        run.check_run("gpu", "auto", "it")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_nearly_the_same(windows: np.ndarray) -> None:
    spec = chance()
    found = run.run_network(windows, spec, device="cuda")
    np.testing.assert_allclose(found, run.run_network(windows, spec, device="cpu"), atol=2e-2)
