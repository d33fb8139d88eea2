"""Spawned processes that decode files: what ends or stops one of them costs one file, and nothing else.

Decoders are C code that reads whatever lies on the disk. Each process has a limit of memory, is the first that the
kernel ends when memory runs out, and reports into shared memory at which file it is. A file at which its process ends
is :class:`Lost` as ``decoder_crashed``; one that takes longer than it may has its process ended and is lost as
``decoder_timeout``. Either is tried once more. Where other files may be the cause (the kernel ended the process, as it
does when memory is short, or the file took too long) it is tried once all others are done, with no other process.

:class:`DecodePool` does jobs of one or more files and hands results out as they come; :func:`decode_in_order` decodes
single files some ahead of their turn, and keeps their order.
"""

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from multiprocessing import connection
from threading import Lock, Thread
from typing import Generic, TypeVar

from data_prep.errors import Reason
from data_prep.runtime.decode_process import DecodeProcess, Watch

Job = TypeVar("Job")
Result = TypeVar("Result")
File = TypeVar("File")

TRIES = 2
"""How often a file is tried at which its process ends."""

_POLL_SECONDS = 0.5
_FALSE_STARTS = 3
"""Processes that may end before they begin, one after the other."""


@dataclass(frozen=True)
class DecodeLimits:
    """What the processes of a pool may take.

    Attributes:
        workers: processes.
        file_timeout_seconds: how long one file may take.
        restart_after_files: a process that has done so many files is replaced.
        memory_gib: address space that a process may add to what it begins with; 0: no limit.
    """

    workers: int
    file_timeout_seconds: float = 120
    restart_after_files: int = 5000
    memory_gib: float = 8


@dataclass(frozen=True)
class Lost:
    """A job whose process has ended.

    Attributes:
        file: number that :meth:`Watch.begins` was given; -1: between files.
        reason: ``decoder_crashed`` or ``decoder_timeout``.
        alone: whether other processes may be the cause, so that the next try should be alone.
    """

    file: int
    reason: Reason
    alone: bool


class StartError(Exception):
    """The processes of a pool end before they begin; the argument is their exit code."""


class DecodePool(Generic[Job, Result]):
    """Processes that do jobs of one or more files, each watched by the leading process.

    Args:
        decode: does a job; travels to the processes. What it raises ends the pool.
        limits: of the processes.
        begin: is called first in each process, before memory is limited.

    Attributes:
        pending: jobs that were submitted and have no result yet.
        waiting: those of them that no process has begun, but for those that are to be alone.
    """

    def __init__(
        self, decode: Callable[[Job, Watch], Result], limits: DecodeLimits, begin: Callable[[], object] | None = None
    ) -> None:
        self._limits = limits
        self._start: Callable[[], DecodeProcess] = partial(DecodeProcess, decode, limits.memory_gib, begin)
        self._workers: list[DecodeProcess] = []
        self._shared: deque[Job] = deque()
        self._alone: deque[Job] = deque()
        self._false_starts = 0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def waiting(self) -> int:
        """Number of jobs."""
        return len(self._shared)

    @property
    def pending(self) -> int:
        """Number of jobs."""
        return len(self._shared) + len(self._alone) + len(self._busy())

    def submit(self, job: Job, *, alone: bool = False) -> None:
        """Let ``job`` be done; ``alone``: once all others are, with no other process."""
        (self._alone if alone else self._shared).append(job)

    def poll(self) -> list[tuple[Job, Result | Lost]]:
        """Assign jobs, wait a moment, and end processes that are too long at a file; jobs that are done, or lost.

        Raises:
            StartError: processes end before they begin.
            Exception: whatever ``decode`` raised.
        """
        self._assign()
        readable = set(connection.wait([*(worker.connection for worker in self._workers), self._wake], _POLL_SECONDS))
        if self._wake in readable:
            os.eventfd_read(self._wake)
        done = [one for worker in list(self._workers) if worker.connection in readable for one in self._receive(worker)]
        now = time.monotonic_ns()
        for worker in self._busy():
            file = worker.cell.file
            if file >= 0 and now - worker.cell.since_ns > self._limits.file_timeout_seconds * 1e9:
                done += self._lose(worker, file, Reason.DECODER_TIMEOUT)
        return done

    def wake(self) -> None:
        """Let :meth:`poll` return at once; may be called by another thread."""
        os.eventfd_write(self._wake, 1)

    def under_way(self) -> tuple[int, int]:
        """Films and refused files of the jobs that are being done."""
        cells = [worker.cell for worker in self._busy()]
        return sum(cell.films for cell in cells), sum(cell.refused for cell in cells)

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        os.close(self._wake)

    def _busy(self) -> list[DecodeProcess]:
        return [worker for worker in self._workers if worker.job is not None]

    def _assign(self) -> None:
        """Give jobs to idle processes, and start as many as there is work for."""
        busy = self._busy()
        if any(worker.alone for worker in busy):
            return
        for worker in [worker for worker in self._workers if worker.ready and worker.job is None]:
            if self._shared:
                worker.assign(self._shared.popleft())
                busy.append(worker)
            elif self._alone and not busy:
                for other in [other for other in self._workers if other is not worker]:
                    self._remove(other)
                worker.assign(self._alone.popleft(), alone=True)
                return
        idle = len(self._workers) - len(busy)
        wanted = min(self._limits.workers - len(busy), len(self._shared) or int(bool(self._alone and not busy)))
        self._workers += [self._start() for _ in range(wanted - idle)]

    def _receive(self, worker: DecodeProcess) -> list[tuple[Job, Result | Lost]]:
        try:
            failed, value = worker.receive()
        except EOFError:
            return self._lose(worker, worker.cell.file, Reason.DECODER_CRASHED)
        if failed:
            raise value
        if worker.job is None:
            worker.ready, self._false_starts = True, 0
            return []
        job = worker.release()
        if worker.files >= self._limits.restart_after_files:
            self._remove(worker)
        return [(job, value)]

    def _lose(self, worker: DecodeProcess, file: int, reason: Reason) -> list[tuple[Job, Result | Lost]]:
        """A process has ended, or has to, at ``file`` (-1: at none)."""
        code = self._remove(worker)
        if not worker.ready:
            self._false_starts += 1
            if self._false_starts == _FALSE_STARTS:
                raise StartError(code)
        if worker.job is None:
            return []
        return [(worker.job, Lost(file, reason, reason is Reason.DECODER_TIMEOUT or code == -signal.SIGKILL))]

    def _remove(self, worker: DecodeProcess) -> int | None:
        self._workers.remove(worker)
        return worker.end()


def decode_in_order(
    files: Iterable[File],
    decode: Callable[[File], Result],
    limits: DecodeLimits,
    begin: Callable[[], object] | None = None,
) -> Generator[tuple[File, Result | Reason]]:
    """All files in their order, each with what ``decode`` returns or, where its process ends twice, the reason.

    Args:
        files: some of them are taken ahead of their turn.
        decode: is called in another process; travels there.
        limits: of the processes.
        begin: is called first in each process.

    Raises:
        StartError: processes end before they begin.
        Exception: whatever ``decode`` raised.
    """
    rest, under_way = iter(files), deque[tuple[File, Future[Result | Reason]]]()
    background = _Background(partial(_decode_one, decode), limits, begin)
    try:
        while True:
            ahead = islice(rest, 2 * limits.workers - len(under_way))
            under_way.extend((file, background.submit(file)) for file in ahead)
            if not under_way:
                return
            file, future = under_way.popleft()
            yield file, future.result()
    finally:
        background.close()


def _decode_one(decode: Callable[[File], Result], job: tuple[int, File], watch: Watch) -> Result:
    number, file = job
    watch.begins(number)
    try:
        return decode(file)
    finally:
        watch.ends(1, 0)


class _Background(Generic[File, Result]):
    """A pool in a thread of its own: its processes work on while the caller does something else with a result."""

    def __init__(
        self,
        decode: Callable[[tuple[int, File], Watch], Result],
        limits: DecodeLimits,
        begin: Callable[[], object] | None,
    ) -> None:
        self._pool: DecodePool[tuple[int, File], Result] = DecodePool(decode, limits, begin)
        self._numbers = count()
        self._submitted: deque[tuple[int, File]] = deque()
        self._futures: dict[int, Future[Result | Reason]] = {}
        self._tries: Counter[int] = Counter()
        self._error: BaseException | None = None
        self._lock = Lock()
        self._closing = False
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, file: File) -> Future[Result | Reason]:
        """Begin to decode ``file``."""
        future: Future[Result | Reason] = Future()
        with self._lock:
            if self._error is not None:
                future.set_exception(self._error)
                return future
            number = next(self._numbers)
            self._futures[number] = future
            self._submitted.append((number, file))
            self._pool.wake()
        return future

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._closing = True
            self._pool.wake()
        self._thread.join()
        self._pool.close()

    def _run(self) -> None:
        try:
            while not self._closing:
                while self._submitted:
                    self._pool.submit(self._submitted.popleft())
                for job, outcome in self._pool.poll():
                    self._finish(job, outcome)
        except BaseException as error:
            with self._lock:
                self._error = error
                for future in self._futures.values():
                    future.set_exception(error)

    def _finish(self, job: tuple[int, File], outcome: Result | Lost) -> None:
        number, _ = job
        if isinstance(outcome, Lost):
            self._tries[number] += 1
            if self._tries[number] < TRIES:
                self._pool.submit(job, alone=outcome.alone)
                return
        with self._lock:
            self._futures.pop(number).set_result(outcome.reason if isinstance(outcome, Lost) else outcome)
