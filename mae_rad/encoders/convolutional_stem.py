"""A few convolutions within each patch: what is small is found wherever in the patch it lies.

A linear embedding learns a detail anew for each of its 256 places in a patch, which takes far more films than there are
films with findings; early convolutions mend that (Xiao et al. 2021). Here they see one patch at a time: masked patches
are left out as before, and films may have any shape.

Legend: B films, N patches, p patch side in pixels, D channels.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

_GAIN = 4.0
"""Normalised pixels differ within a patch by about a quarter of what they differ over films."""


class Convolution(NamedTuple):
    """One of two, each with stride 2."""

    inputs: int
    outputs: int
    side: int


CONVOLUTIONS = (Convolution(1, 32, 5), Convolution(32, 64, 3))


def cells(patch: int) -> list[int]:
    """Places of a patch of side ``patch`` at which each convolution gives its outputs."""
    return [math.ceil(patch / 2**number) ** 2 for number in range(1, 1 + len(CONVOLUTIONS))]


class PatchStem(nn.Module):
    """Two convolutions, then mean and largest value of every channel, projected to the encoder's channels."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        layers: list[nn.Module] = []
        for one in CONVOLUTIONS:
            layers += [nn.Conv2d(one.inputs, one.outputs, one.side, stride=2, padding=one.side // 2), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)
        self.projection = nn.Linear(2 * CONVOLUTIONS[-1].outputs, dim)

    def forward(self, values: Tensor) -> Tensor:
        """Normalised pixels [B, N, p*p], float32 or finer → [B, N, D]; the mean of each patch is taken off."""
        detail = _GAIN * (values - values.mean(dim=-1, keepdim=True)).to(self.projection.weight.dtype)
        maps = self.convolutions(detail.reshape(-1, 1, self.patch, self.patch))
        found: Tensor = self.projection(torch.cat((maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))), dim=1))
        return found.reshape(*values.shape[:2], -1)
