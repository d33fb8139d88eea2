"""Files → films as a model takes them, some ahead of their turn, on the decode pool."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

import torch
from pydicom import Dataset

from data_prep.errors import FilmReject, Reason
from data_prep.runtime.decode_pool import DecodeLimits, StartError, decode_in_order
from data_prep.shard_format.sidecar import Sidecar
from data_prep.sharding.single_film import ArchiveFile, Preparation, read_films
from mae_rad.data.film import Film
from mae_rad.data.views import FilmPatches, whole_film
from mae_rad.errors import PredictionError


@dataclass(frozen=True)
class ReadFilm:
    """A film, and what the model sees of it.

    Attributes:
        stream: of its pixels, as in a shard.
        sidecar: as in a shard.
        header: what the DICOM header says of patient, study and object; None for images.
        patches: the whole film at the model's T.
    """

    stream: bytes
    sidecar: Sidecar
    header: Dataset | None
    patches: FilmPatches


Read = list[ReadFilm] | Reason
"""The films of a file, or why it holds none."""


@dataclass(frozen=True)
class ReadFile:
    """Reads one file; travels to the processes.

    Attributes:
        preparation: of the films that the model was trained on.
        tokens: T of the model.
        patch: side of its patches in pixels.
    """

    preparation: Preparation
    tokens: int
    patch: int

    def __call__(self, file: ArchiveFile) -> Read:
        """Read all films of a file."""
        try:
            return [
                ReadFilm(film.stream, film.sidecar, film.header, self._patches(film.stream, film.sidecar))
                for film in read_films(file, self.preparation)
            ]
        except FilmReject as reject:
            return reject.reason
        except Exception:  # a decoder may raise anything: as in sharding, this costs one file
            return Reason.DECODER_CRASHED

    def _patches(self, stream: bytes, sidecar: Sidecar) -> FilmPatches:
        return whole_film(Film(stream, sidecar), self.tokens, self.patch)


def read_ahead(
    files: Iterable[ArchiveFile],
    read: Callable[[ArchiveFile], Read],
    *,
    workers: int,
    file_timeout_seconds: float = 120,
    memory_gib: float = 8,
) -> Generator[tuple[ArchiveFile, Read]]:
    """All files in their order, each with what is in it.

    Args:
        files: to be read.
        read: in another process; it must not raise.
        workers: processes; 0 reads here, without protection.
        file_timeout_seconds: how long one file may take.
        memory_gib: memory that a process may take for one; 0 sets no limit.

    Raises:
        PredictionError: processes end before they begin.
    """
    if not workers:
        yield from ((file, read(file)) for file in files)
        return
    limits = DecodeLimits(workers, file_timeout_seconds=file_timeout_seconds, memory_gib=memory_gib)
    try:
        yield from decode_in_order(files, read, limits, _begin)
    except StartError:
        raise PredictionError(
            "the processes that read films end before they begin: is memory short? Try fewer runtime.workers;"
            " a script that calls predict() needs: if __name__ == '__main__'"
        ) from None


def _begin() -> None:
    torch.set_num_threads(1)
