"""An interrupted training resumes to the same weights, and exits on request with its code."""

import json
import logging
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mae_rad.training.preemption import REQUEUE, Preemption
from mae_rad.training.settings import RuntimeSettings
from tests.builders.processes.warm_python import run_ranks
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import ROOT, arguments, environment


def _requests(preemption: Preemption) -> tuple[bool, bool]:
    return preemption.pop_requests({name: float(value) for name, value in preemption.requests().items()})


@pytest.mark.slow
def test_three_interruptions_end_in_the_weights_of_the_undisturbed_run() -> None:
    """SIGKILL of one of two ranks, which the other notices; of both; SIGTERM, answered by saving and exit code 75."""
    command = [sys.executable, "-m", "tests.benchmarks.training.interruptions", "--interruptions", "3", "--seed", "1"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ratio = re.search(r"ratio: (\d+) of (\d+) runs with 3 interruptions equal", done.stdout)
    assert ratio, done.stdout
    assert ratio[1] == ratio[2]
    # 1: torch's error of a lost connection; 2: the time-out before the ranks have met. Either way the other rank ended.
    assert re.search(r"SIGKILL of one rank: exit codes \[-9, [12]\]: 1", done.stdout), done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_a_wish_to_leave_and_is_no_longer_heard_afterwards(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(number)
    with Preemption(RuntimeSettings(run_dir=Path("run")), first=True) as preemption:
        assert _requests(preemption) == (False, False)
        signal.raise_signal(number)
        assert _requests(preemption) == (False, True)
        with caplog.at_level(logging.INFO):
            ended = preemption.build_exit(7)
    assert ended.code == REQUEUE == 75
    assert f"saved at step 7 and exited ({number.name}," in caplog.text
    assert signal.getsignal(number) is before


def test_only_the_clock_of_rank_0_requests_saves_and_exits(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    runtime = RuntimeSettings(run_dir=Path("run"), checkpoint_minutes=10, max_minutes=25)
    first = Preemption(runtime, first=True, clock=lambda: now[0])
    other = Preemption(runtime, first=False, clock=lambda: now[0])
    now[0] = 9 * 60
    assert _requests(first) == (False, False)
    now[0] = 11 * 60
    assert _requests(first) == (True, False)
    assert _requests(other) == (False, False)
    first.restart_save_interval()
    assert _requests(first) == (False, False)
    now[0] = 26 * 60
    assert _requests(first) == (True, True)
    with caplog.at_level(logging.INFO):
        first.build_exit(3)
    assert "runtime.max_minutes" in caplog.text


def test_a_run_at_its_time_limit_saves_exits_with_75_and_resumes(tmp_path: Path) -> None:
    public = write_public(tmp_path / "public", [film(f"f{i}", noise(90, 90, seed=i)) for i in range(8)])
    words = arguments(public, tmp_path / "run", 3)
    left = run_ranks("pretrain", [*words, "runtime.max_minutes=0.00001"], 1, tmp_path / "left")
    assert left.returncode == REQUEUE, left.stderr
    assert "saved at step 1 and exited (runtime.max_minutes)" in left.stderr
    assert not (tmp_path / "run" / "encoder").exists()
    done = run_ranks("pretrain", words, 1, tmp_path / "done")
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
