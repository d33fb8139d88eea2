"""Training can start from the weights of an encoder folder, exported or converted."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep.settings import load
from mae_rad.encoders.vit import EncoderSettings, build_encoder
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_card import model_card
from mae_rad.export.encoder_folder import descent, load_encoder, save_encoder, start_from
from mae_rad.objectives import FILM, MAESettings, Objective, ObjectiveSettings, SimCLRSettings
from mae_rad.pretraining.settings import PretrainSettings
from tests.builders.shard_builder import film, noise, write_public

ROOT = Path(__file__).resolve().parents[3]
ENCODER = EncoderSettings(dim=16, depth=1, heads=2)
SMALL = MAESettings(tokens=36, decoder_dim=8, decoder_depth=1, decoder_heads=2)


def objective(settings: ObjectiveSettings = SMALL, seed: int = 0, **changes: object) -> Objective:
    torch.manual_seed(seed)
    return settings.build({FILM: build_encoder(ENCODER.model_copy(update=changes))})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    whole = objective(seed=7)
    save_encoder(whole.encoder, ENCODER, tmp_path / "e", tokens=36, provenance={}, objective=whole)
    return tmp_path / "e"


def test_encoder_and_fitting_decoder_are_taken_over(folder: Path) -> None:
    started, source = objective(), objective(seed=7)
    assert start_from(folder, started) == load_encoder(folder)[1]
    state = source.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in started.state_dict().items())
    assert all(parameter.requires_grad for parameter in started.parameters())


@pytest.mark.parametrize(
    "settings", [SMALL.model_copy(update={"decoder": "self"}), SimCLRSettings(tokens=36, head_hidden=8, head_dim=4)]
)
def test_a_decoder_or_head_that_does_not_fit_is_not_loaded(
    settings: ObjectiveSettings, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started, before, source = objective(settings), objective(settings), objective(seed=7)
    with caplog.at_level(logging.WARNING):
        start_from(folder, started)
    assert "training starts from the encoder alone" in caplog.text
    for name, value in started.state_dict().items():
        assert torch.equal(value, (source if name.startswith("encoder.") else before).state_dict()[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"depth": 2}, r"blocks\.1\.\S+ is missing"), ({"heads": 4}, "'heads': 2"), ({"mean": 0.4}, "'mean': 0.5")],
)
def test_another_encoder_is_refused(changes: dict[str, object], message: str, folder: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        start_from(folder, objective(**changes))


def test_labels_that_were_trained_on_stay_in_the_provenance(folder: Path) -> None:
    _, plain = load_encoder(folder)
    assert descent(None) == {"started_from_sha256": None}
    assert descent(plain) == {"started_from_sha256": plain.weights_sha256}
    once = plain.model_copy(update={"provenance": dict(descent(plain, ["fracture"]))})
    assert descent(once)["labels"] == "fracture"
    assert descent(once, ["coin", "fracture"])["labels"] == "coin, fracture"
    assert "Trained with labels of films: fracture." in model_card(once)
    assert "Trained without labels." in model_card(plain)


def test_training_starts_from_the_folder_and_records_it(folder: Path, tmp_path: Path) -> None:
    from mae_rad.pretraining.run import pretrain

    public = write_public(tmp_path / "public", [film(f"f{i}", noise(120, 100, seed=i)) for i in range(4)])
    settings = load(
        PretrainSettings,
        ROOT / "configs" / "pretrain" / "demo_mae.yaml",
        [
            f"data.shards=[{public}]", f"runtime.run_dir={tmp_path / 'run'}", f"start_from={folder}",
            "encoder={dim: 16, depth: 1, heads: 2, patch: 16, stem: linear}",
            "optimizer={steps: 1, batch: 4, base_learning_rate: 1.0e-9}",
            "objective={name: mae, tokens: 36, decoder_dim: 8, decoder_depth: 1, decoder_heads: 2}",
            "runtime.threads=1",
        ],
    )  # fmt: skip
    pretrain(settings)
    trained, card = load_encoder(tmp_path / "run" / "encoder")
    source, _ = load_encoder(folder)
    for name, value in trained.state_dict().items():
        np.testing.assert_allclose(value, source.state_dict()[name], atol=1e-6)
    assert card.provenance["started_from_sha256"] == load_encoder(folder)[1].weights_sha256
    assert str(folder) not in (tmp_path / "run" / "run.json").read_text()
