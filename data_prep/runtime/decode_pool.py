"""Spawned processes that decode files, so that a crash or a blocked decoder costs one file only.

Decoders are C code that reads untrusted files. Each process has a memory limit, is the first that the kernel kills when
memory runs out, and reports its current file in shared memory.

===============  ==================================================================================================
decoder_crashed  the process ended while it decoded the file
decoder_timeout  the file took longer than the limit, and its process was killed
===============  ==================================================================================================

Such a job is :class:`LostJob` and is tried once more. Where other processes may be the cause (the kernel killed the
process, as it does when memory is short, or the file took too long), the second try runs alone, once all other jobs are
done. :class:`DecodePool` returns the results of jobs as they finish; :func:`decode_in_order` keeps the order of files;
:class:`BackgroundPool` decodes what is asked for, one file after another.
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

MAX_TRIES = 2
"""Largest number of times that a file is tried."""

_POLL_SECONDS = 0.5
_MAX_FAILED_STARTS = 3
"""Number of processes in a row that may end before they are ready."""


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of the processes of a pool.

    Attributes:
        workers: number of processes.
        file_timeout_seconds: time that one file may take, in seconds.
        restart_after_files: number of files after which a process is replaced.
        memory_gib: address space that a process may allocate beyond that at its start, in GiB; 0: no limit.
    """

    workers: int
    file_timeout_seconds: float = 120
    restart_after_files: int = 5000
    memory_gib: float = 8


@dataclass(frozen=True)
class LostJob:
    """A job whose process has ended.

    Attributes:
        file: number of the file, from :meth:`Watch.begins`; -1: between files.
        reason: ``decoder_crashed`` or ``decoder_timeout``.
        alone: whether other processes may be the cause, so that the next try should run alone.
    """

    file: int
    reason: Reason
    alone: bool


class StartError(Exception):
    """The processes of a pool end before they are ready; the argument is their exit code."""


class DecodePool(Generic[Job, Result]):
    """Processes that run jobs of one or more files, monitored by the main process.

    Args:
        decode: runs a job; must be picklable. An exception that it raises ends the pool.
        limits: of the processes.
        initializer: is called first in each process, before memory is limited.

    Attributes:
        pending: number of submitted jobs without a result.
        waiting: number of those that no process has started, without those that are to run alone.
    """

    def __init__(
        self,
        decode: Callable[[Job, Watch], Result],
        limits: DecodeLimits,
        initializer: Callable[[], object] | None = None,
    ) -> None:
        self._limits = limits
        self._start_process: Callable[[], DecodeProcess] = partial(
            DecodeProcess, decode, limits.memory_gib, initializer
        )
        self._workers: list[DecodeProcess] = []
        self._queue: deque[Job] = deque()
        self._alone_queue: deque[Job] = deque()
        self._failed_starts = 0
        self._wake_event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def waiting(self) -> int:
        """Number of jobs."""
        return len(self._queue)

    @property
    def pending(self) -> int:
        """Number of jobs."""
        return len(self._queue) + len(self._alone_queue) + len(self._busy())

    def submit(self, job: Job, *, alone: bool = False) -> None:
        """Queue a job.

        Args:
            job: input of ``decode``.
            alone: run it once all other jobs are done, with no other process.
        """
        (self._alone_queue if alone else self._queue).append(job)

    def poll(self) -> list[tuple[Job, Result | LostJob]]:
        """Assign jobs, wait for results for at most half a second, and kill processes whose file takes too long.

        Returns:
            Jobs that have ended, each with its result or as lost.

        Raises:
            StartError: processes end before they are ready.
            Exception: whatever ``decode`` raised.
        """
        self._assign()
        readable = set(
            connection.wait([*(worker.connection for worker in self._workers), self._wake_event], _POLL_SECONDS)
        )
        if self._wake_event in readable:
            os.eventfd_read(self._wake_event)
        received = [self._receive(worker) for worker in list(self._workers) if worker.connection in readable]
        done = [outcome for outcomes in received for outcome in outcomes]
        now = time.monotonic_ns()
        for worker in self._busy():
            file = worker.cell.file
            if file >= 0 and now - worker.cell.since_ns > self._limits.file_timeout_seconds * 1e9:
                done += self._lose(worker, file, Reason.DECODER_TIMEOUT)
        return done

    def wake(self) -> None:
        """Make :meth:`poll` return at once; may be called by another thread."""
        os.eventfd_write(self._wake_event, 1)

    def under_way(self) -> tuple[int, int]:
        """Numbers of films and of rejected files that the running jobs have finished."""
        cells = [worker.cell for worker in self._busy()]
        return sum(cell.films for cell in cells), sum(cell.refused for cell in cells)

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        os.close(self._wake_event)

    def _busy(self) -> list[DecodeProcess]:
        return [worker for worker in self._workers if worker.job is not None]

    def _assign(self) -> None:
        """Assign jobs to idle processes, and start as many processes as there are jobs for."""
        busy = self._busy()
        if any(worker.alone for worker in busy):
            return
        for worker in [worker for worker in self._workers if worker.ready and worker.job is None]:
            if self._queue:
                worker.assign(self._queue.popleft())
                busy.append(worker)
            elif self._alone_queue and not busy:
                for other in [other for other in self._workers if other is not worker]:
                    self._remove(other)
                worker.assign(self._alone_queue.popleft(), alone=True)
                return
        idle = len(self._workers) - len(busy)
        needed = min(self._limits.workers - len(busy), len(self._queue) or int(bool(self._alone_queue and not busy)))
        self._workers += [self._start_process() for _ in range(needed - idle)]

    def _receive(self, worker: DecodeProcess) -> list[tuple[Job, Result | LostJob]]:
        try:
            failed, value = worker.receive()
        except EOFError:
            return self._lose(worker, worker.cell.file, Reason.DECODER_CRASHED)
        if failed:
            raise value
        if worker.job is None:
            worker.ready, self._failed_starts = True, 0
            return []
        job = worker.release()
        if worker.files >= self._limits.restart_after_files:
            self._remove(worker)
        return [(job, value)]

    def _lose(self, worker: DecodeProcess, file: int, reason: Reason) -> list[tuple[Job, Result | LostJob]]:
        """Remove a process that has ended or must be killed while it decodes ``file`` (-1: none); its job, if any."""
        code = self._remove(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts == _MAX_FAILED_STARTS:
                raise StartError(code)
        if worker.job is None:
            return []
        return [(worker.job, LostJob(file, reason, reason is Reason.DECODER_TIMEOUT or code == -signal.SIGKILL))]

    def _remove(self, worker: DecodeProcess) -> int | None:
        self._workers.remove(worker)
        return worker.end()


def decode_in_order(
    files: Iterable[File],
    decode: Callable[[File], Result],
    limits: DecodeLimits,
    initializer: Callable[[], object] | None = None,
) -> Generator[tuple[File, Result | Reason]]:
    """Decode files in other processes and yield the results in the order of the files.

    Args:
        files: some are taken ahead of the one that is yielded.
        decode: is called in another process; must be picklable.
        limits: of the processes.
        initializer: is called first in each process, before memory is limited.

    Yields:
        Each file with the result of ``decode`` or, where its process ended at every try, the reason.

    Raises:
        StartError: processes end before they are ready.
        Exception: whatever ``decode`` raised.
    """
    remaining, submitted = iter(files), deque[tuple[File, Future[Result | Reason]]]()
    background = BackgroundPool(decode, limits, initializer)
    try:
        while True:
            ahead = islice(remaining, 2 * limits.workers - len(submitted))
            submitted.extend((file, background.submit(file)) for file in ahead)
            if not submitted:
                return
            file, future = submitted.popleft()
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


class BackgroundPool(Generic[File, Result]):
    """A pool that a thread polls, so that its processes stay busy while the caller uses a result.

    Args:
        decode: is called in another process; must be picklable.
        limits: of the processes.
        initializer: is called first in each process, before memory is limited.
    """

    def __init__(
        self,
        decode: Callable[[File], Result],
        limits: DecodeLimits,
        initializer: Callable[[], object] | None = None,
    ) -> None:
        self._pool: DecodePool[tuple[int, File], Result] = DecodePool(partial(_decode_one, decode), limits, initializer)
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
        """Queue ``file``; the future receives its result, or the reason for which its process ended at every try."""
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

    def _finish(self, job: tuple[int, File], outcome: Result | LostJob) -> None:
        number, _ = job
        if isinstance(outcome, LostJob):
            self._tries[number] += 1
            if self._tries[number] < MAX_TRIES:
                self._pool.submit(job, alone=outcome.alone)
                return
        with self._lock:
            self._futures.pop(number).set_result(outcome.reason if isinstance(outcome, LostJob) else outcome)
