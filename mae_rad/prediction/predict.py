"""Files → answers of a model, a few films at a time, however many there are.

A film takes the way of sharding and of the whole-film view, so that it is answered as it would be in its shard. What
cannot be read, or is of a kind that the model has not seen, gets its reason instead of an answer.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from data_prep.runtime.progress import Progress
from data_prep.sharding.single_film import ArchiveFile, list_files
from mae_rad.data.patch_layout import grid_of
from mae_rad.export.predictor_card import PredictorCard
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.prediction.answer_films import Answering, AskedFilm
from mae_rad.prediction.answer_folder import AnswerFolder, PredictRequest, answer_folder
from mae_rad.prediction.answer_writer import Writers, WrittenAnswer
from mae_rad.prediction.film_reader import Read, ReadFile, read_ahead
from mae_rad.prediction.in_scope import check_word
from mae_rad.prediction.record import Record
from mae_rad.prediction.settings import PredictSettings
from mae_rad.prediction.structured_report import Author
from mae_rad.prediction.summary import Summary, summarise

_BATCHES_WAITING = 4
"""Films have different grids, and only equal ones go together: so many batches of them wait for others, at most."""


def predict(model: Path, inputs: Sequence[Path], settings: PredictSettings) -> Summary:
    """Ask the predictor folder ``model`` of all films of ``inputs``, files and folders.

    Raises:
        WeightsError: ``model`` is no sound predictor folder.
        ArchiveError: an input does not exist or holds no file.
        PredictionError: the folder ``settings.out`` cannot be used, or a setting does not fit the model.
    """
    predictor = load_predictor(model)
    card = predictor.card
    check_word("body_part", settings.body_part, card.scope.body_parts)
    check_word("view", settings.view, card.scope.views)
    answering = Answering(predictor, settings)
    files = list_files(inputs)
    identity = {
        "model": card.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json", exclude={"out", "runtime"}),
    }
    with answer_folder(settings.out, identity, inputs) as folder:
        _Run(answering, card, folder, settings).ask(files)
        points = tuple(card.operating_points)
        folder.write_tables(card.labels, points, boxes=answering.draws_boxes)
        return summarise(folder.records(), settings.out, card.labels, points)


class _Run:
    """One command."""

    def __init__(
        self, answering: Answering, card: PredictorCard, folder: AnswerFolder, settings: PredictSettings
    ) -> None:
        self._answering, self._card, self._folder, self._settings = answering, card, folder, settings
        self._author = Author(
            name=card.task.name,
            version=card.weights_sha256[:16],
            program=version("mae_rad"),
            run=folder.run,
            points=card.operating_points,
        )
        self._waiting: dict[tuple[int, int], list[AskedFilm]] = {}
        """Grid → films."""

    def ask(self, files: Sequence[ArchiveFile]) -> None:
        """Answer all files that have no answer yet."""
        undone, runtime = self._folder.undone(files), self._settings.runtime
        read = ReadFile(self._card.film, self._card.tokens, self._card.encoder.patch)
        progress = Progress("predict", "files", len(files), done=len(files) - len(undone))
        writers = Writers(self._folder.path, self._author, runtime.workers)
        reading = read_ahead(
            undone,
            read,
            workers=runtime.workers,
            file_timeout_seconds=runtime.file_timeout_seconds,
            memory_gib=runtime.memory_gib,
        )
        try:
            for file, films in reading:
                for answer in self._taken(file, undone[file], films):
                    self._keep(writers.write(answer))
                progress.add()
            while self._waiting:
                for answer in self._fullest():
                    self._keep(writers.write(answer))
            self._keep(writers.rest())
        finally:
            reading.close()
            writers.close()
            progress.close()

    def _keep(self, records: Iterator[Record]) -> None:
        for record in records:
            self._folder.add(record)

    def _taken(self, file: ArchiveFile, asked: PredictRequest, films: Read) -> Iterator[WrittenAnswer]:
        """Take up the films of a file; answers of a batch, once there is one."""
        for film in self._answering.admitted(file, asked, films):
            if isinstance(film, Record):
                self._folder.add(film)
                continue
            grid = grid_of(len(film.film.patches.coords), film.film.patches.size)
            group = self._waiting.setdefault(grid, [])
            group.append(film)
            size = self._settings.runtime.batch_size
            if len(group) == size:
                yield from self._answering.answers(self._waiting.pop(grid))
            elif sum(map(len, self._waiting.values())) >= _BATCHES_WAITING * size:
                yield from self._fullest()

    def _fullest(self) -> list[WrittenAnswer]:
        """Answers for the most films that wait together."""
        grid = max(self._waiting, key=lambda grid: len(self._waiting[grid]))
        return self._answering.answers(self._waiting.pop(grid))
