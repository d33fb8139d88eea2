"""A preempted training under Slurm saves a checkpoint, is requeued by its script, and finishes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders.processes.slurm_cluster import missing
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import ROOT, arguments, environment

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
STEPS = 300


def _steps(run: Path) -> list[int]:
    path = run / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def _wait(seconds: float, for_what: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not for_what():
        assert time.monotonic() < until
        time.sleep(0.5)


def _slurm(*words: str) -> str:
    own = environment() | {"MAE_RAD_PYTHON": sys.executable, "GLOO_SOCKET_IFNAME": "eth0"}
    done = subprocess.run(words, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def submit(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Submits a training on two nodes, which logs to ``job.log``, and cancels it in the end; returns its number."""
    if why := missing():
        pytest.skip(why)
    public = write_public(tmp_path / "public", [film(f"f{i}", noise(90, 90, seed=i)) for i in range(16)])
    jobs: list[str] = []

    def submit(*more: str) -> str:
        options = ["--parsable", "--nodes=2", "--ntasks-per-node=1", f"--output={tmp_path / 'job.log'}"]
        script = str(ROOT / "launch" / "slurm" / "pretrain.sh")
        jobs.append(_slurm("sbatch", *options, script, *arguments(public, tmp_path / "run", STEPS, *more)))
        return jobs[-1]

    yield submit
    for job in jobs:
        subprocess.run(["scancel", job], capture_output=True, check=False)


def test_a_preempted_job_is_requeued_and_finishes(tmp_path: Path, submit: Callable[..., str]) -> None:
    run, log = tmp_path / "run", tmp_path / "job.log"
    job = submit("runtime.checkpoint_every=1000", "runtime.timeout_seconds=120")
    _wait(400, lambda: len(_steps(run)) > 10)
    _slurm("scancel", "--signal=TERM", job)
    _wait(60, lambda: "queued again" in log.read_text())
    assert "saved at step" in log.read_text()
    assert len(_steps(run)) < STEPS
    _wait(30, lambda: "PENDING" in _slurm("squeue", "-h", "-j", job, "-o", "%T"))
    # Slurm lets a job wait two minutes; in the second of its end the credential of the first start is still revoked.
    _slurm("scontrol", "update", f"JobId={job}", "StartTime=now+5")
    _wait(400, (run / "encoder" / "encoder.safetensors").exists)
    assert _steps(run) == list(range(1, STEPS + 1))


def test_a_cancelled_job_is_not_requeued(tmp_path: Path, submit: Callable[..., str]) -> None:
    job = submit()
    _wait(60, lambda: "RUNNING" in _slurm("squeue", "-h", "-j", job, "-o", "%T"))
    time.sleep(5)
    _slurm("scancel", job)
    _wait(60, lambda: job not in _slurm("squeue", "-h", "-o", "%i").split())
    assert "CANCELLED" in (tmp_path / "job.log").read_text()
    assert "queued again" not in (tmp_path / "job.log").read_text()
