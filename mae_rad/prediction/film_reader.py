"""Reads film files into the input of a model, ahead of time on the decode pool."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

import torch
from pydicom import Dataset

from data_prep.errors import FilmReject, Reason
from data_prep.runtime.decode_pool import DecodeLimits, StartError, decode_in_order
from data_prep.shard_format.sidecar import Sidecar
from data_prep.sharding.single_film import ArchiveFile, PreparationSettings, read_films
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import CONTENT_SCALE, FilmScale
from mae_rad.data.views import FilmPatches, whole_film
from mae_rad.errors import PredictionError


@dataclass(frozen=True)
class ReadFilm:
    """A film and its patches.

    Attributes:
        stream: encoded pixels, as in a shard.
        sidecar: as in a shard.
        header: patient, study and object attributes of the DICOM header; None for images.
        patches: of the whole film at T of the model.
    """

    stream: bytes
    sidecar: Sidecar
    header: Dataset | None
    patches: FilmPatches


ReadResult = list[ReadFilm] | Reason
"""The films of a file, or the reason why it has none."""


@dataclass(frozen=True)
class FilmFileReader:
    """Reads one file; picklable, called in the reading processes.

    Attributes:
        preparation: settings with which the training films were prepared.
        tokens: T of the model.
        patch: side of its patches in pixels.
        scale: how large films are, as in training.
    """

    preparation: PreparationSettings
    tokens: int
    patch: int
    scale: FilmScale = CONTENT_SCALE

    def __call__(self, file: ArchiveFile) -> ReadResult:
        """Read all films of a file."""
        try:
            return [
                ReadFilm(film.stream, film.sidecar, film.header, self._patches(film.stream, film.sidecar))
                for film in read_films(file, self.preparation)
            ]
        except FilmReject as reject:
            return reject.reason
        except Exception:  # a decoder may raise anything; as in sharding, only this file is lost
            return Reason.DECODER_CRASHED

    def _patches(self, stream: bytes, sidecar: Sidecar) -> FilmPatches:
        return whole_film(Film(stream, sidecar, self.scale), self.tokens, self.patch)


def read_ahead(
    files: Iterable[ArchiveFile],
    read: Callable[[ArchiveFile], ReadResult],
    *,
    workers: int,
    file_timeout_seconds: float = 120,
    memory_gib: float = 8,
) -> Generator[tuple[ArchiveFile, ReadResult]]:
    """Read files in worker processes.

    Args:
        files: to read.
        read: reads one file, in another process; must not raise.
        workers: number of processes; 0 reads in this process, without limits.
        file_timeout_seconds: time limit of a file.
        memory_gib: memory limit of a process in GiB; 0 sets no limit.

    Returns:
        Each file with its films, in the given order.

    Raises:
        PredictionError: the processes end at their start.
    """
    if not workers:
        yield from ((file, read(file)) for file in files)
        return
    limits = DecodeLimits(workers, file_timeout_seconds=file_timeout_seconds, memory_gib=memory_gib)
    try:
        yield from decode_in_order(files, read, limits, use_one_thread)
    except StartError:
        raise PredictionError(
            "the processes that read films end at their start, possibly for lack of memory. Use fewer runtime.workers"
        ) from None


def use_one_thread() -> None:
    """Set up a process that reads films."""
    torch.set_num_threads(1)
