"""Processes beside the one that leads a command: how many there are, and that they end with it in whatever way."""

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2

_DEATH_SIGNAL_OF_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def available_cores() -> int:
    """Cores that this process may use: those that a job was given, where the machine has more."""
    return len(os.sched_getaffinity(0))


def process_count(workers: int, tasks: int) -> int:
    """Number of processes, at least 1.

    Args:
        workers: as the user set it; 0: one per available core.
        tasks: there are no more processes than that.
    """
    return max(1, min(workers or available_cores(), tasks))


def spawn_pool(workers: int, begin: Callable[..., object] | None = None, *given: Any) -> ProcessPoolExecutor:
    """A pool of spawned processes of one core each, which ignore an interrupt from the keyboard.

    The process that leads receives it, and stops them.

    Args:
        workers: number of processes.
        begin: is called first in each process; None: nothing is.
        given: arguments of ``begin``.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(os.getpid(), begin, given))


def _begin(parent: int, begin: Callable[..., object] | None, given: tuple[Any, ...]) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    if begin:
        begin(*given)


def die_with_parent(parent: int) -> None:
    """Be killed by the kernel as soon as the process ``parent``, or the thread of it that started this one, ends."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL_OF_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended in between
        os._exit(1)
