"""What methods of two augmented views of a film share: their settings, and the encoding of both views."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mae_rad.data.augmentation import Augmentation, Crop, Strength
from mae_rad.data.batch import Batch, Patches, ViewSpec
from mae_rad.encoders.any_encoder import AnyEncoderSettings, Encoder
from mae_rad.encoders.timm_encoder import TimmSettings
from mae_rad.encoders.transformer_cost import Activations, Flops, encoder_activations, encoder_flops
from mae_rad.losses.distillation import negative_cosine
from mae_rad.objectives.interface import FILM, ObjectiveSettings, feature_std
from mae_rad.pairing.settings import PairSettings, Strategy

VIEWS = ("a", "b")
"""Names of the two views."""


class TwoViewSettings(ObjectiveSettings, Augmentation, ABC):
    """Settings of a method of two views of a film with equal specifications. T is that of each view.

    Attributes:
        compares_pairs: whether its loss takes a relation.
    """

    compares_pairs: ClassVar[bool] = False

    crop: Crop = (0.4, 1.0)
    """Range of the area of the random square crop of each view, as a share of the content."""
    window: Strength = 0.5
    """Change the window: at 1 its centre by up to a fifth of its width, its width by a factor of up to 1.5."""
    gamma: Strength = 0.5
    """Change gamma: at 1 by an exponent of 1/1.8 to 1.8."""
    noise: Strength = 0.5
    """Add noise: at 1 a standard deviation of up to 2 % of the display range."""
    visible: float | None = Field(default=None, gt=0, le=1)
    """Fraction of T that is encoded; null encodes all patches."""
    pairs: Strategy = PairSettings()
    """Which films belong together: a name of configs/pairs, a YAML file or a mapping. Methods that compare no pairs
    take partner and batches only."""

    @model_validator(mode="after")
    def _takes_a_relation(self) -> Self:
        if self.pairs.compares and not self.compares_pairs:
            raise ValueError(
                f"objective {self.name} compares no pairs of films. Leave relation and own_in_denominator out of"
                " objective.pairs"
            )
        return self

    @property
    def strategy(self) -> PairSettings:
        """The pairs."""
        return self.pairs

    @property
    def off(self) -> set[str]:
        """Newer settings at the value of earlier releases."""
        return super().off | ({"pairs"} if self.pairs == PairSettings() else set())

    @property
    def view(self) -> ViewSpec:
        """Specification of both views."""
        return ViewSpec(self.tokens, self.augmentation, self.visible, schedule=self.schedule)

    def views(self) -> dict[str, ViewSpec]:
        """Two views with equal specifications; the second shows the partner of the film, if there are partners."""
        first, second = VIEWS
        return {first: self.view, second: replace(self.view, partner=not self.pairs.partner.is_itself)}

    def check_encoder(self, encoder: AnyEncoderSettings) -> None:
        """Check that a network of timm gets whole views."""
        if isinstance(encoder, TimmSettings) and self.visible is not None:
            raise ValueError(f"{encoder.timm} takes whole images only. Leave objective.visible out")

    def cost_column(self) -> str:
        """Number of views, and the fraction of each that is encoded."""
        return f"2 x {1 if self.visible is None else self.visible:g}"

    def flops(self, encoders: Mapping[str, AnyEncoderSettings], films: int) -> Flops:
        """Count two views, their heads and the loss."""
        cost = encoder_flops(encoders[FILM], self._patches)
        rest = self.head_flops(encoders[FILM].shape.dim, films)
        return Flops(2 * cost.embedding, 2 * cost.encoder, 2 * rest, 2 * cost.again, 2 * cost.fixed)

    def activations(self, encoders: Mapping[str, AnyEncoderSettings], films: int, operand_bytes: int) -> Activations:
        """Estimate the activations of two views of a film that is encoded."""
        cost = encoder_activations(encoders[FILM], self._patches, operand_bytes)
        head = self.head_bytes(films, operand_bytes)
        return Activations(2 * cost.kept + 2 * head, 2 * cost.peak)

    @abstractmethod
    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count the operations of one view after the encoder.

        Args:
            encoder_dim: channels of the encoder.
            films: of one forward pass over all ranks, for a loss that compares films.
        """

    @abstractmethod
    def head_bytes(self, films: int, operand_bytes: int) -> float:
        """Estimate what backward needs of one view after the encoder, in bytes.

        Args:
            films: of one forward pass over all ranks, for a loss that compares films.
            operand_bytes: of a matrix operand: 2 in bf16, 4 in f32.
        """

    @property
    def _patches(self) -> int:
        """Patches of a view that are encoded."""
        return self.view.budgets[0] or self.tokens


class BatchNormHeadSettings(TwoViewSettings, ABC):
    """Settings of a method whose projection head has batch norm, over the films of all ranks in one forward pass.

    Such a method cannot divide its batch: neither into parts nor by accumulation.
    """

    head_hidden: int = Field(default=2048, ge=1)
    """Channels of the two hidden layers of the projection head."""
    head_dim: int = Field(default=2048, ge=1)
    """Channels of the projection."""

    @property
    def needs_whole_batch(self) -> bool:
        """The projection of a film depends on the other films of the forward pass."""
        return True

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count the projection of a view."""
        del films
        return 2.0 * (encoder_dim * self.head_hidden + self.head_hidden**2 + self.head_hidden * self.head_dim)

    def head_bytes(self, films: int, operand_bytes: int) -> float:
        """Estimate output, norm and GELU of each hidden layer, and the projection with its normalised copy."""
        del films
        return 2 * (2 * operand_bytes + 4) * self.head_hidden + 2 * 4 * self.head_dim


class PredictorSettings(BatchNormHeadSettings, ABC):
    """Settings of a method that also predicts one projection from another."""

    predictor_hidden: int = Field(default=512, ge=1)
    """Channels of the hidden layer of the prediction head."""

    def head_flops(self, encoder_dim: int, films: int) -> float:
        """Count projection and prediction of a view."""
        return super().head_flops(encoder_dim, films) + 4.0 * self.head_dim * self.predictor_hidden

    def head_bytes(self, films: int, operand_bytes: int) -> float:
        """Estimate the layers of both heads."""
        predictor = (2 * operand_bytes + 4) * self.predictor_hidden + 2 * 4 * self.head_dim
        return super().head_bytes(films, operand_bytes) + predictor


def view_metrics(pooled: Sequence[Tensor], projected: Sequence[Tensor]) -> dict[str, Tensor]:
    """Compute what shows a collapse, of the films of this rank.

    Args:
        pooled: features [n, D] of both views.
        projected: projections [n, C] of both views.

    Returns:
        ``feature_std`` of features and, as ``projection_std``, of projections; ``positive_similarity``, the mean cosine
        of the projections of two views of a film.
    """
    first, second = (values.detach() for values in projected)
    return {
        "feature_std": feature_std(torch.cat(tuple(pooled))),
        "projection_std": feature_std(torch.cat([first, second])),
        "positive_similarity": -negative_cosine(first, second),
    }


def encode_views(encoder: Encoder, batch: Batch, names: Sequence[str] = VIEWS) -> tuple[Tensor, ...]:
    """Encode views of every film in one forward pass.

    Args:
        encoder: of films.
        batch: n films with these views.
        names: of the views, which have the same number of patches.

    Returns:
        Pooled features [n, D] of each view.
    """
    views = (batch.views[name].visible.parts for name in names)
    together = Patches(*(torch.cat(parts) for parts in zip(*views, strict=True)))
    pooled: Tensor = encoder(together).pooled
    return tuple(pooled.chunk(len(names)))
