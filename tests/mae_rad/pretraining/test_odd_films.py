"""Unusual films are trained on, or skipped with a reason and counted; the loss is finite."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from data_prep.settings import load
from data_prep.shard_format.content_mask_bits import mask_shape
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.shard_builder import film, noise, write_public

ROOT = Path(__file__).resolve().parents[3]
STEPS = 4

SHAPES = {
    "wide": noise(300, 2500),
    "long": noise(2500, 300),
    "black": np.zeros((160, 160), np.uint16),
    "grey": np.full((160, 120), 2000, np.uint16),
    "white": np.full((120, 160), 4095, np.uint16),
    "all background": noise(160, 160, seed=1),
    "smaller than a patch": noise(9, 12),
    "one row of patches": noise(16, 300),
}
SMALL = {"smaller than a patch"}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    masks = {"all background": np.zeros(mask_shape(160, 160), bool)}
    films = [film(name, values, mask=masks.get(name)) for name, values in SHAPES.items()]
    films.append(film("held out", noise(100, 140, seed=2), split="val"))
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


@pytest.mark.parametrize("config", ["mae", "mae_reference"])
def test_they_train_or_are_counted(
    config: str, public: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mae_rad.pretraining.run import pretrain

    settings = load(
        PretrainSettings,
        ROOT / "configs" / "pretrain" / f"{config}.yaml",
        [
            f"data.shards=[{public}]", f"runtime.run_dir={tmp_path / 'run'}", "precision=f32", "objective.tokens=36",
            "objective.variance_floor=0",  # the harder case: nothing but the published epsilon under the root
            "encoder={dim: 16, depth: 1, heads: 2}", "objective.decoder_dim=16", "objective.decoder_depth=1",
            "objective.decoder_heads=2", f"optimizer.steps={STEPS}", "optimizer.batch=8", "runtime.workers=0",
            "runtime.threads=1", "runtime.log_every=1",
        ],
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        pretrain(settings)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) and np.isfinite(line["gradient_norm"]) for line in lines)
    skipped = sum(line["skipped_films"] for line in lines)
    if settings.objective.padded:  # black fills the square, whatever the film
        assert skipped == 0
    else:
        assert skipped >= STEPS * len(SMALL)
        assert "has too few patches for view film" in caplog.text
    assert all("loss_background" in line for line in lines)
    assert [path.name for path in (tmp_path / "run" / "samples").iterdir()] == [f"step-{STEPS:07d}.png"]
