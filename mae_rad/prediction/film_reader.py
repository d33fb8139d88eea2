"""Files → films as a model takes them, some ahead of their turn, in processes that a broken file may kill.

A file at which a process dies, or stays too long, is tried once more, alone; then it is given up, and the rest goes on.
"""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from pydicom import Dataset

from data_prep.errors import FilmReject, Reason
from data_prep.shard_format.sidecar import Sidecar
from data_prep.sharding.single_film import ArchiveFile, Preparation, begin_reading, read_films, spawn_pool
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
    file_seconds: float = 120,
    memory_gib: float = 8,
) -> Generator[tuple[ArchiveFile, Read]]:
    """All files in their order, each with what is in it.

    Args:
        files: to be read.
        read: in another process; it must not raise.
        workers: processes; 0 reads here, without protection.
        file_seconds: how long one file may take.
        memory_gib: memory that a process may take for one; 0 sets no limit.

    Raises:
        PredictionError: processes end before they begin.
    """
    if not workers:
        yield from ((file, read(file)) for file in files)
        return
    pools = _Pools(partial(_timed, read, file_seconds), file_seconds, memory_gib)
    rest, waiting = iter(files), deque[tuple[ArchiveFile, Future[Read]]]()
    try:
        while True:
            waiting.extend((file, pools.submit(file, workers)) for file in islice(rest, 2 * workers - len(waiting)))
            if not waiting:
                return
            file, future = waiting.popleft()
            yield file, pools.result(file, future)
    finally:
        pools.close()


class _Pools:
    """One pool for all files, and one of a single process for those that were under way when a process of it died."""

    def __init__(self, work: Callable[[ArchiveFile], Read], file_seconds: float, memory_gib: float) -> None:
        self._work, self._seconds, self._memory = work, file_seconds, memory_gib
        self._many: ProcessPoolExecutor | None = None
        self._one: ProcessPoolExecutor | None = None

    def submit(self, file: ArchiveFile, workers: int) -> Future[Read]:
        """Begin to read a file."""
        try:
            self._many = self._many or self._begin(workers)
            return self._many.submit(self._work, file)
        except BrokenProcessPool as broken:
            failed: Future[Read] = Future()
            failed.set_exception(broken)
            return failed

    def result(self, file: ArchiveFile, future: Future[Read]) -> Read:
        """Wait for a file; where the pool has died, it is read again alone."""
        try:
            return future.result()
        except BrokenProcessPool:
            if _is_broken(self._many):
                _end(self._many)
                self._many = None
        began = time.monotonic()
        try:
            self._one = self._one or self._begin(1)
            return self._one.submit(self._work, file).result()
        except BrokenProcessPool:
            _end(self._one)
            self._one = None
            late = time.monotonic() - began >= self._seconds
            return Reason.DECODER_TIMEOUT if late else Reason.DECODER_CRASHED

    def close(self) -> None:
        """End all processes."""
        _end(self._many)
        _end(self._one)

    def _begin(self, workers: int) -> ProcessPoolExecutor:
        pool = spawn_pool(workers, _begin, self._memory)
        try:
            pool.submit(os.getpid).result()
        except BrokenProcessPool:
            _end(pool)
            raise PredictionError(
                "the processes that read films end before they begin: is memory short? Try fewer runtime.workers;"
                " a script that calls predict() needs: if __name__ == '__main__'"
            ) from None
        return pool


def _is_broken(pool: ProcessPoolExecutor | None) -> bool:
    """Whether a process of it has died; another may have taken its place since."""
    try:
        if pool is not None:
            pool.submit(os.getpid)
    except BrokenProcessPool:
        return True
    return False


def _end(pool: ProcessPoolExecutor | None) -> None:
    if pool is not None:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(memory_gib: float) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    torch.set_num_threads(1)
    begin_reading(memory_gib)


def _timed(read: Callable[[ArchiveFile], Read], seconds: float, file: ArchiveFile) -> Read:
    """Be killed by the kernel where a file takes too long: code of a codec hears nothing else."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return read(file)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
