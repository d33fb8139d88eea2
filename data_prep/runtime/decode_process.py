"""One spawned process of the decode pool, which lets its parent see at which file it is."""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawValue
from typing import Any, Protocol

import cv2

from data_prep.runtime.process_limits import limit_memory, raise_oom_score
from data_prep.runtime.worker_pool import die_with_parent


class Watch(Protocol):
    """Is informed how far a job is, so that another process knows what this one is busy with."""

    def begins(self, file: int) -> None:
        """Work on the file of this number begins."""

    def ends(self, films: int, refused: int) -> None:
        """Work on files has ended: so many became films, so many did not."""


class SharedCell(ctypes.Structure):
    """Where a process is. It alone writes, the parent reads: no lock that a killed process could keep."""

    _fields_ = (
        ("file", ctypes.c_longlong),
        ("since_ns", ctypes.c_longlong),
        ("films", ctypes.c_longlong),
        ("refused", ctypes.c_longlong),
    )
    file: int
    """Number of the file; -1 between files."""
    since_ns: int
    """When work on it began, on the monotonic clock, which all processes share."""
    films: int
    refused: int
    """Files of the present job that are done."""


class _CellWatch:
    """Writes into the cell how far a job is."""

    def __init__(self, cell: SharedCell) -> None:
        self._cell = cell

    def begins(self, file: int) -> None:
        self._cell.since_ns = time.monotonic_ns()
        self._cell.file = file

    def ends(self, films: int, refused: int) -> None:
        self._cell.file = -1
        self._cell.films += films
        self._cell.refused += refused


class DecodeProcess:
    """The parent's side of a process.

    Args:
        decode: does a job.
        memory_gib: address space that it may add to what it begins with; 0: no limit.
        begin: is called first, before memory is limited; None: nothing is.

    Attributes:
        connection: readable when the process has sent something or has ended.
        cell: where it is.
        job: what it is doing; None where it is idle.
        alone: whether that job is to be alone.
        ready: whether it has begun to receive jobs.
        files: how many it has done.
    """

    def __init__(self, decode: Callable[..., Any], memory_gib: float, begin: Callable[[], object] | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.cell: SharedCell = RawValue(SharedCell, -1, 0, 0, 0)
        self.job: Any = None
        self.alone = self.ready = False
        self.files = 0
        values = (theirs, self.cell, os.getpid(), memory_gib, begin, decode)
        self._process = context.Process(target=_work, args=values, daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits it, from its first line
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def assign(self, job: Any, *, alone: bool = False) -> None:
        """Let an idle process do ``job``."""
        self.cell.films = self.cell.refused = 0
        self.job, self.alone = job, alone
        try:
            self.connection.send(job)
        except OSError:  # it has ended: this shows when it is received from
            return

    def receive(self) -> tuple[bool, Any]:
        """Whether the job failed, and its result or exception; what was sent first says that the process is ready.

        Raises:
            EOFError: the process has ended.
        """
        try:
            received: tuple[bool, Any] = self.connection.recv()
        except OSError:  # it has ended in the middle of a message
            raise EOFError from None
        return received

    def release(self) -> Any:
        """The job that is done; the process is idle from now on."""
        job, self.job, self.alone = self.job, None, False
        self.files += self.cell.films + self.cell.refused
        return job

    def end(self) -> int | None:
        """Kill the process; its exit code, negative for a signal, None while the system cannot stop it."""
        self._process.kill()
        self._process.join(timeout=5)  # a process that waits for a dead disk does not end
        self.connection.close()
        code: int | None = self._process.exitcode
        return code


def _work(
    pipe: Connection,
    cell: SharedCell,
    parent: int,
    memory_gib: float,
    begin: Callable[[], object] | None,
    decode: Callable[..., Any],
) -> None:
    die_with_parent(parent)
    raise_oom_score()
    cv2.setNumThreads(1)
    if begin:
        begin()
    limit_memory(memory_gib)
    watch = _CellWatch(cell)
    pipe.send((False, None))
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            answer = False, decode(job, watch)
        except Exception as error:
            answer = True, error
        pipe.send(answer)
