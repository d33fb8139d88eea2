"""Slurm arrays of workers: one task is preempted, another killed; submitted again, they end as one process would."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders.processes.slurm_cluster import missing, slurm, state, wait
from tests.builders.tiny_finetuning import arguments, write_labelled
from tests.builders.tiny_run import ROOT, environment

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
TRIALS = ("trial-0000", "trial-0001")


def _words(public: Path, out: Path) -> list[str]:
    settings = [word for word in arguments(public, out / "run") if not word.startswith(("runtime=", "optimizer="))]
    return [
        *settings, "--out", str(out), "--over", "optimizer.base_learning_rate=0.01,0.03", "--metric", "loss",
        "optimizer={steps: 120, batch: 8}", "evaluation.every=20",
        "runtime={workers: 0, threads: 1, log_every: 1, checkpoint_every: 5}",
    ]  # fmt: skip


def _logged(run: Path) -> list[dict[str, float]]:
    """The losses of a run, in the order in which they were written."""
    path = run / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{"step": line["step"], "loss": line["loss"]} for line in lines if "loss" in line]


def _saved(run: Path) -> bool:
    return (run / "checkpoints" / "latest.json").exists()


@pytest.fixture
def submit(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Submits an array of two tasks, which log to ``job_TASK.log``, and cancels it in the end; returns its number."""
    if why := missing():
        pytest.skip(why)
    jobs: list[str] = []

    def submit(command: str, *words: str) -> str:
        options = ["--parsable", "--array=0-1", "--ntasks=1", f"--output={tmp_path / 'job_%a.log'}"]
        script = str(ROOT / "launch" / "slurm" / "pretrain.sh")
        jobs.append(slurm("sbatch", *options, script, *words, MAE_RAD_COMMAND=command))
        return jobs[-1]

    yield submit
    for job in jobs:
        subprocess.run(["scancel", job], capture_output=True, check=False)


def test_an_array_of_which_a_task_is_killed_ends_as_one_process_does(
    tmp_path: Path, submit: Callable[..., str]
) -> None:
    public, out, whole = write_labelled(tmp_path / "public"), tmp_path / "sweep", tmp_path / "whole"
    logs = [tmp_path / f"job_{task}.log" for task in range(2)]
    job = submit("sweep", *_words(public, out))
    wait(400, lambda: _saved(out / TRIALS[0]) and _saved(out / TRIALS[1]))
    slurm("scancel", "--signal=TERM", f"{job}_1")  # the last task, whose own number is that of the array
    wait(240, lambda: "queued again" in logs[1].read_text())
    wait(120, lambda: state(f"{job}_1") == "PENDING")
    assert state(f"{job}_0") == "RUNNING"
    slurm("scancel", "--signal=KILL", f"{job}_0.0")
    wait(120, lambda: state(f"{job}_0") == "")
    assert "queued again" not in logs[0].read_text()
    slurm("scancel", job)
    wait(120, lambda: state(job) == "")
    interrupted = [name for name in TRIALS if _logged(out / name) and not (out / name / "predictor").exists()]
    assert interrupted

    again = submit("sweep", *_words(public, out))
    wait(800, lambda: state(again) == "")
    said = "".join(log.read_text() for log in logs)
    assert "on test films, evaluated for this trial alone" in said, said
    command = [sys.executable, "-m", "mae_rad", "sweep", *_words(public, whole)]
    one = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=800, check=False)
    assert one.returncode == 0, one.stderr
    assert (out / "sweep.csv").read_text() == (whole / "sweep.csv").read_text()
    for name in TRIALS:  # each step was kept once, and is that of the trial that nobody interrupted
        assert _logged(out / name) == _logged(whole / name)
    tested = [name for name in TRIALS if "test/" in (out / name / "metrics.jsonl").read_text()]
    assert tested == [name for name in TRIALS if "test/" in (whole / name / "metrics.jsonl").read_text()]
    assert len(tested) == 1


def test_a_benchmark_of_pairs_shares_its_arms_among_the_tasks(tmp_path: Path, submit: Callable[..., str]) -> None:
    public, out = write_labelled(tmp_path / "public"), tmp_path / "bench"
    job = submit(
        "pairs", "bench", "e14_random", "--out", str(out), "--films", "8000", f"data.shards=[{public}]",
        "precision=f32", "encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 16}",
        "objective={name: simclr, tokens: 36, head_hidden: 32, head_dim: 16}",
        "optimizer={steps: 6, batch: 8, base_learning_rate: 0.03}",
        "runtime.workers=0", "runtime.threads=1", "runtime.log_every=1", "runtime.checkpoint_every=50",
    )  # fmt: skip
    wait(400, lambda: all(_logged(out / arm) for arm in ("e14_random", "e0_instance")))
    assert state(f"{job}_0") == state(f"{job}_1") == "RUNNING"
    started = [(tmp_path / f"job_{task}.log").read_text().count(": started") for task in range(2)]
    assert started == [1, 1]
