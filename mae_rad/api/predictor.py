"""``mae_rad.load_predictor``: predict findings and boxes of film files."""

from pathlib import Path
from typing import Literal

from data_prep.folder_url import local_path
from mae_rad.api.film_files import Films, read_films
from mae_rad.export import predictor_folder
from mae_rad.export.predictor_folder import Predictor
from mae_rad.prediction.film_inference import FilmInference
from mae_rad.prediction.film_reader import FilmFileReader
from mae_rad.prediction.in_scope import check_in_training
from mae_rad.prediction.prediction_folder import PredictRequest
from mae_rad.prediction.record import Record
from mae_rad.prediction.settings import InferenceSettings


class FilmPredictor:
    """A finetuned model that predicts from film files. For research. Not a medical device.

    Attributes:
        predictor: encoder and head in evaluation mode.
        card: contents of ``predictor.json``.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.card = predictor, predictor.card

    def __repr__(self) -> str:
        return f"FilmPredictor({', '.join(self.card.labels)})"

    def predict(
        self,
        films: Films,
        *,
        body_part: str | None = None,
        view: str | None = None,
        out_of_scope: Literal["refuse", "answer"] = "refuse",
    ) -> list[Record]:
        """Predict the findings, and the boxes of a detection, that ``mae-rad predict`` writes.

        Args:
            films: paths of DICOM, PNG or JPEG files; a folder stands for its files, ordered by name. Or arrays
                [rows, columns] of display values, dark to bright: uint8, uint16, or float in [0, 1]; they state
                neither body part nor view.
            body_part: body part of the films whose file does not state one.
            view: view position of the films whose file does not state one.
            out_of_scope: ``refuse`` gives no findings for body parts and views that training did not include.

        Returns:
            One record per film in the order of the files; ``status`` and ``reason`` explain missing findings.

        Raises:
            ArchiveError: a path does not exist.
            EvaluationError: an array is not a film.
            PredictionError: training did not include this body part or view.
        """
        check_in_training("body_part", body_part, self.card.scope.body_parts)
        check_in_training("view", view, self.card.scope.views)
        settings = InferenceSettings(
            body_part=body_part,
            view=view,
            out_of_scope=out_of_scope,
            overlays="none",
            explain="none",
            reports=False,
            presentation_states=False,
        )
        answering = FilmInference(self.predictor, settings)
        records: list[Record] = []
        read = FilmFileReader(self.card.film, self.card.tokens, self.card.encoder.patch, self.card.encoder.film_scale)
        for number, (_, file, content) in enumerate(read_films(films, read), 1):
            for film in answering.admitted(file, PredictRequest.of(number, file), content):
                records += (
                    [film] if isinstance(film, Record) else [answer.record for answer in answering.answers([film])]
                )
        return records


def load_predictor(folder: str | Path) -> FilmPredictor:
    """Load a finetuned model.

    Args:
        folder: folder of a finetuning run, or predictor folder.

    Raises:
        WeightsError: the folder holds no predictor, or one that is damaged or of another version.
    """
    return FilmPredictor(predictor_folder.load_predictor(local_path(folder)))
