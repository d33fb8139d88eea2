"""The final evaluation of a classification: calibration and thresholds from val, metrics of val and test, pictures.

In addition to the files of every task (``results/final_evaluation.py``); ``predictions.parquet`` has logits and
probabilities:
  curves.png reliability.png confusion.png subgroups.png
  films-<label>.png    correctly and incorrectly classified films
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from PIL import Image

from data_prep.shard_format.label_tables import read_boxes
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.statistics.calibration import fit_line, probabilities
from mae_rad.finetuning.classification.curves import draw_confusion, draw_curves, draw_reliability
from mae_rad.finetuning.classification.example_choice import choose_examples
from mae_rad.finetuning.results.film_sheet import film_sheet, save_sheet
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
from mae_rad.finetuning.results.subgroup_figure import draw_subgroups
from mae_rad.finetuning.results.subgroups import subgroups
from mae_rad.finetuning.task.interface import FilmOutputs
from mae_rad.finetuning.task.settings import EvaluationSettings, FinetuneSettings
from mae_rad.heads.classification import ClassificationSettings
from mae_rad.heads.interface import Calibration

Lines = dict[str, Calibration]


@dataclass(frozen=True)
class EvaluatedSplit:
    """Outputs for a split.

    Attributes:
        predicted: outputs of the head.
        scores: label → scores of the films for which it is known to be present or absent.
    """

    predicted: FilmOutputs
    scores: dict[str, LabelScores]


class ClassificationEvaluator(FinalEvaluator):
    """Evaluates a classification; calibration and thresholds come from val.

    Args:
        splits: outputs of val, and of test if there are test films.
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
        self.titles = list(splits["val"].scores)
        val = splits["val"].scores
        self.calibration = {label: _fit_calibration(scores, settings.evaluation) for label, scores in val.items()}
        self.points = _operating_points(val, self.calibration, settings.evaluation)

    def results(self) -> list[Result]:
        """Compute metrics of all films, for test also of subgroups."""
        results: list[Result] = []
        for split, evaluated in self._splits.items():
            for label, scores in evaluated.scores.items():
                subgroup = Subgroup(label, split, repetitions=self._settings.evaluation.repetitions)
                results += self._label_results(scores, subgroup)
                films = self._index.table.take(scores.rows)
                for name, mask in subgroups(films, scores.patients) if split == "test" else ():
                    results += self._label_results(scores.select(mask), subgroup._replace(subset=name))
        return results

    def _label_results(self, scores: LabelScores, subgroup: Subgroup) -> list[Result]:
        line = self.calibration[subgroup.label]
        thresholds = {
            name: thresholds[subgroup.label] for name, thresholds in self.points.items() if subgroup.label in thresholds
        }
        return score_results(scores, line, subgroup) + decision_results(scores, line, thresholds, subgroup)

    def tables(self) -> dict[str, pa.Table]:
        """Logit and probability of every film and label."""
        parts = []
        for split, evaluated in self._splits.items():
            logits = np.stack(evaluated.predicted.outputs).astype(np.float64)
            keys = self._index.table.column("key").take(evaluated.predicted.rows)
            for column, (label, scores) in enumerate(evaluated.scores.items()):
                known_labels = dict(zip(scores.rows.tolist(), scores.present.tolist(), strict=True))
                columns = {
                    "key": keys,
                    "split": pa.array([split] * len(keys)),
                    "label": pa.array([label] * len(keys)),
                    "logit": pa.array(logits[:, column]),
                    "probability": pa.array(probabilities(logits[:, column], self.calibration[label])),
                    "present": pa.array(
                        [known_labels.get(row) for row in evaluated.predicted.rows.tolist()], pa.bool_()
                    ),
                }
                parts.append(pa.table(columns))
        return {"predictions.parquet": pa.concat_tables(parts)}

    def draw(self, results: Sequence[Result], folder: Path) -> None:
        """Draw curves and example films of the last split."""
        split = list(self._splits)[-1]
        films = self._splits[split].scores
        two_classes = {label: scores for label, scores in films.items() if scores.has_both_classes}
        if two_classes:
            texts = {
                (result.label, result.metric): result.figure
                for result in results
                if (result.split, result.subset) == (split, ALL)
            }
            areas = {
                label: (texts[label, "auroc"], f"average precision {texts[label, 'average_precision']}")
                for label in two_classes
            }
            draw_curves(two_classes, areas, split, folder / "curves.png")
            draw_reliability(two_classes, self.calibration, split, folder / "reliability.png")
            draw_confusion(two_classes, self.calibration, self.points, split, folder / "confusion.png")
            draw_subgroups(
                [result for result in results if result.split == split and result.metric == "auroc"],
                folder / "subgroups.png",
                metric="AUROC",
                chance=0.5,
                highest=1.02,
            )
        for point, thresholds in list(self.points.items())[:1]:
            for label, threshold in thresholds.items():
                title = f"{label}, {split} films, threshold {threshold:.3f} ({point.replace('_', ' ')} % on val)"
                sheet = self._film_sheet(label, films[label], threshold, title)
                save_sheet(sheet, folder, label)

    def _film_sheet(self, label: str, scores: LabelScores, threshold: float, title: str) -> Image.Image:
        settings, index = self._settings, self._index
        assert isinstance(settings.task, ClassificationSettings)
        label_names = {target.title: target.label for target in settings.task.labels}
        boxes = pa.concat_tables([read_boxes(shards) for shards in settings.data.shards])
        if len(boxes):
            boxes = boxes.filter(np.isin(boxes.column("label").to_pylist(), label_names[label]))
        chosen = choose_examples(scores, probabilities(scores.logits, self.calibration[label]), threshold, index)
        return film_sheet(chosen, index, boxes, title=title, tokens=settings.tokens, patch=settings.backbone.patch)


def _fit_calibration(scores: LabelScores, evaluation: EvaluationSettings) -> Calibration:
    if evaluation.calibration == "none" or not scores.has_both_classes:
        return Calibration()
    return fit_line(scores.logits, scores.present, with_offset=evaluation.calibration == "platt")


def _operating_points(val: Mapping[str, LabelScores], lines: Lines, evaluation: EvaluationSettings) -> Points:
    points: Points = {}
    for sensitivity in evaluation.sensitivities:
        points[f"sensitivity_{100 * sensitivity:g}"] = {
            label: threshold_for(sensitivity, probabilities(scores.logits, lines[label]), scores.present)
            for label, scores in val.items()
            if scores.present.any()
        }
    return points
