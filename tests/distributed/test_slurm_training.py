"""A preempted training under Slurm saves a checkpoint, is requeued by its script, and finishes."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders.processes.slurm_cluster import missing, slurm, state, wait
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import ROOT, arguments

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
STEPS = 300


def _steps(run: Path) -> list[int]:
    path = run / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


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
        jobs.append(slurm("sbatch", *options, script, *arguments(public, tmp_path / "run", STEPS, *more)))
        return jobs[-1]

    yield submit
    for job in jobs:
        subprocess.run(["scancel", job], capture_output=True, check=False)


def test_a_preempted_job_is_requeued_and_finishes(tmp_path: Path, submit: Callable[..., str]) -> None:
    run, log = tmp_path / "run", tmp_path / "job.log"
    job = submit("runtime.checkpoint_every=1000", "runtime.timeout_seconds=120")
    wait(400, lambda: len(_steps(run)) > 10)
    slurm("scancel", "--signal=TERM", job)
    wait(60, lambda: "queued again" in log.read_text())
    assert "saved at step" in log.read_text()
    assert len(_steps(run)) < STEPS
    wait(30, lambda: "PENDING" in state(job))
    # Slurm lets a job wait two minutes; in the second of its end the credential of the first start is still revoked.
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now+5")
    wait(400, (run / "encoder" / "encoder.safetensors").exists)
    assert _steps(run) == list(range(1, STEPS + 1))


def test_a_cancelled_job_is_not_requeued(tmp_path: Path, submit: Callable[..., str]) -> None:
    job = submit()
    wait(60, lambda: "RUNNING" in state(job))
    time.sleep(5)
    slurm("scancel", job)
    wait(60, lambda: job not in slurm("squeue", "-h", "-o", "%i").split())
    assert "CANCELLED" in (tmp_path / "job.log").read_text()
    assert "queued again" not in (tmp_path / "job.log").read_text()
