"""Detection as a task: boxes of findings, AP50 and FROC on val, thresholds by false positives and pictures at last.

Legend: F films, L labels, K boxes of a film.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.box_geometry import Boxes, BoxFrame, whole_film_frame
from mae_rad.data.shards import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.detection_metrics import (
    SIZE_PATCH,
    SIZE_TOKENS,
    detection_estimates,
    quick_estimates,
    threshold_at,
)
from mae_rad.evaluation.detections import FilmDetections
from mae_rad.evaluation.froc_figure import draw_froc
from mae_rad.evaluation.intervals import bootstrap, interval
from mae_rad.finetuning.box_films import CutSquare, FilmBoxes, PlaceBoxes, stack_boxes
from mae_rad.finetuning.box_gallery import FilmView, draw_gallery
from mae_rad.finetuning.known_boxes import KnownBoxes, known_boxes
from mae_rad.finetuning.results import ALL, Result, write_results
from mae_rad.finetuning.settings import FinetuneSettings
from mae_rad.finetuning.task import Answered, Task, Verdict
from mae_rad.heads.base import Boxes as Found
from mae_rad.heads.box_head import Predictions, choose_boxes
from mae_rad.heads.detection import DetectionSettings

_log = logging.getLogger(__name__)

OPERATING_RATES = (0.25, 1.0, 4.0)
"""False positives per film at which thresholds are chosen, on val."""
SHOWN_AT = 1.0
"""… of the pictures."""
_MEASURED = ("ap50", "ap", "froc", "sensitivity_at_1", "film_auroc")


class Mapped(NamedTuple):
    """What was found on one film, in source raster pixels, and how large a pixel is at the size of sizes."""

    corners: Boxes
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    unit: float


class Label(NamedTuple):
    """The films of one split on which all boxes of a label are told.

    Attributes:
        rows: [F] places in the index.
        films: F films' boxes, in source raster pixels.
        patients: [F] number of the patient.
    """

    rows: NDArray[np.int64]
    films: list[FilmDetections]
    patients: NDArray[np.int64]


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
        for label, reasons in self._learned.left_out.items():
            if reasons:
                words = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
                _log.info("%s: films left out: %s", label, words)
        patients = index.table.column("patient").combine_chunks().dictionary_encode().indices
        self._patients = patients.to_numpy().astype(np.int64)
        self._frames: dict[int, tuple[BoxFrame, float]] = {}

    def known(self, split: str) -> NDArray[np.bool_]:
        """Films on which all boxes of some label are told."""
        return np.asarray((self._learned if split == "train" else self._judged).known.any(axis=1))

    def target(self, rows: NDArray[np.int64]) -> PlaceBoxes:
        """Boxes in the pixels of each view."""
        known = self._learned
        self._refuse_without_boxes(rows)
        weights = np.array([label.weight for label in self._task.labels], dtype=np.float32)
        return PlaceBoxes(
            [known.corners[row] for row in rows],
            [known.labels[row] for row in rows],
            known.known[rows] * weights,
            self.settings.film.tokens,
            self._patch,
        )

    def cut(self) -> CutSquare | None:
        """Squares, where asked for."""
        return CutSquare(self._task.crop, self._patch) if self._task.crop else None

    def frequencies(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Such that films with and without boxes come up equally often, where that was asked for."""
        if self._task.balance == "none":
            return None
        boxed = np.array([len(self._learned.labels[row]) > 0 for row in rows])
        if boxed.all():
            return None
        return np.asarray(np.where(boxed, 0.5 / max(1, boxed.sum()), 0.5 / (~boxed).sum()))

    def apart(self, outputs: Predictions) -> list[Found]:
        """The boxes that stand, film by film."""
        task = self._task
        films = choose_boxes(outputs, least=task.least, overlap=task.overlap, most=task.most)
        return [Found(*(part.cpu() for part in film)) for film in films]

    def judge(self, answered: Answered) -> dict[str, float]:
        """Of each label and in the mean over labels; NaN where val films have no box."""
        told: dict[str, list[float]] = {}
        named: dict[str, float] = {}
        for title, label in self._labels(answered).items():
            ones = np.ones((1, len(label.films)))
            for name, estimate in quick_estimates(label.films).items():
                value = float(estimate(ones)[0])
                told.setdefault(name, []).append(value)
                named[f"{name}/{title}"] = value
        return {name: _mean(values) for name, values in told.items()} | named

    def goodness(self, values: dict[str, float]) -> float:
        """The mean of AP50 and FROC: AP50 alone says nothing as long as no box fits well."""
        return (values["ap50"] + values["froc"]) / 2

    def conclude(self, val: Answered, test: Answered | None, folder: Path) -> Verdict:
        """Thresholds on val; figures of both splits in ``results.parquet``, FROC curves and films as pictures."""
        points: dict[str, dict[str, float]] = {}
        on_val = self._labels(val)
        for title, label in on_val.items():
            for rate in OPERATING_RATES:
                if (threshold := threshold_at(label.films, rate)) is not None:
                    points.setdefault(f"{rate:g} false positives per film", {})[title] = threshold
        results: list[Result] = []
        on_test = self._labels(test) if test else {}
        for split, labels in (("val", on_val), ("test", on_test)):
            for title, label in labels.items():
                results += self._results(title, split, label)
        write_results(results, folder / "results.parquet")
        self._draw(on_test or on_val, points.get(f"{SHOWN_AT:g} false positives per film", {}), folder)
        return Verdict({}, points, _measured(results), _values(results))

    def _labels(self, answered: Answered) -> dict[str, Label]:
        """Name → the films of which the label is known, with what was found on them, in source raster pixels."""
        labels = {}
        mapped = [self._mapped(row, found) for row, found in zip(answered.rows.tolist(), answered.outputs, strict=True)]
        for place, title in enumerate(self._task.titles):
            chosen = np.flatnonzero(self._judged.known[answered.rows, place])
            films = [
                _of_label(place, mapped[number], self._judged, int(answered.rows[number])) for number in chosen.tolist()
            ]
            rows = answered.rows[chosen]
            labels[title] = Label(rows, films, self._patients[rows])
        return labels

    def _mapped(self, row: int, found: Found) -> Mapped:
        if row not in self._frames:
            film = self.index.film(row)
            sized = whole_film_frame(film, SIZE_TOKENS, SIZE_PATCH)
            self._frames[row] = whole_film_frame(film, self.settings.film.tokens, self._patch), sized.magnification
        frame, unit = self._frames[row]
        corners = frame.to_source(found.corners.double().numpy())
        return Mapped(corners, found.scores.double().numpy(), found.labels.numpy(), unit)

    def _results(self, title: str, split: str, label: Label) -> list[Result]:
        if not label.films:
            return []
        estimates = {name: [estimate] for name, estimate in detection_estimates(label.films).items()}
        repetitions = self.settings.evaluation.repetitions
        drawn = bootstrap(label.patients, estimates, repetitions=repetitions, seed=0)
        present = sum(len(film.true) > 0 for film in label.films)
        counts = len(label.films), len(np.unique(label.patients)), present
        return [Result(title, split, ALL, name, "", *interval(drawn[name]), *counts) for name in estimates]

    def _draw(self, labels: Mapping[str, Label], thresholds: Mapping[str, float], folder: Path) -> None:
        films = {title: label.films for title, label in labels.items()}
        patients = {title: label.patients for title, label in labels.items()}
        repetitions = self.settings.evaluation.repetitions
        draw_froc(films, patients, folder / "froc.png", repetitions=repetitions)
        for title, label in labels.items():
            view = FilmView(self.index, self.settings.film.tokens, self._patch)
            draw_gallery(title, label.rows, label.films, thresholds.get(title, 1.0), view, folder)

    def _refuse_without_boxes(self, rows: NDArray[np.int64]) -> None:
        for place, title in enumerate(self._task.titles):
            if not any((self._learned.labels[row] == place).any() for row in rows):
                raise EvaluationError(
                    f"no training film has a box of {title!r}; widen data.where or data.label_fraction,"
                    " or leave the label out"
                )


def _of_label(place: int, found: Mapped, known: KnownBoxes, row: int) -> FilmDetections:
    own = found.labels == place
    true = known.corners[row][known.labels[row] == place]
    return FilmDetections(found.corners[own], found.scores[own], true, found.unit)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _values(results: Sequence[Result]) -> dict[str, float]:
    return {f"{one.metric}/{one.label}": one.value for one in results if one.split == "test"}


def _measured(results: Sequence[Result]) -> dict[str, str]:
    shown = [one for one in results if one.split == "test" and one.metric in _MEASURED]
    return {
        f"{one.label}: {one.metric} ({one.n_present} of {one.n_films} films with boxes, {one.n_patients} patients)": (
            f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
        )
        for one in shown
    }
