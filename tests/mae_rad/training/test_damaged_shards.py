"""A training ends where much of its shards cannot be read, and when a loader process is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mae_rad.data.loader import TOO_FEW_PATCHES
from mae_rad.errors import SettingsError, ShardFormatError
from mae_rad.training.deepspeed_engine import Ranks, join_ranks
from mae_rad.training.loop import MIN_UNREADABLE, _Meter
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import ROOT, arguments, environment


class _Batch:
    keys = ("a", "b")

    def to(self, device: object) -> "_Batch":
        del device
        return self


def _meter(monkeypatch: pytest.MonkeyPatch) -> _Meter:
    monkeypatch.setattr("mae_rad.training.loop.measure_matmul_rate", lambda *_, **__: 1.0)
    task: Any = type("Task", (), {"name": "mae", "settings": None})
    optimizer = type("Optimizer", (), {"steps": 100, "batch": 2})
    task.settings = type("Settings", (), {"precision": "f32", "optimizer": optimizer})
    return _Meter(0, Ranks(1, 2, torch.device("cpu")), task)


def test_more_unreadable_films_than_a_share_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = _meter(monkeypatch)
    batches = iter([(_Batch(), ("film f cannot be read (ValueError)",) * MIN_UNREADABLE), (_Batch(), ("film g …",))])
    meter.next_batch(batches)  # type: ignore[arg-type]
    with pytest.raises(ShardFormatError, match="17 films could not be read while 4 could"):
        meter.next_batch(batches)  # type: ignore[arg-type]


def test_films_that_are_small_do_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = _meter(monkeypatch)
    for _ in range(9):
        meter.next_batch(iter([(_Batch(), (f"film f {TOO_FEW_PATCHES} for view one",) * 9)]))  # type: ignore[list-item]


def test_a_variable_that_a_launcher_left_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(SettingsError, match="RANK is set, but not WORLD_SIZE, MASTER_PORT"):
        join_ranks()


def test_rank_alone_is_a_training_of_one_process_and_a_killed_reader_one_line(tmp_path: Path) -> None:
    """``RANK=0`` is left in the environment; the loader process is killed in mid-run, as for lack of memory."""
    public = write_public(tmp_path / "public", [film(f"f{number}", noise(96, 96, seed=number)) for number in range(8)])
    words = [sys.executable, "launch/pretrain.py", *arguments(public, tmp_path / "run", 100_000, "runtime.workers=1")]
    training = subprocess.Popen(
        words, cwd=ROOT, env=environment() | {"RANK": "0"}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and training.poll() is None and not _logged(tmp_path / "run" / "metrics.jsonl"):
            time.sleep(0.1)
        assert _descendants(training.pid)
        for worker in _descendants(training.pid):
            os.kill(worker, signal.SIGKILL)
        _, told = training.communicate(timeout=60)
    finally:
        if training.poll() is None:
            os.killpg(training.pid, signal.SIGKILL)
    assert training.returncode == 1
    assert "error: a process that reads films was killed" in told
    assert "Traceback" not in told


def _logged(metrics: Path) -> bool:
    return metrics.exists() and metrics.stat().st_size > 0


def _descendants(parent: int) -> list[int]:
    """Processes below the fork server of a process: its loader workers."""
    return [child for server in _children(parent) for child in _children(server)]


def _children(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
