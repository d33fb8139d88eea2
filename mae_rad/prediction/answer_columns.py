"""The columns of ``predictions.csv`` that hold the answers of a model.

=====================  ============================================================================================
labels                 the score of each label, and above or below at each operating point
numbers                each number, its unit in the name of the column
exclusive classes      the most probable class (``predicted view`` beside ``view``, that of the header), and the
                       probability of each class
=====================  ============================================================================================
"""

from collections.abc import Sequence
from typing import NamedTuple

from mae_rad.export.predictor_card import PredictorCard
from mae_rad.heads import MulticlassSettings, RegressionSettings
from mae_rad.prediction.record import Record


class AnswerColumns(NamedTuple):
    """Which answers a model gives.

    Attributes:
        labels: of findings.
        points: names of their operating points.
        numbers: name → name with unit.
        classes: name of the question → its classes.
    """

    labels: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    numbers: tuple[tuple[str, str], ...] = ()
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, card: PredictorCard) -> "AnswerColumns":
        """Return the columns of a model."""
        if isinstance(card.task, RegressionSettings):
            return cls(numbers=tuple((number.title, number.with_unit) for number in card.task.numbers))
        if isinstance(card.task, MulticlassSettings):
            return cls(classes=((card.task.target.title, card.labels),))
        return cls(card.labels, tuple(card.operating_points))

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        names = [name for label in self.labels for name in (label, *(f"{label} {point}" for point in self.points))]
        names += [with_unit for _, with_unit in self.numbers]
        return names + [
            name
            for title, classes in self.classes
            for name in (f"predicted {title}", *(f"{title} {c}" for c in classes))
        ]

    def cells(self, record: Record) -> list[object]:
        """Return the cells of a film, None where it has no such answer."""
        return [*self._finding_cells(record), *self._number_cells(record), *self._class_cells(record)]

    def _finding_cells(self, record: Record) -> Sequence[object]:
        by_label, cells = {finding.label: finding for finding in record.findings}, list[object]()
        for label in self.labels:
            finding = by_label.get(label)
            cells.append(None if finding is None else f"{finding.score:.6g}")
            cells += [None if finding is None else _above_or_below(finding.reached.get(point)) for point in self.points]
        return cells

    def _number_cells(self, record: Record) -> Sequence[object]:
        values = {number.label: f"{number.value:.6g}" for number in record.numbers}
        return [values.get(title) for title, _ in self.numbers]

    def _class_cells(self, record: Record) -> Sequence[object]:
        by_title, cells = {answer.label: answer for answer in record.classes}, list[object]()
        for title, classes in self.classes:
            answer = by_title.get(title)
            cells.append(None if answer is None else answer.predicted)
            cells += [None if answer is None else f"{answer.probabilities[name]:.6g}" for name in classes]
        return cells


def _above_or_below(reached: bool | None) -> str | None:
    return None if reached is None else "above" if reached else "below"
