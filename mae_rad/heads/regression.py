"""Regression on whole films: one number per target, such as the bone age.

Legend: B films, L numbers.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import mse_loss, smooth_l1_loss

from mae_rad.encoders.any_encoder import Encoder
from mae_rad.heads.interface import Prediction
from mae_rad.heads.pooled_head import PooledHead, PooledHeadSettings
from mae_rad.heads.target import TargetSettings, duplicate_titles
from mae_rad.objectives.interface import ObjectiveOutput


class TargetNumberSettings(TargetSettings):
    """One number of a task."""

    label: str | None = None
    """Label of labels.parquet with a ``number``, such as bone_age."""
    column: str | None = None
    """Column of index.parquet with numbers, such as age_years; instead of ``label``."""
    unit: str = ""
    """Unit of the number, for tables, figures and predictions."""
    weight: float = Field(default=1.0, gt=0)
    """Weight of this number in the loss, relative to the others."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.label is None) == (self.column is None):
            raise ValueError("a number needs either label (of labels.parquet) or column (of index.parquet)")
        return self

    @property
    def title(self) -> str:
        """The name, by default that of the label or column."""
        return self.name or str(self.label or self.column)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label; none for an index column."""
        return (self.label,) if self.label else ()

    @property
    def with_unit(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


class RegressionSettings(PooledHeadSettings):
    """Settings of a regression; all change results."""

    name: Literal["regression"] = "regression"
    """Kind of task."""
    numbers: tuple[TargetNumberSettings, ...] = Field(min_length=1)
    """What is predicted. Each number is standardised by the mean and standard deviation of the training films, and
    predictions are converted back to its unit."""
    loss: Literal["smooth_l1", "squared"] = "smooth_l1"
    """Squared error, or squared up to ``beta`` and absolute beyond it, so that single wrong labels weigh less."""
    beta: float = Field(default=1.0, gt=0)
    """Error at which ``smooth_l1`` becomes absolute, in standard deviations of the training films."""
    select: Literal["r2", "standardised_error"] = "r2"
    """Metric on val, as a mean over numbers, that selects the best weights: the highest R², or the lowest mean absolute
    error in standard deviations of the training films."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if duplicates := duplicate_titles(self.numbers):
            raise ValueError(f"two numbers are called {', '.join(duplicates)}. Give one of them another name")
        return self

    @model_validator(mode="after")
    def _check_pool(self) -> Self:
        if self.pool == "max_score":
            raise ValueError(
                "pool: max_score takes the highest score of a patch, and a number is not one. Use attentive, mean, cls"
                " or cls_mean"
            )
        return self

    @property
    def validation_metrics(self) -> tuple[str, ...]:
        """Metrics that a validation logs: means over numbers, and those of each number."""
        each = (f"{metric}/{title}" for title in self.titles for metric in ("r2", "mean_absolute_error"))
        return ("r2", "standardised_error", *each)

    @property
    def selection_metric(self) -> str:
        """The metric that selects the best weights."""
        return self.select

    @property
    def titles(self) -> tuple[str, ...]:
        """Names of the L numbers."""
        return tuple(number.title for number in self.numbers)

    @property
    def targets(self) -> tuple[TargetNumberSettings, ...]:
        """The numbers."""
        return self.numbers


class NumberTargets(NamedTuple):
    """Targets of the films of a batch.

    Attributes:
        values: [B, L] float32 standardised numbers; 0 where unknown.
        weights: [B, L] float32 weights in the loss; 0 where unknown.
    """

    values: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "NumberTargets":
        """Copy to ``device``."""
        return NumberTargets(*(part.to(device, non_blocking=True) for part in self))

    def pin_memory(self) -> "NumberTargets":
        """Copy to page-locked memory."""
        return NumberTargets(*(part.pin_memory() for part in self))


class RegressionHead(PooledHead):
    """One standardised number per target."""

    def __init__(self, settings: RegressionSettings, encoder: Encoder) -> None:
        super().__init__(settings, settings.titles, encoder)
        self._beta = settings.beta if settings.loss == "smooth_l1" else None

    def loss(self, outputs: Sequence[Tensor], targets: NumberTargets) -> ObjectiveOutput:
        """Compute the weighted error of the standardised numbers: sum over numbers, mean over films."""
        predicted = torch.cat(list(outputs)).float()
        return ObjectiveOutput(masked_error(predicted, targets, beta=self._beta), {})

    def answer(self, outputs: Tensor) -> Prediction:
        """Return numbers in their units."""
        return Prediction(numbers=self.calibrated(outputs))


def masked_error(predicted: Tensor, targets: NumberTargets, *, beta: float | None) -> Tensor:
    """Weighted error ``1/B · Σ_bl w_bl · e(p_bl − y_bl)``, not divided by the weights of the batch.

    With ``beta``, e is the smooth L1 error of Girshick (2015), ``x² / (2 beta)`` for ``|x| < beta``, else
    ``|x| − beta / 2``; without, half the squared error, to which it is equal near zero for ``beta`` = 1.

    Args:
        predicted: [B, L] standardised numbers.
        targets: values y and weights w.
        beta: error from which on it is absolute; None squares all errors.

    Returns:
        [] loss.
    """
    if beta is None:
        costs = mse_loss(predicted, targets.values, reduction="none") / 2
    else:
        costs = smooth_l1_loss(predicted, targets.values, reduction="none", beta=beta)
    return (costs * targets.weights).sum() / len(predicted)
