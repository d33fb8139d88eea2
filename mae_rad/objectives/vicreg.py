"""VICReg (Bardes et al. 2022): two views agree, every channel keeps its spread, channels do not covary.

Deviations from the paper: GELU instead of ReLU; a projection of 2,048 channels by default, where the paper has 8,192;
the variance term is the mean of both views, as in the public code.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.losses.redundancy import vicreg
from mae_rad.objectives.interface import FILM, MethodLabel, Objective, ObjectiveOutput
from mae_rad.objectives.projection_head import projection_head
from mae_rad.objectives.two_views import BatchNormHeadSettings, encode_views, view_metrics


class VICRegSettings(BatchNormHeadSettings):
    """Settings of VICReg."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "VICReg", "variance, invariance, covariance: views of a film agree, and channels keep their spread and differ"
    )

    name: Literal["vicreg"] = "vicreg"
    """Name of the method."""
    invariance: float = Field(default=25.0, ge=0)
    """Weight of the squared difference of the views."""
    variance: float = Field(default=25.0, ge=0)
    """Weight of the hinge on the standard deviation of every channel."""
    covariance: float = Field(default=1.0, ge=0)
    """Weight of the squared covariances between channels."""

    def build(self, encoders: Mapping[str, Encoder]) -> "VICReg":
        """Build VICReg with the encoder of films."""
        return VICReg(encoders[FILM], self)

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count the projection of a view, and the covariances of its channels."""
        return super().head_flops(encoder_dim, films) + 2.0 * self.head_dim**2


class VICReg(Objective):
    """Agreement of two views with spread channels, over all ranks."""

    def __init__(self, encoder: Encoder, settings: VICRegSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.views = settings.views()
        self.weights = (settings.invariance, settings.variance, settings.covariance)
        self.projector = projection_head(encoder.dim, settings.head_hidden, settings.head_dim, "batch")

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the loss of invariance, variance and covariance (eq. 6); a collective call."""
        pooled = encode_views(self.encoder, batch)
        z0, z1 = (self.projector(features) for features in pooled)
        return ObjectiveOutput(vicreg(z0, z1, *self.weights), view_metrics(pooled, (z0, z1)))
