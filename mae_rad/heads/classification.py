"""Multi-label classification of whole films: each label is present or absent, independently of the others.

Legend: B films, L labels.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mae_rad.encoders.any_encoder import Encoder
from mae_rad.heads.interface import Prediction
from mae_rad.heads.pooled_head import PooledHead, PooledHeadSettings
from mae_rad.heads.target import Names, TargetSettings, duplicate_titles
from mae_rad.objectives.interface import ObjectiveOutput


class TargetLabelSettings(TargetSettings):
    """One label of a task."""

    label: Names = Field(min_length=1)
    """Name in labels.parquet. Of several names, any: present if one is present, absent if all are absent."""
    weight: float = Field(default=1.0, gt=0)
    """Weight of this label in the loss, relative to the others."""

    @property
    def title(self) -> str:
        """The name, by default made of the labels."""
        return self.name or " or ".join(self.label)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels of which any counts."""
        return self.label


class ClassificationSettings(PooledHeadSettings):
    """Settings of a classification; all change results."""

    name: Literal["classification"] = "classification"
    """Kind of task."""
    labels: tuple[TargetLabelSettings, ...] = Field(min_length=1)
    """Labels of labels.parquet that are predicted, each present or absent."""
    select: Literal["auroc", "average_precision", "loss"] = "auroc"
    """Metric on val, as a mean over labels, that selects the best weights: the highest, or the lowest loss."""
    balance: Literal["none", "positive_weight", "sampling"] = "none"
    """How rare labels are balanced: not at all; with a larger weight of present films in the loss, up to 20 times, so
    that both classes have the same total weight; or by sampling present and absent films equally often. Probabilities
    are calibrated afterwards in each case."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if duplicates := duplicate_titles(self.labels):
            raise ValueError(f"two labels are called {', '.join(duplicates)}. Give one of them another name")
        return self

    @property
    def validation_metrics(self) -> tuple[str, ...]:
        """Metrics that a validation logs: means over labels, and those of each label."""
        means = ("auroc", "average_precision", "loss")
        return (*means, *(f"{metric}/{title}" for title in self.titles for metric in means))

    @property
    def selection_metric(self) -> str:
        """The metric that selects the best weights."""
        return self.select

    @property
    def titles(self) -> tuple[str, ...]:
        """Names of the L labels."""
        return tuple(label.title for label in self.labels)

    @property
    def targets(self) -> tuple[TargetLabelSettings, ...]:
        """The labels."""
        return self.labels


class LabelTargets(NamedTuple):
    """Targets of the films of a batch.

    Attributes:
        values: [B, L] float32, 0 absent to 1 present; 0 where unknown.
        weights: [B, L] float32 weights in the loss; 0 where unknown.
    """

    values: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "LabelTargets":
        """Copy to ``device``."""
        return LabelTargets(*(part.to(device, non_blocking=True) for part in self))

    def pin_memory(self) -> "LabelTargets":
        """Copy to page-locked memory."""
        return LabelTargets(*(part.pin_memory() for part in self))


class ClassificationHead(PooledHead):
    """One logit per label."""

    def __init__(self, settings: ClassificationSettings, encoder: Encoder) -> None:
        super().__init__(settings, settings.titles, encoder)

    def loss(self, outputs: Sequence[Tensor], targets: LabelTargets) -> ObjectiveOutput:
        """Compute the weighted binary cross-entropy: sum over labels, mean over films."""
        logits = torch.cat(list(outputs)).float()
        return ObjectiveOutput(masked_cross_entropy(logits, targets), {})

    def answer(self, outputs: Tensor) -> Prediction:
        """Return calibrated probabilities."""
        return Prediction(probabilities=torch.sigmoid(self.calibrated(outputs)))


def masked_cross_entropy(logits: Tensor, targets: LabelTargets) -> Tensor:
    """Weighted binary cross-entropy, ``1/B · Σ_bl w_bl · (−y_bl log p_bl − (1 − y_bl) log(1 − p_bl))``, p = sigmoid.

    It is not divided by the weights of the batch, so that the mean over ranks and micro batches is that of the batch.

    Args:
        logits: [B, L].
        targets: values y and weights w.

    Returns:
        [] loss.
    """
    costs = binary_cross_entropy_with_logits(logits, targets.values, reduction="none")
    return (costs * targets.weights).sum() / len(logits)
