"""BYOL (Grill et al. 2020): from one view the projection of the other by a slowly moving target network is predicted.

Deviations from the paper: GELU instead of ReLU; the projection head has three layers; batch norm of the heads is over
the films of all ranks.

Legend: n films of this rank.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field

from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.transformer_cost import Flops
from mae_rad.losses.distillation import negative_cosine
from mae_rad.objectives.interface import FILM, MethodLabel, Objective, ObjectiveOutput
from mae_rad.objectives.projection_head import prediction_head, projection_head
from mae_rad.objectives.target_network import follow, target_of
from mae_rad.objectives.two_views import BatchNormHeadSettings, PredictorSettings, encode_views, view_metrics


class BYOLSettings(PredictorSettings):
    """Settings of BYOL."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "BYOL", "self-distillation: from one view of a film a slowly moving copy's features of another are predicted"
    )

    name: Literal["byol"] = "byol"
    """Name of the method."""
    head_hidden: int = Field(default=4096, ge=1)
    """Channels of the two hidden layers of the projection head."""
    head_dim: int = Field(default=256, ge=1)
    """Channels of the projection."""
    predictor_hidden: int = Field(default=4096, ge=1)
    """Channels of the hidden layer of the prediction head."""
    first_momentum: float = Field(default=0.996, ge=0, le=1)
    """Share of its weights that the target keeps in the first step; it rises to 1 by a cosine over the run. 0.996 is
    published for batches of 4096 in 1,000 epochs: shorter runs need less, such as 0.97."""

    @property
    def keeps_whole_copy(self) -> bool:
        """The target is a copy that no gradient trains."""
        return True

    def build(self, encoders: Mapping[str, Encoder]) -> "BYOL":
        """Build BYOL with the encoder of films."""
        return BYOL(encoders[FILM], self)

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count two views with their heads, and forward passes of the target without its prediction."""
        trained = super().flops(encoders, films)
        projected = 2 * BatchNormHeadSettings.head_flops(self, encoders[FILM].shape.dim, films)
        return trained._replace(fixed=2 * trained.fixed + trained.embedding + trained.encoder + projected)


class BYOL(Objective):
    """Prediction of the target's projection of one view from the other view, in both directions."""

    def __init__(self, encoder: Encoder, settings: BYOLSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.first_momentum = settings.first_momentum
        self.projector = projection_head(encoder.dim, settings.head_hidden, settings.head_dim, "batch")
        self.predictor = prediction_head(settings.head_dim, settings.predictor_hidden)
        self.target_encoder, self.target_projector = target_of(self.encoder), target_of(self.projector)

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the squared distances of unit predictions and targets (eq. 2 in both directions); a collective call.

        The loss is in [0, 8].
        """
        pooled = encode_views(self.encoder, batch)
        z0, z1 = (self.projector(features) for features in pooled)
        p0, p1 = self.predictor(z0), self.predictor(z1)
        with torch.no_grad():
            t0, t1 = (self.target_projector(features) for features in encode_views(self.target_encoder, batch))
        loss = 4 + 2 * (negative_cosine(p0, t1) + negative_cosine(p1, t0))
        return ObjectiveOutput(loss, view_metrics(pooled, (z0, z1)))

    def stepped(self, progress: float) -> None:
        """Move the target towards the trained weights."""
        follow(self.target_encoder, self.encoder, progress, self.first_momentum)
        follow(self.target_projector, self.projector, progress, self.first_momentum)
