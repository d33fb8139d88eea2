"""When a run saves itself by the clock, and when it leaves early: told to by a signal, or out of time.

All ranks agree on it at the end of a step, so a run that is told to leave takes the rest of its step and the time of
one checkpoint. It then ends with :data:`REQUEUE`, and the same command goes on where it left.
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

_SAVE, _LEAVE = "wants_save", "wants_leave"

_log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """What some rank wants after this step."""

    save: bool
    leave: bool


class Stopping:
    """The wishes of this rank to save or to leave; a context in which the signals are heard."""

    def __init__(self, runtime: RuntimeSettings, *, first: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._first = clock, first
        self._began = self._saved = clock()
        self._save_after = _seconds(runtime.checkpoint_minutes)
        self._leave_after = _seconds(runtime.max_minutes)
        self._heard: str | None = None
        self._heard_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(self, _: type | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wishes(self) -> dict[str, Tensor]:
        """Of this rank, as numbers that travel with its loss; clocks differ, so only that of rank 0 counts."""
        now = self._clock()
        save = self._first and now - self._saved >= self._save_after
        leave = self._heard is not None or (self._first and now - self._began >= self._leave_after)
        return {_SAVE: torch.tensor(float(save)), _LEAVE: torch.tensor(float(leave))}

    @staticmethod
    def agreed(means: dict[str, float]) -> Wanted:
        """What any rank wished, taken out of the means over ranks."""
        return Wanted(means.pop(_SAVE) > 0, means.pop(_LEAVE) > 0)

    def saved(self) -> None:
        """The clock of the next checkpoint starts now."""
        self._saved = self._clock()

    def leave(self, step: int) -> SystemExit:
        """What ends the process, after the checkpoint of ``step``."""
        if self._first:
            why = (
                f"{self._heard}, {self._clock() - self._heard_at:.1f} s ago"
                if self._heard
                else "another rank was told to"
            )
            if self._heard is None and self._clock() - self._began >= self._leave_after:
                why = "runtime.max_minutes"
            _log.info("saved at step %d and left (%s); exit code %d: start it again", step, why, REQUEUE)
        return SystemExit(REQUEUE)

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._heard is None:
            self._heard, self._heard_at = signal.Signals(number).name, self._clock()


def _seconds(minutes: float | None) -> float:
    return float("inf") if minutes is None else minutes * 60
