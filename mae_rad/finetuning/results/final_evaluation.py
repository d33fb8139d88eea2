"""The final evaluation of a finetuning, one skeleton for every task: thresholds, results, predictions, pictures.

EVALUATION/
  results.parquet      every figure with its interval: label, split, subset, metric, operating point
  results.txt          the same of all films, to read, and which films were left out
  predictions.parquet  what the head predicts of the films of val and test
  *.png                pictures of the last split
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from data_prep.runtime.atomic_write import atomic_text
from mae_rad.finetuning.results.metrics_table import ALL, Result, write_parquet, write_results
from mae_rad.finetuning.results.text import results_text
from mae_rad.heads.interface import Line

Points = dict[str, dict[str, float]]
"""Operating point → label → threshold."""


@dataclass(frozen=True)
class FinalEvaluation:
    """What is exported with the weights.

    Attributes:
        calibration: label → how its scores become probabilities.
        operating_points: name → label → threshold.
        measured: words → figure with its interval, for the model card.
        values: name → figure of the test films, for curves and tables of runs.
    """

    calibration: dict[str, Line] = field(default_factory=dict)
    operating_points: Points = field(default_factory=dict)
    measured: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)


class FinalEvaluator(ABC):
    """Evaluates the best weights of one task on val and test.

    Attributes:
        metric_names: metric → its name on the model card; others are not on it.
        positive: of a film that counts as positive, for the model card.
        calibration: chosen on val.
        points: operating points, chosen on val.
    """

    metric_names: ClassVar[Mapping[str, str]]
    positive: ClassVar[str]
    calibration: dict[str, Line]
    points: Points

    @abstractmethod
    def results(self) -> list[Result]:
        """Every figure, of val and test."""

    @abstractmethod
    def tables(self) -> dict[str, pa.Table]:
        """File name → predictions, and what else is kept of the films."""

    @abstractmethod
    def draw(self, results: Sequence[Result], folder: Path) -> None:
        """Write pictures into ``folder``."""

    def write(self, left_out: Sequence[str], folder: Path) -> FinalEvaluation:
        """Write tables and pictures.

        Args:
            left_out: lines about films and labels that were left out.
            folder: where they go.

        Returns:
            What is exported with the weights.
        """
        results = self.results()
        write_results(results, folder / "results.parquet")
        atomic_text(folder / "results.txt", results_text(results, left_out))
        for name, table in self.tables().items():
            write_parquet(table, folder / name)
        self.draw(results, folder)
        test = [one for one in results if (one.split, one.subset) == ("test", ALL)]
        values = {
            "/".join(part for part in (one.metric, one.label, one.operating_point) if part): one.value for one in test
        }
        measured = {self._card_line(one): one.figure for one in test if one.metric in self.metric_names}
        return FinalEvaluation(self.calibration, self.points, measured, values)

    def _card_line(self, one: Result) -> str:
        sensitivity = one.operating_point.removeprefix("sensitivity_")
        point = f" at the threshold for {sensitivity} % sensitivity on val" if sensitivity else ""
        return (
            f"{one.label}: {self.metric_names[one.metric]}{point}"
            f" ({one.n_present} of {one.n_films} films {self.positive}, {one.n_patients} patients)"
        )
