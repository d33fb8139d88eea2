"""The projection head of contrastive learning, with layer norm, or with batch norm over the films of all ranks."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from mae_rad.encoders.blocks import initialise
from mae_rad.losses.all_ranks import batch_normalise

HeadNorm = Literal["layer", "batch"]


class AllRankBatchNorm(nn.Module):
    """Batch norm (Ioffe and Szegedy 2015) over the rows of all ranks, in training only.

    It has no running statistics, since a projection head is not used after training, so that nothing but parameters has
    to be kept in a checkpoint. Two ranks compute what one would; `torch.nn.SyncBatchNorm` does not run on a CPU.

    Args:
        channels: C.
        affine: learn a scale and a shift per channel.
    """

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every channel over all rows of all ranks; a collective call.

        Args:
            x: [n, C].

        Returns:
            [n, C], in float32 or the wider type of ``x``.
        """
        normalised, _ = batch_normalise(x)
        return normalised if self.weight is None or self.bias is None else normalised * self.weight + self.bias


def projection_head(encoder_dim: int, hidden: int, dim: int, norm: HeadNorm) -> nn.Sequential:
    """Build a head of three layers (Chen et al. 2020b).

    Args:
        encoder_dim: channels of the encoder.
        hidden: channels of the two hidden layers.
        dim: channels of the projection.
        norm: norm of the hidden layers.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise([encoder_dim, hidden, hidden]):
        # The shift of the norm makes a bias redundant.
        normalise = nn.LayerNorm(width_out) if norm == "layer" else AllRankBatchNorm(width_out)
        layers += [nn.Linear(width_in, width_out, bias=False), normalise, nn.GELU()]
    head = nn.Sequential(*layers, nn.Linear(hidden, dim, bias=False))
    return head.apply(initialise)


def prediction_head(dim: int, hidden: int) -> nn.Sequential:
    """Build a head of two layers that predicts one projection from another (Grill et al. 2020, section 3.3).

    Args:
        dim: channels of the projection.
        hidden: channels of the hidden layer, with batch norm.
    """
    head = nn.Sequential(
        nn.Linear(dim, hidden, bias=False), AllRankBatchNorm(hidden), nn.GELU(), nn.Linear(hidden, dim)
    )
    return head.apply(initialise)
