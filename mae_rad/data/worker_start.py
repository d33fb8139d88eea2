"""How the processes that load films are started."""

import multiprocessing
from multiprocessing.context import BaseContext

import cv2
import torch

PRELOADED = ("mae_rad.data.worker_signals", "mae_rad.data.loader", "mae_rad.data.whole_films")
"""What the process that starts workers imports, in this order: a worker is a copy of it, and waits for no import. An
import that fails there is not reported, so a test finds each of these names."""
MAX_WAITING_BATCHES = 16
"""Batches of films of different shapes that are held in memory at once."""


def processes(workers: int) -> BaseContext | None:
    """How worker processes are started."""
    # A fork of this process would inherit the locks of OpenCV's and the collectives' threads, and may hang for good.
    if workers == 0:
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def begin_worker(_: int) -> None:
    """What a worker process does first: it leaves signals to the main process, and takes one thread."""
    from mae_rad.data.worker_signals import end_with_training, ignore_signals  # noqa: PLC0415 - its importer then ignores signals

    ignore_signals()  # torch has set its own handlers
    end_with_training()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
