"""A finished finetuning goes on as a new segment, and keeps the best weights of both."""

from pathlib import Path

import pytest
import torch

from mae_rad.cli import finetune as command
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.finetuning.run import finetune
from mae_rad.training.deepspeed_engine import Engine
from tests.builders.tiny_finetuning import arguments, write_labelled
from tests.mae_rad.finetuning.test_run import _losses, _settings, _weights


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("shards") / "public")


def test_an_extended_finetuning_is_the_planned_one(public: Path, tmp_path: Path) -> None:
    planned, run = tmp_path / "planned", tmp_path / "run"
    finetune(_settings(public, planned, "optimizer.steps=5", "optimizer.segments=[3]"))
    finetune(_settings(public, run, "optimizer.steps=3"))
    text = finetune(_settings(public, run, "optimizer.steps=5"))
    assert _losses(run) == _losses(planned)
    weights, expected = _weights(run), _weights(planned)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    provenance = load_predictor(run).card.provenance
    assert (provenance["steps"], provenance["segments"]) == (5, "3 + 2 steps")
    assert text is not None
    assert f"predictor: {run / 'predictor'}" in text
    assert f"mae-rad predict {run} FILES out=PRIVATE" in text


def test_out_of_memory_names_what_helps(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Engine, "forward", fail)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert command.main(arguments(public, tmp_path / "run")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: this machine has run out of memory. Less is needed with a larger optimizer.acc")
