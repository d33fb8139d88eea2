"""A sweep on a small synthetic archive: killed, it continues; a failed arm is named, and the others are scored."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.cli.main import main as data_prep
from data_prep.phantom.write_archive import write_archive
from tests.builders.tiny_run import ROOT, environment

pytestmark = pytest.mark.slow


def _public(root: Path) -> Path:
    write_archive(root / "phantom", patients=60, seed=3, scale=0.25, level="clear")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAE_RAD_KEY", "0123456789abcdef" * 4)
        assert data_prep(["scan", str(root / "phantom" / "archive"), "--out", str(root / "private")]) == 0
    words = ["shard", str(root / "private"), "--out", str(root / "public"), "max_side=128", "splits.val=0.3"]
    assert data_prep([*words, "runtime.max_reject_fraction=0.5", "runtime.workers=2"]) in (0, 3)
    return root / "public"


def _command(public: Path, out: Path) -> list[str]:
    compared = out.parent / "compare.yaml"
    compared.write_text(
        "{shards: [x], out: y, score_on: val, random_seeds: [0], probes: [linear], analyses: [geometry],"
        " label_fractions: [1.0], subsets: [], repetitions: 100, min_patients: 2, all_labels: false,"
        " tasks: [{column: body_part}], runtime: {workers: 0, threads: 1}}"
    )
    return [
        sys.executable, "-m", "mae_rad", "sweep", "--config", str(ROOT / "configs" / "pretrain" / "small_cpu.yaml"),
        "--out", str(out), "--films", "48", "--compare", str(compared), "--checkpoints",
        "--arm", "slow: optimizer.base_learning_rate=1e-4", "--arm", "fast: optimizer.base_learning_rate=1e-3",
        "--arm", "large: optimizer.batch=100000", f"data.shards={public}", "precision=f32", "optimizer.batch=8",
        "encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 12}", "runtime.threads=1", "runtime.pictures=0",
        "runtime.checkpoint_every=2", "runtime.keep_checkpoints=9",
    ]  # fmt: skip


def test_a_killed_sweep_continues_and_scores_what_was_trained(tmp_path: Path) -> None:
    public, out = _public(tmp_path), tmp_path / "sweep"
    words = _command(public, out)
    first = subprocess.Popen(words, cwd=ROOT, env=environment(), start_new_session=True)
    deadline = time.monotonic() + 240
    while not (out / "slow" / "checkpoints" / "latest.json").exists():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    ended = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "large failed: error: optimizer.batch is larger than the number of training films" in ended.stdout
    with (out / "sweep.csv").open() as file:
        lines = list(csv.DictReader(file))
    films = [int(line["films_drawn"]) for line in lines if line["arm"] == "slow"]
    assert films == [16, 32, 48]
    assert {line["arm"] for line in lines} == {"slow", "fast", ""}
    assert all(0 <= float(line["value"]) <= 1 for line in lines)
    assert (out / "curves_linear.png").stat().st_size > 10_000
