"""Processes that write shards, watched file by file; the order in which they end changes nothing.

A file at which a process dies or stays too long is tried a second time. A process that the kernel killed, as it does
when memory is short, and a file that took too long are tried again at the end, alone: it may have been the others'
doing. A file that could not be read is tried again soon. What fails twice gets a verdict, with which the shard is
written without that file, or stays unfinished.
"""

import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path

from data_prep.errors import ArchiveError, Reason
from data_prep.planning.shard_task import ShardTask
from data_prep.shard_format.dataset_card import ShardCard
from data_prep.sharding.shard_worker import Worker, WriteShard
from data_prep.sharding.shard_writer import LOST, Unfinished, write_shard

OnFiles = Callable[[int, int], None]
"""Called with the number of files done so far and of those that became no film."""
Learn = Callable[[Mapping[int, Reason]], None]
"""Called with rows of the manifest and the verdicts on them, before a shard is written without these files."""

_LOOK_SECONDS = 0.5
_TRIES = 2
_FALSE_STARTS = 3
"""Processes that may die before they listen, one after the other."""
_FEW = 10
"""Files that may be gone from any shard, however small."""


@dataclass(frozen=True)
class Limits:
    """How shards are written.

    Attributes:
        workers: processes.
        file_seconds: how long one file may take.
        recycle_files: a process that was given so many files is replaced.
        memory_gib: address space that a process may add to what it begins with; 0: no limit.
        accepted: failures that become verdicts.
        isolated: False writes in this process, without any of the above but ``accepted``.
    """

    workers: int
    file_seconds: float = 120
    recycle_files: int = 5000
    memory_gib: float = 8
    accepted: frozenset[Reason] = frozenset({Reason.DECODER_CRASHED})
    isolated: bool = True


def write_shards(
    tasks: Iterator[ShardTask],
    public: Path,
    limits: Limits,
    on_files: OnFiles = lambda files, refused: None,
    learn: Learn = lambda verdicts: None,
    write: WriteShard = write_shard,
) -> Iterator[ShardCard | Unfinished]:
    """Write all ``tasks`` into the folder ``public``; results in any order.

    Raises:
        ArchiveError: processes die before they begin.
        OSError: the folder cannot be written.
    """
    judge = _Judge(limits.accepted, learn)
    if not limits.isolated:
        yield from _here(tasks, public, judge, on_files, write)
        return
    pool = _Pool(tasks, public, limits, judge, write)
    try:
        while pool.has_work():
            yield from pool.look()
            on_files(*pool.count())
    finally:
        pool.close()


def is_mass_loss(task: ShardTask, result: Unfinished) -> bool:
    """Whether more than half of a shard, of more than a few files, is gone or changed.

    Shards are drawn from the whole archive, so it is the archive that is not there: no loss of files to accept. An
    appended shard may consist of files that were given up by name before; the next ``append`` tries them again.
    """
    lost = sum(reason in LOST for _, reason in result.failed)
    return not task.appended and lost > max(_FEW, len(task.files) // 2)


def processes(workers: int, tasks: int) -> int:
    """How many processes ``workers`` (0: one per core) and the number of tasks ask for."""
    return max(1, min(workers or len(os.sched_getaffinity(0)), tasks))


class _Judge:
    """Decides what becomes of a shard that was not finished."""

    def __init__(self, accepted: frozenset[Reason], learn: Learn) -> None:
        self._accepted, self._learn = accepted, learn
        self._strikes: Counter[int | str] = Counter()

    def again(self, task: ShardTask, result: Unfinished) -> ShardTask | None:
        """The task to try next; None where the shard stays unfinished."""
        suspects: list[int | str] = [row for row, _ in result.failed] or [task.name]
        self._strikes.update(suspects)
        if any(self._strikes[suspect] < _TRIES for suspect in suspects):
            return task
        if not result.failed or not self._accepted.issuperset(reason for _, reason in result.failed):
            return None
        if is_mass_loss(task, result):
            return None
        self._learn(dict(result.failed))
        return replace(task, verdicts={**task.verdicts, **dict(result.failed)})


class _Pool:
    def __init__(
        self, tasks: Iterator[ShardTask], public: Path, limits: Limits, judge: _Judge, write: WriteShard
    ) -> None:
        self._tasks, self._limits, self._judge = tasks, limits, judge
        context = multiprocessing.get_context("spawn")
        self._start: Callable[[], Worker] = lambda: Worker(context, public, limits.memory_gib, write)
        self._workers: list[Worker] = []
        self._waiting: deque[ShardTask] = deque()
        self._alone: deque[ShardTask] = deque()
        self._false_starts = 0
        self._done = [0, 0]

    def has_work(self) -> bool:
        """Give tasks to waiting workers, and start and end workers as there is work; whether there is any."""
        busy = [worker for worker in self._workers if worker.task]
        for worker in [worker for worker in self._workers if worker.ready and not worker.task]:
            if task := self._next(not busy):
                worker.give(task)
                busy.append(worker)
            else:
                self._remove(worker)
        starting = len(self._workers) - len(busy)
        wanted = min(self._limits.workers - len(busy), self._pending(not busy))
        self._workers += [self._start() for _ in range(wanted - starting)]
        return bool(busy) or bool(wanted)

    def look(self) -> Iterator[ShardCard | Unfinished]:
        """Wait a moment for what the workers say, and end those that are too long at a file."""
        said = set(connection.wait([worker.connection for worker in self._workers], _LOOK_SECONDS))
        for worker in [worker for worker in self._workers if worker.connection in said]:
            yield from self._hear(worker)
        now = time.monotonic_ns()
        for worker in [worker for worker in self._workers if worker.task]:
            row = worker.cell.row
            if row >= 0 and now - worker.cell.since_ns > self._limits.file_seconds * 1e9:
                yield from self._lose(worker, row, Reason.DECODER_TIMEOUT)

    def count(self) -> tuple[int, int]:
        """Files done so far, and those of them that became no film."""
        cells = [worker.cell for worker in self._workers if worker.task]
        refused = sum(cell.refused for cell in cells)
        return self._done[0] + refused + sum(cell.films for cell in cells), self._done[1] + refused

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()

    def _pending(self, idle: bool) -> int:
        """How many tasks wait, at least where they are no more than there could be workers."""
        while len(self._waiting) < self._limits.workers and (task := next(self._tasks, None)):
            self._waiting.append(task)
        return len(self._waiting) or (1 if idle and self._alone else 0)

    def _next(self, idle: bool) -> ShardTask | None:
        if self._pending(idle) == 0:
            return None
        return self._waiting.popleft() if self._waiting else self._alone.popleft()

    def _hear(self, worker: Worker) -> Iterator[ShardCard | Unfinished]:
        try:
            said = worker.hear()
        except EOFError:
            yield from self._lose(worker, worker.cell.row, Reason.DECODER_CRASHED)
            return
        if isinstance(said, Exception):
            raise said
        if said is None:
            worker.ready, self._false_starts = True, 0
            return
        task, worker.task = worker.task, None
        assert task is not None
        if worker.files >= self._limits.recycle_files:
            self._remove(worker)
        lost = isinstance(said, Unfinished) and any(reason in LOST for _, reason in said.failed)
        yield from self._settle(task, said, alone=not lost)

    def _lose(self, worker: Worker, row: int, reason: Reason) -> Iterator[Unfinished]:
        """A process has died, or has to, at the file ``row`` (-1: at none)."""
        code = self._remove(worker)
        if worker.task is None:
            self._false_starts += 1
            if self._false_starts == _FALSE_STARTS:
                raise ArchiveError(
                    f"the processes that write shards end before they begin (exit code {code}): is memory short? Try"
                    " fewer runtime.workers; a script that calls shard() needs: if __name__ == '__main__'"
                )
            return
        failed = ((row, reason),) if row >= 0 else ()
        alone = reason is Reason.DECODER_TIMEOUT or code == -signal.SIGKILL
        for result in self._settle(worker.task, Unfinished(worker.task.name, failed), alone=alone):
            assert isinstance(result, Unfinished)
            yield result

    def _settle(
        self, task: ShardTask, result: ShardCard | Unfinished, *, alone: bool
    ) -> Iterator[ShardCard | Unfinished]:
        if isinstance(result, Unfinished) and (again := self._judge.again(task, result)):
            (self._alone if alone and again is task else self._waiting).append(again)
            return
        self._done[0] += len(task.files)
        self._done[1] += len(result.rejects) if isinstance(result, ShardCard) else 0
        yield result

    def _remove(self, worker: Worker) -> int | None:
        self._workers.remove(worker)
        return worker.end()


def _here(
    tasks: Iterator[ShardTask], public: Path, judge: _Judge, on_files: OnFiles, write: WriteShard
) -> Iterator[ShardCard | Unfinished]:
    counts = _Counts(on_files)
    for first in tasks:
        task: ShardTask | None = first
        while task:
            result = write(task, public, counts)
            task = judge.again(task, result) if isinstance(result, Unfinished) else None
        yield result


class _Counts:
    """Tells how many files are done, in this process."""

    def __init__(self, on_files: OnFiles) -> None:
        self._on_files = on_files
        self._files = self._refused = 0

    def begins(self, row: int) -> None:
        """Nothing to count yet."""

    def ends(self, films: int, refused: int) -> None:
        self._files += films + refused
        self._refused += refused
        self._on_files(self._files, self._refused)
