"""Classification as a finetuning task: labels of whole films.

Legend: F films, L labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.statistics.calibration import log_loss
from mae_rad.finetuning.classification.evaluation import ClassificationEvaluator, EvaluatedSplit
from mae_rad.finetuning.classification.targets import drawing_weights, known_labels, loss_weights
from mae_rad.finetuning.results.final_evaluation import FinalEvaluation
from mae_rad.finetuning.results.metrics_table import LabelScores
from mae_rad.finetuning.task.interface import FilmOutputs, Task
from mae_rad.finetuning.task.labelled_films import DrawnFilm
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.classification import ClassificationSettings, LabelTargets

LabelRow = tuple[NDArray[np.float32], NDArray[np.float32]]
"""[L] values and weights of one film."""


@dataclass(frozen=True)
class LabelLookup:
    """Returns the targets of a film from a table.

    Attributes:
        values: [films, L] 0 absent to 1 present.
        weights: [films, L] in the loss.
    """

    values: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __call__(self, row: int, drawn: DrawnFilm | None) -> LabelRow:
        """Return the targets of the film in ``row``; augmentation does not change them."""
        del drawn
        return self.values[row], self.weights[row]


def stack_rows(rows: Sequence[LabelRow]) -> LabelTargets:
    """Stack the targets of films into those of a batch."""
    values, weights = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    return LabelTargets(values, weights)


class Classification(Task[LabelRow]):
    """The task of classifying films as present or absent, label by label."""

    stack = staticmethod(stack_rows)

    def __init__(self, settings: FinetuneSettings, index: ShardIndex) -> None:
        super().__init__(settings, index)
        assert isinstance(settings.task, ClassificationSettings)  # the registry builds the task by its name
        self._task = settings.task
        shards, policy = settings.data.shards, settings.data.policy
        self._training_labels = known_labels(index, shards, self._task.labels, policy)
        evaluation_policy = settings.evaluation.policy
        self._evaluation_labels = (
            known_labels(index, shards, self._task.labels, evaluation_policy)
            if evaluation_policy
            else self._training_labels
        )
        patients = index.table.column("patient").combine_chunks().dictionary_encode().indices
        self._patients = patients.to_numpy().astype(np.int64)

    def has_target(self, split: str) -> NDArray[np.bool_]:
        """Films with a value for at least one label."""
        return (self._training_labels if split == "train" else self._evaluation_labels).has_value

    def check(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        """Require both classes of every label in train, and of at least one label in val."""
        train, val = self._training_labels.take(rows["train"]), self._evaluation_labels.take(rows["val"])
        for column, label in enumerate(self._task.titles):
            if problem := _missing_class(train.values[:, column]):
                raise EvaluationError(
                    f"label {label!r} has {problem} among {len(rows['train'])} training films."
                    " Widen data.where or data.label_fraction, or leave the label out"
                )
        problems = [_missing_class(val.values[:, column]) for column in range(len(self._task.titles))]
        if all(problems):
            raise EvaluationError(
                f"no label has present and absent films among {len(rows['val'])} val films, so no weights can be chosen"
                f" ({self._task.titles[0]!r}: {problems[0]}). Shard with a larger splits.val, or label more films"
            )

    def target(self, rows: NDArray[np.int64]) -> LabelLookup:
        """Values, and weights in the loss, of the training films."""
        known = self._training_labels.take(rows)
        weights = loss_weights(known, self._task.labels, positive_weight=self._task.balance == "positive_weight")
        return LabelLookup(np.nan_to_num(known.values), weights)

    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Sampling weights that balance present and absent films, for ``balance: sampling``."""
        return drawing_weights(self._training_labels.take(rows)) if self._task.balance == "sampling" else None

    def training_answers(self, rows: NDArray[np.int64]) -> dict[str, dict[str, int]]:
        """Count films with, without and perhaps with each label."""
        values = self._training_labels.take(rows).values
        return {
            title: {
                "present": int((column == 1).sum()),
                "absent": int((column == 0).sum()),
                "uncertain": int(((column > 0) & (column < 1)).sum()),
            }
            for title, column in zip(self._task.titles, values.T, strict=True)
        }

    def split_by_film(self, outputs: Tensor) -> list[NDArray[np.float32]]:
        """Split logits [B, L] into one [L] per film."""
        return list(outputs.detach().float().cpu().numpy())

    def validate(self, predicted: FilmOutputs) -> dict[str, float]:
        """Metrics of each label and their mean over labels; NaN where all val films are of one class."""
        values: dict[str, list[float]] = {"auroc": [], "average_precision": [], "loss": []}
        named_values: dict[str, float] = {}
        for label, scores in self._label_scores(predicted).items():
            for name, value in _validation_metrics(scores).items():
                values[name].append(value)
                named_values[f"{name}/{label}"] = value
        means = {
            name: float(np.mean([v for v in column if np.isfinite(v)] or [np.nan])) for name, column in values.items()
        }
        return means | named_values

    def selection_score(self, values: dict[str, float]) -> float:
        """The mean over labels of the metric ``task.select``; of the loss, its negative."""
        value = values[self._task.select]
        return -value if self._task.select == "loss" else value

    def evaluate_final(self, val: FilmOutputs, test: FilmOutputs | None, folder: Path) -> FinalEvaluation:
        """Fit calibration and thresholds on val, and write tables and pictures of both splits."""
        splits = {"val": val} | ({"test": test} if test else {})
        evaluated = {
            split: EvaluatedSplit(predicted, self._label_scores(predicted)) for split, predicted in splits.items()
        }
        left_out = self._left_out_lines() + _uncalibrated_lines(evaluated["val"].scores)
        return ClassificationEvaluator(evaluated, self.settings, self.index).write(left_out, folder)

    def _label_scores(self, predicted: FilmOutputs) -> dict[str, LabelScores]:
        """Label → scores of the films for which it is known to be present or absent."""
        values = self._evaluation_labels.values[predicted.rows]
        logits = np.stack(predicted.outputs).astype(np.float64)
        label_scores = {}
        for column, label in enumerate(self._task.titles):
            is_certain = np.isin(values[:, column], (0, 1))
            rows = predicted.rows[is_certain]
            label_scores[label] = LabelScores(
                rows, logits[is_certain, column], values[is_certain, column] == 1, self._patients[rows]
            )
        return label_scores

    def _left_out_lines(self) -> list[str]:
        """A line per split and label about films without a value for it."""
        splits = np.array(self.index.table.column("split").to_pylist(), dtype=object)
        lines = []
        for split in ("train", "val", "test"):
            known = self._training_labels if split == "train" else self._evaluation_labels
            for column, label in enumerate(self._task.titles):
                reasons = known.left_out(column, splits == split)
                if reasons:
                    counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
                    lines.append(f"{split} {label}: left out {counts}.")
        return lines


def _missing_class(values: NDArray[np.float32]) -> str:
    """Which class is missing among the values [F] of a label; empty if none is."""
    present, absent = bool((values > 0.5).any()), bool((values < 0.5).any())
    if present and absent:
        return ""
    return "only present films" if present else "only absent films" if absent else "no value"


def _uncalibrated_lines(val: Mapping[str, LabelScores]) -> list[str]:
    """A line per label without both classes on val, which is not calibrated."""
    lines = []
    for label, scores in val.items():
        if not scores.has_both_classes:
            problem = _missing_class(scores.present.astype(np.float32))
            lines.append(
                f"val {label}: {problem}: not calibrated"
                + ("." if len(scores.rows) and scores.present.any() else ", no threshold is chosen.")
            )
    return lines


def _validation_metrics(scores: LabelScores) -> dict[str, float]:
    """Metrics of one label in a validation; NaN without both classes."""
    from torchmetrics.functional.classification import (  # noqa: PLC0415 - the import takes seconds
        binary_auroc,
        binary_average_precision,
    )

    if not scores.has_both_classes:
        return dict.fromkeys(("auroc", "average_precision", "loss"), float("nan"))
    logits, present = torch.from_numpy(scores.logits), torch.from_numpy(scores.present.astype(np.int64))
    return {
        "auroc": float(binary_auroc(logits, present)),
        "average_precision": float(binary_average_precision(logits, present)),
        "loss": float(log_loss(scores.logits, scores.present, np.ones((1, len(present))))[0]),
    }
