"""A small U-Net (Ronneberger et al. 2015, https://doi.org/10.1007/978-3-319-24574-4_28).

It imports PyTorch at its top, and is itself imported when a network is built.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["UNet"]

WIDTHS = (16, 24, 32, 48)


class UNet(nn.Module):
    """Reflectance with gaps → the probability of each class.

    Four floors of two convolutions; 120 thousand weights for four bands. Batch normalization, unlike
    that of groups or layers, is a constant factor once trained: what a pixel is told depends on the 50
    pixels around it, and not on the rest of its window, so windows meet without seams.

    Parameters
    ----------
    channels
        Bands.
    classes
        What is told apart.
    widths
        Channels of each floor.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, classes: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        # Of the training's reflectance; they travel with the weights.
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        # One more: whether there is a look.
        sides = (channels + 1, *widths)
        self.down = nn.ModuleList(_floor(a, b) for a, b in zip(sides, widths, strict=False))
        up = list(widths[::-1])
        self.up = nn.ModuleList(_floor(a + b, b) for a, b in pairwise(up))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def logits(self, looks: Tensor) -> Tensor:
        """Return ``(n, classes, side, side)`` of ``(n, channels, side, side)``, NaN where missing."""
        missing = looks.isnan().any(dim=1, keepdim=True)
        scaled = (looks - self.mean[:, None, None]) / self.deviation[:, None, None]
        # Reflectance of glint and of cloud beyond 10 deviations tells no more.
        scaled = scaled.masked_fill(missing, 0.0).clamp(-10.0, 10.0)
        image = torch.cat([scaled, (~missing).to(scaled.dtype)], dim=1)
        kept: list[Tensor] = []
        for floor in self.down:
            image = floor(nn.functional.max_pool2d(kept[-1], 2) if kept else image)
            kept.append(image)
        image = kept.pop()
        for floor in self.up:
            image = nn.functional.interpolate(image, scale_factor=2.0, mode="nearest")
            image = floor(torch.cat([image, kept.pop()], dim=1))
        found: Tensor = self.head(image)
        return found

    def forward(self, looks: Tensor) -> Tensor:
        """Return probabilities."""
        return self.logits(looks).softmax(dim=1)


def _floor(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside in (before, after):
        layers += [
            nn.Conv2d(inside, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
