"""One spawned process that writes shards, one after the other, and lets its parent see which file it is at."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any, TypeAlias

import cv2

from data_prep.errors import UserError
from data_prep.planning.shard_task import ShardTask
from data_prep.runtime.process_limits import limit_memory, offer_to_die
from data_prep.runtime.worker_pool import die_with
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.sharding.shard_writer import Unfinished, Watch, fault, write_shard

WriteShard: TypeAlias = Callable[[ShardTask, Path, Watch], ShardCard | Unfinished]

Message: TypeAlias = ShardCard | Unfinished | Exception | None
"""What a worker says: the result of a task, what went wrong with the whole run, or (None) that it is ready."""


class SharedCell(ctypes.Structure):
    """Where a worker is. It alone writes, the parent reads: no lock that a killed process could keep."""

    _fields_ = (
        ("row", ctypes.c_longlong),
        ("since_ns", ctypes.c_longlong),
        ("films", ctypes.c_longlong),
        ("refused", ctypes.c_longlong),
    )
    row: int
    """Of the manifest; -1 between files."""
    since_ns: int
    """When work on it began, on the monotonic clock, which all processes share."""
    films: int
    refused: int
    """Files of the shard at hand that are done."""


class _Notes:
    """Writes into the cell what the shard writer tells."""

    def __init__(self, cell: SharedCell) -> None:
        self._cell = cell

    def begins(self, row: int) -> None:
        self._cell.since_ns = time.monotonic_ns()
        self._cell.row = row

    def ends(self, films: int, refused: int) -> None:
        self._cell.row = -1
        self._cell.films += films
        self._cell.refused += refused


class Worker:
    """The parent's side of a process.

    Attributes:
        connection: readable when the worker has said something or is dead.
        cell: where it is.
        task: what it is writing; None where it waits.
        ready: whether it has begun to listen.
        files: how many files it was given.
    """

    def __init__(self, context: Any, public: Path, memory_gib: float, write: WriteShard = write_shard) -> None:
        self.connection, theirs = context.Pipe()
        self.cell: SharedCell = RawValue(SharedCell, -1, 0, 0, 0)
        self.task: ShardTask | None = None
        self.ready = False
        self.files = 0
        values = (theirs, self.cell, os.getpid(), public, memory_gib, write)
        self._process = context.Process(target=_work, args=values, daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits it, from its first line
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, task: ShardTask) -> None:
        """Let a waiting worker write ``task``."""
        self.cell.films = self.cell.refused = 0
        self.task = task
        self.files += len(task.files)
        try:
            self.connection.send(task)
        except OSError:  # it has died: this shows when it is listened to
            return

    def hear(self) -> Message:
        """What the worker says.

        Raises:
            EOFError: it is dead.
        """
        try:
            said: Message = self.connection.recv()
        except OSError:  # it died in the middle of a word
            raise EOFError from None
        return said

    def end(self) -> int | None:
        """Kill the process; its exit code, negative for a signal, None while the system cannot stop it."""
        self._process.kill()
        self._process.join(timeout=5)  # a process that waits for a dead disk does not end
        self.connection.close()
        code: int | None = self._process.exitcode
        return code


def _work(
    connection: Connection, cell: SharedCell, parent: int, public: Path, memory_gib: float, write: WriteShard
) -> None:
    die_with(parent)
    offer_to_die()
    limit_memory(memory_gib)
    cv2.setNumThreads(1)
    notes = _Notes(cell)
    connection.send(None)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(_result(task, public, notes, write))


def _result(task: ShardTask, public: Path, notes: _Notes, write: WriteShard) -> Message:
    try:
        return write(task, public, notes)
    except (UserError, OSError) as error:
        return error
    except MemoryError:
        return Unfinished(task.name, ())
    except Exception as error:
        return RuntimeError(f"{fault(error)}, shard {task.name}")
