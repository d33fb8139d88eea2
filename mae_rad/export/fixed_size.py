"""An encoder fixed to one film size, as other frameworks need it: it takes images and holds a table of positions.

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
    """The film size that an export is fixed to.

    Attributes:
        rows: R in pixels.
        columns: S in pixels.
        channels: 1, or 3 for programs that take colour images only.
        content: share of the film that its content fills, in (0, 1]; sets the unit of coordinates as in training.
        fixed_scale: whether the encoder was trained at a fixed scale, where coordinates are the indices of patches.
    """

    rows: int
    columns: int
    channels: Literal[1, 3] = 1
    content: float = 1.0
    fixed_scale: bool = False

    def layout(self, patch: int) -> Layout:
        """Lay out such a film in patches.

        Args:
            patch: patch side in pixels.

        Raises:
            SettingsError: a side is not a multiple of the patch side, or ``content`` is out of range.
        """
        if self.rows < patch or self.columns < patch or self.rows % patch or self.columns % patch:
            near = "x".join(str(max(patch, round(side / patch) * patch)) for side in (self.rows, self.columns))
            raise SettingsError(
                f"--size is not a multiple of the patch side {patch}: {self.rows}x{self.columns}. Give {near}."
            )
        if not 0 < self.content <= 1:
            raise SettingsError(f"--content is not a share in (0, 1]: {self.content}. Give, for example, 0.8.")
        grid = (self.rows // patch, self.columns // patch)
        unit = 1.0 if self.fixed_scale else math.sqrt(grid[0] * grid[1] * self.content / REFERENCE_TOKENS)
        return Layout(Region(0, 0, self.rows, self.columns), grid, unit)

    def positions(self, patch: int, dim: int) -> Tensor:
        """Compute the table of positions.

        Args:
            patch: patch side in pixels.
            dim: channels, a multiple of 4.

        Returns:
            [1, 1 + N, dim] float32: zeros for the class token, then the position of every patch.
        """
        coords = torch.from_numpy(self.layout(patch).coordinates())
        return torch.cat([torch.zeros(1, dim), sincos_positions(coords, dim)])[None]


def kernels(encoder: ViT, channels: int) -> Tensor:
    """Convert the patch embedding into kernels of a convolution.

    Args:
        encoder: encoder without a stem.
        channels: C; weights are divided by it, so that C equal channels give the features of one.

    Returns:
        [D, C, p, p].

    Raises:
        WeightsError: the encoder has a convolutional stem.
    """
    if encoder.stem is not None:
        raise WeightsError(
            "the encoder has a convolutional stem, which a timm or Hugging Face ViT cannot represent. Export it --to"
            " onnx or --to safetensors."
        )
    grey = encoder.patch_kernel.reshape(encoder.dim, 1, encoder.patch, encoder.patch)
    return (grey / channels).repeat(1, channels, 1, 1)


class ImageEncoder(nn.Module):
    """Encoder of images of one size, with the arithmetic of the encoder on the patches of such a film."""

    coords: Tensor
    extent: Tensor

    def __init__(self, encoder: ViT, size: FilmSize) -> None:
        super().__init__()
        layout = size.layout(encoder.patch)
        self.encoder = encoder
        self.register_buffer("coords", torch.from_numpy(layout.coordinates())[None], persistent=False)
        self.register_buffer("extent", torch.from_numpy(layout.size())[None], persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images.

        Args:
            images: [B, C, R, S] float display values in [0, 1].

        Returns:
            tokens [B, N, D] and pooled [B, D].
        """
        values = patchify(images.mean(dim=1, keepdim=True), self.encoder.patch) * DISPLAY_RANGE
        features = self.encoder(Patches(values, self.coords, self.extent))  # one table serves all films
        return features.tokens, features.pooled


def parse_size(text: str) -> tuple[int, int]:
    """Read rows and columns from ``ROWSxCOLUMNS``.

    Args:
        text: value of ``--size``, in pixels.

    Raises:
        SettingsError: it is not of this form.
    """
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdigit() and columns.isdigit()):
        raise SettingsError(f"--size is not ROWSxCOLUMNS in pixels: {text}. Give, for example, 512x384.")
    return int(rows), int(columns)
