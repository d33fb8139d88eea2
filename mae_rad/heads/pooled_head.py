"""What heads on one vector of a film share: pooling, windows, and a linear layer or a perceptron.

Legend: B films, N patches, L outputs, D channels.
"""

from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from data_prep.settings import Settings
from mae_rad.data.batch import Patches
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.blocks import initialise
from mae_rad.encoders.vit import Features, ViT
from mae_rad.heads.interface import Calibration, Head
from mae_rad.heads.pooling import Pooling, PoolName
from mae_rad.heads.window_attention import window_features


class PooledHeadSettings(Settings):
    """Settings of a head on one vector of a film; all change results."""

    pool: Literal[PoolName, "max_score"] = "attentive"
    """How the patch tokens of a film become one vector, the input of the head; attentive pooling is trained with it. Or
    ``max_score``: the head scores every patch, and the score of a film is the highest, label by label (Oquab et al.
    2015). It can find a finding of one patch in a thousand if the encoder distinguishes such patches, for example after
    a detection. From some initial weights it does not learn (AUROC on val stays at 0.5): use another seed, or a hidden
    layer."""
    pool_heads: int | None = Field(default=None, ge=1)
    """Attention heads of attentive pooling; by default those of the encoder."""
    hidden: int = Field(default=0, ge=0)
    """Channels of a hidden layer; 0 makes the head linear."""
    window: int | None = Field(default=None, ge=4)
    """Side of the windows in patches, at most, in which the encoder processes a film, in training and prediction; null
    processes whole films. For large T, and for an encoder that a detection has trained in windows."""

    @model_validator(mode="after")
    def _check_pool_heads(self) -> Self:
        if self.pool_heads and self.pool != "attentive":
            raise ValueError(f"pool_heads apply to attentive pooling. Leave them out with pool: {self.pool}")
        return self


class PooledHead(Head):
    """Pooling, then a linear layer or a perceptron, with one output per label.

    With ``pool: max_score``, the layers score every patch, and the maximum over patches is taken.

    Args:
        settings: of the head.
        labels: names of the L outputs.
        encoder: whose features are the input.

    Attributes:
        pooling: before the layers; None with ``max_score``.
        window: side of the windows of the encoder in patches; None for whole films.
    """

    pooling: Pooling | None

    slope: Tensor
    offset: Tensor

    def __init__(self, settings: PooledHeadSettings, labels: tuple[str, ...], encoder: Encoder) -> None:
        super().__init__()
        self.labels = labels
        self.window = settings.window
        self.pooling = None
        if settings.pool != "max_score":
            self.pooling = Pooling(settings.pool, encoder.dim, settings.pool_heads or encoder.heads)
        self.input_kind = "tokens" if settings.pool in ("attentive", "max_score") else "summary"
        width = self.pooling.width if self.pooling else encoder.dim
        layers: list[nn.Module] = [nn.LayerNorm(width)]
        if settings.hidden:
            layers += [nn.Linear(width, settings.hidden), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(settings.hidden or width, len(self.labels)))
        self.layers.apply(initialise)
        self.calibrate([Calibration()] * len(self.labels))

    def calibrate(self, lines: Sequence[Calibration]) -> None:
        """Set the calibration of each output."""
        for name in Calibration._fields:
            values = torch.tensor([getattr(line, name) for line in lines], dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)

    def calibrated(self, outputs: Tensor) -> Tensor:
        """Return ``slope * output + offset`` ([B, L] float32)."""
        return self.slope * outputs.float() + self.offset

    def encode(self, encoder: nn.Module, patches: Patches) -> Features:
        """Encode films of one grid, in windows if set."""
        return self.encode_groups(encoder, [patches])[0]

    def encode_groups(self, encoder: nn.Module, groups: Sequence[Patches]) -> list[Features]:
        """Encode groups of films; a ViT processes all groups together."""
        if isinstance(encoder, ViT):
            return window_features(encoder, groups, self.window)
        return [encoder(group) for group in groups]

    def forward(self, features: Features, patches: Patches | None = None) -> Tensor:
        """Return outputs [B, L]."""
        del patches
        if self.pooling is None:
            return self.patch_logits(features).amax(dim=1)
        logits: Tensor = self.layers(self.pooling(features))
        return logits

    def patch_logits(self, features: Features) -> Tensor:
        """Return outputs [B, N, L] of every token, a patch or a cell of the last map; only without pooling."""
        assert self.pooling is None  # with pooling, the layers take its vectors
        logits: Tensor = self.layers(features.tokens)
        return logits
