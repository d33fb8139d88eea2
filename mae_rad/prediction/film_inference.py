"""Predicts films of one grid: scores or boxes, and heat maps."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.errors import Reason
from data_prep.shard_format.boxes import EDGES
from data_prep.shard_format.sidecar import Sidecar
from data_prep.sharding.single_film import ArchiveFile
from mae_rad.data.batch import Patches
from mae_rad.data.box_frames import whole_film_frame
from mae_rad.data.film import Film
from mae_rad.data.views import stack
from mae_rad.encoders.precision import fast_device
from mae_rad.encoders.vit import ViT
from mae_rad.errors import PredictionError
from mae_rad.export.predictor_folder import Predictor
from mae_rad.heads import MulticlassSettings, RegressionSettings
from mae_rad.heads.interface import Boxes, Prediction
from mae_rad.heads.pooled_head import PooledHead
from mae_rad.prediction.film_reader import ReadFilm, ReadResult
from mae_rad.prediction.in_scope import NO_LABEL, labels_for_film, out_of_scope_reason, scope_without_answers
from mae_rad.prediction.overlay import HeatMap
from mae_rad.prediction.prediction_folder import PredictRequest, escaped_path
from mae_rad.prediction.prediction_writer import Documents, PredictedFilm
from mae_rad.prediction.record import Finding, FoundBox, PredictedClass, PredictedNumber, Record
from mae_rad.prediction.settings import InferenceSettings

_log = logging.getLogger(__name__)

_FINE = 16
"""Cells per patch and axis in which a heat map is cut to its film."""


class FilmRequest(NamedTuple):
    """A film to predict.

    Attributes:
        film: with its patches.
        fields: of its record that are known before the prediction.
        labels: names of the labels that apply to it.
    """

    film: ReadFilm
    fields: dict[str, Any]
    labels: tuple[str, ...]


class FilmInference:
    """A predictor on a device, with the settings of its output.

    Args:
        predictor: encoder and head.
        settings: of the predictions.

    Raises:
        PredictionError: the device is not available, or ``explain`` does not apply to the model.
    """

    def __init__(self, predictor: Predictor, settings: InferenceSettings) -> None:
        self._device = _device(settings.runtime.device)
        self._predictor, self._settings = predictor.to(self._device).eval(), settings
        self._labels, self._operating_points = predictor.card.labels, predictor.card.operating_points
        self._task = predictor.card.task
        self._required_scope = scope_without_answers(predictor.card.scope, self._task)
        self._has_findings = not isinstance(self._task, RegressionSettings | MulticlassSettings)
        if not isinstance(predictor.encoder, ViT) and not self.predicts_boxes and _heat_map_method(settings) != "none":
            _log.warning("pictures have no heat maps: they are available for a ViT only")
        elif (
            _heat_map_method(settings) == "attention_rollout"
            and not self.predicts_boxes
            and predictor.head.pooling is None
        ):
            raise PredictionError(
                "explain=attention_rollout needs a pooling, and this model (task.pool: max_score) has none. Leave"
                " explain out to draw the scores of the patches"
            )

    @property
    def predicts_boxes(self) -> bool:
        """Whether the model predicts boxes."""
        return not isinstance(self._predictor.head, PooledHead)

    def admitted(self, file: ArchiveFile, request: PredictRequest, films: ReadResult) -> Iterator[FilmRequest | Record]:
        """Select the films of a file that are predicted.

        Args:
            file: that was read.
            request: its number, size and modification time.
            films: of the file, or the reason why it has none.

        Returns:
            Per film a request, or a record with the reason why it is not predicted.
        """
        file_fields: dict[str, Any] = {"path": escaped_path(file), **request._asdict()}
        if isinstance(films, Reason):
            yield Record(**file_fields, status="no_film", reason=films)
            return
        for film in films:
            fields = file_fields | self._film_fields(film.sidecar) | {"frames": len(films)}
            reason = out_of_scope_reason(self._predictor.card.scope, fields["body_part"], fields["view"])
            refused = out_of_scope_reason(self._required_scope, fields["body_part"], fields["view"])
            labels = self._labels_for(film.sidecar)
            if not labels or (refused is not None and self._settings.out_of_scope == "refuse"):
                yield Record(**fields, status="out_of_scope", reason=refused or NO_LABEL)
            else:
                answered = {"status": "answered", "reason": reason, "warnings": self._warnings_for(labels)}
                yield FilmRequest(film, fields | answered, labels)

    def _film_fields(self, sidecar: Sidecar) -> dict[str, Any]:
        """Fields of the record that come from the sidecar, or from the settings where it has none."""
        return {
            "frame": None if sidecar.frame is None else sidecar.frame + 1,
            "body_part": sidecar.body_part or self._settings.body_part,
            "view": sidecar.view or self._settings.view,
            "laterality": sidecar.laterality,
            "rows": sidecar.source_rows,
            "columns": sidecar.source_columns,
        }

    def _labels_for(self, sidecar: Sidecar) -> tuple[str, ...]:
        """Names of the labels that apply to the film."""
        fields = self._film_fields(sidecar)
        film = sidecar.model_dump() | {name: fields[name] for name in ("body_part", "view")}
        return labels_for_film(self._task.targets, film)

    def _warnings_for(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Warnings of the answers that a film gets."""
        warned = self._predictor.card.chance_warnings.items()
        return tuple(
            f"{answer} is not shown to be better than chance: {why}" for answer, why in warned if answer in labels
        )

    def answers(self, requests: Sequence[FilmRequest]) -> list[PredictedFilm]:
        """Predict films.

        Args:
            requests: B films of one grid.

        Returns:
            Per film, its record and what is needed to write picture and report.
        """
        patches = stack([request.film.patches for request in requests]).to(self._device)
        records = self._records(requests, self._predictor.predict(patches))
        maps = self._maps(records, patches)
        return [
            self._to_write(request.film, record, film_maps)
            for request, record, film_maps in zip(requests, records, maps, strict=True)
        ]

    def _records(self, requests: Sequence[FilmRequest], prediction: Prediction) -> list[Record]:
        if prediction.boxes is not None:
            films = [self._boxes(request, boxes) for request, boxes in zip(requests, prediction.boxes, strict=True)]
            return [
                Record(**request.fields, findings=self._findings(request, self._best_scores(boxes)), boxes=tuple(boxes))
                for request, boxes in zip(requests, films, strict=True)
            ]
        if prediction.numbers is not None:
            return [
                Record(**request.fields, numbers=self._numbers(request, values))
                for request, values in zip(requests, prediction.numbers.cpu().tolist(), strict=True)
            ]
        if prediction.class_probabilities is not None:
            return [
                Record(**request.fields, classes=(self._class(values),))
                for request, values in zip(requests, prediction.class_probabilities.cpu().tolist(), strict=True)
            ]
        assert prediction.probabilities is not None
        scores = prediction.probabilities.cpu().tolist()
        return [
            Record(**request.fields, findings=self._findings(request, film_scores))
            for request, film_scores in zip(requests, scores, strict=True)
        ]

    def _to_write(self, film: ReadFilm, record: Record, maps: tuple[HeatMap, ...]) -> PredictedFilm:
        wanted = self._settings.overlays
        has_picture = wanted == "all" or (wanted == "findings" and record.found)
        has_answer = record.numbers or record.classes
        documents = Documents(
            report=film.header is not None and self._settings.reports and (self._has_findings or bool(has_answer)),
            state=film.header is not None and self._settings.presentation_states,
        )
        shown = tuple(one._replace(values=self._on_film(film, one.values)) for one in maps) if has_picture else None
        return PredictedFilm(record, film.stream, film.sidecar, film.header, shown, documents)

    def _on_film(self, film: ReadFilm, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The part of a heat map [rows, columns] of patches that covers the film; patches may extend beyond it."""
        card, sidecar = self._predictor.card, film.sidecar
        region = Film(film.stream, sidecar, card.encoder.film_scale).layout(card.tokens, card.encoder.patch).region
        if (region.rows, region.columns) == (sidecar.rows, sidecar.columns):
            return values
        fine = np.kron(values, np.ones((_FINE, _FINE), np.float32))
        rows, columns = (
            round(length * side / extent)
            for length, side, extent in zip(
                fine.shape, (sidecar.rows, sidecar.columns), (region.rows, region.columns), strict=True
            )
        )
        return np.asarray(fine[:rows, :columns], dtype=np.float32)

    def _numbers(self, request: FilmRequest, values: Sequence[float]) -> tuple[PredictedNumber, ...]:
        assert isinstance(self._task, RegressionSettings)
        return tuple(
            PredictedNumber(label=number.title, value=value, unit=number.unit)
            for number, value in zip(self._task.numbers, values, strict=True)
            if number.title in request.labels
        )

    def _class(self, values: Sequence[float]) -> PredictedClass:
        probabilities = dict(zip(self._labels, values, strict=True))
        predicted = max(probabilities, key=probabilities.__getitem__)
        assert isinstance(self._task, MulticlassSettings)
        target = self._task.target
        return PredictedClass(
            label=target.title, predicted=predicted, probabilities=probabilities, column=target.column or ""
        )

    def _findings(self, request: FilmRequest, scores: Sequence[float]) -> tuple[Finding, ...]:
        return tuple(
            Finding(label=label, score=score, reached=self._reached(label, score))
            for label, score in zip(self._labels, scores, strict=True)
            if label in request.labels
        )

    def _reached(self, label: str, score: float) -> dict[str, bool]:
        return {
            name: score >= thresholds[label]
            for name, thresholds in self._operating_points.items()
            if label in thresholds
        }

    def _boxes(self, request: FilmRequest, boxes: Boxes) -> list[FoundBox]:
        """Boxes in source raster pixels, in descending order of the score."""
        card, film = self._predictor.card, request.film
        frame = whole_film_frame(
            Film(film.stream, film.sidecar, card.encoder.film_scale), card.tokens, card.encoder.patch
        )
        corners = frame.to_source(boxes.corners.double().cpu().numpy()).tolist()
        labels = [self._labels[place] for place in boxes.labels.tolist()]
        found = [
            FoundBox(
                label=label,
                score=score,
                reached=self._reached(label, score),
                **dict(zip(EDGES, edges, strict=True)),
            )
            for label, score, edges in zip(labels, boxes.scores.tolist(), corners, strict=True)
            if label in request.labels
        ]
        return sorted(found, key=lambda box: -box.score)

    def _best_scores(self, boxes: Sequence[FoundBox]) -> list[float]:
        """The highest score of each label."""
        return [max((box.score for box in boxes if box.label == label), default=0.0) for label in self._labels]

    def _maps(self, records: Sequence[Record], patches: Patches) -> list[tuple[HeatMap, ...]]:
        """Heat maps of the labels that count as found, or of the predicted class, film by film."""
        found = [
            [self._labels.index(finding.label) for finding in record.findings if finding.found]
            + [self._labels.index(answer.predicted) for answer in record.classes]
            for record in records
        ]
        labels = sorted({label for film_labels in found for label in film_labels})
        encoder, head = self._predictor.encoder, self._predictor.head
        method = _heat_map_method(self._settings)
        if method == "none" or not labels or not isinstance(encoder, ViT) or not isinstance(head, PooledHead):
            return [()] * len(records)
        if method == "attention_rollout":
            from mae_rad.explain.attention_rollout import attention_rollout  # noqa: PLC0415 - only where it is needed

            assert head.pooling is not None  # checked in __init__
            rolled = attention_rollout(encoder, head.pooling, patches, window=head.window).cpu().numpy()
            title = "where the model looks (attention rollout; yellow: most)"
            return [
                (HeatMap(title, flow.reshape(patches.grid)),) if film_labels else ()
                for flow, film_labels in zip(rolled, found, strict=True)
            ]
        if head.pooling is None:
            name, maps = "score of each patch", _patch_scores(encoder, head, patches)[:, labels]
        else:
            from mae_rad.explain.grad_cam import grad_cam  # noqa: PLC0415 - captum takes seconds to load

            name, maps = "Grad-CAM", grad_cam(encoder, head, patches, labels, window=head.window)
        return [
            tuple(
                HeatMap(f"evidence for {self._labels[label]} ({name}; yellow: most)", values.reshape(patches.grid))
                for label, values in zip(labels, film_maps, strict=True)
                if label in film_labels
            )
            for film_maps, film_labels in zip(maps.cpu().numpy(), found, strict=True)
        ]


@torch.no_grad()
def _patch_scores(encoder: ViT, head: PooledHead, patches: Patches) -> Tensor:
    """[B, L, N] scores before calibration: its slope may be negative, and the highest patch gives the film's score."""
    return torch.sigmoid(head.patch_logits(head.encode(encoder, patches)).float()).transpose(1, 2)


def _heat_map_method(settings: InferenceSettings) -> str:
    return settings.explain if settings.overlays != "none" else "none"


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise PredictionError("runtime.device=cuda: there is no usable GPU. Use auto")
    return torch.device("cpu") if wanted == "cpu" else fast_device()
