"""Barlow Twins (Zbontar et al. 2021): channels of two views correlate with themselves and with no other.

Deviations from the paper: GELU instead of ReLU; a projection of 2,048 channels by default, where the paper has 8,192.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.losses.redundancy import barlow_twins
from mae_rad.objectives.interface import FILM, MethodLabel, Objective, ObjectiveOutput
from mae_rad.objectives.projection_head import projection_head
from mae_rad.objectives.two_views import BatchNormHeadSettings, encode_views, view_metrics


class BarlowTwinsSettings(BatchNormHeadSettings):
    """Settings of Barlow Twins."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "Barlow Twins",
        "redundancy reduction: channels of two augmented views of a film agree, and differ from each other",
    )

    name: Literal["barlow_twins"] = "barlow_twins"
    """Name of the method."""
    lambda_: float = Field(default=5e-3, ge=0)
    """Weight of the correlations between different channels."""

    def build(self, encoders: Mapping[str, Encoder]) -> "BarlowTwins":
        """Build Barlow Twins with the encoder of films."""
        return BarlowTwins(encoders[FILM], self)

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count the projection of a view, and its half of the correlations."""
        return super().head_flops(encoder_dim, films) + self.head_dim**2


class BarlowTwins(Objective):
    """Cross-correlation of the projections of two views, over all ranks."""

    def __init__(self, encoder: Encoder, settings: BarlowTwinsSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.lambda_ = settings.lambda_
        self.projector = projection_head(encoder.dim, settings.head_hidden, settings.head_dim, "batch")

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the loss of the cross-correlations (eq. 1); a collective call."""
        pooled = encode_views(self.encoder, batch)
        z0, z1 = (self.projector(features) for features in pooled)
        return ObjectiveOutput(barlow_twins(z0, z1, self.lambda_), view_metrics(pooled, (z0, z1)))
