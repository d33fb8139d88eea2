"""A compiled training has the same losses."""

import json
from pathlib import Path

import pytest
import torch

from data_prep.settings import load
from mae_rad.objectives import MAESettings
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.shard_builder import film, noise, write_public
from tests.mae_rad.objectives.test_mae import CHEAP, PAPER, build, gradients, masked_batch

ROOT = Path(__file__).resolve().parents[3]

# Of the compiler itself.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


@pytest.mark.parametrize("settings", [PAPER, CHEAP])
def test_compiled_gives_the_same_value_and_gradient(settings: MAESettings) -> None:
    plain, compiled = build(settings), build(settings)
    names = list(compiled.state_dict())
    compiled.compile()
    assert list(compiled.state_dict()) == names
    one, other = plain(masked_batch()).loss, compiled(masked_batch()).loss
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
    theirs = gradients(one, plain)
    for name, gradient in gradients(other, compiled).items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_compiled_training_has_the_same_losses(tmp_path: Path) -> None:
    from mae_rad.pretraining.run import pretrain

    public = write_public(tmp_path / "public", [film(f"f{i}", noise(120, 100, seed=i)) for i in range(8)])
    losses = []
    for compiled in (False, True):
        run = tmp_path / f"run {compiled}"
        settings = load(
            PretrainSettings,
            ROOT / "configs" / "pretrain" / "demo_mae.yaml",
            [
                f"data.shards=[{public}]", f"runtime.run_dir={run}", f"runtime.compile={compiled}",
                "encoder={dim: 16, depth: 2, heads: 2}", "optimizer={steps: 3, batch: 4}", "precision=f32",
                "objective={name: mae, tokens: 36, decoder_dim: 8, decoder_depth: 1, decoder_heads: 2}",
                "runtime.threads=1", "runtime.log_every=1",
            ],
        )  # fmt: skip
        pretrain(settings)
        losses.append([json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
