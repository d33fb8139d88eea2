"""The final evaluation of a classification: calibration and thresholds from val, figures of val and test, pictures.

Besides what every task writes (``results/final_evaluation.py``), logit and probability in ``predictions.parquet``:
  curves.png reliability.png confusion.png subgroups.png
  films-<label>.png    films on which the head was right and wrong
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.label_tables import read_boxes
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.statistics.calibration import fit_line, probabilities
from mae_rad.finetuning.classification.curves import draw_confusion, draw_curves, draw_reliability, draw_subgroups
from mae_rad.finetuning.classification.example_sheet import examples, film_sheet
from mae_rad.finetuning.results.final_evaluation import FinalEvaluator, Points
from mae_rad.finetuning.results.metrics_table import (
    ALL,
    LabelScores,
    Result,
    Subgroup,
    decision_results,
    score_results,
    threshold_for,
)
from mae_rad.finetuning.results.subgroups import subgroups
from mae_rad.finetuning.task.interface import FilmOutputs
from mae_rad.finetuning.task.settings import EvaluationSettings, FinetuneSettings
from mae_rad.heads.classification import ClassificationSettings
from mae_rad.heads.interface import Line

Lines = dict[str, Line]


@dataclass(frozen=True)
class EvaluatedSplit:
    """A split after the last look: what the head made of it, and of which films a label is known for certain."""

    predicted: FilmOutputs
    asked: dict[str, LabelScores]


class ClassificationEvaluator(FinalEvaluator):
    """Calibrates and chooses thresholds on val.

    Args:
        splits: val, and test where there is one.
        settings: of the run.
        index: of all films.
    """

    metric_names: ClassVar[Mapping[str, str]] = {
        "auroc": "AUROC",
        "average_precision": "average precision",
        "calibration_error": "calibration error",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
    }
    positive = "present"

    def __init__(self, splits: Mapping[str, EvaluatedSplit], settings: FinetuneSettings, index: ShardIndex) -> None:
        self._splits, self._settings, self._index = splits, settings, index
        val = splits["val"].asked
        self.calibration = {label: _calibrated(asked, settings.evaluation) for label, asked in val.items()}
        self.points = _operating_points(val, self.calibration, settings.evaluation)

    def results(self) -> list[Result]:
        """Of all films; of test also in subgroups."""
        results: list[Result] = []
        for split, judged in self._splits.items():
            for label, asked in judged.asked.items():
                about = Subgroup(label, split, repetitions=self._settings.evaluation.repetitions)
                results += self._label_results(asked, about)
                films = self._index.table.take(asked.rows)
                for name, here in subgroups(films, asked.patients) if split == "test" else ():
                    results += self._label_results(asked.among(here), about._replace(subset=name))
        return results

    def _label_results(self, asked: LabelScores, about: Subgroup) -> list[Result]:
        line = self.calibration[about.label]
        own = {name: thresholds[about.label] for name, thresholds in self.points.items() if about.label in thresholds}
        return score_results(asked, line, about) + decision_results(asked, line, own, about)

    def tables(self) -> dict[str, pa.Table]:
        """Logit and probability of every film."""
        parts = []
        for split, judged in self._splits.items():
            logits = np.stack(judged.predicted.outputs).astype(np.float64)
            keys = self._index.table.column("key").take(judged.predicted.rows)
            for place, (label, asked) in enumerate(judged.asked.items()):
                known = dict(zip(asked.rows.tolist(), asked.present.tolist(), strict=True))
                columns = {
                    "key": keys,
                    "split": pa.array([split] * len(keys)),
                    "label": pa.array([label] * len(keys)),
                    "logit": pa.array(logits[:, place]),
                    "probability": pa.array(probabilities(logits[:, place], self.calibration[label])),
                    "present": pa.array([known.get(row) for row in judged.predicted.rows.tolist()], pa.bool_()),
                }
                parts.append(pa.table(columns))
        return {"predictions.parquet": pa.concat_tables(parts)}

    def draw(self, results: Sequence[Result], folder: Path) -> None:
        """Curves of the last split, and films on which the head was right and wrong."""
        split = list(self._splits)[-1]
        films = self._splits[split].asked
        both = {label: asked for label, asked in films.items() if asked.both}
        if both:
            figures = {
                (one.label, one.metric): one.figure for one in results if (one.split, one.subset) == (split, ALL)
            }
            words = {
                label: (figures[label, "auroc"], f"average precision {figures[label, 'average_precision']}")
                for label in both
            }
            draw_curves(both, words, split, folder / "curves.png")
            draw_reliability(both, self.calibration, split, folder / "reliability.png")
            draw_confusion(both, self.calibration, self.points, split, folder / "confusion.png")
            draw_subgroups(
                [one for one in results if one.split == split and one.metric == "auroc"], folder / "subgroups.png"
            )
        for point, thresholds in list(self.points.items())[:1]:
            for label, threshold in thresholds.items():
                title = f"{label}, {split} films, threshold {threshold:.3f} ({point.replace('_', ' ')} % on val)"
                sheet = self._film_sheet(label, films[label], threshold, title)
                with atomic_file(folder / f"films-{re.sub(r'[^a-z0-9]+', '-', label.lower())}.png") as file:
                    sheet.save(file, format="PNG")

    def _film_sheet(self, label: str, asked: LabelScores, threshold: float, title: str) -> Image.Image:
        settings, index = self._settings, self._index
        assert isinstance(settings.task, ClassificationSettings)
        named = {one.title: one.label for one in settings.task.labels}
        boxes = pa.concat_tables([read_boxes(shards) for shards in settings.data.shards])
        own = boxes.filter(np.isin(boxes.column("label").to_pylist(), named[label])) if len(boxes) else boxes
        chosen = examples(asked, probabilities(asked.logits, self.calibration[label]), threshold, index)
        return film_sheet(chosen, index, own, title=title, tokens=settings.tokens, patch=settings.backbone.patch)


def _calibrated(asked: LabelScores, evaluation: EvaluationSettings) -> Line:
    if evaluation.calibration == "none" or not asked.both:
        return Line()
    return fit_line(asked.logits, asked.present, with_offset=evaluation.calibration == "platt")


def _operating_points(val: Mapping[str, LabelScores], lines: Lines, evaluation: EvaluationSettings) -> Points:
    points: Points = {}
    for wanted in evaluation.sensitivities:
        points[f"sensitivity_{100 * wanted:g}"] = {
            label: threshold_for(wanted, probabilities(asked.logits, lines[label]), asked.present)
            for label, asked in val.items()
            if asked.present.any()
        }
    return points
