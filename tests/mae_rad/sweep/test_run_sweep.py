"""A sweep chooses on validation films, and keeps the encoders that its config of the comparison names."""

from pathlib import Path
from typing import Any

import pytest

from mae_rad.errors import SettingsError
from mae_rad.sweep import run_sweep as module
from mae_rad.sweep.trained_encoders import TrainedEncoder
from tests.builders.tiny_run import ROOT

CONFIG = ROOT / "configs" / "pretrain" / "small_cpu.yaml"


def _sweep(out: Path, compare: str) -> tuple[int, str]:
    config = out / "compare.yaml"
    config.write_text(compare)
    return module.run_sweep(CONFIG, [], out=out, over=["seed=1,2"], compare=config)


def test_test_films_choose_no_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train_arms", lambda *_, **__: pytest.fail("an arm was trained"))
    with pytest.raises(SettingsError, match="score_on is test"):
        _sweep(tmp_path, "{shards: [x], out: y}")


def test_encoders_of_the_comparison_stand_beside_the_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    monkeypatch.setattr(module, "train_arms", lambda *_, **__: False)
    monkeypatch.setattr(
        module,
        "trained_encoders",
        lambda arms, *_, **__: [TrainedEncoder(arm.name, arm.name, 1, tmp_path, is_last=True) for arm in arms],
    )
    monkeypatch.setattr(module, "compare_runs", lambda _, settings: compared.append(settings))
    monkeypatch.setattr(module, "read_comparison", lambda _: [])
    monkeypatch.setattr(module, "sweep_rows", lambda *_: [])
    monkeypatch.setattr(module, "write_sweep", lambda *_: None)
    code, _ = _sweep(
        tmp_path, "{shards: [x], out: y, score_on: val, encoders: [{foreign: truth.parquet, role: ceiling}]}"
    )
    assert code == 0
    assert [(entry.title, entry.role) for entry in compared[0].encoders] == [
        ("seed-1", "encoder"), ("seed-2", "encoder"), ("truth", "ceiling"),
    ]  # fmt: skip
