"""Classification as a task: labels of whole films, AUROC and its like on val, calibration and operating points at last.

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
from mae_rad.finetuning.task.labelled_films import Seen
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.classification import ClassificationSettings, LabelTargets

Row = tuple[NDArray[np.float32], NDArray[np.float32]]
"""[L] values and weights of one film."""


@dataclass(frozen=True)
class RowTarget:
    """Looks the targets of a film up."""

    values: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __call__(self, row: int, seen: Seen | None) -> Row:
        """The same however the film is varied."""
        del seen
        return self.values[row], self.weights[row]


def stack_rows(rows: Sequence[Row]) -> LabelTargets:
    """Targets of a batch."""
    values, weights = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    return LabelTargets(values, weights)


class Classification(Task[Row]):
    """Present or absent, label by label."""

    stack = staticmethod(stack_rows)

    def __init__(self, settings: FinetuneSettings, index: ShardIndex) -> None:
        super().__init__(settings, index)
        assert isinstance(settings.task, ClassificationSettings)  # or another task would have been built
        self._task = settings.task
        shards, policy = settings.data.shards, settings.data.policy
        self._learned = known_labels(index, shards, self._task.labels, policy)
        judged_by = settings.evaluation.policy
        self._judged = known_labels(index, shards, self._task.labels, judged_by) if judged_by else self._learned
        patients = index.table.column("patient").combine_chunks().dictionary_encode().indices
        self._patients = patients.to_numpy().astype(np.int64)

    def known(self, split: str) -> NDArray[np.bool_]:
        """Films with a value for some label."""
        return (self._learned if split == "train" else self._judged).any

    def check(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        """Both classes of every label in train, and of some label in val."""
        train, val = self._learned.take(rows["train"]), self._judged.take(rows["val"])
        for place, label in enumerate(self._task.titles):
            if problem := _one_sided(train.values[:, place]):
                raise EvaluationError(
                    f"of {len(rows['train'])} training films label {label!r} has {problem};"
                    " widen data.where or data.label_fraction, or leave the label out"
                )
        problems = [_one_sided(val.values[:, place]) for place in range(len(self._task.titles))]
        if all(problems):
            raise EvaluationError(
                f"of {len(rows['val'])} val films no label has present and absent ones: no weights can be chosen"
                f" ({self._task.titles[0]!r}: {problems[0]}); shard with a larger splits.val, or label more films"
            )

    def target(self, rows: NDArray[np.int64]) -> RowTarget:
        """Values, and weights for the loss."""
        known = self._learned.take(rows)
        weights = loss_weights(known, self._task.labels, positive_weight=self._task.balance == "positive_weight")
        return RowTarget(np.nan_to_num(known.values), weights)

    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Such that present and absent come up equally often, where that was asked for."""
        return drawing_weights(self._learned.take(rows)) if self._task.balance == "sampling" else None

    def split_by_film(self, outputs: Tensor) -> list[NDArray[np.float32]]:
        """Logits film by film."""
        return list(outputs.detach().float().cpu().numpy())

    def validate(self, predicted: FilmOutputs) -> dict[str, float]:
        """Of each label and in the mean over labels; NaN where val films are all present or all absent."""
        values: dict[str, list[float]] = {"auroc": [], "average_precision": [], "loss": []}
        told: dict[str, float] = {}
        for label, asked in self._asked(predicted).items():
            for name, value in _quick(asked).items():
                values[name].append(value)
                told[f"{name}/{label}"] = value
        means = {
            name: float(np.mean([v for v in column if np.isfinite(v)] or [np.nan])) for name, column in values.items()
        }
        return means | told

    def selection_score(self, values: dict[str, float]) -> float:
        """The mean over labels of what ``task.select`` names; of the loss, its negative."""
        value = values[self._task.select]
        return -value if self._task.select == "loss" else value

    def evaluate_final(self, val: FilmOutputs, test: FilmOutputs | None, folder: Path) -> FinalEvaluation:
        """Calibrate and choose thresholds on val; tables and pictures of both splits."""
        splits = {"val": val} | ({"test": test} if test else {})
        judged = {split: EvaluatedSplit(predicted, self._asked(predicted)) for split, predicted in splits.items()}
        left_out = self._left_out() + _unsettled(judged["val"].asked)
        return ClassificationEvaluator(judged, self.settings, self.index).write(left_out, folder)

    def _asked(self, predicted: FilmOutputs) -> dict[str, LabelScores]:
        """Label → the films of which it is known for certain."""
        values = self._judged.values[predicted.rows]
        logits = np.stack(predicted.outputs).astype(np.float64)
        found = {}
        for place, label in enumerate(self._task.titles):
            sure = np.isin(values[:, place], (0, 1))
            rows = predicted.rows[sure]
            found[label] = LabelScores(rows, logits[sure, place], values[sure, place] == 1, self._patients[rows])
        return found

    def _left_out(self) -> list[str]:
        """A line per split and label about films without a value for it."""
        splits = np.array(self.index.table.column("split").to_pylist(), dtype=object)
        lines = []
        for split in ("train", "val", "test"):
            known = self._learned if split == "train" else self._judged
            for place, label in enumerate(self._task.titles):
                reasons = known.left_out(place, splits == split)
                told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
                if told:
                    lines.append(f"{split} {label}: left out {told}.")
        return lines


def _one_sided(values: NDArray[np.float32]) -> str:
    """What is wrong with values [F] that are not on both sides; empty where they are."""
    present, absent = bool((values > 0.5).any()), bool((values < 0.5).any())
    if present and absent:
        return ""
    return "only present ones" if present else "only absent ones" if absent else "none with a value"


def _unsettled(val: Mapping[str, LabelScores]) -> list[str]:
    """A line per label that val cannot calibrate."""
    lines = []
    for label, asked in val.items():
        if not asked.both:
            told = _one_sided(asked.present.astype(np.float32))
            lines.append(
                f"val {label}: {told}: not calibrated"
                + ("." if len(asked.rows) and asked.present.any() else ", no threshold is chosen.")
            )
    return lines


def _quick(asked: LabelScores) -> dict[str, float]:
    """Metrics of a look at val."""
    from torchmetrics.functional.classification import (  # noqa: PLC0415 - seconds, and only where films are judged
        binary_auroc,
        binary_average_precision,
    )

    if not asked.both:
        return dict.fromkeys(("auroc", "average_precision", "loss"), float("nan"))
    logits, present = torch.from_numpy(asked.logits), torch.from_numpy(asked.present.astype(np.int64))
    return {
        "auroc": float(binary_auroc(logits, present)),
        "average_precision": float(binary_average_precision(logits, present)),
        "loss": float(log_loss(asked.logits, asked.present, np.ones((1, len(present))))[0]),
    }
