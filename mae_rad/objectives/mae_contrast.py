"""Masked autoencoding and contrast on one encoder (as Mishra et al. 2022, without their prediction of noise).

The visible patches of two views are encoded once: a decoder predicts hidden patches of each view, and the projections
of the views are contrasted as in SimCLR, with its strategies of pairs.

Legend: n films of this rank.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from mae_rad.data.batch import Batch, Patches, View, ViewSpec
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.transformer_cost import Activations, Flops
from mae_rad.encoders.vit import ViT
from mae_rad.objectives.interface import FILM, MethodLabel, ObjectiveOutput, ObjectiveSettings
from mae_rad.objectives.learning_rates import TriedRates
from mae_rad.objectives.mae import MAESettings, MaskedReconstruction
from mae_rad.objectives.simclr import SimCLR, SimCLRSettings
from mae_rad.objectives.two_views import VIEWS, TwoViewSettings


class MAEContrastSettings(SimCLRSettings, MAESettings):
    """Settings of masked autoencoding with contrast: those of both methods, and the weight of the contrast."""

    label: ClassVar[MethodLabel] = MethodLabel(
        "MAE + contrast", "masked autoencoding of two views of a film, whose features become similar as well"
    )
    tried_rates: ClassVar[tuple[TriedRates, ...]] = ()

    name: Literal["mae_contrast"] = "mae_contrast"  # type: ignore[assignment] # both parents have a name of theirs
    """Name of the method."""
    visible: float = Field(default=0.5, gt=0, lt=1)
    """Fraction of T of each view that the encoder gets."""
    contrast_weight: float = Field(default=0.1, ge=0)
    """Weight of the contrastive loss; that of the reconstruction is 1."""
    films_at_once: None = None
    """Not possible here: all films of a rank are encoded at once."""

    @property
    def view(self) -> ViewSpec:
        """Specification of both views, with predicted patches."""
        return super(TwoViewSettings, self).view  # of the masked autoencoder

    def build(self, encoders: Mapping[str, Encoder]) -> "MAEContrast":
        """Build the model with the encoder of films."""
        encoder = encoders[FILM]
        assert isinstance(encoder, ViT)  # see check_encoder
        return MAEContrast(encoder, self)

    def check_encoder(self, encoder: AnyEncoderSettings) -> None:
        """Check that patches can be hidden from the encoder."""
        ObjectiveSettings.check_encoder(self, encoder)

    def cost_column(self) -> str:
        """Two views, with what of each is visible and predicted, and the decoder."""
        return f"2 x {MAESettings.cost_column(self)}"

    def published(self) -> None:  # type: ignore[override] # as of a method without
        """There are no published settings to compare with."""
        return

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count encoder and decoder on two views, their projections and similarities."""
        view = MAESettings.flops(self, encoders, films)
        view = view._replace(rest=view.rest + self.head_flops(encoders[FILM].shape.dim, films))
        return Flops(*(2 * part for part in view))

    def activations(self, encoders: Mapping[str, AnyEncoderSettings], films: int, operand_bytes: int) -> Activations:
        """Estimate the activations of encoder, decoder and head of two views."""
        view = MAESettings.activations(self, encoders, films, operand_bytes)
        return Activations(2 * (view.kept + self.head_bytes(films, operand_bytes)), 2 * view.peak)


class MAEContrast(MaskedReconstruction, SimCLR):
    """Reconstruction of two views and contrast between them, from one forward pass of the encoder."""

    def __init__(self, encoder: ViT, settings: MAEContrastSettings) -> None:
        super().__init__(encoder, settings)
        self.contrast_weight = settings.contrast_weight
        self.add_decoder(settings)

    def forward(self, batch: Batch) -> ObjectiveOutput:
        """Compute the weighted sum of both losses; a collective call."""
        both = _together(*(batch.views[name] for name in VIEWS))
        features = self.encoder(both.visible)
        rebuilt = self.reconstruction(both, features)
        pooled = torch.stack(features.pooled.chunk(2), dim=1)  # [n, 2, D]
        projected = self.head(features.pooled)
        contrast = self.contrast(batch, torch.stack(projected.chunk(2), dim=1), pooled)
        losses = {"loss_reconstruction": rebuilt.loss.detach(), "loss_contrast": contrast.loss.detach()}
        loss = rebuilt.loss + self.contrast_weight * contrast.loss
        return ObjectiveOutput(loss, rebuilt.metrics | contrast.metrics | losses)


def _together(first: View, second: View) -> View:
    """The views of n films as one of 2n, the first views first."""

    def patches(one: Patches, other: Patches) -> Patches:
        return Patches(*(torch.cat(parts) for parts in zip(one.parts, other.parts, strict=True)))

    def known(one: Tensor | None, other: Tensor | None) -> Tensor | None:
        return None if one is None or other is None else torch.cat([one, other])

    assert first.predicted is not None and second.predicted is not None  # see MAESettings.view
    return View(
        patches(first.visible, second.visible),
        patches(first.predicted, second.predicted),
        known(first.predicted_content, second.predicted_content),
        known(first.masked_content, second.masked_content),
    )
