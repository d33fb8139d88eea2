"""One progress line: rewritten in a terminal, readable in a log file."""

import io

import pytest

from data_prep.runtime.progress import Progress, duration


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_whole_lines_and_the_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    log = io.StringIO()
    progress = Progress("shard", "films", 100, stream=log, log_seconds=10)
    for _ in range(100):
        now[0] += 0.25
        progress.add(1, "2 rejects")
    progress.close()
    lines = log.getvalue().splitlines()
    assert lines[0] == "shard: 40/100 films, 4.0/s, 15s left · 2 rejects"
    assert lines[-1] == "shard: 100/100 films, 4.0/s · 2 rejects"
    assert len(lines) == 3


def test_a_terminal_line_rewrites_itself() -> None:
    terminal = _Terminal()
    progress = Progress("scan", "files", 2, stream=terminal)
    progress.add(2)
    progress.close()
    assert terminal.getvalue().startswith("\r")
    assert terminal.getvalue().count("\n") == 1


def test_a_resumed_task_counts_what_was_done_but_not_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    log = io.StringIO()
    progress = Progress("mae", "films", 1000, done=900, stream=log)
    now[0] = 10.0
    progress.add(50)
    progress.close()
    assert log.getvalue() == "mae: 950/1000 films, 5.0/s, 10s left\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.4, "59s"), (61, "1m01s"), (3600, "1h00m"), (7384, "2h03m")]
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert duration(seconds) == text
