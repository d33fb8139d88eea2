"""The smallest pretraining: the arguments of its command, and its ranks under torchrun."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OF_A_RANK = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def arguments(public: Path, run: Path, steps: int, *more: str) -> list[str]:
    """Of ``launch/pretrain.py``: 8 films a step, a checkpoint every third."""
    return [
        "--config", str(ROOT / "configs" / "pretrain" / "demo_mae.yaml"), "precision=f32",
        f"data.shards=[{public}]",
        "encoder={model: vit_tiny, dim: 32, depth: 2, heads: 2, patch: 16}",
        "objective={name: mae, tokens: 36, predicted: 0.5, decoder_dim: 32, decoder_depth: 1, decoder_heads: 2}",
        f"optimizer={{steps: {steps}, batch: 8, base_learning_rate: 0.03, warmup_fraction: 0.2}}",
        f"runtime={{run_dir: {run}, workers: 0, threads: 1, log_every: 1, checkpoint_every: 3, pictures: 0,"
        " timeout_seconds: 20}",
        *more,
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """For a process of its own, whatever this one is."""
    own = {name: value for name, value in os.environ.items() if name not in _OF_A_RANK}
    return own | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT)}


def launch(words: Sequence[str], ranks: int) -> subprocess.CompletedProcess[str]:
    """Run ``words``, a script and its arguments, on ``ranks`` ranks to the end."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.run(
        [*torchrun, *words], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
