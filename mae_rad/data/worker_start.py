"""Start the processes that load films."""

import multiprocessing
from multiprocessing.context import BaseContext

import cv2
import torch

PRELOADED = ("mae_rad.data.worker_signals", "mae_rad.data.loader", "mae_rad.data.whole_films")
"""Modules that the fork server imports, in this order, so that workers start without importing. Python does not report
a failed import there, so a test checks these names."""
MAX_WAITING_BATCHES = 16
"""Largest number of batches of films of different grids that are held in memory."""


def processes(workers: int) -> BaseContext | None:
    """Return the multiprocessing context of loader workers; None without workers."""
    # A fork of this process would inherit locks of OpenCV's and the collectives' threads, and could hang.
    if workers == 0:
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def initialise_worker(_: int) -> None:
    """Initialise a worker process: ignore signals, end with the training, use one thread."""
    from mae_rad.data.worker_signals import end_with_training, ignore_signals  # noqa: PLC0415 - importing it ignores signals

    ignore_signals()  # torch has set its own handlers
    end_with_training()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
