"""Detection as a finetuning task: boxes of findings.

Legend: F films, L labels, K boxes of a film.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.box_frames import Boxes, BoxFrame, whole_film_frame
from mae_rad.data.film import Film
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.detection.detection_metrics import SIZE_PATCH, SIZE_TOKENS, quick_estimates
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.finetuning.detection.box_targets import BoxPlacement, FilmBoxes, SquareCrop, stack_boxes
from mae_rad.finetuning.detection.evaluation import DetectionEvaluator, EvaluatedLabel
from mae_rad.finetuning.detection.known_boxes import KnownBoxes, read_known_boxes
from mae_rad.finetuning.results.final_evaluation import FinalEvaluation
from mae_rad.finetuning.task.interface import FilmOutputs, Task
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.detection import DetectionSettings
from mae_rad.heads.fcos_head import choose_boxes
from mae_rad.heads.interface import Boxes as PredictedBoxes
from mae_rad.losses.fcos import Predictions

_log = logging.getLogger(__name__)


class SourceBoxes(NamedTuple):
    """Predicted boxes of one film in source raster pixels.

    Attributes:
        corners: [K, 4] float64.
        scores: [K] float64.
        labels: [K] int64 index of the label.
        unit: side of a source pixel, in pixels at T = ``SIZE_TOKENS``, which define the size of a box.
    """

    corners: Boxes
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    unit: float


class Detection(Task[FilmBoxes]):
    """The task of detecting findings as boxes, label by label."""

    stack = staticmethod(stack_boxes)

    def __init__(self, settings: FinetuneSettings, index: ShardIndex) -> None:
        super().__init__(settings, index)
        assert isinstance(settings.task, DetectionSettings)  # the registry builds the task by its name
        self._task, self._patch = settings.task, settings.backbone.patch
        shards, evaluation_policy = settings.data.shards, settings.evaluation.policy
        self._training_boxes = read_known_boxes(index, shards, self._task.labels, settings.data.policy)
        self._evaluation_boxes = (
            read_known_boxes(index, shards, self._task.labels, evaluation_policy)
            if evaluation_policy
            else self._training_boxes
        )
        self._left_out = _left_out_lines("", self._training_boxes)
        if evaluation_policy:
            self._left_out = _left_out_lines("training: ", self._training_boxes) + _left_out_lines(
                "evaluation: ", self._evaluation_boxes
            )
        for line in self._left_out:
            _log.info(line)
        patients = index.table.column("patient").combine_chunks().dictionary_encode().indices
        self._patients = patients.to_numpy().astype(np.int64)
        self._frames: dict[int, tuple[BoxFrame, float]] = {}

    def has_target(self, split: str) -> NDArray[np.bool_]:
        """Films on which the boxes of at least one label are complete."""
        return np.asarray((self._training_boxes if split == "train" else self._evaluation_boxes).known.any(axis=1))

    def check(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        """Require boxes of every label in train, and of at least one label in val."""
        for number, title in enumerate(self._task.titles):
            if not _has_box(self._training_boxes, rows["train"], number).any():
                raise EvaluationError(
                    f"no training film has a box of {title!r}. Widen data.where or data.label_fraction,"
                    " or leave the label out"
                )
        if not any(
            _has_box(self._evaluation_boxes, rows["val"], number).any() for number in range(len(self._task.titles))
        ):
            raise EvaluationError(
                f"none of {len(rows['val'])} val films has a box, so no weights can be chosen."
                " Shard with a larger splits.val, or annotate more films"
            )

    def target(self, rows: NDArray[np.int64]) -> BoxPlacement:
        """Boxes of the training films, in pixels of each view."""
        known = self._training_boxes
        weights = np.array([label.weight for label in self._task.labels], dtype=np.float32)
        return BoxPlacement(
            [known.corners[row] for row in rows],
            [known.labels[row] for row in rows],
            known.known[rows] * weights,
            self._patch,
        )

    def cut(self) -> SquareCrop | None:
        """Square crops, if ``task.crop`` is set."""
        return SquareCrop(self._task.crop, self._patch, self._task.crops) if self._task.crop else None

    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Sampling weights that balance films with and without boxes, for ``balance: sampling``."""
        if self._task.balance == "none":
            return None
        has_box = np.array([len(self._training_boxes.labels[row]) > 0 for row in rows])
        if has_box.all():
            return None
        return np.asarray(np.where(has_box, 0.5 / max(1, has_box.sum()), 0.5 / (~has_box).sum()))

    def training_answers(self, rows: NDArray[np.int64]) -> dict[str, dict[str, int]]:
        """Count films with boxes of each label, and films that are known to have none."""
        counts = {}
        for number, title in enumerate(self._task.titles):
            with_box = _has_box(self._training_boxes, rows, number)
            known = self._training_boxes.known[rows, number]
            counts[title] = {"with boxes": int((known & with_box).sum()), "without": int((known & ~with_box).sum())}
        return counts

    def split_by_film(self, outputs: Predictions) -> list[PredictedBoxes]:
        """Boxes after non-maximum suppression, film by film."""
        task = self._task
        films = choose_boxes(outputs, least=task.least, overlap=task.overlap, most=task.most)
        return [PredictedBoxes(*(part.cpu() for part in film)) for film in films]

    def validate(self, predicted: FilmOutputs) -> dict[str, float]:
        """Metrics of each label and their mean over labels; NaN where val films have no box."""
        values_by_metric: dict[str, list[float]] = {}
        named_values: dict[str, float] = {}
        for title, label in self._evaluated_labels(predicted).items():
            if not label.films:
                continue
            unit_weights = np.ones((1, len(label.films)))
            for name, estimate in quick_estimates(label.films).items():
                value = float(estimate(unit_weights)[0])
                values_by_metric.setdefault(name, []).append(value)
                named_values[f"{name}/{title}"] = value
        return {name: _mean(values) for name, values in values_by_metric.items()} | named_values

    def selection_score(self, values: dict[str, float]) -> float:
        """The mean of AP50 and FROC: AP50 alone is 0 until boxes fit well."""
        return (values["ap50"] + values["froc"]) / 2

    def evaluate_final(self, val: FilmOutputs, test: FilmOutputs | None, folder: Path) -> FinalEvaluation:
        """Choose thresholds on val, and write tables and pictures of both splits."""
        splits = {"val": self._evaluated_labels(val)} | ({"test": self._evaluated_labels(test)} if test else {})
        unknown_labels = [title for title, label in splits["val"].items() if not label.films]
        no_threshold = [f"val {title}: no film has a value, so no threshold is chosen." for title in unknown_labels]
        evaluator = DetectionEvaluator(splits, self.settings, self.index)
        return evaluator.write([*self._left_out, *no_threshold], folder)

    def _evaluated_labels(self, predicted: FilmOutputs) -> dict[str, EvaluatedLabel]:
        """Name of the label → films with complete boxes, with the predicted boxes, in source raster pixels."""
        labels = {}
        source_boxes = [
            self._to_source(row, predicted_boxes)
            for row, predicted_boxes in zip(predicted.rows.tolist(), predicted.outputs, strict=True)
        ]
        for number, title in enumerate(self._task.titles):
            positions = np.flatnonzero(self._evaluation_boxes.known[predicted.rows, number])
            films = [
                _film_detections(number, source_boxes[position], self._evaluation_boxes, int(predicted.rows[position]))
                for position in positions.tolist()
            ]
            rows = predicted.rows[positions]
            labels[title] = EvaluatedLabel(rows, films, self._patients[rows])
        return labels

    def _to_source(self, row: int, predicted_boxes: PredictedBoxes) -> SourceBoxes:
        if row not in self._frames:
            film = self.index.film(row)
            reference_frame = whole_film_frame(Film(film.stream, film.sidecar), SIZE_TOKENS, SIZE_PATCH)
            self._frames[row] = whole_film_frame(film, self.settings.tokens, self._patch), reference_frame.magnification
        frame, unit = self._frames[row]
        corners = frame.to_source(predicted_boxes.corners.double().numpy())
        return SourceBoxes(corners, predicted_boxes.scores.double().numpy(), predicted_boxes.labels.numpy(), unit)


def _has_box(known: KnownBoxes, rows: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
    """[rows] bool, films with a box of the label ``number``."""
    return np.array([bool((known.labels[row] == number).any()) for row in rows], dtype=np.bool_)


def _film_detections(number: int, predicted_boxes: SourceBoxes, known: KnownBoxes, row: int) -> FilmDetections:
    of_label = predicted_boxes.labels == number
    true = known.corners[row][known.labels[row] == number]
    return FilmDetections(
        predicted_boxes.corners[of_label], predicted_boxes.scores[of_label], true, predicted_boxes.unit
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _left_out_lines(policy: str, known: KnownBoxes) -> list[str]:
    return [
        f"{policy}{title}: films left out: "
        + ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        for title, reasons in known.left_out.items()
        if reasons
    ]
