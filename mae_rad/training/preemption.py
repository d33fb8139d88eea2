"""Preemption: a run saves itself by the clock, and exits early after a signal or when its time is used up.

All ranks agree on it at the end of a step, so a run that receives a request to exit takes the rest of its step and the
time of one checkpoint. It then exits with :data:`REQUEUE`, and the same command resumes it.
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
"""Exit code 75 of a run that has saved itself and is to be started again."""

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What Slurm and other queues send some time before they kill."""

_SAVE, _EXIT = "wants_save", "wants_leave"

_log = logging.getLogger(__name__)


class StopRequest(NamedTuple):
    """What some rank requests after this step."""

    save: bool
    exit: bool


class Preemption:
    """The requests of this rank to save or to exit; a context in which signals are received."""

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
        """Of this rank, as numbers that travel with its loss; clocks differ, so only that of rank 0 counts."""
        now = self._clock()
        save = self._first and now - self._saved >= self._save_after
        exit_ = self._received is not None or (self._first and now - self._began >= self._exit_after)
        return {_SAVE: torch.tensor(float(save)), _EXIT: torch.tensor(float(exit_))}

    @staticmethod
    def agreed(means: dict[str, float]) -> StopRequest:
        """What any rank requests, removed from the means over ranks."""
        return StopRequest(means.pop(_SAVE) > 0, means.pop(_EXIT) > 0)

    def saved(self) -> None:
        """The clock of the next checkpoint starts now."""
        self._saved = self._clock()

    def exit(self, step: int) -> SystemExit:
        """What ends the process, after the checkpoint of ``step``."""
        if self._first:
            why = (
                f"{self._received}, {self._clock() - self._received_at:.1f} s ago"
                if self._received
                else "another rank received a signal"
            )
            if self._received is None and self._clock() - self._began >= self._exit_after:
                why = "runtime.max_minutes"
            _log.info("saved at step %d and left (%s); exit code %d: start it again", step, why, REQUEUE)
        return SystemExit(REQUEUE)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._received is None:
            self._received, self._received_at = signal.Signals(number).name, self._clock()


def _seconds(minutes: float | None) -> float:
    return float("inf") if minutes is None else minutes * 60
