"""Save a run at intervals of time, and exit after a signal or at the time limit.

All ranks agree at the end of a step, so that a run which receives a signal finishes its step and writes a checkpoint.
It then exits with :data:`REQUEUE`, and the same command resumes it.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from mae_rad.training.settings import RuntimeSettings

REQUEUE = os.EX_TEMPFAIL
"""Exit code 75 of a run that has saved a checkpoint and can be started again."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that Slurm and other queues send some time before they kill a job."""

_SAVE, _EXIT = "wants_save", "wants_leave"

_log = logging.getLogger(__name__)


class StopRequest(NamedTuple):
    """Whether any rank requests a checkpoint (``save``), or a checkpoint and an early end (``exit``)."""

    save: bool
    exit: bool


class Preemption:
    """Requests of this rank to save or to exit; within the context signals are handled."""

    def __init__(self, runtime: RuntimeSettings, *, first: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._first = clock, first
        self._began = self._saved = clock()
        self._save_after = _seconds(runtime.checkpoint_minutes)
        self._exit_after = _seconds(runtime.max_minutes)
        self._received: str | None = None
        self._received_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, _: type | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requests(self) -> dict[str, Tensor]:
        """Requests of this rank as [] scalars, to be averaged with its loss; only the clock of rank 0 counts."""
        now = self._clock()
        save = self._first and now - self._saved >= self._save_after
        exit_ = self._received is not None or (self._first and now - self._began >= self._exit_after)
        return {_SAVE: torch.tensor(float(save)), _EXIT: torch.tensor(float(exit_))}

    @staticmethod
    def pop_requests(means: dict[str, float]) -> StopRequest:
        """Remove the requests from the means over ranks, and return those of any rank."""
        return StopRequest(means.pop(_SAVE) > 0, means.pop(_EXIT) > 0)

    def restart_save_interval(self) -> None:
        """Restart the interval to the next checkpoint."""
        self._saved = self._clock()

    def build_exit(self, step: int) -> SystemExit:
        """Log why the run stops early after the checkpoint of ``step``, and return the exception to raise."""
        if self._first:
            why = (
                f"{self._received}, {self._clock() - self._received_at:.1f} s ago"
                if self._received
                else "another rank received a signal"
            )
            if self._received is None and self._clock() - self._began >= self._exit_after:
                why = "runtime.max_minutes"
            _log.info("saved at step %d and exited (%s); exit code %d: run the same command again", step, why, REQUEUE)
        return SystemExit(REQUEUE)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._received is None:
            self._received, self._received_at = signal.Signals(number).name, self._clock()


def _seconds(minutes: float | None) -> float:
    return float("inf") if minutes is None else minutes * 60
