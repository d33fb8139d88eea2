"""T of a finetuning: that of its encoder, unless given, or recorded by an unfinished run."""

import json
from pathlib import Path

import pytest

from data_prep.settings import load
from mae_rad.encoders.vit import EncoderSettings
from mae_rad.errors import RunError, SettingsError
from mae_rad.export.encoder_card import EncoderCard, Preprocessing
from mae_rad.finetuning.task.settings import FinetuneSettings, with_encoder
from mae_rad.training.run_folder import RunFolder

ENCODER = EncoderSettings(model="vit_tiny")
CARD = EncoderCard(
    encoder=ENCODER,
    preprocessing=Preprocessing(tokens=256, patch=16, mean=0.5, std=0.25),
    provenance={},
    parameters=1,
    weights_sha256="0" * 64,
)


def _settings(run: Path, *more: str) -> FinetuneSettings:
    return load(FinetuneSettings, None, [
        "task={name: classification, labels: [{label: fracture}]}", "data.shards=[public]", f"runtime.run_dir={run}",
        "optimizer={steps: 2, batch: 2}", "start_from=run", *more,
    ])  # fmt: skip


def test_t_is_that_of_the_encoder_unless_it_is_given(tmp_path: Path) -> None:
    assert with_encoder(_settings(tmp_path), CARD).tokens == 256
    assert with_encoder(_settings(tmp_path), CARD).encoder == ENCODER
    assert with_encoder(_settings(tmp_path, "film.tokens=64"), CARD).tokens == 64
    scratch = _settings(tmp_path, "start_from=null", "encoder={model: vit_tiny}")
    assert with_encoder(scratch, None).tokens == 196


def _begun(run: Path, tokens: int) -> None:
    """A run folder as an earlier release left it: with the default T among its settings, and a checkpoint."""
    results = with_encoder(_settings(run, f"film.tokens={tokens}"), CARD).results()
    (run / "checkpoints" / "step-0000001").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"settings": results, "dataset_sha256": "d" * 64}))


@pytest.mark.parametrize("given", [[], ["film.tokens=196"]])
def test_a_run_of_an_earlier_release_resumes_at_its_t(tmp_path: Path, given: list[str]) -> None:
    _begun(tmp_path, 196)
    settings = with_encoder(_settings(tmp_path, *given), CARD)
    assert settings.tokens == 196
    RunFolder(settings, "d" * 64).check()


def test_another_t_is_refused_and_a_run_without_checkpoint_starts_again(tmp_path: Path) -> None:
    _begun(tmp_path, 196)
    with pytest.raises(RunError, match=r"film\.tokens was 196 and is 64"):
        RunFolder(with_encoder(_settings(tmp_path, "film.tokens=64"), CARD), "d" * 64).check()
    (tmp_path / "checkpoints" / "step-0000001").rmdir()
    assert with_encoder(_settings(tmp_path), CARD).tokens == 256


@pytest.mark.parametrize("words", ["[90, 95]", "[0.9, 0]", "[-0.5]", "[.nan]"])
def test_operating_points_in_percent_are_refused_at_the_start(tmp_path: Path, words: str) -> None:
    with pytest.raises(SettingsError, match="for 90 %"):
        _settings(tmp_path, f"evaluation.sensitivities={words}")
