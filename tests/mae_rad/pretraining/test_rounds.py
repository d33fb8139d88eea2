"""Rounds: buffers and columns from the vectors of all films, kept for a resume, made again where they do not fit."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data_prep.settings import load
from mae_rad.data.batch import Batch
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_folder import load_encoder, read_card
from mae_rad.objectives import FILM, OBJECTIVES
from mae_rad.objectives.interface import Objective, ObjectiveOutput
from mae_rad.pretraining.run import pretrain
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.deepspeed_engine import Engine
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import arguments
from tests.mae_rad.objectives.test_toy_objective import Brightness, BrightnessSettings

STEPS, EVERY, START = 7, 3, 1
seen: list[tuple[int, float, list[float]]] = []


class Rounded(Brightness):
    """Its rounds make a centre, and a value of every film."""

    renew_every, renew_from = EVERY, START

    def __init__(self, encoder: Encoder, settings: BrightnessSettings) -> None:
        super().__init__(encoder, settings)
        self.register_buffer("centre", torch.zeros(()))

    def renew(self, vectors: Mapping[str, Tensor], generator: np.random.Generator) -> dict[str, Tensor]:
        values = vectors["encoder"].abs().sum(dim=1)
        return {"centre": values.mean(), "near": values + generator.random()}

    def forward(self, batch: Batch) -> ObjectiveOutput:
        near = batch.meta["whole"].get("round.near", torch.zeros(0))
        seen.append((batch.step, float(self.centre), near.tolist()))
        return super().forward(batch)

    def exports(self) -> dict[str, Encoder]:
        return super().exports() | {"target": self.encoder}


class RoundedSettings(BrightnessSettings):
    """Settings of it."""

    @property
    def has_rounds(self) -> bool:
        return True

    def build(self, encoders: Mapping[str, Encoder]) -> Objective:
        return Rounded(encoders[FILM], self)


@pytest.fixture(autouse=True)
def line_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "brightness", RoundedSettings)
    seen.clear()


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    films = [film(f"f{i}", noise(90, 90 + i, seed=i)) for i in range(10)]
    return write_public(tmp_path_factory.mktemp("shards") / "public", films)


def _train(public: Path, run: Path, *more: str) -> list[tuple[int, float, list[float]]]:
    words = arguments(
        public, run, STEPS, "objective={name: brightness, tokens: 36}", "runtime.checkpoint_every=1", *more
    )
    seen.clear()
    pretrain(load(PretrainSettings, Path(words[1]), words[2:]))
    return list(seen)


def _until(step: int) -> Any:
    forward, taken = Engine.forward, 0

    def stopping(self: Any, batch: Batch) -> Any:
        nonlocal taken
        if taken == step:
            raise KeyboardInterrupt
        taken += 1
        return forward(self, batch)

    return stopping


def _cut(public: Path, run: Path, steps: int, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "forward", _until(steps))
        with pytest.raises(KeyboardInterrupt):
            _train(public, run, *more)


def test_rounds_begin_when_due_and_a_resume_goes_on_with_them(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = _train(public, tmp_path / "whole")
    assert [step for step, *_ in whole] == list(range(STEPS))
    assert whole[0][1:] == (0.0, [])  # before the first round
    centres = [centre for _, centre, _ in whole]
    assert centres[1] == centres[2] == centres[3] != centres[4] == centres[5] == centres[6]
    assert all(len(near) == 8 for _, _, near in whole[1:])
    assert _files(tmp_path / "whole") == ["round-00000.safetensors", "round-00001.safetensors"]

    _cut(public, tmp_path / "cut", 3, monkeypatch)  # within the first round
    assert _train(public, tmp_path / "cut") == whole[3:]
    assert "is made again" not in caplog.text
    weights = [read_card(tmp_path / run / "encoder").weights_sha256 for run in ("whole", "cut")]
    assert weights[0] == weights[1]
    target, _ = load_encoder(tmp_path / "whole" / "encoders" / "target")
    assert target.dim == 32


def test_a_run_whose_checkpoint_is_rounds_behind_goes_on_with_the_round_of_the_checkpoint(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Rounded, "renew_every", 2)
    monkeypatch.setitem(globals(), "STEPS", 9)
    seldom = "runtime.checkpoint_every=4"
    whole = _train(public, tmp_path / "whole", seldom)
    kept = [f"round-{number:05d}.safetensors" for number in (1, 2, 3)]
    for name in ("cut", "other"):  # at step 7, at which round 3 begins; the checkpoint of step 4 is within round 1
        _cut(public, tmp_path / name, 7, monkeypatch, seldom)
        assert _files(tmp_path / name) == kept
    assert _train(public, tmp_path / "cut", seldom) == whole[4:]
    weights = [read_card(tmp_path / name / "encoder").weights_sha256 for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    assert "is made again" not in caplog.text

    (tmp_path / "other" / "rounds" / kept[0]).unlink()
    _cut(public, tmp_path / "other", 0, monkeypatch, seldom)
    assert "round 1 is made again at step 4" in caplog.text
    assert _files(tmp_path / "other") == kept  # files of later rounds do not push it out


def _files(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "rounds").iterdir())


def test_what_needs_whole_weights_is_refused_where_they_are_partitioned(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"needs whole weights .* runtime\.zero_stage=3 partitions them"):
        _train(public, tmp_path / "run", "runtime.zero_stage=3")
    monkeypatch.setattr(RoundedSettings, "has_rounds", False)
    monkeypatch.setattr(RoundedSettings, "keeps_whole_copy", True)
    with pytest.raises(SettingsError, match="needs whole weights"):
        _train(public, tmp_path / "run", "runtime.zero_stage=3")


def test_a_file_that_does_not_fit_is_made_again_and_a_new_training_empties_the_folder(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    _cut(public, run, 3, monkeypatch)
    path = run / "rounds" / "round-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with caplog.at_level(logging.WARNING):
        lines = _train(public, run)
    assert "round 0 is made again at step 3: its file is missing or does not fit" in caplog.text
    assert lines[0][0] == 3 and len(lines[0][2]) == 8

    other = tmp_path / "other"
    (other / "rounds").mkdir(parents=True)
    (other / "rounds" / "round-00009.safetensors").write_bytes(b"of another training")
    _train(public, other, "seed=3")
    assert not (other / "rounds" / "round-00009.safetensors").exists()
