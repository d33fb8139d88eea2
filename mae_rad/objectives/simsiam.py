"""SimSiam (Chen and He 2021): each view predicts the projection of the other, which gets no gradient.

Deviations from the paper: GELU instead of ReLU; the learning rate of the predictor falls with the others (section 4.2
has it constant); batch norm of the heads is over the films of all ranks.

Legend: n films of this rank.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import nn

from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.losses.distillation import negative_cosine
from mae_rad.objectives.interface import FILM, MethodLabel, Objective, ObjectiveOutput
from mae_rad.objectives.projection_head import AllRankBatchNorm, prediction_head, projection_head
from mae_rad.objectives.two_views import PredictorSettings, encode_views, view_metrics


class SimSiamSettings(PredictorSettings):
    """Settings of SimSiam."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "SimSiam", "self-distillation: from one augmented view of a film the features of another are predicted"
    )

    name: Literal["simsiam"] = "simsiam"
    """Name of the method."""

    def build(self, encoders: Mapping[str, Encoder]) -> "SimSiam":
        """Build SimSiam with the encoder of films."""
        return SimSiam(encoders[FILM], self)


class SimSiam(Objective):
    """Prediction of one view from the other, in both directions."""

    def __init__(self, encoder: Encoder, settings: SimSiamSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.projector = nn.Sequential(
            projection_head(encoder.dim, settings.head_hidden, settings.head_dim, "batch"),
            AllRankBatchNorm(settings.head_dim, affine=False),
        )
        self.predictor = prediction_head(settings.head_dim, settings.predictor_hidden)

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the mean negative cosine of predictions and projections (eq. 4); a collective call."""
        pooled = encode_views(self.encoder, batch)
        z0, z1 = (self.projector(features) for features in pooled)
        p0, p1 = self.predictor(z0), self.predictor(z1)
        loss = (negative_cosine(p0, z1.detach()) + negative_cosine(p1, z0.detach())) / 2
        return ObjectiveOutput(loss, view_metrics(pooled, (z0, z1)))
