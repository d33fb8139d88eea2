"""The averaged weights are those of the formula, are what is exported, and survive an interruption to the bit."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from data_prep.settings import load
from mae_rad.errors import SettingsError
from mae_rad.export.checkpoint_encoder import checkpoint_folder
from mae_rad.export.encoder_folder import read_card
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.training.settings import OptimizerSettings
from mae_rad.training.weight_average import WeightAverage
from tests.builders.shard_builder import film, noise, write_public
from tests.builders.tiny_run import arguments

DECAY = 0.6
AVERAGED = f"optimizer.average_decay={DECAY}"


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_average_follows_its_formula() -> None:
    model = _model()
    average, expected = WeightAverage(model, 0.9), {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(1, 40):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) + step)
        average.update(step)
        kept = min(0.9, 1 - step ** (-2 / 3))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = kept * expected[name] + (1 - kept) * value
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with average.applied():
        for name, value in model.state_dict().items():
            assert torch.allclose(value, expected[name], atol=1e-5), name
    with average.applied(wanted=False):
        assert torch.equal(model[0].weight, before["0.weight"])  # type: ignore[index]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = WeightAverage(_model(), 0.9)
    again.load(average.state())
    assert all(
        torch.equal(a, b) for a, b in zip(*(w.state()["average"].values() for w in (average, again)), strict=True)
    )


def test_the_weights_come_back_after_an_error() -> None:
    model = _model()
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model[0].weight += 1  # type: ignore[index]
    average.update(2)
    own = model[0].weight.clone()  # type: ignore[index]
    with pytest.raises(KeyError), average.applied():
        assert not torch.equal(model[0].weight, own)  # type: ignore[index]
        raise KeyError
    assert torch.equal(model[0].weight, own)  # type: ignore[index]


def test_off_it_holds_and_saves_nothing() -> None:
    average = WeightAverage(_model(), 0.0)
    average.update(1)
    average.load({})
    assert average.state() == {}
    assert OptimizerSettings(steps=1, batch=1).off >= {"average_decay"}
    assert "average_decay" not in OptimizerSettings(steps=1, batch=1, average_decay=0.9).off


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "public"
    return write_public(folder, [film(f"f{i}", noise(90, 90, seed=i)) for i in range(8)])


def _settings(public: Path, run: Path, steps: int, *more: str) -> PretrainSettings:
    words = arguments(public, run, steps, *more)
    return load(PretrainSettings, Path(words[1]), words[2:])


def _pretrain(settings: PretrainSettings) -> None:
    from mae_rad.pretraining.run import pretrain

    pretrain(settings)


@pytest.fixture
def weights_of_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Tensor]]]:
    """The weights of the encoder before the first step and after each."""
    from mae_rad.training.deepspeed_engine import Engine

    seen: list[dict[str, Tensor]] = []
    step = Engine.backward_and_step

    def remember(self: Any) -> None:
        seen.append({name: value.clone() for name, value in self.objective.encoder.state_dict().items()})

    def watched(self: Any, *arguments: Any) -> None:
        if not seen:
            remember(self)
        step(self, *arguments)
        remember(self)

    monkeypatch.setattr(Engine, "backward_and_step", watched)
    yield seen


def _averaged(weights_of_steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    average = weights_of_steps[0]
    for step, weights in enumerate(weights_of_steps[1:], 1):
        kept = min(DECAY, 1 - step ** (-2 / 3))
        average = {name: kept * average[name] + (1 - kept) * value for name, value in weights.items()}
    return average


def test_a_run_exports_the_average_and_resumes_it_to_the_bit(
    public: Path, tmp_path: Path, weights_of_steps: list[dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    _pretrain(_settings(public, whole, 5, AVERAGED))
    exported = load_file(whole / "encoder" / "encoder.safetensors")
    expected = _averaged(weights_of_steps)
    assert len(weights_of_steps) == 6
    for name, value in exported.items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert any(not torch.allclose(value, weights_of_steps[-1][name], atol=1e-4) for name, value in exported.items())
    assert read_card(whole / "encoder").provenance["average_decay"] == DECAY

    from mae_rad.training.deepspeed_engine import Engine

    forward, taken = Engine.forward, 0

    def stopping(self: Any, batch: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken > 4:
            raise KeyboardInterrupt
        return forward(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "forward", stopping)
        with pytest.raises(KeyboardInterrupt):
            _pretrain(_settings(public, interrupted, 5, AVERAGED))
    assert not (interrupted / "encoder").exists()
    early = load_file(checkpoint_folder(interrupted, 3, tmp_path / "early") / "encoder.safetensors")
    after_three = _averaged(weights_of_steps[:4])
    assert all(torch.allclose(value, after_three[name], atol=1e-6) for name, value in early.items())
    _pretrain(_settings(public, interrupted, 5, AVERAGED))
    resumed = load_file(interrupted / "encoder" / "encoder.safetensors")
    assert all(torch.equal(value, resumed[name]) for name, value in exported.items())


def test_partitioned_weights_have_no_average(public: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape("runtime.zero_stage=3 partitions them. Choose stage 2")):
        _settings(public, tmp_path / "run", 2, AVERAGED, "runtime.zero_stage=3")
    with pytest.raises(SettingsError, match="average_decay"):
        _settings(public, tmp_path / "run", 2, "optimizer.average_decay=1")
