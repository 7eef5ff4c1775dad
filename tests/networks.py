"""Networks with weights that are chance, which is all that machinery needs."""

from typing import Any

import pytest

BANDS = ("B02", "B04", "B08")
CLASSES = ("clear", "thin_cloud", "shadow", "cloud")
_SPREAD = 2.4
"""By which PyTorch's first weights are too small to tell windows apart through many layers."""


def chance(seed: int = 0, *, widths: tuple[int, ...] = (4, 6, 8, 10), **facts: Any) -> Any:
    """Return the spec of a U-Net; the same seed gives the same weights."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    pytest.importorskip("safetensors", reason="needs the extra 'torch'")
    from s2cube.models.architectures import build
    from s2cube.models.spec import ModelSpec

    told: dict[str, Any] = {"name": "chance", "bands": BANDS, "classes": CLASSES, "side": 32}
    told |= {"parameters": {"widths": list(widths)}, **facts}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build("unet", len(told["bands"]), len(told["classes"]), told["parameters"])
    weights = {name: array.numpy() for name, array in network.state_dict().items()}
    for name, array in weights.items():
        if array.ndim == 4:
            array *= 4 * _SPREAD if name.startswith("head") else _SPREAD
    weights["deviation"] *= 0.1
    return ModelSpec.of(weights, architecture="unet", **told)


def gate(
    *,
    chance: float = 1.0,
    causal: bool = False,
    width: int = 8,
    seed: int = 0,
    fitted_until: str = "2000-01-01",
    **facts: Any,
) -> Any:
    """Return the spec of a network that fills; its last layer is chance so large, 0 for untrained."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    pytest.importorskip("safetensors", reason="needs the extra 'torch'")
    from s2cube.gapfill.cells import PATCH
    from s2cube.models.architectures import ARCHITECTURES, build
    from s2cube.models.spec import ModelSpec

    told: dict[str, Any] = {"name": "chance", "bands": ["B04", "B08"], "levels": ["L2A"], **facts}
    parameters = {"width": width, "causal": causal}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build("gate", *(ARCHITECTURES["gate"].shape or ()), parameters)
        torch.nn.init.normal_(network.head.weight, std=chance)
    weights = {name: array.numpy() for name, array in network.state_dict().items()}
    return ModelSpec.of(
        weights,
        architecture="gate",
        side=PATCH,
        parameters=parameters,
        fitted_until=fitted_until,
        **told,
    )
