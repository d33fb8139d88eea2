"""An encoder at one film size, as other frameworks want it: images in, a table of positions inside.

Legend: B films, C channels (1, or 3 equal ones), R x S pixels, N patches, p patch side, D channels of features.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mae_rad.data.batch import Patches
from mae_rad.data.patch_layout import REFERENCE_TOKENS, Layout, Region
from mae_rad.encoders.positions import sincos_positions
from mae_rad.encoders.vit import DISPLAY_RANGE, ViT
from mae_rad.errors import SettingsError, WeightsError
from mae_rad.losses.masked_reconstruction import patchify


class FilmSize(NamedTuple):
    """The one size that an exported encoder takes.

    Attributes:
        rows: R in pixels.
        columns: S in pixels.
        channels: 1, or 3 for programs that know only colour pictures.
        content: share of the film that its content fills; sets the unit of the coordinates as in training.
    """

    rows: int
    columns: int
    channels: Literal[1, 3] = 1
    content: float = 1.0

    def layout(self, patch: int) -> Layout:
        """How such a film is laid out in patches.

        Raises:
            SettingsError: the sides are not whole patches, or the share is none.
        """
        if self.rows < patch or self.columns < patch or self.rows % patch or self.columns % patch:
            near = "x".join(str(max(patch, round(side / patch) * patch)) for side in (self.rows, self.columns))
            raise SettingsError(f"a film of {self.rows}x{self.columns} is not whole patches of {patch}; give {near}")
        if not 0 < self.content <= 1:
            raise SettingsError(f"content {self.content} is not a share in (0, 1]")
        grid = (self.rows // patch, self.columns // patch)
        unit = math.sqrt(grid[0] * grid[1] * self.content / REFERENCE_TOKENS)
        return Layout(Region(0, 0, self.rows, self.columns), grid, unit)

    def positions(self, patch: int, dim: int) -> Tensor:
        """[1, 1 + N, dim] float32: zeros for the class token, then the position of every patch."""
        coords = torch.from_numpy(self.layout(patch).coordinates())
        return torch.cat([torch.zeros(1, dim), sincos_positions(coords, dim)])[None]


def kernels(encoder: ViT, channels: int) -> Tensor:
    """The patch embedding as a convolution [D, C, p, p].

    Divided by the channels: equal ones give the features of one.

    Raises:
        WeightsError: the encoder has more than that.
    """
    if encoder.stem is not None:
        raise WeightsError(
            "the encoder has a convolutional stem, and a timm or Hugging Face ViT has no place for it; export it with"
            " --to onnx or --to safetensors"
        )
    grey = encoder.patch_kernel.reshape(encoder.dim, 1, encoder.patch, encoder.patch)
    return (grey / channels).repeat(1, channels, 1, 1)


class ImageEncoder(nn.Module):
    """Images of one size → features; the same arithmetic as the encoder on the patches of such a film."""

    coords: Tensor
    extent: Tensor

    def __init__(self, encoder: ViT, size: FilmSize) -> None:
        super().__init__()
        layout = size.layout(encoder.patch)
        self.encoder = encoder
        self.register_buffer("coords", torch.from_numpy(layout.coordinates())[None], persistent=False)
        self.register_buffer("extent", torch.from_numpy(layout.size())[None], persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            images: [B, C, R, S] float display values in [0, 1].

        Returns:
            tokens [B, N, D] and pooled [B, D].
        """
        values = patchify(images.mean(dim=1, keepdim=True), self.encoder.patch) * DISPLAY_RANGE
        features = self.encoder(Patches(values, self.coords, self.extent))  # one table serves all films
        return features.tokens, features.pooled
