"""The final evaluation that all finetuning tasks share: operating points, metrics, predictions, pictures.

EVALUATION/
  results.parquet      every metric with its interval: label, split, subset, metric, operating point
  results.txt          the same as text, and which films were left out
  predictions.parquet  predictions for the films of val and test
  *.png                pictures of test, or of val without test films
  report.html          one page of all this, with the learning curves, see ``finetuning/report``
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from data_prep.runtime.atomic_write import atomic_text
from mae_rad.finetuning.results.chance import chance_warnings
from mae_rad.finetuning.results.metrics_table import ALL, Result, write_parquet, write_results
from mae_rad.finetuning.results.text import results_text
from mae_rad.heads.interface import Calibration

Points = dict[str, dict[str, float]]
"""Operating point → label → threshold."""


@dataclass(frozen=True)
class FinalEvaluation:
    """Results that are exported with the weights.

    Attributes:
        calibration: label → its calibration.
        operating_points: name → label → threshold.
        measured: description → metric with its interval, for the model card.
        values: name → metric of the test films, for tracking.
        chance_warnings: answer → why the test films do not show that it is better than chance.
    """

    calibration: dict[str, Calibration] = field(default_factory=dict)
    operating_points: Points = field(default_factory=dict)
    measured: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    chance_warnings: dict[str, str] = field(default_factory=dict)


class FinalEvaluator(ABC):
    """Evaluates the outputs of the best weights on val and test.

    Attributes:
        metric_names: metric → its name on the model card; other metrics are not on the card.
        positive: term for a positive film on the model card.
        titles: what the model answers, each with metrics of its own.
        calibration: label → calibration, fitted on val.
        points: operating points, chosen on val.
    """

    metric_names: ClassVar[Mapping[str, str]]
    positive: ClassVar[str]
    titles: Sequence[str]
    calibration: dict[str, Calibration]
    points: Points

    @abstractmethod
    def results(self) -> list[Result]:
        """Compute all metrics of val and test."""

    @abstractmethod
    def tables(self) -> dict[str, pa.Table]:
        """Tables to write: file name → table; ``predictions.parquet`` is one of them."""

    @abstractmethod
    def draw(self, results: Sequence[Result], folder: Path) -> None:
        """Write pictures.

        Args:
            results: all metrics.
            folder: receives the pictures.
        """

    def write(self, left_out: Sequence[str], folder: Path) -> FinalEvaluation:
        """Write tables and pictures.

        Args:
            left_out: lines about films and labels that were left out.
            folder: receives the files.

        Returns:
            Results to export with the weights.
        """
        results = self.results()
        write_results(results, folder / "results.parquet")
        atomic_text(folder / "results.txt", results_text(results, left_out))
        for name, table in self.tables().items():
            write_parquet(table, folder / name)
        self.draw(results, folder)
        test = [result for result in results if (result.split, result.subset) == ("test", ALL)]
        values = {
            "/".join(part for part in (result.metric, result.label, result.operating_point) if part): result.value
            for result in test
        }
        measured = {self._card_line(result): result.figure for result in test if result.metric in self.metric_names}
        return FinalEvaluation(self.calibration, self.points, measured, values, chance_warnings(results, self.titles))

    def _card_line(self, result: Result) -> str:
        sensitivity = result.operating_point.removeprefix("sensitivity_")
        point = f" at the threshold for {sensitivity} % sensitivity on val" if sensitivity else ""
        films = f"{result.n_films} films"
        films = films if result.n_present is None else f"{result.n_present} of {films} {self.positive}"
        return f"{result.label}: {self.metric_names[result.metric]}{point} ({films}, {result.n_patients} patients)"
