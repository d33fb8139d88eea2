"""A detection trained on two ranks equals that of one rank."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from tests.builders.boxed_films import write_boxed
from tests.builders.processes.warm_python import run_ranks
from tests.mae_rad.finetuning.detection.test_task import CONFIG, VIT, words


def finetuned(public: Path, run: Path, world: int) -> Path:
    arguments = ["--config", str(CONFIG), *words(public, run, *VIT)]
    done = run_ranks("finetune", arguments, world, run.with_suffix(".log"))
    assert done.returncode == 0, done.stderr[-3000:]
    return run


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_two_ranks_learn_what_one_does(tmp_path: Path) -> None:
    public = write_boxed(tmp_path / "public")
    one, two = (finetuned(public, tmp_path / f"run{world}", world) for world in (1, 2))
    assert len(losses(one)) == 4
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-4)
    weights = [load_file(run / "predictor" / "predictor.safetensors") for run in (one, two)]
    for name, weight in weights[0].items():
        if name.endswith("conv.0.bias"):  # GroupNorm takes it off again: its gradient is rounding, its update a sign
            continue
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-4, msg=name)
