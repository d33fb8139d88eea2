"""Signal handling of loader workers and of the process that starts them, which imports this module first.

A queue signals every process of a job. Workers ignore it, since without them the training could not finish its step and
save a checkpoint; they end with the training, also if it is killed.
"""

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait


def ignore_signals() -> None:
    """Ignore SIGINT, SIGTERM and SIGUSR1."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def end_with_training() -> None:
    """End this worker when the training process has ended.

    A worker is a child of the fork server, which lives as long as its children: without this, both would outlive a
    killed training and keep its memory and files.
    """
    training = parent_process()
    if training is not None:
        threading.Thread(target=_end_after, args=(training.sentinel,), daemon=True, name="end with training").start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(0)


ignore_signals()
