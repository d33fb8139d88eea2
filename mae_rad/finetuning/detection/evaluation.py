"""The final evaluation of a detection: thresholds from val, metrics of val and test, pictures.

In addition to the files of every task (``results/final_evaluation.py``):
  predictions.parquet  predicted boxes, in source raster pixels, with score and whether the centre is in a true box
  films.parquet        the films that were evaluated, with their true boxes (x_min, y_min, x_max, y_max)
  froc.png             sensitivity over false positives per film
  films-<label>-right.png films-<label>-wrong.png   films with their boxes
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.shard_format.boxes import EDGES
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.detection.detection_metrics import (
    ALL_OBJECTS,
    detection_estimates,
    patients_with_objects,
    quick_estimates,
    threshold_at,
)
from mae_rad.evaluation.detection.froc import centres_inside
from mae_rad.evaluation.detection.froc_figure import draw_froc
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.evaluation.statistics.intervals import bootstrap, honest_interval, interval
from mae_rad.evaluation.statistics.metrics import Estimate
from mae_rad.finetuning.detection.example_films import FilmView, draw_gallery
from mae_rad.finetuning.results.final_evaluation import FinalEvaluator, Points
from mae_rad.finetuning.results.metrics_table import ALL, Result
from mae_rad.finetuning.results.subgroups import subgroups
from mae_rad.finetuning.task.settings import FinetuneSettings

FILMS_FILE = "films.parquet"
FILMS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("boxes", pa.list_(pa.list_(pa.float64()))),
        ("unit", pa.float64()),
    ]
)
OPERATING_RATES = (0.25, 1.0, 4.0)
"""False positives per film on val, for which thresholds are chosen."""
PICTURE_RATE = 0.25
"""False positives per film on val, at which example films are drawn."""


class EvaluatedLabel(NamedTuple):
    """The films of one split with complete boxes of a label.

    Attributes:
        rows: [F] int64 rows of the index.
        films: true and predicted boxes of F films, in source raster pixels.
        patients: [F] int64 number of the patient.
    """

    rows: NDArray[np.int64]
    films: list[FilmDetections]
    patients: NDArray[np.int64]

    def select(self, chosen: NDArray[np.bool_]) -> "EvaluatedLabel":
        """The films that are ``chosen`` ([F] bool)."""
        films = [film for film, mask in zip(self.films, chosen, strict=True) if mask]
        return EvaluatedLabel(self.rows[chosen], films, self.patients[chosen])


EvaluatedLabels = Mapping[str, EvaluatedLabel]


class DetectionEvaluator(FinalEvaluator):
    """Evaluates a detection; thresholds come from val.

    Args:
        splits: films of val, and of test if there are test films.
        settings: of the run.
        index: of all films.
    """

    metric_names: ClassVar[Mapping[str, str]] = {
        name: name.replace("_", " ") for name in ("ap50", "ap", "froc", "sensitivity_at_1", "film_auroc")
    }
    positive = "with boxes"

    def __init__(self, splits: Mapping[str, EvaluatedLabels], settings: FinetuneSettings, index: ShardIndex) -> None:
        self._splits, self._settings, self._index = splits, settings, index
        self.titles = list(splits["val"])
        self.calibration = {}
        self.points = _operating_points(splits["val"])

    def results(self) -> list[Result]:
        """Compute metrics of all films and of subgroups."""
        repetitions = self._settings.evaluation.repetitions
        return [
            result
            for split, labels in self._splits.items()
            for title, label in labels.items()
            for result in _results(title, split, label, self._index, repetitions)
        ]

    def tables(self) -> dict[str, pa.Table]:
        """Predicted boxes, and films with their true boxes."""
        return {
            "predictions.parquet": _prediction_table(self._splits, self._index),
            FILMS_FILE: _film_table(self._splits, self._index),
        }

    def draw(self, results: Sequence[Result], folder: Path) -> None:
        """Draw FROC curves and example films of the last split."""
        del results
        split, settings = list(self._splits)[-1], self._settings
        with_films = {title: label for title, label in self._splits[split].items() if label.films}
        draw_froc(
            {title: label.films for title, label in with_films.items()},
            {title: label.patients for title, label in with_films.items()},
            folder / "froc.png",
            split=split,
            repetitions=settings.evaluation.repetitions,
        )
        view = FilmView(self._index, settings.tokens, settings.backbone.patch)
        for title, label in with_films.items():
            threshold = self.points.get(_point_name(PICTURE_RATE), {}).get(title, 1.0)
            draw_gallery(f"{title}, {split} films", title, label.rows, label.films, threshold, view, folder)


def _point_name(rate: float) -> str:
    return f"{rate:g} false positives per film"


def _operating_points(val: EvaluatedLabels) -> Points:
    points: Points = {}
    for title, label in val.items():
        for rate in OPERATING_RATES:
            if (threshold := threshold_at(label.films, rate)) is not None:
                points.setdefault(_point_name(rate), {})[title] = threshold
    return points


def _results(title: str, split: str, label: EvaluatedLabel, index: ShardIndex, repetitions: int) -> list[Result]:
    """All metrics of all films; AP50 and FROC of each subgroup with boxes."""
    if not label.films:
        return []
    results = _bootstrap_metrics(title, split, ALL, label, detection_estimates(label.films), repetitions)
    for name, mask in subgroups(index.table.take(label.rows), label.patients):
        part = label.select(mask)
        if any(len(film.true) for film in part.films):
            results += _bootstrap_metrics(title, split, name, part, quick_estimates(part.films), repetitions)
    return results


def _bootstrap_metrics(
    title: str, split: str, subset: str, label: EvaluatedLabel, estimates: Mapping[str, Estimate], repetitions: int
) -> list[Result]:
    estimate_lists = {name: [estimate] for name, estimate in estimates.items()}
    resampled = bootstrap(label.patients, estimate_lists, repetitions=repetitions, seed=0)
    present = sum(len(film.true) > 0 for film in label.films)
    counts = len(label.films), len(np.unique(label.patients)), present
    carriers = patients_with_objects(label.films, label.patients)
    results = []
    for name in estimates:
        estimate = honest_interval(interval(resampled[name]), carriers.get(name, carriers[ALL_OBJECTS]))
        results.append(Result(title, split, subset, name, "", *estimate, *counts))
    return results


def _prediction_table(splits: Mapping[str, EvaluatedLabels], index: ShardIndex) -> pa.Table:
    keys = index.table.column("key")
    parts = []
    for split, labels in splits.items():
        for title, label in labels.items():
            counts = [len(film.scores) for film in label.films]
            corners = np.concatenate([film.predicted for film in label.films] or [np.empty((0, 4))])
            on_object = [centres_inside(film).any(axis=1) for film in label.films]
            columns = {
                "key": keys.take(np.repeat(label.rows, counts)),
                "split": pa.array([split] * len(corners), pa.string()),
                "label": pa.array([title] * len(corners), pa.string()),
                **{name: corners[:, column] for column, name in enumerate(EDGES)},
                "score": np.concatenate([film.scores for film in label.films] or [np.empty(0)]),
                "on_object": np.concatenate(on_object or [np.empty(0, np.bool_)]),
            }
            parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def _film_table(splits: Mapping[str, EvaluatedLabels], index: ShardIndex) -> pa.Table:
    keys = index.table.column("key")
    parts = [FILMS_SCHEMA.empty_table()]
    for split, labels in splits.items():
        for title, label in labels.items():
            columns = {
                "key": keys.take(label.rows),
                "split": [split] * len(label.films),
                "label": [title] * len(label.films),
                "boxes": [film.true.tolist() for film in label.films],
                "unit": [film.unit for film in label.films],
            }
            parts.append(pa.table(columns, FILMS_SCHEMA))
    return pa.concat_tables(parts)
