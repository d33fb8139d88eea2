"""Pictures and Structured Reports of answers, drawn in processes of their own: each costs more than the answer."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.library_warnings import quiet
from data_prep.runtime.process_limits import raise_oom_score
from data_prep.runtime.worker_pool import spawn_pool
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.errors import PredictionError
from mae_rad.prediction.answer_folder import OVERLAYS, REPORTS
from mae_rad.prediction.overlay import HeatMap, draw_overlay
from mae_rad.prediction.record import Record
from mae_rad.prediction.structured_report import Author, encoded, structured_report

_PNG_LEVEL = 3
"""A third of the time of the default, a tenth larger."""


@dataclass(frozen=True)
class WrittenAnswer:
    """All that is to be written of one film.

    Attributes:
        record: without the names of what is written.
        stream: of the film.
        sidecar: of the film.
        header: of the DICOM file; None for images, or where no report is wanted.
        maps: beside the film; None where no picture is wanted.
    """

    record: Record
    stream: bytes
    sidecar: Sidecar
    header: Dataset | None
    maps: tuple[HeatMap, ...] | None


def write_answer(out: Path, author: Author, answer: WrittenAnswer) -> Record:
    """Write picture and report; the record with their names."""
    record = answer.record
    if answer.maps is not None:
        record = record.model_copy(update={"overlay": f"{record.name}.png"})
        picture = draw_overlay(answer.stream, answer.sidecar, record, answer.maps, author.points)
        with atomic_file(out / OVERLAYS / f"{record.name}.png") as file:
            picture.save(file, format="PNG", compress_level=_PNG_LEVEL)
    if answer.header is not None:
        record = record.model_copy(update=_report(answer.header, record, author, out))
    return record


def _report(header: Dataset, record: Record, author: Author, out: Path) -> dict[str, str]:
    """The name of the report, or what stands in its way: headers hold values that no new object may have."""
    name = f"{record.name}.dcm"
    try:
        with quiet():
            document = encoded(structured_report(header, record, author))
    except Exception as error:
        return {"no_report": type(error).__name__}
    with atomic_file(out / REPORTS / name) as file:
        file.write(document)
    return {"report": name}


class Writers:
    """Writes answers beside whatever else goes on; at most so many wait.

    Args:
        out: folder of the answers.
        author: of the reports.
        workers: processes; 0 writes here.
    """

    def __init__(self, out: Path, author: Author, workers: int) -> None:
        self._out, self._author = out, author
        self._most = 4 * workers
        self._pool = spawn_pool(workers, raise_oom_score) if workers else None
        self._waiting: deque[Future[Record]] = deque()

    def write(self, answer: WrittenAnswer) -> Iterator[Record]:
        """Begin to write one; records of those that are written."""
        if answer.maps is None and answer.header is None:
            yield answer.record
        elif self._pool is None:
            yield write_answer(self._out, self._author, answer)
        else:
            with _processes_live():
                self._waiting.append(self._pool.submit(write_answer, self._out, self._author, answer))
            while self._waiting and (len(self._waiting) > self._most or self._waiting[0].done()):
                yield self._next()

    def rest(self) -> Iterator[Record]:
        """Records of all that is still under way."""
        while self._waiting:
            yield self._next()

    def _next(self) -> Record:
        with _processes_live():
            return self._waiting.popleft().result()

    def close(self) -> None:
        """End all processes; what waits is not written."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@contextmanager
def _processes_live() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise PredictionError(
            "a process that writes pictures and reports was killed: is memory short? Run the same command with fewer"
            " runtime.workers: it goes on where it was"
        ) from None
