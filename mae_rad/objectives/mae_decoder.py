"""Decoders of the masked autoencoder: features of visible patches in, pixels of hidden patches out.

``self`` is the published decoder (He et al. 2022): visible and mask tokens attend to each other. In ``cross``
(CrossMAE, Fu et al. 2024), every mask token attends to the output of the encoder alone, and nothing is computed for
visible tokens and for patches that are not predicted. Deviations from CrossMAE: the output of the encoder is embedded
once, with its positions, for all blocks; features of earlier blocks are not used, since only the last are exported.

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
    """Predicts hidden patches from the features of visible ones.

    Args:
        encoder_dim: channels of the features.
        patch_values: p*p, values of a patch.
        shape: of the blocks.
        attention: ``cross`` or ``self``, see above.
        kernel: of attention.
        recompute: store only the input of each block for backward.
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
            features: of the visible patches; the class token is used as well, without a position.
            visible: [B, V, 2] coordinates.
            predicted: [B, P, 2] coordinates.

        Returns:
            [B, P, p*p] normalised or plain pixels, as trained.
        """
        cls = self.embedding(features.cls[:, None])
        visible_tokens = self.embedding(features.tokens) + self._positions(visible)
        mask_tokens = self.mask_token + self._positions(predicted)
        if self.attention == "self":
            mask_tokens = self.blocks(torch.cat([cls, visible_tokens, mask_tokens], dim=1))[:, -predicted.shape[1] :]
        else:
            # Under autocast the sum is float32; each block would store a rounded copy.
            mask_tokens = self.blocks(mask_tokens, torch.cat([cls, visible_tokens.to(cls.dtype)], dim=1))
        prediction: Tensor = self.head(self.norm(mask_tokens))
        return prediction

    def _positions(self, coords: Tensor) -> Tensor:
        dtype = self.mask_token.dtype
        return sincos_positions(coords.to(torch.promote_types(dtype, torch.float32)), self.dim).to(dtype)
