"""Imported first by the process that starts loader workers: it and they outlive a signal meant for the training.

A queue signals every process of a job. Without its workers the training could not finish its step and save itself;
they end with it, also where it is killed.
"""

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait


def ignore_signals() -> None:
    """Leave it to the training when to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def end_with_training() -> None:
    """End this worker when the process is gone that asked for it.

    It is a child of the process that starts workers, which lives as long as any of them: without this, both would wait
    for each other for good, and keep memory and files of a training that was killed.
    """
    training = parent_process()
    if training is not None:
        threading.Thread(target=_end_after, args=(training.sentinel,), daemon=True, name="end with training").start()


def _end_after(gone: int) -> None:
    wait([gone])
    os._exit(0)


ignore_signals()
