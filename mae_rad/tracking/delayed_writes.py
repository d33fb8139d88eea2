"""Send metrics, pictures and tables of a run to its tracking store, now or later, without stopping the training.

The source is ``metrics.jsonl``. The store receives the lines after the last step that it has, and the pictures that it
does not have. After an outage of the store, or a resumption at an earlier checkpoint, it thus has every step once.
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
from mae_rad.tracking.model_registry import RegisteredModel

_RETRY_SECONDS = 60.0
_MAX_RETRY_SECONDS = 900.0
_MAX_DELIVERY_SECONDS = 10.0
"""Longest time of one delivery, in which the other ranks wait; what is left is sent in the next one."""

_log = logging.getLogger(__name__)


class DelayedWrites:
    """Send the metrics, pictures and tables of one run.

    Args:
        connect: creates the run in the store, or opens it again; may raise RunError.
        metrics: ``metrics.jsonl`` of the run.
        folders: folders of its pictures and tables.
    """

    def __init__(self, connect: Callable[[], Tracker], metrics: Path, *folders: Path) -> None:
        self._connect, self._metrics, self._folders = connect, metrics, folders
        self._tracker: Tracker | None = None
        self._known_step = -1
        self._offset = 0
        self._sent_files: set[tuple[str, str]] = set()
        self._retry_at, self._retry_seconds = 0.0, _RETRY_SECONDS
        self._has_warned = False

    def deliver(self) -> None:
        """Send what the store does not have yet, for at most 10 seconds; after a failure, wait before retrying."""
        self._try_until(time.monotonic() + _MAX_DELIVERY_SECONDS)

    def _try_until(self, end: float) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            self._deliver(end)
        except Exception as error:  # training continues after any error of the store
            self._retry_at = time.monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, _MAX_RETRY_SECONDS)
            if not self._has_warned:
                self._has_warned = True
                reason = str(error) if isinstance(error, RunError) else type(error).__name__
                _log.warning("MLflow is unreachable (%s): metrics are kept in metrics.jsonl and sent later", reason)
        else:
            self._retry_seconds = _RETRY_SECONDS

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Send what is left and end the run; what cannot be sent is sent when the run is resumed.

        A run that is interrupted may have little time: it makes one delivery of at most 10 seconds.
        """
        self._retry_at = 0.0
        self._try_until(math.inf if status == "FINISHED" else time.monotonic() + _MAX_DELIVERY_SECONDS)
        if self._tracker and self._retry_at == 0.0:
            self._tracker.finish(status)

    def register(self, model: RegisteredModel) -> None:
        """Register a model of the run, unless the store cannot be reached.

        Args:
            model: to register.
        """
        self.deliver()
        if self._tracker:
            self._tracker.register(model)

    def _deliver(self, end: float) -> None:
        if self._tracker is None:
            self._tracker = self._connect()
            self._known_step = self._tracker.last_step()
            self._sent_files = {
                (folder.name, name) for folder in self._folders for name in self._tracker.names(folder.name)
            }
        lines, offset = self._unread()
        for step in self._tracker.send([line for line in lines if line[0] > self._known_step]):
            self._known_step = step
            if time.monotonic() > end:
                return
        self._offset = offset
        for folder in self._folders:
            for file in sorted(folder.glob("[!.]*")):
                place = (folder.name, file.name)
                if file.suffix != ".partial" and place not in self._sent_files and time.monotonic() < end:
                    self._tracker.store(file, folder.name)
                    self._sent_files.add(place)

    def _unread(self) -> tuple[list[Line], int]:
        if not self._metrics.exists():
            return [], 0
        with self._metrics.open("rb") as file:
            file.seek(self._offset)
            records = [json.loads(line) for line in file]
            offset = file.tell()
        return [(record.pop("step"), record.pop("time", time.time()), record) for record in records], offset
