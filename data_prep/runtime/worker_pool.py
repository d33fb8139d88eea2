"""Worker processes of a command: their number, and their end when the main process ends for any reason."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2

from data_prep.runtime.process_limits import forbid_core_dump

_PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal that this process receives when its parent ends."""


def available_cores() -> int:
    """Number of cores that this process may use, for example those of a Slurm job."""
    return len(os.sched_getaffinity(0))


def process_count(workers: int, tasks: int) -> int:
    """Compute the number of worker processes, at least 1.

    Args:
        workers: setting of the user; 0: one per available core.
        tasks: number of tasks, and largest number of processes.
    """
    return max(1, min(workers or available_cores(), tasks))


def spawn_pool(workers: int, initializer: Callable[..., object] | None = None, *given: Any) -> ProcessPoolExecutor:
    """Create a pool of spawned processes of one core each, which ignore SIGINT; the main process handles it.

    Args:
        workers: number of processes.
        initializer: is called first in each process; None: nothing is called.
        *given: arguments of ``initializer``.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_initialize, initargs=(os.getpid(), initializer, given))


def _initialize(parent: int, initializer: Callable[..., object] | None, given: tuple[Any, ...]) -> None:
    die_with_parent(parent)
    forbid_core_dump()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    if initializer:
        initializer(*given)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent, or the thread of it that started this process, ends.

    Args:
        parent: process id of the parent.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended in between
        os._exit(1)
