"""What a model says of films of one grid: scores or boxes, and maps of where they come from."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
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
from mae_rad.encoders.resnet import ResNet
from mae_rad.encoders.vit import ViT
from mae_rad.errors import PredictionError
from mae_rad.export.predictor_folder import Predictor
from mae_rad.heads.classification import ClassificationHead
from mae_rad.heads.interface import Boxes, Prediction
from mae_rad.prediction.answer_folder import PredictRequest, written
from mae_rad.prediction.answer_writer import WrittenAnswer
from mae_rad.prediction.film_reader import Read, ReadFilm
from mae_rad.prediction.in_scope import NO_LABEL, asked_labels, outside
from mae_rad.prediction.overlay import HeatMap
from mae_rad.prediction.record import Finding, FoundBox, Record
from mae_rad.prediction.settings import AnswerSettings

_log = logging.getLogger(__name__)


class AskedFilm(NamedTuple):
    """A film, what its record says before the answer, and the labels that it is asked for."""

    film: ReadFilm
    told: dict[str, Any]
    labels: tuple[str, ...]


class Answering:
    """A predictor at work.

    Raises:
        PredictionError: the device that is asked for is not there; or what is to explain does not fit the model.
    """

    def __init__(self, predictor: Predictor, settings: AnswerSettings) -> None:
        self._device = _device(settings.runtime.device)
        self._predictor, self._settings = predictor.to(self._device).eval(), settings
        self._labels, self._points = predictor.card.labels, predictor.card.operating_points
        if isinstance(predictor.encoder, ResNet) and not self.draws_boxes and _maps_wanted(settings) != "none":
            _log.warning("this model is a ResNet: pictures come without heat maps, which are drawn for a ViT only")
        elif _maps_wanted(settings) == "attention_rollout" and not self.draws_boxes and predictor.head.pooling is None:
            raise PredictionError(
                "explain=attention_rollout shows what a pooling takes, and this model (task.pool: max_score) scores"
                " patch by patch; leave explain out, and the scores are drawn"
            )

    @property
    def draws_boxes(self) -> bool:
        """Whether it answers with boxes."""
        return not isinstance(self._predictor.head, ClassificationHead)

    def admitted(self, file: ArchiveFile, asked: PredictRequest, films: Read) -> Iterator[AskedFilm | Record]:
        """The films of a file that get an answer; in the place of others, the record that says why not.

        Args:
            file: that was read.
            asked: its number, size and time.
            films: what it holds, or why it holds no film.
        """
        about: dict[str, Any] = {"path": written(file), **asked._asdict()}
        if isinstance(films, Reason):
            yield Record(**about, status="no_film", reason=films)
            return
        for film in films:
            known = about | self._about(film.sidecar) | {"frames": len(films)}
            reason = outside(self._predictor.card.scope, known["body_part"], known["view"])
            labels = self._labels_for(film.sidecar)
            if not labels or (reason is not None and self._settings.out_of_scope == "refuse"):
                yield Record(**known, status="out_of_scope", reason=reason or NO_LABEL)
            else:
                yield AskedFilm(film, {**known, "status": "answered", "reason": reason}, labels)

    def _about(self, sidecar: Sidecar) -> dict[str, Any]:
        """What a record says of a film, whatever the answer."""
        return {
            "frame": None if sidecar.frame is None else sidecar.frame + 1,
            "body_part": sidecar.body_part or self._settings.body_part,
            "view": sidecar.view or self._settings.view,
            "laterality": sidecar.laterality,
            "rows": sidecar.source_rows,
            "columns": sidecar.source_columns,
        }

    def _labels_for(self, sidecar: Sidecar) -> tuple[str, ...]:
        """The labels that films like this one are asked for."""
        about = self._about(sidecar)
        film = sidecar.model_dump() | {name: about[name] for name in ("body_part", "view")}
        return asked_labels(self._predictor.card.task.labels, film)

    def answers(self, asked: Sequence[AskedFilm]) -> list[WrittenAnswer]:
        """Answer films of one grid."""
        patches = stack([one.film.patches for one in asked]).to(self._device)
        records = self._records(asked, self._predictor.predict(patches))
        maps = self._maps(asked, records, patches)
        return [
            self._answer(one.film, record, of_film) for one, record, of_film in zip(asked, records, maps, strict=True)
        ]

    def _records(self, asked: Sequence[AskedFilm], prediction: Prediction) -> list[Record]:
        if prediction.boxes is not None:
            found = [self._boxes(one, boxes) for one, boxes in zip(asked, prediction.boxes, strict=True)]
            return [
                Record(**one.told, findings=self._findings(one, self._best(boxes)), boxes=tuple(boxes))
                for one, boxes in zip(asked, found, strict=True)
            ]
        assert prediction.probabilities is not None
        scores = prediction.probabilities.cpu().tolist()
        return [
            Record(**one.told, findings=self._findings(one, of_film))
            for one, of_film in zip(asked, scores, strict=True)
        ]

    def _answer(self, film: ReadFilm, record: Record, maps: tuple[HeatMap, ...]) -> WrittenAnswer:
        wanted = self._settings.overlays
        drawn = wanted == "all" or (wanted == "findings" and record.found)
        header = film.header if self._settings.reports else None
        return WrittenAnswer(record, film.stream, film.sidecar, header, maps if drawn else None)

    def _findings(self, asked: AskedFilm, scores: Sequence[float]) -> tuple[Finding, ...]:
        return tuple(
            Finding(label=label, score=score, reached=self._reached(label, score))
            for label, score in zip(self._labels, scores, strict=True)
            if label in asked.labels
        )

    def _reached(self, label: str, score: float) -> dict[str, bool]:
        return {name: score >= of_label[label] for name, of_label in self._points.items() if label in of_label}

    def _boxes(self, asked: AskedFilm, boxes: Boxes) -> list[FoundBox]:
        """In pixels of the source, the highest score first."""
        card, film = self._predictor.card, asked.film
        frame = whole_film_frame(Film(film.stream, film.sidecar), card.tokens, card.encoder.patch)
        corners = frame.to_source(boxes.corners.double().cpu().numpy()).tolist()
        labels = [self._labels[place] for place in boxes.labels.tolist()]
        found = [
            FoundBox(
                label=label,
                score=score,
                reached=self._reached(label, score),
                **dict(zip(EDGES, of_box, strict=True)),
            )
            for label, score, of_box in zip(labels, boxes.scores.tolist(), corners, strict=True)
            if label in asked.labels
        ]
        return sorted(found, key=lambda box: -box.score)

    def _best(self, boxes: Sequence[FoundBox]) -> list[float]:
        """The highest score of each label."""
        return [max((box.score for box in boxes if box.label == label), default=0.0) for label in self._labels]

    def _maps(
        self, asked: Sequence[AskedFilm], records: Sequence[Record], patches: Patches
    ) -> list[tuple[HeatMap, ...]]:
        """Maps of what is found, film by film."""
        reached = [[self._labels.index(one.label) for one in record.findings if one.found] for record in records]
        labels = sorted({place for of_film in reached for place in of_film})
        encoder, head = self._predictor.encoder, self._predictor.head
        wanted = _maps_wanted(self._settings)
        if wanted == "none" or not labels or not isinstance(encoder, ViT) or not isinstance(head, ClassificationHead):
            return [()] * len(asked)
        if wanted == "attention_rollout":
            from mae_rad.explain.attention_rollout import attention_rollout  # noqa: PLC0415 - only where it is asked for

            assert head.pooling is not None  # or __init__ has refused
            rolled = attention_rollout(encoder, head.pooling, patches, window=head.window).cpu().numpy()
            title = "where the model looks (attention rollout; yellow: most)"
            return [
                (HeatMap(title, flow.reshape(patches.grid)),) if places else ()
                for flow, places in zip(rolled, reached, strict=True)
            ]
        if head.pooling is None:
            how, speaks = "score of each patch", _patch_scores(encoder, head, patches)[:, labels]
        else:
            from mae_rad.explain.grad_cam import grad_cam  # noqa: PLC0415 - captum takes seconds to load

            how, speaks = "Grad-CAM", grad_cam(encoder, head, patches, labels, window=head.window)
        return [
            tuple(
                HeatMap(f"what speaks for {self._labels[place]} ({how}; yellow: most)", one.reshape(patches.grid))
                for place, one in zip(labels, of_film, strict=True)
                if place in places
            )
            for of_film, places in zip(speaks.cpu().numpy(), reached, strict=True)
        ]


@torch.no_grad()
def _patch_scores(encoder: ViT, head: ClassificationHead, patches: Patches) -> Tensor:
    """[B, L, N] ahead of calibration, whose slope may be negative: the highest patch is the one that spoke."""
    return torch.sigmoid(head.patch_logits(head.encode(encoder, patches)).float()).transpose(1, 2)


def _maps_wanted(settings: AnswerSettings) -> str:
    return settings.explain if settings.overlays != "none" else "none"


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise PredictionError("runtime.device=cuda: there is no usable GPU here; leave it at auto")
    return torch.device("cpu") if wanted == "cpu" else fast_device()
