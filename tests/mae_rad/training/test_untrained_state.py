"""Buffers and frozen parameters are restored at any number of ranks, which DeepSpeed alone does not do."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from mae_rad.training.preemption import REQUEUE
from mae_rad.training.untrained_state import UNTRAINED, UntrainedState
from tests.builders.processes.warm_python import run_script
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import arguments

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
import mae_rad.training.loop
from mae_rad.objectives import OBJECTIVES
from mae_rad.training.deepspeed_engine import Engine
from mae_rad.training.untrained_state import UntrainedState
from tests.builders.processes.warm_ranks import WarmRanks
from tests.mae_rad.objectives.test_toy_objective import Brightness, BrightnessSettings

class Counting(Brightness):
    '''A buffer counts the steps, a frozen parameter follows the weights.'''
    def __init__(self, encoder, settings):
        super().__init__(encoder, settings)
        self.register_buffer("steps", torch.zeros(1))
        self.target = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    def stepped(self, progress):
        self.steps += 1
        self.target.mul_(0.5).add_(progress)
    def forward(self, batch):
        output = super().forward(batch)
        return output._replace(metrics={"steps": self.steps[0].clone(), "target": self.target[0].clone()})

BrightnessSettings.build = lambda self, encoders: Counting(encoders["film"], self)
OBJECTIVES["brightness"] = BrightnessSettings
if sys.argv[3] == "deepspeed alone":
    UntrainedState.load = lambda self, state: None
forward = Engine.forward
def leaving(self, batch):
    self.taken = getattr(self, "taken", 0) + 1
    if self.taken == int(os.environ["LEAVE_AFTER"]) and os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGTERM)
    return forward(self, batch)
Engine.forward = leaving
for world, leave_after in json.loads(sys.argv[1]):
    os.environ["LEAVE_AFTER"] = str(leave_after)
    print(json.dumps(WarmRanks(sys.argv[4:], world, Path(f"{sys.argv[2]}/log")).wait(120)), flush=True)
"""
STEPS = 6


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(90, 90, seed=i)) for i in range(10)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def _train(public: Path, folder: Path, stage: int, how: str) -> list[dict[str, float]]:
    """Lines of metrics of a training on two ranks that goes on with one."""
    words = arguments(
        public, folder / "run", STEPS, f"runtime.zero_stage={stage}", "objective={name: brightness, tokens: 36}"
    )
    done = run_script(SCRIPT, [json.dumps([[2, 3], [1, 1000]]), str(folder), how, *words], 300)
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert codes == [[REQUEUE] * 2, [0]], done.stderr + (folder / "log").read_text()
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stage", [1, *(pytest.param(stage, marks=pytest.mark.slow) for stage in (0, 2))])
def test_they_are_restored_at_another_number_of_ranks(public: Path, tmp_path: Path, stage: int) -> None:
    lines = _train(public, tmp_path, stage, "with ours")
    # called once before the first step, after every step, and not after the resume
    assert [line["steps"] for line in lines] == [1, 2, 3, 4, 5, 6]
    target, expected = 0.0, []
    for step in range(STEPS):
        target = target / 2 + step / STEPS
        expected.append(target)
    assert [line["target"] for line in lines] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_deepspeed_alone_loses_them_in_silence(public: Path, tmp_path: Path) -> None:
    """The trap: if this fails, DeepSpeed has mended it, and ``untrained_state.py`` may go."""
    lines = _train(public, tmp_path, 1, "deepspeed alone")
    assert [line["steps"] for line in lines] == [1, 2, 3, 0, 1, 2]


def test_only_what_is_not_trained_is_kept() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    kept = UntrainedState(model).tensors()
    assert list(kept) == ["0.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var"]
    UntrainedState(model).load({UNTRAINED: {"1.running_mean": torch.tensor([3.0, 4.0])}})
    assert model[1].running_mean.tolist() == [3, 4]
    UntrainedState(model).load({})  # of an earlier release
