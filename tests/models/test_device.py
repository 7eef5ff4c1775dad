"""Devices of PyTorch: refused in words, shared by none, and no more on them than fits."""

import threading
from typing import Any

import numpy as np
import pytest
from compare import same_bits

from s2cube.errors import CubeError
from s2cube.models import device, torch_kernels


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps", "xpu"])
def test_names(name: str) -> None:
    assert device.check_device(name, "it") == name


@pytest.mark.parametrize("name", ["gpu", "", "CUDA", 0, None, True])
def test_no_names(name: Any) -> None:
    with pytest.raises(CubeError, match="'cuda' or 'cpu'; got"):
        device.check_device(name, "it")


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"^This needs PyTorch: .*'s2cube-ard\[torch\]'"):
        device.check_device("cuda", "This")


def test_a_device_is_lent_to_one_at_a_time() -> None:
    order = []
    inside = threading.Event()

    def wait() -> None:
        with device.lease("cuda"):
            order.append("second")

    with device.lease("cuda"):
        other = threading.Thread(target=wait)
        other.start()
        inside.wait(0.05)
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_the_processor_is_for_all() -> None:
    with device.lease("cpu") as one, device.lease("cpu") as other:
        assert one == other


def test_a_batch_holds_one_at_least() -> None:
    with device.lease("cpu") as where:
        assert device.batch_size(where, 2**60) == 1
        assert device.batch_size(where, 2**20) == device.ON_PROCESSOR // 2**20


def test_a_batch_fits_the_devices_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**30, 2**34))
    assert device.batch_size(torch.device("cuda"), 2**20) == int(2**10 * device.SHARE)


@pytest.mark.parametrize("pixels", [1, 7])
def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    rng = np.random.default_rng(0)
    looks = [rng.random((15, 3, 9)).astype(np.float32) for _ in range(3)]
    looks[0][rng.random((15, 3, 9)) < 0.4] = np.nan
    how: dict[str, Any] = {"device": "cpu", "deviations": True, "weights": rng.random(15).astype("f4")}
    whole = torch_kernels.geomedian(*looks, **how)
    image = torch_kernels.percentiles(looks[0], q=(10.0, 50.0), device="cpu")
    monkeypatch.setattr(torch_kernels, "batch_size", lambda *_: pixels)
    np.testing.assert_allclose(torch_kernels.geomedian(*looks, **how), whole, atol=1e-5)
    assert same_bits(torch_kernels.percentiles(looks[0], q=(10.0, 50.0), device="cpu"), image)
