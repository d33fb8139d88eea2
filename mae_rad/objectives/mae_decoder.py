"""Light decoders of the masked autoencoder: from what the encoder saw to the pixels of patches it did not see.

``self`` is the published one (He et al. 2022): visible and mask tokens attend to each other. ``cross`` lets every mask
token read the encoder's output on its own (CrossMAE, Fu et al. 2024): no work on visible tokens, and none for patches
that are not predicted. Deviations from CrossMAE: the encoder's output is embedded once, with its positions, for all
blocks; feature maps of earlier blocks are not mixed in, since only the last one is exported and probed.

Legend: B films, V visible and P predicted patches, p patch side, E decoder channels.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from mae_rad.encoders.attention import Kernel
from mae_rad.encoders.blocks import EPSILON, Blocks, Shape, initialise
from mae_rad.encoders.positions import sincos_positions
from mae_rad.encoders.vit import Features


class Decoder(nn.Module):
    """Predicts patches from the features of others.

    Args:
        encoder_dim: channels of the features.
        patch_values: p*p, values of a patch.
        shape: size of the stack.
        attention: ``cross`` or ``self``, see above.
        kernel: of attention.
        recompute: keep only the input of each block for backward.
    """

    def __init__(
        self,
        encoder_dim: int,
        patch_values: int,
        shape: Shape,
        *,
        attention: Literal["cross", "self"],
        kernel: Kernel = "auto",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.dim = shape.dim
        self.attention = attention
        self.embedding = nn.Linear(encoder_dim, shape.dim)
        self.mask_token = nn.Parameter(torch.empty(shape.dim))
        self.blocks = Blocks(shape, cross=attention == "cross", kernel=kernel, recompute=recompute)
        self.norm = nn.LayerNorm(shape.dim, eps=EPSILON)
        self.head = nn.Linear(shape.dim, patch_values)
        self.apply(initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, features: Features, visible: Tensor, predicted: Tensor) -> Tensor:
        """Predict patches from features.

        Args:
            features: of the visible patches; the class token goes along, without a position.
            visible: [B, V, 2] coordinates.
            predicted: [B, P, 2] coordinates.

        Returns:
            [B, P, p*p].
        """
        cls = self.embedding(features.cls[:, None])
        seen = self.embedding(features.tokens) + self._positions(visible)
        hidden = self.mask_token + self._positions(predicted)
        if self.attention == "self":
            hidden = self.blocks(torch.cat([cls, seen, hidden], dim=1))[:, -predicted.shape[1] :]
        else:
            # Under autocast the sum is float32; every block would keep a rounded copy of its own.
            hidden = self.blocks(hidden, torch.cat([cls, seen.to(cls.dtype)], dim=1))
        prediction: Tensor = self.head(self.norm(hidden))
        return prediction

    def _positions(self, coords: Tensor) -> Tensor:
        dtype = self.mask_token.dtype
        return sincos_positions(coords.to(torch.promote_types(dtype, torch.float32)), self.dim).to(dtype)
