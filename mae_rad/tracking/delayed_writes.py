"""What a run has written down, handed to its tracking store now or later; no store ever ends or holds up a training.

``metrics.jsonl`` is the truth. The store is told what it lacks: the lines after the last step that it knows, and the
pictures that it does not have. So a store that was away, or a run that was begun again at an earlier checkpoint, ends
up with every step once.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mae_rad.errors import RunError
from mae_rad.tracking.mlflow_run import Line, Tracker

_RETRY_SECONDS = 60.0
_LONGEST_RETRY = 900.0
_TURN = 10.0
"""Seconds after which a training goes on, and the rest waits for the next turn: the other ranks wait meanwhile."""

_log = logging.getLogger(__name__)


class DelayedWrites:
    """Delivers the metrics, pictures and tables of one run.

    Args:
        connect: begins the run in the store, or finds it again; may fail with RunError.
        metrics: the ``metrics.jsonl`` of the run.
        folders: of its pictures and tables.
    """

    def __init__(self, connect: Callable[[], Tracker], metrics: Path, *folders: Path) -> None:
        self._connect, self._metrics, self._folders = connect, metrics, folders
        self._tracker: Tracker | None = None
        self._known_step = -1
        self._read_to = 0
        self._shown: set[tuple[str, str]] = set()
        self._retry_at, self._pause = 0.0, _RETRY_SECONDS
        self._complained = False

    def deliver(self) -> None:
        """Send what the store does not have yet, for some seconds; after a failure not before the next try is due."""
        self._try_until(time.monotonic() + _TURN)

    def _try_until(self, end: float) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            self._deliver(end)
        except Exception as error:  # whatever the store does, the training goes on
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_RETRY)
            if not self._complained:
                self._complained = True
                why = str(error) if isinstance(error, RunError) else type(error).__name__
                _log.warning("MLflow is unreachable (%s): metrics are kept in metrics.jsonl and sent later", why)
        else:
            self._pause = _RETRY_SECONDS

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Send what is left and end the run; what cannot be sent is sent when the same run is taken up again.

        One that leaves before it is done may have little time: it takes one turn.
        """
        self._retry_at = 0.0
        self._try_until(math.inf if status == "FINISHED" else time.monotonic() + _TURN)
        if self._tracker and self._retry_at == 0.0:
            self._tracker.finish(status)

    def _deliver(self, end: float) -> None:
        if self._tracker is None:
            self._tracker = self._connect()
            self._known_step = self._tracker.last_step()
            self._shown = {(one.name, name) for one in self._folders for name in self._tracker.names(one.name)}
        lines, read_to = self._unread()
        for step in self._tracker.send([line for line in lines if line[0] > self._known_step]):
            self._known_step = step
            if time.monotonic() > end:
                return
        self._read_to = read_to
        for folder in self._folders:
            for file in sorted(folder.glob("[!.]*")):
                place = (folder.name, file.name)
                if file.suffix != ".partial" and place not in self._shown and time.monotonic() < end:
                    self._tracker.store(file, folder.name)
                    self._shown.add(place)

    def _unread(self) -> tuple[list[Line], int]:
        if not self._metrics.exists():
            return [], 0
        with self._metrics.open("rb") as file:
            file.seek(self._read_to)
            records = [json.loads(line) for line in file]
            read_to = file.tell()
        return [(record.pop("step"), record.pop("time", time.time()), record) for record in records], read_to
