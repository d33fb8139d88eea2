"""Trials of a finetuning: killed, they continue; two workers share them; the best one alone is tested."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders.tiny_finetuning import arguments, write_labelled
from tests.builders.tiny_run import ROOT, environment

pytestmark = pytest.mark.slow


def _command(public: Path, out: Path) -> list[str]:
    settings = [word for word in arguments(public, out / "run") if not word.startswith(("runtime=", "optimizer="))]
    return [
        sys.executable, "-m", "mae_rad", "sweep", *settings, "--out", str(out),
        "--over", "film.flip=0,0.5", "--over", "optimizer.batch=8,100000",
        "optimizer.steps=24", "optimizer.base_learning_rate=0.03", "early_stopping={metric: loss, patience: 8}",
        "runtime.workers=0", "runtime.threads=1", "runtime.checkpoint_every=1", "runtime.log_every=1",
    ]  # fmt: skip


def _processes_of(out: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(out) in words and process.name != str(os.getpid()):
            found.append(words)
    return found


def _rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "sweep.csv").open() as file:
        return {row["trial"]: row for row in csv.DictReader(file)}


def test_a_killed_search_continues_with_two_workers_and_tests_one_trial(tmp_path: Path) -> None:
    public, out = write_labelled(tmp_path / "public"), tmp_path / "sweep"
    words = _command(public, out)
    killed = subprocess.Popen(words, cwd=ROOT, env=environment())
    deadline = time.monotonic() + 240
    while max(_steps(out / "trial-0000"), default=0) < 4:
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)  # the sweep alone: its training must not live on
    killed.wait()
    deadline = time.monotonic() + 20
    while _processes_of(out):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not (out / "trial-0000" / "predictor").exists()

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(words, cwd=ROOT, env=environment(), **pipes) for _ in range(2)]  # type: ignore[call-overload]
    texts = [worker.communicate(timeout=600) for worker in workers]
    assert {worker.returncode for worker in workers} <= {0, 3}, texts
    rows = _rows(out)
    assert [rows[f"trial-000{number}"]["state"] for number in range(4)] == ["complete", "failed"] * 2
    assert "48 labelled training films are fewer than optimizer.batch=100000" in rows["trial-0001"]["note"]
    assert _starts(out / "trial-0000") == 1

    (best,) = [text for text, _ in texts if "on test films, evaluated for this trial alone" in text]
    chosen = min(("trial-0000", "trial-0002"), key=lambda name: float(rows[name]["val/loss"]))
    assert f"best: {chosen}, val/loss" in best
    assert f"mae-rad predict {out / chosen} FILES" in best
    tested = [name for name in ("trial-0000", "trial-0002") if "test/" in (out / name / "metrics.jsonl").read_text()]
    assert tested == [chosen]

    connection = sqlite3.connect(out / "mlflow.db")
    tags = {(run, key): value for run, key, value in connection.execute("select run_uuid, key, value from tags")}
    names = dict(connection.execute("select name, run_uuid from runs").fetchall())
    versions = connection.execute("select name from model_versions").fetchall()
    connection.close()
    parent = names["sweep"]
    assert {tags[names[name], "mlflow.parentRunId"] for name in ("trial-0000", "trial-0002")} == {parent}
    assert tags[parent, "best_trial"] == chosen
    assert versions == [(chosen,)]

    again = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 3 and "on test films, evaluated for this trial alone" in again.stdout
    other = [word.replace("optimizer.steps=24", "optimizer.steps=25") for word in words]
    refused = subprocess.run(
        other, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert refused.returncode == 2
    assert "holds another sweep: settings.optimizer.steps was 24 and is 25" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def _steps(run: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*")]


def _starts(run: Path) -> int:
    """Number of lines of step 1: a training that began anew would have two."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return sum(line["step"] == 1 and "loss" in line for line in lines)
