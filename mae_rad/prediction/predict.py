"""Predicts film files with a finetuned model, in batches of films with equal grids.

Films are prepared by the functions that write shards, so that a prediction equals that for the film in its shard. A
file that cannot be read, or that is out of scope, gets a reason instead of a prediction.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from data_prep.runtime.progress import Progress
from data_prep.sharding.single_film import ArchiveFile, list_files
from mae_rad.data.patch_layout import grid_of
from mae_rad.export.predictor_card import PredictorCard
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.prediction.answer_columns import AnswerColumns
from mae_rad.prediction.dicom_document import Author
from mae_rad.prediction.film_inference import FilmInference, FilmRequest
from mae_rad.prediction.film_reader import FilmFileReader, ReadResult, read_ahead
from mae_rad.prediction.in_scope import check_in_training
from mae_rad.prediction.prediction_folder import PredictionFolder, PredictRequest, open_prediction_folder
from mae_rad.prediction.prediction_writer import PredictedFilm, PredictionWriter
from mae_rad.prediction.record import Record
from mae_rad.prediction.settings import PredictSettings
from mae_rad.prediction.summary import Summary, summarise

_MAX_INCOMPLETE_BATCHES = 4
"""Batches of different grids that wait for more films, at most."""


def predict(model: Path, inputs: Sequence[Path], settings: PredictSettings) -> Summary:
    """Predict all films of files and folders, and write the output folder.

    Args:
        model: folder of a finetuning run, or its predictor folder.
        inputs: files, and folders of files.
        settings: of the predictions; ``out`` is the output folder.

    Returns:
        Summary to print, and exit code.

    Raises:
        WeightsError: ``model`` is not a predictor folder, or damaged.
        ArchiveError: an input does not exist or holds no file.
        PredictionError: the folder ``settings.out`` cannot be used, or a setting does not apply to the model.
    """
    predictor = load_predictor(model)
    card = predictor.card
    check_in_training("body_part", settings.body_part, card.scope.body_parts)
    check_in_training("view", settings.view, card.scope.views)
    inference = FilmInference(predictor, settings)
    files = list_files(inputs, broken_links=True)
    identity = {
        "model": card.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json", exclude={"out", "runtime"}),
    }
    with open_prediction_folder(settings.out, identity, inputs) as folder:
        _Run(inference, card, folder, settings).predict_files(files)
        columns = AnswerColumns.of(card)
        folder.write_tables(columns, boxes=inference.predicts_boxes)
        return summarise(folder.records(), settings.out, columns)


class _Run:
    """One call of :func:`predict`."""

    def __init__(
        self, inference: FilmInference, card: PredictorCard, folder: PredictionFolder, settings: PredictSettings
    ) -> None:
        self._inference, self._card, self._folder, self._settings = inference, card, folder, settings
        self._author = Author(
            name=card.task.name,
            version=card.weights_sha256[:16],
            program=version("mae_rad"),
            run=folder.run,
            points=card.operating_points,
            chance_warnings=card.chance_warnings,
        )
        self._batches: dict[tuple[int, int], list[FilmRequest]] = {}
        """Grid → films that wait for a full batch."""

    def predict_files(self, files: Sequence[ArchiveFile]) -> None:
        """Predict all files that have no prediction yet."""
        pending, runtime = self._folder.pending(files), self._settings.runtime
        read = FilmFileReader(
            self._card.film, self._card.tokens, self._card.encoder.patch, self._card.encoder.film_scale
        )
        progress = Progress("predict", "files", len(files), done=len(files) - len(pending))
        writer = PredictionWriter(self._folder.path, self._author, runtime.workers)
        reading = read_ahead(
            pending,
            read,
            workers=runtime.workers,
            file_timeout_seconds=runtime.file_timeout_seconds,
            memory_gib=runtime.memory_gib,
        )
        try:
            for file, films in reading:
                for film in self._add_films(file, pending[file], films):
                    self._keep(writer.write(film))
                progress.add()
            while self._batches:
                for film in self._predict_largest_batch():
                    self._keep(writer.write(film))
            self._keep(writer.finish())
        finally:
            reading.close()
            writer.close()
            progress.close()

    def _keep(self, records: Iterator[Record]) -> None:
        for record in records:
            self._folder.add(record)

    def _add_films(self, file: ArchiveFile, file_request: PredictRequest, films: ReadResult) -> Iterator[PredictedFilm]:
        """Add the films of a file to the batches; yields the predictions of a batch that is full."""
        for request in self._inference.admitted(file, file_request, films):
            if isinstance(request, Record):
                self._folder.add(request)
                continue
            grid = grid_of(len(request.film.patches.coords), request.film.patches.size)
            group = self._batches.setdefault(grid, [])
            group.append(request)
            size = self._settings.runtime.batch_size
            if len(group) == size:
                yield from self._inference.answers(self._batches.pop(grid))
            elif sum(map(len, self._batches.values())) >= _MAX_INCOMPLETE_BATCHES * size:
                yield from self._predict_largest_batch()

    def _predict_largest_batch(self) -> list[PredictedFilm]:
        """Predict the incomplete batch with the most films."""
        grid = max(self._batches, key=lambda grid: len(self._batches[grid]))
        return self._inference.answers(self._batches.pop(grid))
