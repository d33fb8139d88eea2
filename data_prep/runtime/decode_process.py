"""One spawned process of the decode pool, which reports its current file to its parent."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawValue
from types import ModuleType
from typing import Any, Protocol

import cv2

from data_prep.runtime.process_limits import forbid_core_dump, limit_memory, raise_oom_score
from data_prep.runtime.worker_pool import die_with_parent


class Watch(Protocol):
    """Receives the progress of a job, so that another process knows the current file."""

    def begins(self, file: int) -> None:
        """Report that work on the file with this number starts."""

    def ends(self, films: int, refused: int) -> None:
        """Report that files are done.

        Args:
            films: number of files that became films.
            refused: number of files that were rejected.
        """


class SharedCell(ctypes.Structure):
    """Progress of a process in shared memory, without a lock, which a killed process could keep.

    Only the process writes; its parent reads.
    """

    _fields_ = (
        ("file", ctypes.c_longlong),
        ("since_ns", ctypes.c_longlong),
        ("films", ctypes.c_longlong),
        ("refused", ctypes.c_longlong),
    )
    file: int
    """Number of the file; -1 between files."""
    since_ns: int
    """Time when work on it started, in ns of the monotonic clock, which all processes share."""
    films: int
    """Number of files of the current job that became films."""
    refused: int
    """Number of files of the current job that were rejected."""


class _CellWatch:
    """Writes the progress of a job into a cell."""

    def __init__(self, cell: SharedCell) -> None:
        self._cell = cell

    def begins(self, file: int) -> None:
        self._cell.since_ns = time.monotonic_ns()
        self._cell.file = file

    def ends(self, films: int, refused: int) -> None:
        self._cell.file = -1
        self._cell.films += films
        self._cell.refused += refused


_MAIN_SCRIPT = threading.Lock()
"""Held while the module of the user's script is replaced, so that no other thread takes the replacement for it."""


@contextmanager
def _without_main_script() -> Iterator[None]:
    """Start processes that do not run the script of the user again, who then need not write it for that."""
    with _MAIN_SCRIPT:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class DecodeProcess:
    """The parent's side of a process.

    Args:
        decode: runs a job.
        memory_gib: address space that the process may allocate beyond that at its start, in GiB; 0: no limit.
        initializer: is called first, before memory is limited; None: nothing is called.

    Attributes:
        connection: readable when the process has sent a message or has ended.
        cell: progress of the process.
        job: current job; None where the process is idle.
        alone: whether the current job must run alone.
        ready: whether the process can receive jobs.
        files: number of files that it has finished.
    """

    def __init__(self, decode: Callable[..., Any], memory_gib: float, initializer: Callable[[], object] | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, child_connection = context.Pipe()
        self.cell: SharedCell = RawValue(SharedCell, -1, 0, 0, 0)
        self.job: Any = None
        self.alone = self.ready = False
        self.files = 0
        values = (child_connection, self.cell, os.getpid(), memory_gib, initializer, decode)
        self._process = context.Process(target=_run_jobs, args=values, daemon=True)
        old_mask = signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT}
        )  # the child inherits it, from its first line
        try:
            with _without_main_script():
                self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        child_connection.close()

    def assign(self, job: Any, *, alone: bool = False) -> None:
        """Send a job to an idle process; ``alone`` is recorded with it."""
        self.cell.films = self.cell.refused = 0
        self.job, self.alone = job, alone
        try:
            self.connection.send(job)
        except OSError:  # the process has ended, which receive() reports
            return

    def receive(self) -> tuple[bool, Any]:
        """Receive (whether the job failed, its result or exception); the first message says that the process is ready.

        Raises:
            EOFError: the process has ended.
        """
        try:
            received: tuple[bool, Any] = self.connection.recv()
        except OSError:  # the process has ended in the middle of a message
            raise EOFError from None
        return received

    def release(self) -> Any:
        """Mark the process as idle; the job that it has finished."""
        job, self.job, self.alone = self.job, None, False
        self.files += self.cell.films + self.cell.refused
        return job

    def end(self) -> int | None:
        """Kill the process; its exit code, negative for a signal, None where the kernel could not end it."""
        self._process.kill()
        self._process.join(timeout=5)  # a process that waits for a disk which does not respond cannot be killed
        self.connection.close()
        code: int | None = self._process.exitcode
        return code


def _run_jobs(
    pipe: Connection,
    cell: SharedCell,
    parent: int,
    memory_gib: float,
    initializer: Callable[[], object] | None,
    decode: Callable[..., Any],
) -> None:
    die_with_parent(parent)
    raise_oom_score()
    forbid_core_dump()
    cv2.setNumThreads(1)
    if initializer:
        initializer()
    limit_memory(memory_gib)
    watch = _CellWatch(cell)
    pipe.send((False, None))
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            outcome = False, decode(job, watch)
        except Exception as error:
            outcome = True, error
        pipe.send(outcome)
