"""A progress line, rewritten in place in a terminal, printed at intervals in a log file. Imported by ``mae_rad``."""

import sys
import time
from typing import TextIO


class Progress:
    """Counts finished units and shows units per second and the remaining time.

    Args:
        task: name at the start of the line.
        unit: name of the units, in the plural.
        total: number of units.
        done: number of units that were finished before, which do not count for the speed.
        stream: where to write; None: standard error.
        log_seconds: seconds between two lines in a log file.
    """

    def __init__(
        self,
        task: str,
        unit: str,
        total: int,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        log_seconds: float = 10.0,
    ) -> None:
        self._task, self._unit, self._total = task, unit, total
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._every = 0.2 if self._live else log_seconds
        self._start = self._shown = time.monotonic()
        self._done = self._before = done
        self._shown_done = -1
        self._note = ""

    def add(self, count: int = 1, note: str = "") -> None:
        """Count finished units.

        Args:
            count: number of units.
            note: shown after the numbers.
        """
        self._done += count
        self._note = note
        now = time.monotonic()
        if now - self._shown >= self._every:
            self._show(now)

    def close(self) -> None:
        """Show the last state and end the line."""
        if self._done != self._shown_done:
            self._show(time.monotonic())
        if self._live:
            self._stream.write("\n")
        self._stream.flush()

    def _show(self, now: float) -> None:
        self._shown, self._shown_done = now, self._done
        rate = (self._done - self._before) / max(now - self._start, 1e-9)
        left = f", {duration((self._total - self._done) / rate)} left" if rate > 0 and self._done < self._total else ""
        note = f" · {self._note}" if self._note else ""
        line = f"{self._task}: {self._done}/{self._total} {self._unit}, {rate:.1f}/s{left}{note}"
        self._stream.write(f"\r\x1b[K{line}" if self._live else f"{line}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Format seconds as 42s, 7m05s or 3h20m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
