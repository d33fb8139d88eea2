"""A convolutional stem within each patch, which detects small findings at any position in the patch.

A linear embedding learns a detail separately for each of its 256 positions in a patch, which needs far more films with
findings than there are; early convolutions avoid that (Xiao et al. 2021). These act on one patch at a time, so masked
patches can be left out, and films may have any shape.

Legend: B films, N patches, p patch side in pixels, D channels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

_GAIN = 4.0
"""Factor on differences within a patch, whose standard deviation is about a quarter of that over films."""


class Convolution(NamedTuple):
    """Channels and kernel side of a convolution with stride 2."""

    inputs: int
    outputs: int
    side: int


CONVOLUTIONS = (Convolution(1, 32, 5), Convolution(32, 64, 3))


def cells(patch: int) -> list[int]:
    """Number of output cells of each convolution for a patch of side ``patch``."""
    return [math.ceil(patch / 2**number) ** 2 for number in range(1, 1 + len(CONVOLUTIONS))]


class PatchStem(nn.Module):
    """Two convolutions, then mean and maximum of every channel, projected to the encoder's channels."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        layers: list[nn.Module] = []
        for size in CONVOLUTIONS:
            layers += [nn.Conv2d(size.inputs, size.outputs, size.side, stride=2, padding=size.side // 2), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)
        self.projection = nn.Linear(2 * CONVOLUTIONS[-1].outputs, dim)

    def forward(self, values: Tensor) -> Tensor:
        """Embed patches.

        Args:
            values: [B, N, p*p] normalised pixels, float32 or float64; the mean of each patch is subtracted.

        Returns:
            [B, N, D].
        """
        detail = _GAIN * (values - values.mean(dim=-1, keepdim=True)).to(self.projection.weight.dtype)
        maps = self.convolutions(detail.reshape(-1, 1, self.patch, self.patch))
        embedded: Tensor = self.projection(torch.cat((maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))), dim=1))
        return embedded.reshape(*values.shape[:2], -1)
