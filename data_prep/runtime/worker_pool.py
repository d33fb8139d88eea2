"""Processes beside the one that leads a command: they end with it, in whatever way it ends."""

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


def spawn_pool(workers: int, begin: Callable[..., object] | None = None, *given: Any) -> ProcessPoolExecutor:
    """A pool of ``workers`` spawned processes of one core each; each calls ``begin(*given)`` first.

    They do not hear an interrupt from the keyboard: the process that leads does, and stops them.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(os.getpid(), begin, given))


def _begin(parent: int, begin: Callable[..., object] | None, given: tuple[Any, ...]) -> None:
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    if begin:
        begin(*given)


def die_with(parent: int) -> None:
    """Be killed by the kernel as soon as the parent ends, in whatever way."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL_OF_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended in between
        os._exit(1)
