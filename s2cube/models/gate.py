"""The network of gap filling: whom of the experts to believe, and by how much they err together.

It imports PyTorch at its top, and is itself imported when a network is built.
"""

import torch
from torch import Tensor, nn

__all__ = ["Gate"]

EXPERTS = 4
"""Of the first channels: what each expert differs from the best one."""
DEVIATION = 4
"""Channel of the best one's deviation."""
WIDEST = 1.5
"""Logarithm of the most that a deviation is multiplied by."""
BINS, LEVELS = 5, 2


class Gate(nn.Module):
    """What experts say of one band on one day → how far the best one is off, and how sure that is.

    Of each pixel and the 8 pixels around it, it makes a share for each expert, between -1 and 1, a
    residual of at most one deviation, and a factor of the deviation. Bands share the weights, so there
    may be any of them. Its last layer starts at 0: untrained, it changes nothing.

    Parameters
    ----------
    channels
        What is told of a band (:data:`s2cube.kernels.experts.OWN`), and then of all bands.
    made
        2: what is to be added, and the logarithm of the factor.
    width
        Channels of the layers between.
    causal
        Whether it was taught by experts that know the past alone.
    """

    quantiles: Tensor

    def __init__(self, channels: int, made: int = 2, *, width: int = 32, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.stem = nn.Conv2d(channels, width, 1)
        # At half the resolution: a quarter of the work, and twice the reach.
        around: list[nn.Module] = [nn.AvgPool2d(2)]
        for _ in range(3):
            around += [nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
        self.around = nn.Sequential(*around, nn.Upsample(scale_factor=2.0, mode="nearest"))
        self.joined = nn.Sequential(
            nn.Conv2d(2 * width, width, 1), nn.SiLU(), nn.Conv2d(width, width, 1), nn.SiLU()
        )
        self.head = nn.Conv2d(width, EXPERTS + made, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        # By percent and days: how many deviations hold so many of the errors. They travel along.
        self.register_buffer("quantiles", torch.ones(LEVELS, BINS))

    def forward(self, told: Tensor) -> Tensor:
        """Return ``(n, 2, side, side)`` of ``(n, channels, side, side)``."""
        # What is far off is told by its order of magnitude.
        found = nn.functional.silu(self.stem(torch.asinh(told)))
        head = self.head(self.joined(torch.cat([found, self.around(found)], dim=1)))
        gates, residual, wider = head.split([EXPERTS, 1, 1], dim=1)
        off = (gates.tanh() * told[:, :EXPERTS]).sum(dim=1, keepdim=True)
        off = off + residual.tanh() * told[:, DEVIATION : DEVIATION + 1]
        return torch.cat([off, WIDEST * wider.tanh()], dim=1)
