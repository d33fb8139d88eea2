"""Regression as a finetuning task: numbers of whole films.

Legend: F films, L numbers.
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
from mae_rad.evaluation.statistics.metrics import mean_absolute_error, r_squared
from mae_rad.finetuning.regression.evaluation import NumberPredictions, RegressionEvaluator
from mae_rad.finetuning.regression.targets import known_numbers, loss_weights, standardisation
from mae_rad.finetuning.results.final_evaluation import FinalEvaluation
from mae_rad.finetuning.task.interface import FilmOutputs, Task
from mae_rad.finetuning.task.known_targets import left_out_line
from mae_rad.finetuning.task.labelled_films import DrawnFilm
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.interface import Calibration
from mae_rad.heads.regression import NumberTargets, RegressionSettings

NumberRow = tuple[NDArray[np.float32], NDArray[np.float32]]
"""[L] standardised numbers and weights of one film."""


@dataclass(frozen=True)
class NumberLookup:
    """Returns the targets of a film from a table.

    Attributes:
        values: [films, L] standardised numbers, 0 where unknown.
        weights: [films, L] in the loss.
    """

    values: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __call__(self, row: int, drawn: DrawnFilm | None) -> NumberRow:
        """Return the targets of the film in ``row``; augmentation does not change them."""
        del drawn
        return self.values[row], self.weights[row]


def stack_numbers(rows: Sequence[NumberRow]) -> NumberTargets:
    """Stack the targets of films into those of a batch."""
    values, weights = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
    return NumberTargets(values, weights)


class Regression(Task[NumberRow]):
    """The task of predicting numbers."""

    stack = staticmethod(stack_numbers)

    def __init__(self, settings: FinetuneSettings, index: ShardIndex) -> None:
        super().__init__(settings, index)
        assert isinstance(settings.task, RegressionSettings)  # the registry builds the task by its name
        self._task = settings.task
        shards, evaluation_policy = settings.data.shards, settings.evaluation.policy
        self._training = known_numbers(index, shards, self._task.numbers, settings.data.policy)
        self._evaluation = (
            known_numbers(index, shards, self._task.numbers, evaluation_policy) if evaluation_policy else self._training
        )
        patients = index.table.column("patient").combine_chunks().dictionary_encode().indices
        self._patients = patients.to_numpy().astype(np.int64)
        self._lines: list[Calibration] = []
        self._training_films: list[int] = []

    def has_target(self, split: str) -> NDArray[np.bool_]:
        """Films with at least one number."""
        return (self._training if split == "train" else self._evaluation).has_value

    def check(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        """Require two different values of every number in train, and of at least one number in val."""
        standardisation(self._training.values[rows["train"]], self._task.titles)
        val = self._evaluation.values[rows["val"]]
        if not any(len(np.unique(column[np.isfinite(column)])) > 1 for column in val.T):
            raise EvaluationError(
                f"{len(val)} val films do not have two different numbers, so no weights can be chosen."
                " Shard with a larger splits.val, or label more films"
            )

    def target(self, rows: NDArray[np.int64]) -> NumberLookup:
        """Standardised numbers, and weights in the loss, of the training films; these define the standardisation."""
        values = self._training.values[rows]
        self._lines = standardisation(values, self._task.titles)
        self._training_films = np.isfinite(values).sum(axis=0).tolist()
        slope, offset = np.array(self._lines).T
        standardised = np.nan_to_num((values - offset) / slope).astype(np.float32)
        return NumberLookup(standardised, loss_weights(values, self._task.numbers))

    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """All films are drawn equally often."""
        del rows
        return None

    def training_answers(self, rows: NDArray[np.int64]) -> dict[str, dict[str, int]]:
        """Count films with each number."""
        known = np.isfinite(self._training.values[rows]).sum(axis=0).tolist()
        return {title: {"with the number": count} for title, count in zip(self._task.titles, known, strict=True)}

    def split_by_film(self, outputs: Tensor) -> list[NDArray[np.float32]]:
        """Split outputs [B, L] into one [L] per film."""
        return list(outputs.detach().float().cpu().numpy())

    def validate(self, predicted: FilmOutputs) -> dict[str, float]:
        """R² and mean absolute error of each number, and their means over numbers, the error in standard deviations."""
        values: dict[str, list[float]] = {"r2": [], "standardised_error": []}
        by_number: dict[str, float] = {}
        for line, (title, numbers) in zip(self._lines, self._predictions(predicted).items(), strict=True):
            unit_weights = np.ones((1, len(numbers.rows)))
            r2 = float(r_squared(numbers.true, numbers.predicted, unit_weights)[0])
            error = float(mean_absolute_error(numbers.true, numbers.predicted, unit_weights)[0])
            by_number |= {f"r2/{title}": r2, f"mean_absolute_error/{title}": error}
            values["r2"].append(r2)
            values["standardised_error"].append(error / line.slope)
        means = {
            name: float(np.mean([v for v in column if np.isfinite(v)] or [np.nan])) for name, column in values.items()
        }
        return means | by_number

    def selection_score(self, values: dict[str, float]) -> float:
        """The mean over numbers of the metric ``task.select``; of the error, its negative."""
        value = values[self._task.select]
        return -value if self._task.select == "standardised_error" else value

    def evaluate_final(self, val: FilmOutputs, test: FilmOutputs | None, folder: Path) -> FinalEvaluation:
        """Write tables and pictures of both splits."""
        splits = {"val": val} | ({"test": test} if test else {})
        predictions = {split: (predicted, self._predictions(predicted)) for split, predicted in splits.items()}
        lines = dict(zip(self._task.titles, self._lines, strict=True))
        evaluator = RegressionEvaluator(predictions, lines, self.settings, self.index)
        subgroup_line = "R² of a subgroup is relative to the variance of its own numbers."
        return evaluator.write([*self._unit_lines(), subgroup_line, *self._left_out_lines()], folder)

    def _predictions(self, predicted: FilmOutputs) -> dict[str, NumberPredictions]:
        """Name → true and predicted numbers of the films for which it is known, in its unit."""
        outputs = np.stack(predicted.outputs).astype(np.float64)
        true = self._evaluation.values[predicted.rows]
        predictions = {}
        for column, (title, line) in enumerate(zip(self._task.titles, self._lines, strict=True)):
            known = np.isfinite(true[:, column])
            rows = predicted.rows[known]
            numbers = line.slope * outputs[known, column] + line.offset
            predictions[title] = NumberPredictions(rows, numbers, true[known, column], self._patients[rows])
        return predictions

    def _unit_lines(self) -> list[str]:
        """A line per number: its unit, and its distribution in training."""
        return [
            f"{number.title}: in {number.unit or 'its own unit'}; {films} training films, mean {line.offset:.4g},"
            f" standard deviation {line.slope:.4g}."
            for number, films, line in zip(self._task.numbers, self._training_films, self._lines, strict=True)
        ]

    def _left_out_lines(self) -> list[str]:
        """A line per split and number about films without it."""
        splits = np.array(self.index.table.column("split").to_pylist(), dtype=object)
        lines = []
        for split in ("train", "val", "test"):
            known = self._training if split == "train" else self._evaluation
            for column, title in enumerate(self._task.titles):
                lines += left_out_line(split, title, known.reasons[splits == split, column])
        return lines
