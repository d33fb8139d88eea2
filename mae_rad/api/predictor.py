"""``mae_rad.load_predictor``: film files → findings and boxes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mae_rad.api.film_files import read_files
from mae_rad.export import predictor_folder
from mae_rad.export.predictor_folder import Predictor
from mae_rad.prediction.answer_films import Answering
from mae_rad.prediction.answer_folder import PredictRequest
from mae_rad.prediction.film_reader import ReadFile
from mae_rad.prediction.in_scope import check_word
from mae_rad.prediction.record import Record
from mae_rad.prediction.settings import AnswerSettings


class FilmPredictor:
    """A finetuned model that takes files. For research. Not a medical device.

    Attributes:
        predictor: encoder and head, in evaluation mode.
        card: what its folder says of it.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.card = predictor, predictor.card

    def __repr__(self) -> str:
        return f"FilmPredictor({', '.join(self.card.labels)})"

    def predict(
        self,
        films: Sequence[str | Path],
        *,
        body_part: str | None = None,
        view: str | None = None,
        out_of_scope: Literal["refuse", "answer"] = "refuse",
    ) -> list[Record]:
        """Findings, and of a detection boxes, of every film: those that ``mae-rad predict`` writes.

        Args:
            films: paths of DICOM, PNG or JPEG files; a folder stands for its files, ordered by name.
            body_part: of films whose file does not state it.
            view: the same for the view position.
            out_of_scope: whether films of body parts or views unknown from training get findings.

        Returns:
            One record per film in the order of the files; ``status`` and ``reason`` say why one has no findings.

        Raises:
            ArchiveError: a path does not exist.
            PredictionError: body part or view are unknown from training.
        """
        check_word("body_part", body_part, self.card.scope.body_parts)
        check_word("view", view, self.card.scope.views)
        settings = AnswerSettings(
            body_part=body_part, view=view, out_of_scope=out_of_scope, overlays="none", explain="none", reports=False
        )
        answering = Answering(self.predictor, settings)
        records: list[Record] = []
        read = ReadFile(self.card.film, self.card.tokens, self.card.encoder.patch)
        for number, (file, found) in enumerate(read_files(films, read), 1):
            for film in answering.admitted(file, PredictRequest.of(number, file), found):
                records += [film] if isinstance(film, Record) else [one.record for one in answering.answers([film])]
        return records


def load_predictor(folder: str | Path) -> FilmPredictor:
    """Load a finetuned model.

    Args:
        folder: of a finetuning run, or a predictor folder.

    Raises:
        WeightsError: the folder holds no predictor, or it is damaged or of another version.
    """
    return FilmPredictor(predictor_folder.load_predictor(Path(folder)))
