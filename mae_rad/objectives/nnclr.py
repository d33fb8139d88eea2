"""NNCLR (Dwibedi et al. 2021): the positive of a view is the nearest neighbour of the other view among earlier films.

Deviations from the paper: GELU instead of ReLU; no batch norm after the last layer of the projection head; batch norm
of the heads is over the films of all ranks.

Legend: n films of this rank.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.transformer_cost import Flops
from mae_rad.losses.contrastive import nnclr
from mae_rad.objectives.interface import FILM, MethodLabel, Objective, ObjectiveOutput
from mae_rad.objectives.projection_head import prediction_head, projection_head
from mae_rad.objectives.two_views import VIEWS, PredictorSettings, encode_views, view_metrics
from mae_rad.objectives.vector_memory import VectorMemory


class NNCLRSettings(PredictorSettings):
    """Settings of NNCLR."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "NNCLR", "contrastive learning: a view becomes similar to the nearest neighbour of another view of its film"
    )

    name: Literal["nnclr"] = "nnclr"
    """Name of the method."""
    head_dim: int = Field(default=256, ge=1)
    """Channels of the projection."""
    predictor_hidden: int = Field(default=4096, ge=1)
    """Channels of the hidden layer of the prediction head."""
    temperature: float = Field(default=0.1, gt=0)
    """Divisor of the cosine similarities."""
    memory: int = Field(default=98304, ge=1)
    """Vectors of earlier first views among which neighbours are found. At first they are random."""
    neighbours: int = Field(default=1, ge=1)
    """Nearest vectors of the memory that are positives of a view; at most ``memory``."""

    @model_validator(mode="after")
    def _check_neighbours(self) -> Self:
        if self.neighbours > self.memory:
            raise ValueError(f"neighbours={self.neighbours} are more than memory={self.memory} vectors. Choose fewer")
        return self

    def build(self, encoders: Mapping[str, Encoder]) -> "NNCLR":
        """Build NNCLR with the encoder of films."""
        return NNCLR(encoders[FILM], self)

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count two views with their heads, and the search for neighbours of both."""
        counted = super().flops(encoders, films)
        return counted._replace(fixed=counted.fixed + 2 * 2.0 * self.head_dim * self.memory)

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count projection and prediction of a view, and the similarities of its neighbours to all predictions."""
        return super().head_flops(encoder_dim, films) + 2.0 * self.head_dim * self.neighbours * films

    def head_bytes(self, films: int, operand_bytes: int) -> float:
        """Estimate the layers of both heads, and the similarities."""
        return super().head_bytes(films, operand_bytes) + 3 * 4 * self.neighbours * films


class NNCLR(Objective):
    """Contrast of the neighbours of one view with the predictions of the other, in both directions."""

    def __init__(self, encoder: Encoder, settings: NNCLRSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.temperature, self.neighbours = settings.temperature, settings.neighbours
        self.projector = projection_head(encoder.dim, settings.head_hidden, settings.head_dim, "batch")
        self.predictor = prediction_head(settings.head_dim, settings.predictor_hidden)
        self.memory = VectorMemory(settings.memory, settings.head_dim)

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the contrastive loss of neighbours and predictions (eq. 3, both directions); a collective call."""
        pooled = encode_views(self.encoder, batch)
        z0, z1 = (self.projector(features) for features in pooled)
        p0, p1 = self.predictor(z0), self.predictor(z1)
        there, back = (
            nnclr(z, p, self.memory.vectors, self.temperature, neighbours=self.neighbours)
            for z, p in ((z0, p1), (z1, p0))
        )
        self.memory.collect(z0, batch.members[VIEWS[0]])
        return ObjectiveOutput((there + back) / 2, view_metrics(pooled, (z0, z1)))

    def stepped(self, progress: float) -> None:
        """Take the first views of the step into the memory."""
        del progress
        self.memory.store()
