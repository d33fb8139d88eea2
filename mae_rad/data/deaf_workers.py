"""Imported first by the process that starts loader workers: it and they outlive a signal meant for the training.

A queue signals every process of a job. Without its workers the training could not finish its step and save itself;
they end with it.
"""

import signal


def ignore_signals() -> None:
    """Leave it to the training when to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


ignore_signals()
