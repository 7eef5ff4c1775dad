"""Which networks there are: known by name, built where they run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from s2cube.errors import CubeError
from s2cube.kernels.experts import OWN, SHARED

__all__ = ["ARCHITECTURES", "Architecture", "build"]


@dataclass(frozen=True)
class Architecture:
    """A network that can be built from a spec."""

    module: str
    """Imported when the network is built: it imports PyTorch."""
    builder: str
    """Its function ``(channels, classes, **parameters)`` → ``torch.nn.Module``."""
    multiple: int
    """Pixels of which the side of a window must be a multiple."""
    values: Callable[[Mapping[str, Any]], int]
    """Parameters → float32 values a pixel of the window that a network works with at its peak; refuses
    parameters that build nothing."""
    shape: tuple[int, int] | None = None
    """Channels that go in and come out, where these are not the bands and classes of the spec."""


def _unet_values(parameters: Mapping[str, Any]) -> int:
    """Return what the finest floor of a U-Net holds: what was joined, and copies in oneDNN's order.

    With the widths that are usual that is 224 values; 130 to 180 were measured on the processor.
    """
    widths = parameters.get("widths", (16, 24))
    if (
        not isinstance(widths, (tuple, list))
        or len(widths) < 2
        or not all(isinstance(width, int) and width > 0 for width in widths)
    ):
        raise CubeError(f"The widths of a 'unet' are numbers of channels, from two on; got {widths!r}.")
    return int(4 * (2 * widths[0] + widths[1]))


def _gate_values(parameters: Mapping[str, Any]) -> int:
    """Return what is joined before the last layers of a gate, with as much for what comes of it."""
    width = parameters.get("width", 32)
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise CubeError(f"The width of a 'gate' is a number of channels; got {width!r}.")
    return 4 * width


ARCHITECTURES: Final = {
    "unet": Architecture("s2cube.models.unet", "UNet", multiple=8, values=_unet_values),
    "gate": Architecture(
        "s2cube.models.gate", "Gate", multiple=2, values=_gate_values, shape=(len(OWN) + len(SHARED), 2)
    ),
}
"""By name."""


def build(architecture: str, channels: int, classes: int, parameters: Mapping[str, Any]) -> Any:
    """Return a network, with weights that are chance.

    Raises
    ------
    CubeError
        The architecture has no such parameters.
    """
    known = ARCHITECTURES[architecture]
    known.values(parameters)
    builder: Callable[..., Any] = getattr(import_module(known.module), known.builder)
    try:
        return builder(channels, classes, **parameters)
    except TypeError as error:
        raise CubeError(
            f"{architecture!r} cannot be built with parameters {dict(parameters)!r}: {error}."
        ) from None
