"""Classification into classes that exclude each other as a finetuning task.

Legend: F films, C classes.
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
from mae_rad.evaluation.multiclass.class_metrics import class_estimates
from mae_rad.finetuning.multiclass.evaluation import ClassScores, MulticlassEvaluator
from mae_rad.finetuning.multiclass.targets import class_weights, drawing_weights, known_classes, others_line
from mae_rad.finetuning.results.final_evaluation import FinalEvaluation
from mae_rad.finetuning.task.interface import FilmOutputs, Task
from mae_rad.finetuning.task.known_targets import left_out_line
from mae_rad.finetuning.task.labelled_films import DrawnFilm
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.multiclass import ClassTargets, MulticlassSettings

ClassRow = tuple[int, float]
"""Class and weight of one film."""


@dataclass(frozen=True)
class ClassLookup:
    """Returns the target of a film from a table.

    Attributes:
        classes: [films] int64.
        weights: [films] in the loss.
    """

    classes: NDArray[np.int64]
    weights: NDArray[np.float32]

    def __call__(self, row: int, drawn: DrawnFilm | None) -> ClassRow:
        """Return the target of the film in ``row``; augmentation does not change it."""
        del drawn
        return int(self.classes[row]), float(self.weights[row])


def stack_classes(rows: Sequence[ClassRow]) -> ClassTargets:
    """Stack the targets of films into those of a batch."""
    classes, weights = zip(*rows, strict=True)
    return ClassTargets(torch.tensor(classes, dtype=torch.int64), torch.tensor(weights, dtype=torch.float32))


class Multiclass(Task[ClassRow]):
    """The task of deciding between classes that exclude each other."""

    stack = staticmethod(stack_classes)

    def __init__(self, settings: FinetuneSettings, index: ShardIndex) -> None:
        assert isinstance(settings.task, MulticlassSettings)  # the registry builds the task by its name
        shards, target, evaluation_policy = settings.data.shards, settings.task.target, settings.evaluation.policy
        self._training = known_classes(index, shards, target, settings.data.policy)
        target = target.model_copy(update={"classes": self._training.names})
        self._task = settings.task.model_copy(update={"target": target})
        super().__init__(settings.model_copy(update={"task": self._task}), index)
        self._evaluation = (
            known_classes(index, shards, target, evaluation_policy) if evaluation_policy else self._training
        )
        patients = index.table.column("patient").combine_chunks().dictionary_encode().indices
        self._patients = patients.to_numpy().astype(np.int64)

    def has_target(self, split: str) -> NDArray[np.bool_]:
        """Films of a known class."""
        return np.asarray((self._training if split == "train" else self._evaluation).y >= 0)

    def check(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        """Require all classes in train, and two of them in val."""
        counts = np.bincount(self._training.y[rows["train"]], minlength=len(self._task.titles))
        if missing := [name for name, count in zip(self._task.titles, counts, strict=True) if not count]:
            raise EvaluationError(
                f"{self._task.target.title}: no training film is of the class {missing[0]!r}. Widen data.where or"
                " data.label_fraction, or leave the class out of task.target"
            )
        if len(np.unique(self._evaluation.y[rows["val"]])) < 2:
            raise EvaluationError(
                f"{len(rows['val'])} val films are all of one class, so no weights can be chosen."
                " Shard with a larger splits.val, or label more films"
            )

    def target(self, rows: NDArray[np.int64]) -> ClassLookup:
        """Classes, and weights in the loss with a mean of 1, of the training films."""
        y, weights = self._training.y[rows], self._training.weights[rows]
        if self._task.balance == "class_weight":
            weights = class_weights(y, weights, len(self._task.titles))
        return ClassLookup(y, np.asarray(weights / weights.mean(), dtype=np.float32))

    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Sampling weights that balance the classes, for ``balance: sampling``."""
        if self._task.balance != "sampling":
            return None
        return drawing_weights(self._training.y[rows], len(self._task.titles))

    def training_answers(self, rows: NDArray[np.int64]) -> dict[str, dict[str, int]]:
        """Count films of each class."""
        counts = np.bincount(self._training.y[rows], minlength=len(self._task.titles)).tolist()
        return {self._task.target.title: dict(zip(self._task.titles, counts, strict=True))}

    def split_by_film(self, outputs: Tensor) -> list[NDArray[np.float32]]:
        """Split logits [B, C] into one [C] per film."""
        return list(outputs.detach().float().cpu().numpy())

    def validate(self, predicted: FilmOutputs) -> dict[str, float]:
        """Balanced accuracy, macro AUROC and accuracy over the classes that val has, and the loss."""
        scores = self._scores(predicted)
        unit_weights, estimates = np.ones((1, len(scores.rows))), class_estimates(scores.y, scores.logits)
        return {name: float(estimate(unit_weights)[0]) for name, estimate in estimates.items()}

    def selection_score(self, values: dict[str, float]) -> float:
        """The metric ``task.select``; of the loss, its negative."""
        return -values["log_loss"] if self._task.select == "loss" else values[self._task.select]

    def evaluate_final(self, val: FilmOutputs, test: FilmOutputs | None, folder: Path) -> FinalEvaluation:
        """Calibrate on val, and write tables and pictures of both splits."""
        splits = {"val": self._scores(val)} | ({"test": self._scores(test)} if test else {})
        evaluator = MulticlassEvaluator(splits, self.settings, self.index)
        return evaluator.write([*evaluator.missing_class_lines(), *self._left_out_lines()], folder)

    def _scores(self, predicted: FilmOutputs) -> ClassScores:
        logits = np.stack(predicted.outputs).astype(np.float64)
        return ClassScores(predicted.rows, logits, self._evaluation.y[predicted.rows], self._patients[predicted.rows])

    def _left_out_lines(self) -> list[str]:
        """A line per split about films without a class."""
        splits = np.array(self.index.table.column("split").to_pylist(), dtype=object)
        lines = others_line(self._task.target.title, self._training.others)
        for split in ("train", "val", "test"):
            known = self._training if split == "train" else self._evaluation
            lines += left_out_line(split, self._task.target.title, known.reasons[splits == split])
        return lines
