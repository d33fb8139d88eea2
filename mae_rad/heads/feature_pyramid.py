"""Simple feature pyramid of a plain Vision Transformer (ViTDet, Li et al. 2022), with all scales from its last map.

Transposed convolutions upsample the map by 2 and 4, pooling downsamples it by 2; a 1 × 1 and a 3 × 3 convolution with
norms give each scale the same channels. Deviation: grids may have any shape; an odd last row or column of patches is
pooled alone.

Legend: B films, D channels of the encoder, C channels of the pyramid, R rows and S columns of patches.
"""

from torch import Tensor, nn

from mae_rad.encoders.blocks import EPSILON


class FeaturePyramid(nn.Module):
    """Maps of C channels at a quarter, a half, one and two patches per cell.

    Attributes:
        strides: pixels per cell of each map, finest first.
        channels: C.
    """

    def __init__(self, dim: int, channels: int, patch: int) -> None:
        super().__init__()
        self.channels = channels
        self.strides = (patch / 4, patch / 2, patch, 2 * patch)
        finer = nn.ConvTranspose2d(dim, dim // 2, 2, stride=2)
        finest = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 2, 2, stride=2),
            ChannelNorm(dim // 2),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 2, dim // 4, 2, stride=2),
        )
        coarser = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        scales = ((finest, dim // 4), (finer, dim // 2), (nn.Identity(), dim), (coarser, dim))
        self.scales = nn.ModuleList(nn.Sequential(scale, *_output_layers(width, channels)) for scale, width in scales)

    def forward(self, last_map: Tensor) -> list[Tensor]:
        """[B, D, R, S] → maps [B, C, ·, ·], finest first."""
        return [scale(last_map) for scale in self.scales]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map [B, C, R, S], at each location."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON)

    def forward(self, cells: Tensor) -> Tensor:
        """Normalise a map [B, C, R, S]."""
        return super().forward(cells.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _output_layers(width: int, channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(width, channels, 1, bias=False),
        ChannelNorm(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        ChannelNorm(channels),
    ]


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Reshape tokens to a map.

    Args:
        tokens: [B, R * S, D], in row-major order.
        grid: (R, S).

    Returns:
        [B, D, R, S].
    """
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
