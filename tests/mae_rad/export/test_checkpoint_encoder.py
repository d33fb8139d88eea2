"""A run without an encoder of its own says so."""

import json
from pathlib import Path

import pytest

from mae_rad.errors import WeightsError
from mae_rad.export.checkpoint_encoder import checkpoint_folder


def test_a_finetuning_of_a_frozen_encoder_has_none_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest.json").write_text(json.dumps({"tag": "step-0000001", "zero_stage": 0}))
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("task: {name: classification}\nencoder: {model: vit_tiny}\n")
    with pytest.raises(WeightsError, match="Export that of its start_from"):
        checkpoint_folder(tmp_path, None, tmp_path / "out")
