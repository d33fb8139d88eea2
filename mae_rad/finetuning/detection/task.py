"""Detection as a task: boxes of findings, AP50 and FROC on val, thresholds by false positives and pictures at last.

Legend: F films, L labels, K boxes of a film.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.box_frames import Boxes, BoxFrame, whole_film_frame
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.detection.detection_metrics import SIZE_PATCH, SIZE_TOKENS, quick_estimates
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.finetuning.detection.box_targets import CutSquare, FilmBoxes, PlaceBoxes, stack_boxes
from mae_rad.finetuning.detection.evaluation import DetectionEvaluator, EvaluatedLabel
from mae_rad.finetuning.detection.known_boxes import KnownBoxes, known_boxes
from mae_rad.finetuning.results.final_evaluation import FinalEvaluation
from mae_rad.finetuning.task.interface import FilmOutputs, Task
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.heads.detection import DetectionSettings
from mae_rad.heads.fcos_head import choose_boxes
from mae_rad.heads.interface import Boxes as Found
from mae_rad.losses.fcos import Predictions

_log = logging.getLogger(__name__)


class Mapped(NamedTuple):
    """What was found on one film, in source raster pixels, and how large a pixel is at the size of sizes."""

    corners: Boxes
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    unit: float


class Detection(Task[FilmBoxes]):
    """Where findings are, label by label."""

    stack = staticmethod(stack_boxes)

    def __init__(self, settings: FinetuneSettings, index: ShardIndex) -> None:
        super().__init__(settings, index)
        assert isinstance(settings.task, DetectionSettings)  # or another task would have been built
        self._task, self._patch = settings.task, settings.backbone.patch
        shards, judged_by = settings.data.shards, settings.evaluation.policy
        self._learned = known_boxes(index, shards, self._task.labels, settings.data.policy)
        self._judged = known_boxes(index, shards, self._task.labels, judged_by) if judged_by else self._learned
        self._left_out = _left_out_lines("", self._learned)
        if judged_by:
            self._left_out = _left_out_lines("training: ", self._learned) + _left_out_lines("judging: ", self._judged)
        for line in self._left_out:
            _log.info(line)
        patients = index.table.column("patient").combine_chunks().dictionary_encode().indices
        self._patients = patients.to_numpy().astype(np.int64)
        self._frames: dict[int, tuple[BoxFrame, float]] = {}

    def known(self, split: str) -> NDArray[np.bool_]:
        """Films on which all boxes of some label are told."""
        return np.asarray((self._learned if split == "train" else self._judged).known.any(axis=1))

    def check(self, rows: Mapping[str, NDArray[np.int64]]) -> None:
        """Boxes of every label in train, and of some label in val."""
        for place, title in enumerate(self._task.titles):
            if not _boxed(self._learned, rows["train"], place).any():
                raise EvaluationError(
                    f"no training film has a box of {title!r}; widen data.where or data.label_fraction,"
                    " or leave the label out"
                )
        if not any(_boxed(self._judged, rows["val"], place).any() for place in range(len(self._task.titles))):
            raise EvaluationError(
                f"of {len(rows['val'])} val films none has a box: no weights can be chosen;"
                " shard with a larger splits.val, or draw boxes on more films"
            )

    def target(self, rows: NDArray[np.int64]) -> PlaceBoxes:
        """Boxes in the pixels of each view."""
        known = self._learned
        weights = np.array([label.weight for label in self._task.labels], dtype=np.float32)
        return PlaceBoxes(
            [known.corners[row] for row in rows],
            [known.labels[row] for row in rows],
            known.known[rows] * weights,
            self._patch,
        )

    def cut(self) -> CutSquare | None:
        """Squares, where asked for."""
        return CutSquare(self._task.crop, self._patch, self._task.crops) if self._task.crop else None

    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Such that films with and without boxes come up equally often, where that was asked for."""
        if self._task.balance == "none":
            return None
        boxed = np.array([len(self._learned.labels[row]) > 0 for row in rows])
        if boxed.all():
            return None
        return np.asarray(np.where(boxed, 0.5 / max(1, boxed.sum()), 0.5 / (~boxed).sum()))

    def split_by_film(self, outputs: Predictions) -> list[Found]:
        """The boxes that stand, film by film."""
        task = self._task
        films = choose_boxes(outputs, least=task.least, overlap=task.overlap, most=task.most)
        return [Found(*(part.cpu() for part in film)) for film in films]

    def validate(self, predicted: FilmOutputs) -> dict[str, float]:
        """Of each label and in the mean over labels; NaN where val films have no box."""
        told: dict[str, list[float]] = {}
        named: dict[str, float] = {}
        for title, label in self._labels(predicted).items():
            if not label.films:
                continue
            ones = np.ones((1, len(label.films)))
            for name, estimate in quick_estimates(label.films).items():
                value = float(estimate(ones)[0])
                told.setdefault(name, []).append(value)
                named[f"{name}/{title}"] = value
        return {name: _mean(values) for name, values in told.items()} | named

    def selection_score(self, values: dict[str, float]) -> float:
        """The mean of AP50 and FROC: AP50 alone says nothing as long as no box fits well."""
        return (values["ap50"] + values["froc"]) / 2

    def evaluate_final(self, val: FilmOutputs, test: FilmOutputs | None, folder: Path) -> FinalEvaluation:
        """Thresholds on val; figures of both splits, FROC curves and films with their boxes."""
        splits = {"val": self._labels(val)} | ({"test": self._labels(test)} if test else {})
        silent = [title for title, label in splits["val"].items() if not label.films]
        no_threshold = [f"val {title}: no film has a value: no threshold is chosen." for title in silent]
        evaluator = DetectionEvaluator(splits, self.settings, self.index)
        return evaluator.write([*self._left_out, *no_threshold], folder)

    def _labels(self, predicted: FilmOutputs) -> dict[str, EvaluatedLabel]:
        """Name → the films of which the label is known, with what was found on them, in source raster pixels."""
        labels = {}
        mapped = [
            self._mapped(row, found) for row, found in zip(predicted.rows.tolist(), predicted.outputs, strict=True)
        ]
        for place, title in enumerate(self._task.titles):
            chosen = np.flatnonzero(self._judged.known[predicted.rows, place])
            films = [
                _of_label(place, mapped[number], self._judged, int(predicted.rows[number]))
                for number in chosen.tolist()
            ]
            rows = predicted.rows[chosen]
            labels[title] = EvaluatedLabel(rows, films, self._patients[rows])
        return labels

    def _mapped(self, row: int, found: Found) -> Mapped:
        if row not in self._frames:
            film = self.index.film(row)
            sized = whole_film_frame(film, SIZE_TOKENS, SIZE_PATCH)
            self._frames[row] = whole_film_frame(film, self.settings.tokens, self._patch), sized.magnification
        frame, unit = self._frames[row]
        corners = frame.to_source(found.corners.double().numpy())
        return Mapped(corners, found.scores.double().numpy(), found.labels.numpy(), unit)


def _boxed(known: KnownBoxes, rows: NDArray[np.int64], place: int) -> NDArray[np.bool_]:
    """[rows] which films have a box of the label at ``place``."""
    return np.array([bool((known.labels[row] == place).any()) for row in rows], dtype=np.bool_)


def _of_label(place: int, found: Mapped, known: KnownBoxes, row: int) -> FilmDetections:
    own = found.labels == place
    true = known.corners[row][known.labels[row] == place]
    return FilmDetections(found.corners[own], found.scores[own], true, found.unit)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _left_out_lines(policy: str, known: KnownBoxes) -> list[str]:
    return [
        f"{policy}{title}: films left out: " + ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
        for title, reasons in known.left_out.items()
        if reasons
    ]
