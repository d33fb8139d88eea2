"""Writes pictures and DICOM documents of predictions in worker processes: each takes longer than the prediction."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset

from data_prep.runtime.atomic_write import atomic_file
from data_prep.runtime.library_warnings import silence_libraries
from data_prep.runtime.process_limits import raise_oom_score
from data_prep.runtime.worker_pool import spawn_pool
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.errors import PredictionError
from mae_rad.prediction.dicom_document import Author
from mae_rad.prediction.overlay import HeatMap, draw_overlay
from mae_rad.prediction.prediction_folder import OVERLAYS, REPORTS, STATES
from mae_rad.prediction.presentation_state import encode_state, presentation_state
from mae_rad.prediction.record import Record
from mae_rad.prediction.structured_report import encode_report, structured_report

_PNG_LEVEL = 3
"""Compression level: a third of the time of the default, files a tenth larger."""


class Documents(NamedTuple):
    """Which DICOM documents of a film are written.

    Attributes:
        report: a Structured Report.
        state: a Grayscale Softcopy Presentation State.
    """

    report: bool
    state: bool


@dataclass(frozen=True)
class PredictedFilm:
    """Everything that is written for one film.

    Attributes:
        record: without the names of the files.
        stream: encoded pixels.
        sidecar: of the film.
        header: of the DICOM file; None for images.
        maps: heat maps next to the film; None where no picture is wanted.
        documents: to write; they need a header.
    """

    record: Record
    stream: bytes
    sidecar: Sidecar
    header: Dataset | None
    maps: tuple[HeatMap, ...] | None
    documents: Documents


def write_prediction(out: Path, author: Author, film: PredictedFilm) -> Record:
    """Write picture, report and presentation state of one film.

    Args:
        out: output folder.
        author: of the report.
        film: what to write.

    Returns:
        The record with the names of the files.
    """
    record = film.record
    if film.maps is not None:
        record = record.model_copy(update={"overlay": f"{record.name}.png"})
        picture = draw_overlay(film.stream, film.sidecar, record, film.maps, author.points)
        with atomic_file(out / OVERLAYS / f"{record.name}.png") as file:
            picture.save(file, format="PNG", compress_level=_PNG_LEVEL)
    if film.header is not None and film.documents.report:
        record = record.model_copy(update=_document("report", _report, film.header, record, author, out / REPORTS))
    if film.header is not None and film.documents.state:
        record = record.model_copy(update=_document("state", _state, film.header, record, author, out / STATES))
    return record


def _document(
    kind: str,
    encode: Callable[[Dataset, Record, Author], bytes],
    header: Dataset,
    record: Record,
    author: Author,
    folder: Path,
) -> dict[str, str]:
    """Write a document; without a valid one (headers hold values that DICOM does not allow), return the error class."""
    name = f"{record.name}.dcm"
    try:
        with silence_libraries():
            document = encode(header, record, author)
    except Exception as error:
        return {f"no_{kind}": type(error).__name__}
    with atomic_file(folder / name) as file:
        file.write(document)
    return {kind: name}


def _report(header: Dataset, record: Record, author: Author) -> bytes:
    return encode_report(structured_report(header, record, author))


def _state(header: Dataset, record: Record, author: Author) -> bytes:
    return encode_state(presentation_state(header, record, author))


class PredictionWriter:
    """Writes pictures and reports in worker processes; at most 4 films per process are queued.

    Args:
        out: output folder.
        author: of the reports.
        workers: number of processes; 0 writes in this process.
    """

    def __init__(self, out: Path, author: Author, workers: int) -> None:
        self._out, self._author = out, author
        self._max_queued = 4 * workers
        self._pool = spawn_pool(workers, raise_oom_score) if workers else None
        self._queued: deque[Future[Record]] = deque()

    def write(self, film: PredictedFilm) -> Iterator[Record]:
        """Queue one film; yields the records of the films that have been written."""
        if film.maps is None and not any(film.documents):
            yield film.record
        elif self._pool is None:
            yield write_prediction(self._out, self._author, film)
        else:
            with _worker_errors():
                self._queued.append(self._pool.submit(write_prediction, self._out, self._author, film))
            while self._queued and (len(self._queued) > self._max_queued or self._queued[0].done()):
                yield self._next()

    def finish(self) -> Iterator[Record]:
        """Wait for all queued films; yields their records."""
        while self._queued:
            yield self._next()

    def _next(self) -> Record:
        with _worker_errors():
            return self._queued.popleft().result()

    def close(self) -> None:
        """Stop all processes; queued films are not written."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@contextmanager
def _worker_errors() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise PredictionError(
            "a process that writes pictures and reports was killed, possibly for lack of memory. Run the same command"
            " again with fewer runtime.workers: it resumes"
        ) from None
