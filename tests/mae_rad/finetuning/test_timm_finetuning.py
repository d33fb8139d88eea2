"""Finetuning starts from a network of timm, whose batch norm keeps its statistics."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data_prep.settings import load
from mae_rad.encoders.timm_encoder import TimmEncoder, TimmSettings
from mae_rad.errors import SettingsError
from mae_rad.export.encoder_folder import save_encoder
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.finetuning.run import Finetuning, finetune
from mae_rad.finetuning.task.settings import FinetuneSettings
from tests.builders.tiny_finetuning import arguments, write_labelled

ENCODER = TimmSettings(timm="tf_efficientnet_lite0", patch=8)
CALM = ["optimizer.base_learning_rate=0.001", "evaluation.calibration=none"]
"""The weights are random, and their statistics those of no film."""


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("shards") / "public")


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("natural") / "encoder"
    save_encoder(TimmEncoder(ENCODER), ENCODER, folder, tokens=36, precision="f32", provenance={})
    return folder


def settings(public: Path, natural: Path, run: Path, *more: str) -> FinetuneSettings:
    words = arguments(public, run, f"start_from={natural}", "encoder=null", *more)
    return load(FinetuneSettings, Path(words[1]), words[2:])


@pytest.mark.parametrize("adaptation", ["frozen", "finetuned"])
def test_weights_are_trained_and_statistics_kept(public: Path, natural: Path, tmp_path: Path, adaptation: str) -> None:
    finetune(settings(public, natural, tmp_path / "run", f"adaptation.encoder={adaptation}", *CALM))
    before = load_file(natural / "encoder.safetensors")
    predictor = load_predictor(tmp_path / "run")
    assert isinstance(predictor.encoder, TimmEncoder)
    after = predictor.encoder.state_dict()
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(same[name] for name in before if "running" in name)
    assert same["network.conv_head.weight"] == (adaptation == "frozen")
    exported = tmp_path / "run" / "encoder" / "encoder.safetensors"
    assert exported.exists() == (adaptation == "finetuned")
    if adaptation == "finetuned":
        assert all(torch.equal(value, after[name]) for name, value in load_file(exported).items())


def test_rates_decay_over_the_stages(public: Path, natural: Path, tmp_path: Path) -> None:
    from mae_rad.training.deepspeed_engine import Ranks

    task = Finetuning(settings(public, natural, tmp_path / "run", "adaptation.layer_decay=0.5"))
    model = task.build_model(Ranks(0, 1, torch.device("cpu")))
    rates = {name: model.rate_of(f"encoder.network.{name}") for name in ("conv_stem.weight", "blocks.0.0.bn1.weight")}
    assert rates == {"conv_stem.weight": 0.5**8, "blocks.0.0.bn1.weight": 0.5**7}
    assert model.rate_of("encoder.network.blocks.6.0.bn1.weight") == 0.5
    assert model.rate_of("encoder.network.conv_head.weight") == model.rate_of("head.layers.0.weight") == 1


def test_windows_are_refused(public: Path, natural: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tf_efficientnet_lite0 encodes whole films only\. Leave task\.window out"):
        Finetuning(settings(public, natural, tmp_path / "run", "task.window=4"))
