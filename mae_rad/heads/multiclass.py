"""Classification of whole films into classes that exclude each other, such as body parts, by a softmax.

Legend: B films, C classes.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import cross_entropy

from mae_rad.encoders.any_encoder import Encoder
from mae_rad.heads.interface import Prediction
from mae_rad.heads.pooled_head import PooledHead, PooledHeadSettings
from mae_rad.heads.target import TargetSettings
from mae_rad.objectives.interface import ObjectiveOutput


class TargetClassesSettings(TargetSettings):
    """The classes of a task."""

    column: str | None = None
    """Column of index.parquet whose values are the classes, such as body_part, view or sex."""
    labels: tuple[str, ...] = ()
    """Labels of labels.parquet of which exactly one is present, instead of ``column``: the classes are their names. A
    film is of a class if that label is present and none of the others is present or uncertain."""
    classes: tuple[str, ...] | None = Field(default=None, min_length=2)
    """Values of ``column`` to distinguish; films of other values are left out. By default all values that at least ten
    training patients have; a run records them."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.column is None) == (not self.labels):
            raise ValueError("classes come either from column (of index.parquet) or from labels (of labels.parquet)")
        if self.labels and (len(set(self.labels)) != len(self.labels) or len(self.labels) < 2):
            raise ValueError("labels must be two or more different labels of which exactly one is present")
        if self.labels and self.classes is not None and self.classes != self.labels:
            raise ValueError("with labels, the classes are the labels. Leave classes out")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("classes names a class twice")
        return self

    @property
    def title(self) -> str:
        """The name, by default that of the column, or made of the labels."""
        return self.name or self.column or " or ".join(self.labels)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels; none for an index column."""
        return self.labels


class MulticlassSettings(PooledHeadSettings):
    """Settings of a classification into classes that exclude each other; all change results."""

    name: Literal["multiclass"] = "multiclass"
    """Kind of task."""
    target: TargetClassesSettings
    """What is predicted: one class per film, and the probability of each."""
    balance: Literal["none", "class_weight", "sampling"] = "none"
    """How rare classes are balanced: not at all; with weights of the classes in the loss, up to 20 times the lowest, so
    that all have the same total weight; or by drawing the films of all classes equally often. Both raise the
    probabilities of rare classes above their frequency."""
    select: Literal["balanced_accuracy", "macro_auroc", "loss"] = "macro_auroc"
    """Metric on val that selects the best weights: the highest, or the lowest loss."""

    @property
    def validation_metrics(self) -> tuple[str, ...]:
        """Metrics that a validation logs."""
        return ("balanced_accuracy", "macro_auroc", "accuracy", "calibration_error", "log_loss")

    @property
    def selection_metric(self) -> str:
        """The metric that selects the best weights."""
        return "log_loss" if self.select == "loss" else self.select

    @property
    def titles(self) -> tuple[str, ...]:
        """Names of the C classes; defined once the run has found the values of the column."""
        classes = self.target.classes or self.target.labels
        assert classes  # filled in by the task, or given
        return classes

    @property
    def targets(self) -> tuple[TargetClassesSettings, ...]:
        """The only target."""
        return (self.target,)


class ClassTargets(NamedTuple):
    """Targets of the films of a batch.

    Attributes:
        classes: [B] int64 class.
        weights: [B] float32 weights in the loss.
    """

    classes: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "ClassTargets":
        """Copy to ``device``."""
        return ClassTargets(*(part.to(device, non_blocking=True) for part in self))

    def pin_memory(self) -> "ClassTargets":
        """Copy to page-locked memory."""
        return ClassTargets(*(part.pin_memory() for part in self))


class MulticlassHead(PooledHead):
    """One logit per class."""

    def __init__(self, settings: MulticlassSettings, encoder: Encoder) -> None:
        super().__init__(settings, settings.titles, encoder)

    def loss(self, outputs: Sequence[Tensor], targets: ClassTargets) -> ObjectiveOutput:
        """Compute the weighted cross-entropy, ``1/B · Σ_b w_b · (−log p_b)``; p is the softmax of the true class."""
        costs = cross_entropy(torch.cat(list(outputs)).float(), targets.classes, reduction="none")
        return ObjectiveOutput((costs * targets.weights).sum() / len(costs), {})

    def answer(self, outputs: Tensor) -> Prediction:
        """Return calibrated probabilities of the classes."""
        return Prediction(class_probabilities=self.calibrated(outputs).softmax(dim=1))
