"""Spawned processes that write shards; the order in which they end changes nothing."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import TypeAlias

import cv2

from data_prep.errors import ArchiveError
from data_prep.shard_format import ShardCard
from data_prep.shard_writer import ShardTask, Unfinished, write_shard

OnFiles = Callable[[int, int], None]
"""Called with the number of files done so far and of those that became no film."""
_Counter: TypeAlias = "Synchronized[int]"

_LOOK_SECONDS = 0.5
_AHEAD = 2
"""Tasks per process that are prepared while others run."""


def write_shards(
    tasks: Iterator[ShardTask], public: Path, workers: int, on_files: OnFiles
) -> Iterator[ShardCard | Unfinished]:
    """Write all ``tasks``, in this process or in ``workers`` others.

    Raises:
        ArchiveError: a process was killed.
    """
    if workers <= 1:
        yield from _here(tasks, public, on_files)
        return
    context = multiprocessing.get_context("spawn")
    counters: list[_Counter] = [context.Value(ctypes.c_longlong) for _ in range(2)]
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=tuple(counters))
    running: dict[Future[ShardCard | Unfinished], str] = {}
    try:
        while True:
            for task in islice(tasks, _AHEAD * workers - len(running)):
                running[pool.submit(_write, task, public)] = task.name
            if not running:
                return
            done, _ = wait(running, _LOOK_SECONDS, FIRST_COMPLETED)
            on_files(counters[0].value, counters[1].value)
            for future in done:
                yield future.result()
                del running[future]
    except BrokenProcessPool:
        raise ArchiveError(
            f"a process was killed while it wrote one of the shards {', '.join(sorted(running.values()))}; is memory"
            " short? Run the same command again with fewer runtime.workers: finished shards are kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def processes(workers: int, tasks: int) -> int:
    """How many processes ``workers`` (0: one per core) and the number of tasks ask for."""
    return min(workers or len(os.sched_getaffinity(0)), tasks)


def _here(tasks: Iterator[ShardTask], public: Path, on_files: OnFiles) -> Iterator[ShardCard | Unfinished]:
    files = refused = 0

    def count(written: bool) -> None:
        nonlocal files, refused
        files, refused = files + 1, refused + (not written)
        on_files(files, refused)

    for task in tasks:
        yield write_shard(task, public, count)


_counters: list[_Counter] = []
"""Of this worker process, shared with the parent."""


def _begin(*counters: _Counter) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once and says nothing; the parent reports
    cv2.setNumThreads(1)
    _counters[:] = counters


def _write(task: ShardTask, public: Path) -> ShardCard | Unfinished:
    return write_shard(task, public, _count)


def _count(written: bool) -> None:
    for counter, by in zip(_counters, (1, not written), strict=True):
        with counter.get_lock():
            counter.value += by
