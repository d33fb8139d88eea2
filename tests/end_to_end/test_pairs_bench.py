"""A benchmark of pairs that was killed and is continued by two workers gives the same table as one that was not."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders.tiny_finetuning import write_labelled
from tests.builders.tiny_run import ROOT, environment

pytestmark = pytest.mark.slow

COMPARE = """
{shards: [x], out: x, tasks: [], probes: [linear], analyses: [geometry], label_fractions: [1.0], subsets: [],
 pools: [mean], random_seeds: [], pixel_components: 0, min_patients: 2, repetitions: 100}
"""


def _command(public: Path, compare: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "mae_rad", "pairs", "bench", "e14_random", "--out", str(out), "--compare", str(compare),
        "--films", "96", f"data.shards=[{public}]", "precision=f32",
        "encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 16}",
        "objective={name: simclr, tokens: 36, head_hidden: 32, head_dim: 16}",
        "optimizer={steps: 6, batch: 8, base_learning_rate: 0.03, warmup_fraction: 0.2}",
        "runtime.workers=0", "runtime.threads=1", "runtime.checkpoint_every=1", "runtime.log_every=1",
    ]  # fmt: skip


def _lines(run: Path) -> int:
    log = run / "metrics.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


def test_a_killed_benchmark_is_continued_by_two_workers(tmp_path: Path) -> None:
    public, compare = write_labelled(tmp_path / "public"), tmp_path / "compare.yaml"
    compare.write_text(COMPARE)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = subprocess.run(
        _command(public, compare, whole), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    words = _command(public, compare, parts)
    killed = subprocess.Popen(words, cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while _lines(parts / "e14_random") < 4:
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (parts / "pairs_bench.csv").exists()

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(words, cwd=ROOT, env=environment(), **pipes) for _ in range(2)]  # type: ignore[call-overload]
    texts = [worker.communicate(timeout=600) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], texts
    assert (parts / "pairs_bench.csv").read_bytes() == (whole / "pairs_bench.csv").read_bytes()
    with (parts / "pairs_bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["strategy"], row["task"]) for row in rows} == {
        (strategy, task) for strategy in ("e14_random", "e0_instance") for task in ("object", "scratch")
    }
    assert all(row["difference"] for row in rows if row["strategy"] == "e14_random")
    assert (parts / "stats" / "pairs.csv").read_bytes() == (whole / "stats" / "pairs.csv").read_bytes()
