"""A tracking store gets every step once, after outages and resumptions."""

import json
import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mae_rad.errors import RunError
from mae_rad.tracking import DelayedWrites, Tracker, default_uri
from mae_rad.tracking import delayed_writes as module


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    Tracker.start(default_uri(folder), "pretrain", "first").finish()
    return folder


class Run:
    """A run folder's metrics and pictures, and its store, which may be away."""

    def __init__(self, folder: Path, empty_store: Path) -> None:
        shutil.copytree(empty_store, folder / "store")
        self.store, self.metrics, self.samples = folder / "store", folder / "metrics.jsonl", folder / "samples"
        self.samples.mkdir()
        self.run_id: str | None = None
        self.away = False

    def log(self, *steps: int) -> None:
        with self.metrics.open("a") as file:
            for step in steps:
                file.write(json.dumps({"step": step, "time": 1000.0 + step, "loss": step / 2}) + "\n")

    def connect(self) -> Tracker:
        if self.away:
            raise RunError("the MLflow store cannot be used (ConnectionError)")
        tracker = Tracker.start(default_uri(self.store), "pretrain", "mae", run_id=self.run_id)
        self.run_id = tracker.run_id
        return tracker

    def begin(self) -> DelayedWrites:
        return DelayedWrites(self.connect, self.metrics, self.samples)

    def stored(self) -> list[Any]:
        connection = sqlite3.connect(self.store / "mlflow.db")
        try:
            query = "select step, value, timestamp from metrics where run_uuid = ? order by step"
            return connection.execute(query, [self.run_id]).fetchall()
        finally:
            connection.close()


@pytest.fixture
def run(tmp_path: Path, empty_store: Path) -> Run:
    return Run(tmp_path, empty_store)


def test_steps_taken_again_arrive_once(run: Run) -> None:
    first = run.begin()
    run.log(1, 2, 3, 4)
    first.deliver()
    run.metrics.write_text("".join(run.metrics.read_text().splitlines(keepends=True)[:2]))  # back to the checkpoint
    again = run.begin()
    again.deliver()
    run.log(3, 4, 5)
    again.deliver()
    again.finish()
    assert run.stored() == [(step, step / 2, 1_000_000 + 1000 * step) for step in (1, 2, 3, 4, 5)]


def test_a_store_that_is_unreachable_at_the_start_gets_everything_later(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.away = True
    writes = run.begin()
    with caplog.at_level(logging.WARNING):
        for step in range(1, 6):
            run.log(step)
            writes.deliver()
    assert len(caplog.records) == 1
    assert "metrics are kept in metrics.jsonl" in caplog.text
    run.away = False
    writes.finish()
    assert [step for step, _, _ in run.stored()] == [1, 2, 3, 4, 5]


def test_an_unreachable_store_gets_everything_at_the_next_start(run: Run) -> None:
    run.away = True
    writes = run.begin()
    run.log(1, 2)
    (run.samples / "step-0000002.png").write_bytes(b"picture")
    writes.deliver()
    writes.finish()
    run.away = False
    again = run.begin()
    again.deliver()
    again.finish()
    assert [step for step, _, _ in run.stored()] == [1, 2]
    (picture,) = (run.store / "mlartifacts").rglob("samples/*.png")
    assert picture.read_bytes() == b"picture"


def test_a_store_that_goes_away_in_between_loses_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = run.begin()
    run.log(1)
    writes.deliver()
    monkeypatch.setattr(Tracker, "send", lambda *_: 1 / 0)
    run.log(2)
    writes.deliver()
    monkeypatch.undo()
    run.log(3)
    writes.deliver()  # not yet tried again
    assert [step for step, _, _ in run.stored()] == [1]
    writes.finish()
    assert [step for step, _, _ in run.stored()] == [1, 2, 3]


def test_the_retry_interval_of_an_unreachable_store_grows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.away = True
    now = [0.0]
    attempts: list[float] = []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def connect() -> Tracker:
        attempts.append(now[0])
        return run.connect()

    writes = DelayedWrites(connect, run.metrics, run.samples)
    for minute in range(60):
        now[0] = 60.0 * minute
        writes.deliver()
    assert attempts == [60.0 * minute for minute in (0, 1, 3, 7, 15, 30, 45)]


def _log_wide(run: Run, *steps: int) -> None:
    with run.metrics.open("a") as file:
        for step in steps:
            values = {f"value {number}": number for number in range(300)}
            file.write(json.dumps({"step": step, "time": 1000.0 + step} | values) + "\n")


def _values_of(run: Run) -> dict[int, int]:
    return dict(Counter(step for step, _, _ in run.stored()))


def test_a_store_lost_between_two_requests_has_complete_lines_and_gets_the_others_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is there in part would count as known, and its other values be lost."""
    _log_wide(run, *range(1, 8))
    first = run.begin()
    taken = Tracker.send

    def breaks(self: Tracker, lines: list[Any]) -> Iterator[int]:
        for number, step in enumerate(taken(self, lines)):
            if number == 1:
                raise ConnectionError
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "send", breaks)
        first.deliver()
    there = _values_of(run)
    assert 0 < len(there) < 7
    assert set(there.values()) == {300}
    again = run.begin()  # the run was killed, and knows only what the store has
    again.deliver()
    again.finish()
    assert _values_of(run) == dict.fromkeys(range(1, 8), 300)


def test_a_long_backlog_holds_a_training_up_for_one_turn_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_DELIVERY_SECONDS", 0.0)
    _log_wide(run, *range(1, 11))
    writes = run.begin()
    writes.deliver()
    assert len(_values_of(run)) == 3
    writes.finish("KILLED")  # interrupted: little time
    assert len(_values_of(run)) == 6
    again = run.begin()
    again.finish("FINISHED")
    assert _values_of(run) == dict.fromkeys(range(1, 11), 300)
