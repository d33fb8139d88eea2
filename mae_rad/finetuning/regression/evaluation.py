"""The final evaluation of a regression: metrics of val and test, predictions, pictures.

In addition to the files of every task (``results/final_evaluation.py``); ``predictions.parquet`` has the predicted and
the true number:
  scatter.png    predicted over true numbers
  subgroups.png  mean absolute error of all films and of each subgroup
  films-<number>.png  films with the smallest and the largest errors
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, mean_absolute_error, r_squared
from mae_rad.finetuning.regression.scatter import NumberPanel, draw_scatter
from mae_rad.finetuning.results.film_sheet import best_and_worst, film_captions, film_sheet, save_sheet
from mae_rad.finetuning.results.final_evaluation import FinalEvaluator, Points
from mae_rad.finetuning.results.metrics_table import ALL, Result, Subgroup, bootstrap_results
from mae_rad.finetuning.results.subgroup_figure import draw_subgroups
from mae_rad.finetuning.results.subgroups import subgroups
from mae_rad.finetuning.task.interface import FilmOutputs
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.interface import Calibration
from mae_rad.heads.regression import RegressionSettings


class NumberPredictions(NamedTuple):
    """True and predicted numbers of the films for which one number is known.

    Attributes:
        rows: [N] int64 rows of the index.
        predicted: [N] float64.
        true: [N] float64.
        patients: [N] int64 number of the patient.
    """

    rows: NDArray[np.int64]
    predicted: Floats
    true: Floats
    patients: NDArray[np.int64]

    def select(self, chosen: NDArray[np.bool_]) -> "NumberPredictions":
        """The numbers of the films that are ``chosen`` ([N] bool)."""
        return NumberPredictions(self.rows[chosen], self.predicted[chosen], self.true[chosen], self.patients[chosen])


class RegressionEvaluator(FinalEvaluator):
    """Evaluates a regression.

    Args:
        splits: of val, and of test if there are test films: outputs, and name → numbers of the films that have it.
        lines: name → standardisation.
        settings: of the run.
        index: of all films.
    """

    metric_names: ClassVar[Mapping[str, str]] = {
        "r2": "R²",
        "mean_absolute_error": "mean absolute error",
        "mean_error": "mean of predicted minus true",
    }
    positive = "present"

    def __init__(
        self,
        splits: Mapping[str, tuple[FilmOutputs, dict[str, NumberPredictions]]],
        lines: dict[str, Calibration],
        settings: FinetuneSettings,
        index: ShardIndex,
    ) -> None:
        assert isinstance(settings.task, RegressionSettings)
        self._splits, self._settings, self._index = splits, settings, index
        self.titles = settings.task.titles
        self._numbers = {number.title: number for number in settings.task.numbers}
        self.calibration = lines
        self.points: Points = {}

    def results(self) -> list[Result]:
        """Compute metrics of all films, for test also of subgroups."""
        results: list[Result] = []
        for split, (_, numbers) in self._splits.items():
            for title, films in numbers.items():
                subgroup = Subgroup(title, split, repetitions=self._settings.evaluation.repetitions)
                results += number_results(films, subgroup)
                table = self._index.table.take(films.rows)
                for name, mask in subgroups(table, films.patients) if split == "test" else ():
                    results += number_results(films.select(mask), subgroup._replace(subset=name))
        return results

    def tables(self) -> dict[str, pa.Table]:
        """Predicted and true number of every film; the true one is null where it is unknown."""
        parts = []
        for split, (predicted, numbers) in self._splits.items():
            outputs = np.stack(predicted.outputs).astype(np.float64)
            keys = self._index.table.column("key").take(predicted.rows)
            for column, (title, films) in enumerate(numbers.items()):
                line, known = self.calibration[title], dict(zip(films.rows.tolist(), films.true.tolist(), strict=True))
                columns = {
                    "key": keys,
                    "split": pa.array([split] * len(keys)),
                    "label": pa.array([title] * len(keys)),
                    "predicted": pa.array(line.slope * outputs[:, column] + line.offset),
                    "number": pa.array([known.get(row) for row in predicted.rows.tolist()], pa.float64()),
                }
                parts.append(pa.table(columns))
        return {"predictions.parquet": pa.concat_tables(parts)}

    def draw(self, results: Sequence[Result], folder: Path) -> None:
        """Draw scatter plots and subgroups of the last split."""
        split = list(self._splits)[-1]
        of_split = [result for result in results if result.split == split]
        texts = {(result.label, result.metric): result.figure for result in of_split if result.subset == ALL}
        panels = [
            NumberPanel(
                title=f"{title}, {split}, {len(films.rows)} films\nR² {texts[title, 'r2']}\n"
                f"mean absolute error {texts[title, 'mean_absolute_error']}",
                unit=self._numbers[title].unit,
                predicted=films.predicted,
                true=films.true,
            )
            for title, films in self._splits[split][1].items()
            if len(films.rows)
        ]
        if panels:
            draw_scatter(panels, folder / "scatter.png")
            errors = [result for result in of_split if result.metric == "mean_absolute_error"]
            units = {title: number.unit for title, number in self._numbers.items()}
            draw_subgroups(errors, folder / "subgroups.png", metric="mean absolute error", units=units)
        for title, films in self._splits[split][1].items():
            if len(films.rows) > 1:
                self._draw_films(title, films, f"{title}, {split} films: predicted, and true", folder)

    def _draw_films(self, title: str, films: NumberPredictions, heading: str, folder: Path) -> None:
        """Draw ``films-<number>.png``: the films with the smallest and the largest errors."""
        unit, known = self._numbers[title].unit, film_captions(self._index)
        captions = [
            f"{known[row]}: {predicted:.4g}, is {true:.4g} {unit}".strip(": ")
            for row, predicted, true in zip(films.rows.tolist(), films.predicted, films.true, strict=True)
        ]
        errors = np.abs(films.predicted - films.true)
        chosen = best_and_worst(errors, films.rows, captions, ("smallest errors", "largest errors"))
        settings = self._settings
        sheet = film_sheet(chosen, self._index, title=heading, tokens=settings.tokens, patch=settings.backbone.patch)
        save_sheet(sheet, folder, title)

    def _card_line(self, result: Result) -> str:
        unit = self._numbers[result.label].unit
        line = super()._card_line(result)
        name = self.metric_names[result.metric]
        return line.replace(name, f"{name} in {unit}", 1) if unit and result.metric != "r2" else line


def number_results(films: NumberPredictions, subgroup: Subgroup) -> list[Result]:
    """Compute the metrics of one number.

    Args:
        films: true and predicted numbers.
        subgroup: the films that these are.

    Returns:
        R², and in the unit of the number the mean absolute error and the mean of predicted minus true; R² is NaN for
        films with equal numbers. Empty without films.
    """
    if not len(films.rows):
        return []
    estimates: dict[str, Estimate] = {
        "r2": partial(r_squared, films.true, films.predicted),
        "mean_absolute_error": partial(mean_absolute_error, films.true, films.predicted),
        "mean_error": partial(_mean, films.predicted - films.true),
    }
    return bootstrap_results(films.patients, estimates, subgroup, lowest=-np.inf, highest=np.inf)


def _mean(values: Floats, weights: Floats) -> Floats:
    return np.asarray((weights @ values) / weights.sum(axis=1))
